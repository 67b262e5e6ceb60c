"""Starts and ends the process that is a node, and opens the ports that lead into it."""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from local_cluster.cgroups import make_cgroups, remove_cgroups
from local_cluster.components import components
from local_cluster.errors import ClusterError
from local_cluster.layout import API_PORT, NODE_ADDRESS, NODE_STATE, Layout
from local_cluster.machine import search_path
from local_cluster.plan import Plan
from local_cluster.processes import ProcessId
from local_cluster.record import Options, Record

_BACKLOG = 1024

_UNSHARE = ("unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc")


def launch(layout: Layout, options: Options) -> Record:
    """Start the node of a configured cluster; returns as soon as it has its plan.

    Raises:
        ClusterError: A port is taken, or `options` has flags for an unknown component.
    """
    with contextlib.ExitStack() as opened:
        api = opened.enter_context(listener(options.api_port))
        fronts = {port: opened.enter_context(listener(host)) for port, host in options.forwards.items()}
        targets = {api.fileno(): f"127.0.0.1:{API_PORT}"}
        targets |= {front.fileno(): f"{NODE_ADDRESS}:{port}" for port, front in fronts.items()}
        cgroup = layout.identity
        plan = Plan(
            state=str(layout.state),
            components=components(cgroup_root=f"/{cgroup}", forwards=targets, flags=options.flags),
        )
        make_cgroups(cgroup)
        plan_reader, plan_writer = os.pipe()
        try:
            process = _spawn(layout, stdin=plan_reader, sockets=tuple(targets))
            record = Record(
                process=process,
                api_port=_port(api),
                forwards={port: _port(front) for port, front in fronts.items()},
                options=options,
            )
            # Recorded first: without its plan the node does nothing and ends, so nothing runs that can't be found again.
            record.write(layout.record)
            with contextlib.suppress(BrokenPipeError):  # it ended already; its log says why
                os.write(plan_writer, plan.encode())
        finally:
            os.close(plan_reader)
            os.close(plan_writer)
    return record


def end(layout: Layout, record: Record | None) -> None:
    """End the node, if it runs, with everything in it, and remove its control groups."""
    if record is not None:
        nodes = [node for pid in record.process.children() if (node := ProcessId.of(pid))]
        for process in (record.process, *nodes):
            process.kill()
    remove_cgroups(layout.identity)


def node_pid(record: Record) -> int | None:
    """The machine's process id of the node's process 1; None when the cluster has ended."""
    return next(iter(record.process.children()), None)


def _spawn(layout: Layout, *, stdin: int, sockets: Sequence[int]) -> ProcessId:
    log = os.open(layout.log("node"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    package = str(Path(__file__).resolve().parents[1])
    try:
        pid = os.posix_spawnp(
            _UNSHARE[0],
            (*_UNSHARE, sys.executable, "-m", "local_cluster.node", layout.identity),
            # Nothing else of the starter's environment: a proxy's settings would lead the API server away from its node.
            {"PATH": search_path(), "HOME": str(NODE_STATE), "LANG": "C.UTF-8", "PYTHONPATH": package},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, stdin, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
                *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in sockets),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGPIPE),
        )
    finally:
        os.close(log)
    process = ProcessId.of(pid)
    if process is None:
        raise ClusterError(f"unshare could not start; it said: {layout.log('node').read_text().strip()}")
    return process


@contextlib.contextmanager
def listener(port: int) -> Iterator[socket.socket]:
    """A listening socket on 127.0.0.1; port 0 takes a free one."""
    with socket.socket() as opened:
        # Connections of an earlier cluster that linger must not hold the port.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind(("127.0.0.1", port))
            opened.listen(_BACKLOG)
        except OSError as error:
            raise ClusterError(
                f"Port {port} of 127.0.0.1 can't be opened ({os.strerror(error.errno or 0)}): end what uses it "
                f"(`ss -ltnp sport = :{port}` names it) or choose another port."
            ) from error
        yield opened


def _port(front: socket.socket) -> int:
    port: int = front.getsockname()[1]
    return port
