"""Debian packages, a cluster's or others: only what is missing is installed, nothing is removed, no service is started."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from local_cluster.caching import cache_folder, locked
from local_cluster.commands import run
from local_cluster.errors import ClusterError
from local_cluster.machine import search_path
from local_cluster.progress import step

NEEDED: Mapping[str, str] = {
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": "/usr/lib/cni/ptp",
    "nftables": "nft",
    "iproute2": "ip",
    "curl": "curl",
    "openssl": "openssl",
    "gcc": "gcc",
    "libc6-dev": "/usr/include/stdlib.h",
}
"""Each package with the command or file that it is needed for; what brings that already may come from elsewhere."""

POLICY = Path("/usr/sbin/policy-rc.d")
"""Asked by every maintainer script before it starts a service; 101 means no."""

DENY = "#!/bin/sh\n# Written by mcp-operator's local cluster while it installs packages; may be removed.\nexit 101\n"

APT_SECONDS = 600.0


def missing_packages(needed: Mapping[str, str] = NEEDED) -> list[str]:
    """Packages whose command or file isn't there."""
    return [
        package
        for package, thing in needed.items()
        if shutil.which(thing, path=search_path()) is None and not Path(thing).is_file()
    ]


def install_packages(needed: Mapping[str, str] = NEEDED) -> None:
    """Install what is missing.

    Args:
        needed: each package with the command or file that it is needed for.

    Raises:
        ClusterError: apt-get can't do it without removing something, or can't reach its archive.
    """
    if not missing_packages(needed):
        return
    with locked(cache_folder()):
        missing = missing_packages(needed)
        if missing:
            with step(f"install Debian packages: {', '.join(missing)}"), services_denied() as prefix:
                _install(missing, prefix)


def _install(packages: list[str], prefix: tuple[str, ...]) -> None:
    install = (*prefix, "apt-get", "install", "--yes", "--no-install-recommends", "--no-remove", *packages)
    failure = f"apt-get can't install {' '.join(packages)}: install them by hand, then try again."
    try:
        _apt(install, failure)
    except ClusterError:  # perhaps because the package lists are missing or old
        _apt(("apt-get", "update"), failure)
        _apt(install, failure)


def _apt(argv: tuple[str, ...], failure: str) -> None:
    # Another apt-get, such as the machine's own of the morning, may hold the lock.
    waiting = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    run((*argv, "--option=DPkg::Lock::Timeout=120"), failure=failure, seconds=APT_SECONDS, env=waiting)


@contextmanager
def services_denied() -> Iterator[tuple[str, ...]]:
    """Keep packages from starting services; gives the words to put before a command that installs.

    A policy that exists is covered in a mount namespace of that command alone, so nothing has to be put back, whatever happens.
    """
    if POLICY.exists() and POLICY.read_text() != DENY:
        deny = cache_folder() / "deny-services"
        _write_script(deny)
        yield ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /usr/sbin/policy-rc.d && exec "$@"', str(deny))
        return
    _write_script(POLICY)
    try:
        yield ()
    finally:
        POLICY.unlink()


def _write_script(file: Path) -> None:
    file.write_text(DENY)
    file.chmod(0o755)
