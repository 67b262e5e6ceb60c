"""200 streams with 200 different filters, while 1,000 events a second happen, against 200 streams that share one filter.

Each of the 200 filters wants the events of one server of 200, chosen by type, name and labels, so each stream gets five events a
second. The peer's streams all want the same server: as many deliveries, of which each event is for all or for none. What the
difference costs is the evaluation of 200 filters for each event.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from local_cluster.progress import step
from tests.bench.figures import ROUNDS, Figure, Peer, Spread
from tests.bench.loading import Delivered, Pace, loading
from tests.bench.running import Lab
from tests.bench.servers import Server, gateway

FILTERS = 200
EVENTS_PER_SECOND = 1000

_PATH = "/api/events?types=status,log&level=info&selector=team%3Dsearch&servers=tools:server-%u"
_PACE = Pace(1, EVENTS_PER_SECOND, 200, 3000)


def measure(lab: Lab) -> Sequence[Figure]:
    ours, theirs, stalls = [], [], []
    with gateway(servers=FILTERS) as server:
        for turn in range(1, ROUNDS + 1):
            with step(f"filtering: {EVENTS_PER_SECOND:,} events a second through {FILTERS} filters, round {turn} of {ROUNDS}"):
                theirs.append(deliver(server, filters=1))
                server.ask("POST", "/stalls")
                ours.append(deliver(server, filters=FILTERS))
                stalls.append(server.ask("POST", "/stalls")["longest_ms"])
        runtime = server.runtime
    return figures(ours, theirs, stalls, runtime=runtime)


def deliver(server: Server, *, filters: int, pace: Pace = _PACE) -> Delivered:
    """To 200 streams with so many different filters."""
    with loading(server, streams=FILTERS, path=_PATH, spread=filters, stride=FILTERS, paces=[pace]) as load:
        load.opened()
        return load.delivered()


def figures(ours: Sequence[Delivered], theirs: Sequence[Delivered], stalls: Sequence[float], *, runtime: str) -> Sequence[Figure]:
    conditions = (
        f"{runtime}, no TLS, server and load on a CPU each; {sum(each.deliveries for each in ours):,} "
        f"deliveries in {len(ours)} rounds, 0 gaps, 0 doubles"
    )

    def compared(name: str, unit: str, mine: Sequence[float], peers: Sequence[float]) -> Figure:
        peer = Peer.compared("one filter, as many deliveries", ours=mine, theirs=peers)
        return Figure(name=name, value=median(mine), unit=unit, peer=peer, conditions=conditions)

    what = f"{FILTERS} filters at {EVENTS_PER_SECOND:,} events a second"
    return (
        compared(f"CPU for {what}", "% of a core", _share(ours), _share(theirs)),
        compared(f"lag with {what}, 99th percentile", "ms", [each.p99_ms for each in ours], [each.p99_ms for each in theirs]),
        Figure(
            name=f"longest stall of the event loop, {what}",
            value=max(stalls),
            unit="ms",
            spread=Spread.of(stalls),
            conditions=conditions,
        ),
    )


def _share(of: Sequence[Delivered]) -> Sequence[float]:
    return [100 * each.server_cpu / each.seconds for each in of]
