"""5,000 subscribers come back at the same moment: with a cursor behind which 100 events are, and with one of another history.

They stand for a proxy or a network that was away: 50 addresses with 100 streams each (clients without an identity are counted by
their address), every connection begun at once. Whoever is told to come back later does so when he was told to. Each has to get
exactly the 100 events after its cursor; those with a cursor of another history a `reset` and the snapshot of 100 servers. Another
stream, of another namespace, gets 50 events a second all the while, published with their time by a process of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from local_cluster.progress import step
from tests.bench.figures import ROUNDS, AtMost, Figure, Peer, Spread
from tests.bench.loading import Delivered, Opened, Pace, loading
from tests.bench.running import Lab
from tests.bench.servers import FILTERED, Server, gateway

STREAMS = 5000
ADDRESSES = 50
MISSED = 100
"""Events after their cursor."""

_KNOWN = 500
"""Events before it."""
_OTHER_HISTORY = "0ther-123456"
_SECONDS_GOAL = 5.0
_DELAY_GOAL_MS = 100.0
_OTHER = "/api/events?types=status&namespace=other"
_OTHER_PER_SECOND = 50
_QUIET_SECONDS = 2
_WINDOW_SECONDS = 6
"""How long the other stream is looked at from the moment at which they come back: longer than they may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """All subscribers came back once."""

    opened: Opened
    before: Delivered
    """Of the other stream."""
    during: Delivered
    stall_ms: float
    """Longest time for which the event loop did nothing else."""


@dataclass(frozen=True, slots=True)
class Round:
    """What they came back with: a cursor to go on from, and one of another history."""

    replay: Return
    reset: Return


def measure(lab: Lab) -> Sequence[Figure]:
    rounds: list[Round] = []
    runtime = ""
    for turn in range(1, ROUNDS + 1):
        with step(f"returning: {STREAMS:,} subscribers come back at once, round {turn} of {ROUNDS}"), gateway() as server:
            rounds.append(come_back(server, streams=STREAMS))
            runtime = server.runtime
    return figures(rounds, runtime=runtime)


def come_back(server: Server, *, streams: int) -> Round:
    """Let events happen, and so many come back for them, twice."""
    _publish(server, first=1, count=_KNOWN)
    cursor = server.ask("GET", "/cursor")["cursor"]
    _publish(server, first=1 + _KNOWN, count=MISSED)
    return Round(
        replay=_beside_another(server, streams, cursor, replay=MISSED, first=1 + _KNOWN),
        reset=_beside_another(server, streams, _OTHER_HISTORY, resets=streams),
    )


def _beside_another(server: Server, streams: int, cursor: str, *, resets: int = 0, **options: int) -> Return:
    """Come back with this cursor, while another stream goes on."""
    paces = [Pace(1, _OTHER_PER_SECOND, 0, _OTHER_PER_SECOND * seconds) for seconds in (_QUIET_SECONDS, _WINDOW_SECONDS)]
    with loading(server, streams=1, path=_OTHER, publish_path="/publish/other", paces=paces, urgent=True) as other:
        other.opened()
        before = other.delivered()
        server.ask("POST", "/stalls")
        header = f"Last-Event-ID: {cursor}"
        how: dict[str, Any] = {"sources": ADDRESSES, "opening": streams, "come_back": True, "header": header, **options}
        with loading(server, streams=streams, path=FILTERED, **how) as load:
            opened = load.opened(resets=resets)
        stall = server.ask("POST", "/stalls")["longest_ms"]
        return Return(opened=opened, before=before, during=other.delivered(), stall_ms=stall)


def figures(rounds: Sequence[Round], *, runtime: str) -> Sequence[Figure]:
    """Of each of the two kinds: the time, the other stream's delay, the loop's stall."""
    replays, resets = [each.replay for each in rounds], [each.reset for each in rounds]
    conditions = (
        f"{runtime}, no TLS, server and load on a CPU each; {STREAMS:,} streams of {ADDRESSES} addresses, "
        f"{sum(each.opened.deliveries for each in replays):,} events replayed, 0 gaps, 0 doubles; told to come back later: "
        f"{sum(each.opened.sent_away for each in replays)} and {sum(each.opened.sent_away for each in resets)}"
    )
    kinds = (("100 events each", replays), ("a reset each", resets))
    return [figure for name, of in kinds for figure in _of_one_kind(name, of, conditions)]


def _of_one_kind(name: str, returns: Sequence[Return], conditions: str) -> Sequence[Figure]:
    seconds = [each.opened.seconds for each in returns]
    longest = [each.during.max_ms for each in returns]
    stalls = [each.stall_ms for each in returns]
    return (
        Figure(
            name=f"{STREAMS:,} come back at once, {name}, until the last is served",
            value=median(seconds),
            unit="s",
            spread=Spread.of(seconds),
            goal=AtMost(_SECONDS_GOAL),
            conditions=conditions,
        ),
        # The worst of all rounds: one event that comes too late is too late.
        Figure(
            name=f"longest delay of another stream's event meanwhile, {name}",
            value=max(longest),
            unit="ms",
            peer=Peer.compared("longest just before", ours=longest, theirs=[each.before.max_ms for each in returns]),
            goal=AtMost(_DELAY_GOAL_MS),
            conditions=conditions,
        ),
        Figure(
            name=f"longest stall of the event loop meanwhile, {name}",
            value=max(stalls),
            unit="ms",
            spread=Spread.of(stalls),
            conditions=conditions,
        ),
    )


def _publish(server: Server, *, first: int, count: int) -> None:
    with loading(server, streams=1, first=first, paces=[Pace(MISSED, 0, 0, count // MISSED)]) as load:
        load.opened()
        load.delivered()
