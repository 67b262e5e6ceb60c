"""1,000 subscribers that have stopped reading: what they weigh, and what they cost one that reads.

They open their streams and then take nothing, while 500 events a second happen for five seconds: more than the kernel holds for
each. What the process grows by is compared with the same events without them, so that what its log takes is not counted.
The lag of a subscriber that reads is measured both times.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median

from local_cluster.progress import step
from tests.bench.figures import ROUNDS, Figure, Peer, Spread
from tests.bench.loading import Delivered, Pace, loading
from tests.bench.running import Lab
from tests.bench.servers import Server, gateway

STOPPED = 1_000
_PACE = Pace(1, 500, 50, 2500)
_SECONDS = 60.0
_TRICKLE = Pace(1, 50, 5, 50)


@dataclass(frozen=True, slots=True)
class Round:
    """The same events twice."""

    without: Delivered
    beside: Delivered
    bytes_each: float
    """What the process grew by for each that has stopped."""


def measure(lab: Lab) -> Sequence[Figure]:
    rounds, runtime = [], ""
    for turn in range(1, ROUNDS + 1):
        with step(f"stopped: {STOPPED:,} subscribers that take nothing, round {turn} of {ROUNDS}"), gateway() as server:
            runtime = server.runtime
            rounds.append(run(server, streams=STOPPED, pace=_PACE))
    return figures(rounds, runtime=runtime)


def run(server: Server, *, streams: int, pace: Pace) -> Round:
    """One round."""
    deliver(server, _TRICKLE)  # loads what is loaded on first use
    begin = server.resident
    without = deliver(server, pace)
    growth = server.resident - begin
    begin = server.resident
    with stopped(server, streams):
        beside = deliver(server, pace)
        weight = (server.resident - begin - growth) / streams
    return Round(without, beside, weight)


def deliver(server: Server, pace: Pace) -> Delivered:
    """Events to one stream that reads."""
    with loading(server, streams=1, paces=[pace]) as load:
        load.opened()
        return load.delivered()


@contextmanager
def stopped(server: Server, streams: int) -> Iterator[None]:
    """So many streams that are open, of which nothing is read."""
    with ExitStack() as opened:
        clients = [opened.enter_context(socket.create_connection(("127.0.0.1", server.port), _SECONDS)) for _ in range(streams)]
        for client in clients:
            client.sendall(f"GET {server.path} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())
        for client in clients:
            client.recv(1, socket.MSG_PEEK)
        yield


def figures(rounds: Sequence[Round], *, runtime: str) -> Sequence[Figure]:
    conditions = f"{runtime}, no TLS; the kernel holds at most 128 KiB for each besides; 0 gaps, 0 doubles for the one that reads"
    lag = Peer.compared(
        "without them", ours=[each.beside.p99_ms for each in rounds], theirs=[each.without.p99_ms for each in rounds]
    )
    weights = [each.bytes_each for each in rounds]
    return (
        Figure(
            name=f"memory per subscriber that has stopped reading, {STOPPED:,} of them",
            value=median(weights),
            unit="bytes",
            spread=Spread.of(weights),
            conditions=conditions,
        ),
        Figure(
            name=f"lag of a subscriber that reads beside {STOPPED:,} that don't, 99th percentile",
            value=median(each.beside.p99_ms for each in rounds),
            unit="ms",
            peer=lag,
            conditions=conditions,
        ),
    )
