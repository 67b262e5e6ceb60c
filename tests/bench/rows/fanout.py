"""What it costs a server's CPU to deliver an event: paced, each event in a write of its own, and in bursts of a hundred.

Ours, nchan and a plain send() loop in C run beside each other, and take turns on one CPU; subscribers and publisher are one
process in C on another. Every server is told each event by a POST and sends a frame of the same JSON to all its subscribers, and
the CPU time of all its threads, from the first POST until the last subscriber has the last event, is divided by the deliveries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median

from local_cluster.progress import step
from tests.bench.figures import ROUNDS, Figure, Peer, Spread, TimesAtMost
from tests.bench.loading import Delivered, Pace, loading
from tests.bench.running import Lab
from tests.bench.servers import Server, gateway, nchan, sendloop

BURST = 100

_OPENING = 64
"""Connections that are opened at a time: opening isn't what is measured here."""

_WATCHED_BURSTS = 4


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to load the servers, and what is asked of the outcome."""

    name: str
    streams: int
    pace: Pace
    goals: Mapping[str, TimesAtMost]
    """How many times the peer's CPU ours may need, by peer; one without a goal is only stated."""


_TRIALS = (
    Trial("100 streams, 100 events a second each", 100, Pace(1, 100, 20, 150), {"nchan": TimesAtMost(1)}),
    Trial("5,000 streams, 5 events a second each", 5000, Pace(1, 5, 2, 8), {"nchan": TimesAtMost(0.75)}),
    Trial(
        "100 streams, bursts of 100", 100, Pace(BURST, 0, 2, 25), {"nchan": TimesAtMost(0.2), "C send() loop": TimesAtMost(1.5)}
    ),
    Trial(
        "1,000 streams, bursts of 100", 1000, Pace(BURST, 0, 1, 3), {"nchan": TimesAtMost(0.1), "C send() loop": TimesAtMost(1.5)}
    ),
    Trial(
        "5,000 streams, bursts of 100", 5000, Pace(BURST, 0, 0, 1), {"nchan": TimesAtMost(0.1), "C send() loop": TimesAtMost(1.5)}
    ),
)
"""In the order in which one opening of that many streams is used."""


def measure(lab: Lab) -> Sequence[Figure]:
    found: dict[tuple[str, str], list[Delivered]] = {}
    with ExitStack() as stack:
        servers = [stack.enter_context(start()) for start in (gateway, nchan, sendloop)]
        for streams in sorted({trial.streams for trial in _TRIALS}):
            for turn in range(1, ROUNDS + 1):
                with step(f"fanout: {streams:,} streams of each server, round {turn} of {ROUNDS}"):
                    for server in servers if turn % 2 else reversed(servers):
                        trials = [trial for trial in _TRIALS if trial.streams == streams]
                        for trial, delivered in zip(trials, run_trials(server, trials), strict=True):
                            found.setdefault((trial.name, server.name), []).append(delivered)
        with step("fanout: how long the event loop stands still"):
            stalls = [stall(servers[0], _TRIALS[-1]) for _ in range(ROUNDS)]
        runtime = servers[0].runtime
    compared = [figure for trial in _TRIALS for figure in figures(trial, found, runtime=runtime)]
    return [*compared, _stalled(stalls, _TRIALS[-1], runtime=runtime)]


def run_trials(server: Server, trials: Sequence[Trial]) -> Sequence[Delivered]:
    """One round of trials with as many streams as each of them wants; they share the streams."""
    with loading(server, streams=trials[0].streams, paces=[trial.pace for trial in trials], opening=_OPENING) as load:
        load.opened()
        return [load.delivered() for _ in trials]


def stall(server: Server, trial: Trial) -> float:
    """The longest time in milliseconds for which the event loop does nothing else during a trial.

    Not in the rounds whose CPU is counted: to find it costs some.
    """
    # The first burst may be over before the loop is watched.
    pace = replace(trial.pace, measured=_WATCHED_BURSTS)
    with loading(server, streams=trial.streams, paces=[pace], opening=_OPENING) as load:
        load.opened()
        server.ask("POST", "/stalls")
        load.delivered()
    longest: float = server.ask("POST", "/stalls")["longest_ms"]
    return longest


def _stalled(stalls: Sequence[float], trial: Trial, *, runtime: str) -> Figure:
    return Figure(
        name=f"longest stall of the event loop, {trial.name}",
        value=max(stalls),
        unit="ms",
        spread=Spread.of(stalls),
        conditions=f"{runtime}, no TLS, server and load on a CPU each; {len(stalls)} rounds",
    )


def figures(trial: Trial, found: Mapping[tuple[str, str], Sequence[Delivered]], *, runtime: str) -> Sequence[Figure]:
    """Of one trial: against each peer one figure."""
    ours = found[trial.name, "gateway"]
    return [
        Figure(
            name=f"CPU per delivered event, {trial.name}",
            value=median(each.cpu_per_delivery for each in ours),
            unit="µs",
            peer=Peer.compared(
                peer,
                ours=[each.cpu_per_delivery for each in ours],
                theirs=[each.cpu_per_delivery for each in theirs],
            ),
            goal=trial.goals.get(peer),
            conditions=_conditions(ours, theirs, peer=peer, runtime=runtime),
        )
        for (name, peer), theirs in found.items()
        if name == trial.name and peer != "gateway"
    ]


def _conditions(ours: Sequence[Delivered], theirs: Sequence[Delivered], *, peer: str, runtime: str) -> str:
    """What was sent, and how whole it came: a row with a gap or a double has no figures."""

    def wire(of: Sequence[Delivered]) -> str:
        together = median(each.events_per_read for each in of)
        size = median(each.bytes_per_event for each in of)
        return f"{size:.0f} bytes on the wire each, {together:.1f} to a read, p99 {median(each.p99_ms for each in of):.1f} ms"

    deliveries = sum(each.deliveries for each in (*ours, *theirs))
    return (
        f"{runtime}, no TLS, server and load on a CPU each; {len(ours)} rounds, {deliveries:,} deliveries, "
        f"0 gaps, 0 doubles; ours {wire(ours)}; {peer} {wire(theirs)}"
    )
