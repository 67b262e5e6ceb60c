"""Events keep coming while subscribers come, hang up anywhere and come back: each hears all that it wants, once, or a gap.

Everything goes through a gateway on loopback. The stories are random; `witnessing` says what is right.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_operator.model.events import Event, EventType, LogLevel, ResponseKind
from mcp_operator.model.labels import Labels
from mcp_operator.model.operations import Outcome
from mcp_operator.model.statuses import Status
from tests.component.conftest import StartGateway
from tests.component.witnessing import Chronicle, Filter, Witness
from tests.events import follow, line, metrics, progress, response, status, uid_of

LABELS: dict[str, Labels] = {
    "default/weather": (("team", "sky"),),
    "default/maps": (("team", "geo"),),
    "geo/tiles": (("team", "geo"),),
}
SERVERS = (*LABELS, "geo/bare")


def types(*chosen: EventType) -> frozenset[EventType]:
    return frozenset(chosen)


def named(*servers: str) -> Filter:
    return Filter(
        "servers=" + ",".join(server.replace("/", ":") for server in servers), server=lambda e: str(e.server) in servers
    )


def team(*teams: str) -> Filter:
    return Filter(f"selector=team+in+({','.join(teams)})", server=lambda e: any(("team", team) in e.labels for team in teams))


EVERYTHING = Filter("")
FILTERS = [
    EVERYTHING,
    Filter("types=status", types(EventType.STATUS)),
    Filter("types=progress", types(EventType.PROGRESS)),
    Filter("types=log", types(EventType.LOG)),
    Filter("types=metrics", types(EventType.METRICS)),
    Filter("types=response", types(EventType.RESPONSE)),
    Filter("types=status,log", types(EventType.STATUS, EventType.LOG)),
    Filter("types=metrics,response,progress", types(EventType.METRICS, EventType.RESPONSE, EventType.PROGRESS)),
    Filter("namespace=geo", server=lambda e: e.server.namespace == "geo"),
    Filter("namespace=geo,default&types=status", types(EventType.STATUS)),
    named("default/weather"),
    named("default/maps", "geo/tiles"),
    Filter(f"servers={uid_of('geo/bare')},maps", server=lambda e: str(e.server) in {"geo/bare", "default/maps"}),
    team("geo"),
    team("geo", "sky"),
    Filter("selector=!team", server=lambda e: not e.labels),
    Filter("level=warn", level=LogLevel.WARN),
    Filter("types=log&level=error", types(EventType.LOG), level=LogLevel.ERROR),
    Filter("types=log&grep=7", types(EventType.LOG), grep="7"),
    replace(
        named("geo/tiles"),
        query="servers=geo:tiles&types=log&grep=1&level=info",
        types=types(EventType.LOG),
        grep="1",
        level=LogLevel.INFO,
    ),
]


def story(chance: random.Random) -> Iterator[Event]:
    """What happens in a cluster, without an end."""
    number = 0
    while True:
        number += 1
        server = chance.choice(SERVERS)
        event = chance.choice(
            [
                status(server, chance.choice([Status.RUNNING, Status.DEGRADED, Status.DEPLOYING]), key=f"status {number}"),
                progress(server, number % 100, key=f"progress {number}"),
                progress(server, 100, outcome=Outcome.SUCCEEDED, key=f"end {number}"),
                metrics(server, number, key=f"metrics {number}"),
                line(server, f"line {number}", level=chance.choice(list(LogLevel)), key=f"line {number}"),
                line(server, f"another {number}", key=f"another {number}"),
                follow(server, dropped=chance.random() < 0.5),
                response(server, number, chance.choice(list(ResponseKind)), key=f"response {number}"),
            ]
        )
        yield replace(event, labels=LABELS.get(server, ()))


async def tell_in_bursts(chronicle: Chronicle, chance: random.Random, *, events: int) -> None:
    """Tell so many events, now one, now many in one turn of the event loop, and let others have some turns in between."""
    happening = story(chance)
    while len(chronicle.told) < events:
        burst = chance.choice([1, 1, 1, 2, 5, 20])
        await chronicle.tell(next(happening) for _ in range(burst))
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)


@pytest.mark.parametrize("seed", [1, 2])
async def test_twenty_subscribers_with_different_filters_hear_what_they_want_event_by_event(
    start_gateway: StartGateway, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - a story, not a secret
    loopback = await start_gateway(capacity=10_000, heartbeat_seconds=0.2)
    chronicle = Chronicle(loopback)
    witnesses = [Witness(chronicle, chosen) for chosen in FILTERS]
    # So that each of them must hear every event: they begin before the first one.
    for witness in witnesses:
        witness.cursor = loopback.log.head
    async with asyncio.TaskGroup() as tasks:
        telling = tasks.create_task(tell_in_bursts(chronicle, chance, events=600))
        for witness in witnesses:
            tasks.create_task(listen_to_the_end(witness, telling))

    for witness in witnesses:
        wanted = [event_id.seq for event_id, event in chronicle.told if witness.chosen.wants(event)]
        assert witness.heard == wanted, witness.chosen.query
        assert not witness.resets
    assert all(witness.heard for witness in witnesses)


async def listen_to_the_end(witness: Witness, telling: asyncio.Task[None]) -> None:
    while not telling.done():
        await witness.listen(50)
    await witness.listen(None)


@pytest.mark.parametrize("seed", [3, 4])
async def test_where_history_is_short_every_gap_is_announced(start_gateway: StartGateway, seed: int) -> None:
    """They hang up after a few frames and stay away while much happens; a server is deleted and created anew meanwhile."""
    chance = random.Random(seed)  # noqa: S311 - a story, not a secret
    loopback = await start_gateway(capacity=30, heartbeat_seconds=0.05)
    chronicle = Chronicle(loopback)
    witnesses = [Witness(chronicle, chosen) for chosen in FILTERS]
    happening = story(chance)
    for life in range(1, 6):
        phoenix = [status("geo/phoenix", Status.DELETED, life=life), status("geo/phoenix", Status.PENDING, life=life + 1)]
        await chronicle.tell([*(next(happening) for _ in range(chance.randrange(200))), *phoenix])
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(tell_in_bursts(chronicle, chance, events=len(chronicle.told) + 100))
            for witness in witnesses:
                tasks.create_task(come_and_go(witness, random.Random(chance.random()), telling))  # noqa: S311 - as above

    async with asyncio.TaskGroup() as tasks:
        for witness in witnesses:
            tasks.create_task(witness.listen(None))
    assert all(witness.complete for witness in witnesses)
    assert any(witness.resets for witness in witnesses)


async def come_and_go(witness: Witness, chance: random.Random, telling: asyncio.Task[None]) -> None:
    while not telling.done():
        if chance.random() < 0.3:
            await witness.ask(chance.choice([1, 2, 10]))
        else:
            await witness.listen(chance.randrange(8))


STEPS = st.one_of(
    st.tuples(st.just("tell"), st.integers(1, 12)),
    st.tuples(st.just("listen"), st.integers(0, 6)),
    st.tuples(st.just("ask"), st.integers(1, 4)),
    st.tuples(st.just("go back"), st.integers(0, 40)),
    st.tuples(st.just("forget"), st.just(0)),
    st.tuples(st.just("since"), st.integers(0, 3)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1000),
    capacity=st.sampled_from([1, 3, 10, 1000]),
    chosen=st.sampled_from(FILTERS),
    steps=st.lists(STEPS, min_size=3, max_size=25),
)
async def test_snapshot_replay_and_live_join_wherever_a_subscriber_hangs_up_and_comes_back(
    start_gateway: StartGateway, seed: int, capacity: int, chosen: Filter, steps: list[tuple[str, int]]
) -> None:
    loopback = await start_gateway(capacity=capacity, heartbeat_seconds=0.01)
    try:
        chronicle = Chronicle(loopback)
        happening = story(random.Random(seed))  # noqa: S311 - a story, not a secret
        witness = Witness(chronicle, chosen)
        for step, count in steps:
            match step:
                case "tell":
                    await chronicle.tell(next(happening) for _ in range(count))
                case "listen":
                    await witness.listen(count)
                case "ask":
                    await witness.ask(count)
                case "go back" if witness.cursor is not None:
                    witness.cursor = replace(witness.cursor, seq=max(0, witness.cursor.seq - count))
                case "forget":
                    witness.cursor = None
                case "since":
                    await witness.listen(count, begin="since=earliest")
        await witness.listen(None)
        assert witness.complete
    finally:
        await loopback.gateway.stop()
