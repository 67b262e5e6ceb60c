"""What a machine must be for a cluster to run on it, said in one sentence each where it isn't."""

import os
import platform
import shutil
from pathlib import Path

from local_cluster.errors import ClusterError

BUILD_BYTES = 8 * 1024**3
"""Free space for building the tools: modules, Go's build cache, binaries."""

RUN_BYTES = 1024**3
"""Free space for a cluster's images, logs and database."""

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""The machine's name of an architecture to Go's and Debian's."""

_CAP_SYS_ADMIN = 21


def search_path() -> str:
    """The PATH to find commands by: the user's, and where Debian has what administrators use."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"


def check_platform() -> None:
    """Refuse a machine that no cluster can run on.

    Raises:
        ClusterError: It isn't Linux on a known architecture with apt.
    """
    system, architecture = platform.system(), platform.machine()
    if system != "Linux" or architecture not in ARCHITECTURES:
        raise ClusterError(
            f"A local cluster needs Linux on {' or '.join(ARCHITECTURES)}, and this is {system} on {architecture}: "
            "use kind with kind-config.yaml."
        )
    if shutil.which("apt-get") is None:
        raise ClusterError(
            "A local cluster takes containerd and runc from Debian packages, and there is no apt-get here: "
            "use Debian or Ubuntu, or kind with kind-config.yaml."
        )


def check_rights() -> None:
    """Refuse a user who may not make namespaces, mounts and control groups.

    Raises:
        ClusterError: The user isn't root, or root lacks the right in this container.
    """
    if os.geteuid() != 0:
        raise ClusterError("A local cluster makes namespaces, mounts and control groups, which takes root: run it with sudo.")
    if not _capabilities(Path("/proc/self/status").read_text()) >> _CAP_SYS_ADMIN & 1:
        raise ClusterError(
            "Root lacks CAP_SYS_ADMIN here and can't make namespaces: run it on a machine or in a privileged container."
        )


def check_space(folder: Path, needed: int) -> None:
    """Refuse a folder whose file system is too full.

    Raises:
        ClusterError: Fewer than `needed` bytes are free.
    """
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise ClusterError(
            f"{folder} needs {needed / 1024**3:.0f} GB of free disk space and has {free / 1024**3:.1f} GB: free some, "
            "or use a larger disk (XDG_CACHE_HOME moves the tools)."
        )


def _capabilities(status: str) -> int:
    line = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return int(line.split()[1], 16)
