"""A client that takes less than happens: what it still gets, and what it costs the others."""

from __future__ import annotations

import pytest

from local_stack.sse import Message
from mcp_operator.eventlog.log import EventId
from mcp_operator.model.events import Event, EventType
from mcp_operator.model.operations import Outcome
from mcp_operator.model.statuses import Status
from tests.component.conftest import Loopback, StartGateway
from tests.component.slow_reader import slow_reader
from tests.events import line, metrics, progress, response, status, uid_of
from tests.waiting import until

FULL = [status("default/weather", message=f"{number} {'x' * 20_000}") for number in range(20)]
"""More than the kernel holds for a client that takes nothing."""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client counts as slow as soon as it has been waited for at all."""
    monkeypatch.setattr("mcp_operator.gateway.catching_up._PATIENCE_SECONDS", 0)


def told(message: Message) -> tuple[str, object]:
    said = message.json
    return message.event, said.get("percent", said.get("cpu", said.get("msg", said.get("seq", said.get("reason")))))


async def everybody_has_heard(loopback: Loopback, last: EventId) -> None:
    """Once whoever keeps up has heard everything up to here."""
    async with loopback.subscribe("/api/events") as other:
        await other.until("bookmark")
    await until(lambda: loopback.gateway._streams._broadcaster.position.seq >= last.seq, "the broadcaster is there", every=0.01)


async def test_a_reader_that_pauses_within_its_bounds_misses_nothing(start_gateway: StartGateway) -> None:
    loopback = await start_gateway(backlog_bytes=8 * 1024 * 1024)
    async with slow_reader(loopback, "/api/events") as reader:
        await reader.until("bookmark")
        ids = await loopback.tell(*FULL, *(line("default/weather", f"line {number}") for number in range(500)))
        await everybody_has_heard(loopback, ids[-1])
        heard = await reader.take(len(ids))
        [live_id] = await loopback.tell(status("default/weather"))
        live = await reader.next()

    assert [message.id for message in heard] == [str(event_id) for event_id in ids]
    assert live.id == str(live_id)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("bound", [{"backlog_bytes": 450_000}, {"backlog_seconds": 0.05}])
async def test_past_its_bounds_it_gets_the_newest_of_what_is_said_anew_and_a_count_of_lines(
    start_gateway: StartGateway, bound: dict[str, float]
) -> None:
    loopback = await start_gateway(heartbeat_seconds=0.4, **bound)
    mix: list[Event] = []
    for number in range(200):
        mix.append(progress("default/weather", number // 4))
        mix.append(metrics("default/weather", number))
        mix.append(metrics("default/maps", number + 0.5))
        mix += [line("default/weather", f"line {number}.{each}") for each in range(5)]
    mix.append(progress("default/weather", 100, outcome=Outcome.SUCCEEDED))
    mix.append(progress("default/weather", 3, operation="another"))
    mix += [response("default/weather", seq) for seq in range(1, 4)]

    async with slow_reader(loopback, "/api/events") as reader:
        await reader.until("bookmark")
        *_, last = await loopback.tell(*FULL)
        await everybody_has_heard(loopback, last)
        *_, last = await loopback.tell(*mix)
        await everybody_has_heard(loopback, last)
        if "backlog_seconds" in bound:
            await until(lambda: loopback.gateway._streams._broadcaster.outdated >= last.seq, "all of it is too old", every=0.01)
        heard = await reader.until("response")
        heard += await reader.take(2)
        [live_id] = await loopback.tell(status("default/weather"))
        live = await reader.next()

    [dropped] = [message for message in heard if message.event == "dropped"]
    assert (dropped.json["types"], dropped.json["count"], dropped.has_id_line) == (["log"], 1000, False)
    after, before = (EventId.parse(dropped.json[name]).seq for name in ("after", "before"))
    assert after < before <= last.seq
    assert sum(message.event == "status" for message in heard) == len(FULL)
    assert [told(message) for message in heard if message.event not in ("status", "dropped")] == [
        ("metrics", 199),
        ("metrics", 199.5),
        ("progress", 100),
        ("progress", 3),
        ("response", 1),
        ("response", 2),
        ("response", 3),
    ]
    seqs = [EventId.parse(message.id).seq for message in heard if message.has_id_line]
    assert seqs == sorted(set(seqs))
    assert live.id == str(live_id)
    assert loopback.figure("mcp_operator_events_coalesced_total", type=EventType.METRICS) == 398
    assert loopback.figure("mcp_operator_events_dropped_total", type=EventType.LOG) == 1000


@pytest.mark.usefixtures("impatient")
async def test_rather_than_miss_a_status_it_is_sent_away_and_comes_back_for_it(start_gateway: StartGateway) -> None:
    loopback = await start_gateway(backlog_bytes=64 * 1024)
    async with slow_reader(loopback, "/api/events") as reader:
        await reader.until("bookmark")
        ids = await loopback.tell(*FULL, *FULL)
        await everybody_has_heard(loopback, ids[-1])
        *heard, bye = await reader.rest()

    async with slow_reader(loopback, "/api/events", cursor=bye.id) as again:
        hello, *replay = await again.take(1 + len(ids) - len(heard))

    assert (bye.event, bye.json["reason"], hello.event) == ("bye", "slow", "hello")
    assert bye.id == heard[-1].id
    assert [message.id for message in heard + replay] == [str(event_id) for event_id in ids]
    assert loopback.figure("mcp_operator_streams_ended_total", reason="slow") == 1


@pytest.mark.usefixtures("impatient")
async def test_what_was_asked_for_is_given_in_full_however_slow_the_client(start_gateway: StartGateway) -> None:
    loopback = await start_gateway(backlog_bytes=64 * 1024, backlog_seconds=0.01)
    cursor, *ids = await loopback.tell(status("default/maps"), *FULL, *(line("default/weather", f"{n}") for n in range(300)))

    async with slow_reader(loopback, "/api/events", cursor=cursor) as reader:
        await everybody_has_heard(loopback, ids[-1])
        hello, *replay = await reader.take(1 + len(ids))

    assert hello.event == "hello"
    assert [message.id for message in replay] == [str(event_id) for event_id in ids]


async def test_a_stopped_reader_costs_the_others_nothing(start_gateway: StartGateway) -> None:
    loopback = await start_gateway()
    async with (
        slow_reader(loopback, "/api/events"),
        slow_reader(loopback, "/api/events"),
        loopback.subscribe("/api/events") as other,
    ):
        await other.until("bookmark")
        for _ in range(5):
            ids = await loopback.tell(*FULL)
            assert [message.id for message in await other.take(len(ids))] == [str(event_id) for event_id in ids]
        assert loopback.figure("mcp_operator_streams") == 3


@pytest.mark.parametrize("earlier", [0, 4, 8, 9, 10, 12])
async def test_an_object_whose_last_word_finds_no_room_is_over_all_the_same(start_gateway: StartGateway, earlier: int) -> None:
    """How much fits differs: one of these is where only the last word doesn't."""
    loopback = await start_gateway()
    uid = uid_of("default/weather")
    await loopback.tell(status("default/weather"))
    async with slow_reader(loopback, f"/api/servers/{uid}/events") as reader:
        await reader.until("bookmark")
        for number in range(earlier):
            [said] = await loopback.tell(status("default/weather", message=f"{number} {'x' * 11_000}"))
            await everybody_has_heard(loopback, said)
        [last_word] = await loopback.tell(status("default/weather", Status.DELETED, message="x" * 16_000))
        await everybody_has_heard(loopback, last_word)
        *heard, bye = await reader.rest()

    assert [message.event for message in heard] == ["status"] * (earlier + 1)
    assert (bye.event, bye.json["reason"], bye.id) == ("bye", "deleted", str(last_word))


async def test_the_end_of_an_object_reaches_a_slow_reader_too(start_gateway: StartGateway) -> None:
    loopback = await start_gateway(backlog_bytes=8 * 1024 * 1024)
    await loopback.tell(status("default/weather"))
    async with slow_reader(loopback, f"/api/servers/{uid_of('default/weather')}/events") as reader:
        await reader.until("bookmark")
        *_, last_word = await loopback.tell(*FULL, status("default/weather", Status.DELETED))
        await everybody_has_heard(loopback, last_word)
        *heard, bye = await reader.rest()

    assert [message.event for message in heard] == ["status"] * (len(FULL) + 1)
    assert (bye.event, bye.json["reason"], bye.id) == ("bye", "deleted", str(last_word))
