"""The cluster's control groups: one directory below the root of each hierarchy, which its kubelet puts pods into."""

import errno
import time
from pathlib import Path

from local_cluster.errors import ClusterError

REMOVE_SECONDS = 60.0
"""How long a control group may stay busy after its last process ended."""

_MOUNTS = Path("/proc/self/mounts")


def make_cgroups(identity: str) -> None:
    """Make the cluster's directory in every hierarchy; the kubelet refuses to start without.

    Raises:
        ClusterError: This container's control groups of version 2 can't have others below them.
    """
    for hierarchy in hierarchies(_MOUNTS.read_text()):
        controllers = hierarchy / "cgroup.controllers"
        if controllers.exists():
            _hand_on(controllers.read_text().split(), hierarchy)
        (hierarchy / identity).mkdir(exist_ok=True)


def remove_cgroups(identity: str) -> None:
    """Remove the cluster's directories and what is in them, once its processes are gone.

    Raises:
        ClusterError: A process is still in one of them.
    """
    deadline = time.monotonic() + REMOVE_SECONDS
    for hierarchy in hierarchies(_MOUNTS.read_text()):
        _remove(hierarchy / identity, deadline)


def hierarchies(mounts: str) -> list[Path]:
    """The roots of the hierarchies of control groups, from the text of /proc/mounts.

    Beside those of version 1 there may be one of version 2, without controllers, which runc puts containers into as well.
    """
    fields = [line.split() for line in mounts.splitlines()]
    return [Path(each[1]) for each in fields if each[2] in ("cgroup", "cgroup2")]


def _hand_on(controllers: list[str], hierarchy: Path) -> None:
    """Version 2 gives a group only the controllers that its parent hands on."""
    try:
        (hierarchy / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in controllers))
    except OSError as error:
        raise ClusterError(
            f"{hierarchy} can't hand its controllers on to other control groups ({error.strerror}): start the cluster on the "
            "machine itself, outside of this container."
        ) from error


def _remove(root: Path, deadline: float) -> None:
    # Depth first: a directory's files are the kernel's and go with it.
    for directory in sorted((each for each in (root, *root.rglob("*")) if each.is_dir()), reverse=True):
        while True:
            try:
                directory.rmdir()
                break
            except FileNotFoundError:
                break
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise ClusterError(f"The control group {directory} can't be removed: {error.strerror}.") from error
                time.sleep(0.02)
