"""kwok, which plays the kubelet of nodes that don't exist: for thousands of pods without a container. The bench is its caller.

It has a Go module of its own beside the cluster's tools: only who wants fake pods builds it, about two minutes the first time.
"""

import hashlib
import platform
from pathlib import Path

from local_cluster.caching import cache_folder, made_once
from local_cluster.machine import check_space
from local_cluster.progress import step
from local_cluster.tools import ENVIRONMENT, find_go, run_go

MODULE = Path(__file__).resolve().parents[1] / "kwok"
"""The Go module that names its version."""

_BUILD_BYTES = 2 * 1024**3
"""Free space for the modules, Go's build cache and the binary."""
_PACKAGE = "sigs.k8s.io/kwok/cmd/kwok"
_STAGES = ("node/fast", "node/heartbeat-with-lease", "pod/fast")
"""What it makes of nodes and pods, from the folder kustomize/stage of its own source: ready at once, gone when deleted."""


def provide_kwok() -> Path:
    """The folder with `kwok` and the `stages.yaml` that it is to be started with, built first if need be.

    Raises:
        ClusterError: there is too little space, no Go, no way to the modules, or the build failed.
    """
    digest = hashlib.sha256(repr((ENVIRONMENT, _PACKAGE, _STAGES, platform.machine())).encode())
    for file in ("go.mod", "go.sum"):
        digest.update((MODULE / file).read_bytes())
    return made_once(cache_folder() / "kwok" / digest.hexdigest()[:16], _build)


def _build(folder: Path) -> None:
    check_space(folder, _BUILD_BYTES)
    go = find_go()
    with step("build kwok"):
        run_go(go, "build", "-trimpath", "-ldflags", "-s -w", "-o", str(folder / "kwok"), _PACKAGE, module=MODULE)
    source = Path(run_go(go, "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok", module=MODULE).strip())
    stages = (file for name in _STAGES for file in sorted((source / "kustomize" / "stage" / name).glob("*.yaml")))
    texts = [file.read_text() for file in stages if file.name != "kustomization.yaml"]
    (folder / "stages.yaml").write_text("---\n".join(texts))
