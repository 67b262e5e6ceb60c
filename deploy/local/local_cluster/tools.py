"""The cluster's binaries, built once by Go into the user's cache, locked by go.sum.

No registry of Python, Node or Debian has them in a usable version; the Go module proxy has all.
"""

import hashlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from local_cluster.caching import cache_folder, made_once
from local_cluster.commands import run
from local_cluster.errors import ClusterError
from local_cluster.machine import BUILD_BYTES, check_space
from local_cluster.progress import step

MODULE = Path(__file__).resolve().parents[1] / "tools"
"""The Go module that names the tools and their versions."""

BUILD_SECONDS = 3600.0
"""How long one tool, or the download of all modules, may take."""

_GO_REQUIREMENTS = MODULE / "requirements.txt"
"""Go itself, for machines without."""

PACKAGES: Mapping[str, str] = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubelet": "k8s.io/kubernetes/cmd/kubelet",
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "metrics-server": "sigs.k8s.io/metrics-server/cmd/metrics-server",
    "coredns": "github.com/coredns/coredns",
}

ENVIRONMENT = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
"""Under which Go builds."""


def provide_tools() -> Path:
    """The folder of the tools, built first if need be (about 8 minutes on two cores).

    Raises:
        ClusterError: There is too little space, no Go, no way to the modules, or a build failed.
    """
    return made_once(cache_folder() / "tools" / _key(), _build)


def kubernetes_version() -> str:
    """The version that go.mod pins, as in v1.36.3."""
    return _find(r"^\s*(?:require )?k8s\.io/kubernetes (v\S+)")


def _build(folder: Path) -> None:
    check_space(folder, BUILD_BYTES)
    go = find_go()
    with step("download Go modules"):
        # Unlike `go mod download`, this takes only what these packages need.
        run_go(go, "list", "-deps", *PACKAGES.values())
    for name, package in PACKAGES.items():
        with step(f"build {name}"):
            run_go(go, "build", *_flags(), "-o", str(folder / name), package)


def _flags() -> tuple[str, ...]:
    """Without the version the API server calls itself v0.0.0-master, and clients complain."""
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".")
    values = {
        "k8s.io/component-base/version.gitVersion": version,
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "k8s.io/client-go/pkg/version.gitVersion": version,
    }
    settings = " ".join(f"-X {name}={value}" for name, value in values.items())
    return "-trimpath", "-ldflags", f"-s -w {settings}"


def _key() -> str:
    digest = hashlib.sha256()
    for content in (
        (MODULE / "go.mod").read_bytes(),
        (MODULE / "go.sum").read_bytes(),
        repr((_flags(), ENVIRONMENT, dict(PACKAGES), platform.machine())).encode(),
    ):
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


def find_go() -> str:
    """A Go that is new enough for go.mod: the one on PATH, else PyPI's."""
    wanted = _find(r"^go (\S+)")
    installed = shutil.which("go")
    if installed and _numbers(run_go(installed, "env", "GOVERSION")) >= _numbers(wanted):
        return installed
    key = hashlib.sha256(_GO_REQUIREMENTS.read_bytes()).hexdigest()[:16]
    return str(made_once(cache_folder() / "go" / key, _install_go) / "go" / "bin" / "go")


def _install_go(folder: Path) -> None:
    # Into a plain folder: a virtual environment can't be renamed, and the toolchain needs no Python.
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes")
    with step("install Go from PyPI"):
        run_go(*pip, "--target", str(folder), "--requirement", str(_GO_REQUIREMENTS))


def _find(pattern: str) -> str:
    found = re.search(pattern, (MODULE / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise ClusterError(f"{MODULE / 'go.mod'} has no line like {pattern}: restore it from the repository.")
    return found[1]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", version)[:3])


def run_go(*argv: str, module: Path | None = None) -> str:
    """What a command of Go prints within a module, by default that of the cluster's tools.

    Raises:
        ClusterError: it failed.
    """
    failure = "The cluster's tools can't be built: see that the network is up, then try again."
    return run(argv, failure=failure, seconds=BUILD_SECONDS, cwd=module or MODULE, env={**os.environ, **ENVIRONMENT})
