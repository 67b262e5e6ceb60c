"""What a stream that waits for events weighs, at 10,000 of them in one process, without and with TLS.

The resident memory of the server's processes is read before the streams are opened and when they all are, after each has been
sent what opens it; the difference is divided by their number. Ours, nchan, and the shortest server that aiohttp allows take
turns, each in a process of its own every time. The kernel's part is not in it: it is the same for all who hold a socket, and
stated.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from local_cluster.progress import step
from tests.bench.figures import ROUNDS, AtMost, Figure, Goal, Peer
from tests.bench.loading import loading
from tests.bench.running import Lab
from tests.bench.servers import Server, certificate, gateway, nchan, plain

STREAMS = 10_000
_WARM_UP = 50
"""Streams that are opened and closed before: they load what is loaded on first use."""
_TLS_ROUNDS = 3
"""Each stream costs two handshakes' time, and memory hardly differs between two runs of the same program."""
_GOAL_BYTES = 3072
_PATIENCE_SECONDS = 300
_SLAB = Path("/proc/meminfo")
_SOCKETS = Path("/proc/net/sockstat")


@dataclass(frozen=True, slots=True)
class Weighed:
    """Bytes per stream."""

    resident: float
    kernel: float
    """Of the kernel's slabs and socket buffers, both ends of the connection."""
    runtime: str = ""


def measure(lab: Lab) -> Sequence[Figure]:
    figures_: list[Figure] = []
    for tls, rounds in ((None, ROUNDS), (certificate(), _TLS_ROUNDS)):
        found: dict[str, list[Weighed]] = {}
        for turn in range(1, rounds + 1):
            with step(f"idle: {STREAMS:,} streams of each server{_with(tls)}, round {turn} of {rounds}"):
                for start in _SERVERS if turn % 2 else reversed(_SERVERS):
                    with start(tls=tls) as server:
                        found.setdefault(server.name, []).append(weigh(server, STREAMS))
        figures_ += figures(found, tls=tls is not None)
    return figures_


_SERVERS: Sequence[Callable[..., AbstractContextManager[Server]]] = (gateway, nchan, plain)


def weigh(server: Server, streams: int) -> Weighed:
    """Open so many, and see by how much the server has grown."""
    with loading(server, streams=_WARM_UP) as load:
        load.opened()
    before, kernel = server.resident, _kernel_bytes()
    with loading(server, streams=streams, hold=True, patience=_PATIENCE_SECONDS) as load:
        load.opened()
        resident = (server.resident - before) / streams
        return Weighed(resident, (_kernel_bytes() - kernel) / streams, server.runtime)


def figures(found: Mapping[str, Sequence[Weighed]], *, tls: bool) -> Sequence[Figure]:
    """Against each peer one figure."""
    ours = found["gateway"]
    goal: Goal | None = None if tls else AtMost(_GOAL_BYTES)
    conditions = (
        f"{ours[0].runtime}, {'TLS 1.3' if tls else 'no TLS'}, a process of its own each time; the kernel holds "
        f"{median(each.kernel for each in ours) / 1024:.1f} KiB more for both ends of each"
    )
    return [
        Figure(
            name=f"memory per idle stream at {STREAMS:,}{', TLS' if tls else ''}",
            value=median(each.resident for each in ours),
            unit="bytes",
            peer=Peer.compared(peer, ours=[each.resident for each in ours], theirs=[each.resident for each in theirs]),
            goal=goal,
            conditions=conditions,
        )
        for peer, theirs in found.items()
        if peer != "gateway"
    ]


def _with(tls: Path | None) -> str:
    return "" if tls is None else " with TLS"


def _kernel_bytes() -> int:
    """What the kernel's slabs and the buffers of TCP take, of the whole machine."""
    slab = next(int(line.split()[1]) * 1024 for line in _SLAB.read_text().splitlines() if line.startswith("Slab:"))
    tcp = next(line.split() for line in _SOCKETS.read_text().splitlines() if line.startswith("TCP:"))
    return slab + int(tcp[tcp.index("mem") + 1]) * resource.getpagesize()
