"""Commands inside a node: with its network, names, mounts and tools, as the administrator of its cluster."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from local_cluster.commands import run
from local_cluster.configuring import snapshotter
from local_cluster.errors import ClusterError
from local_cluster.launching import node_pid
from local_cluster.layout import NODE_STATE, Layout
from local_cluster.machine import search_path
from local_cluster.record import Record

COMMAND_SECONDS = 120.0


def command(layout: Layout, argv: Sequence[str]) -> list[str]:
    """The command of the machine that runs `argv` inside the node, in the current directory.

    Raises:
        ClusterError: The cluster doesn't run.
    """
    record = Record.read(layout.record)
    pid = node_pid(record) if record else None
    if pid is None:
        raise ClusterError(f"Cluster {layout.name} of {layout.state.parent} doesn't run: start it first.")
    namespaces = ("--mount", "--net", "--pid", "--ipc", "--uts")
    settings = (
        f"KUBECONFIG={NODE_STATE}/config/admin.kubeconfig",
        f"PATH={NODE_STATE}/bin:{search_path()}",
        f"CONTAINERD_SNAPSHOTTER={snapshotter(layout.state)}",
    )
    return ["nsenter", f"--target={pid}", *namespaces, "--", "env", f"--chdir={Path.cwd()}", *settings, *argv]


def run_inside(layout: Layout, *argv: str, stdin: BinaryIO | None = None) -> None:
    """Run a command inside the node.

    Raises:
        ClusterError: It failed; the message has what it said.
    """
    failure = f"`{' '.join(argv)}` failed inside cluster {layout.name}."
    run(command(layout, argv), failure=failure, seconds=COMMAND_SECONDS, stdin=stdin)


def import_images(layout: Layout, archive: Path) -> None:
    """Give containerd the images of an archive (of `docker save`, or an OCI layout).

    Raises:
        ClusterError: It refuses them.
    """
    with archive.open("rb") as content:  # not by its path, at which the node may see something else
        run_inside(layout, "ctr", "--namespace=k8s.io", "images", "import", "-", stdin=content)
