"""What every event log must do: one order, and to each reader what it selects. The rest of the contract has files beside."""

from __future__ import annotations

import asyncio
import json

import pytest

from mcp_operator.eventlog.log import EVERYTHING, Batch, EventId, Gap, GapReason, LineOrigin, Selection
from mcp_operator.model.events import Event, EventType, Follow, LogLevel
from mcp_operator.model.labels import Selector
from mcp_operator.model.statuses import Status
from tests.events import follow, labelled, line, metrics, progress, response, status, uid_of
from tests.logs import LOGS, MakeLog, Replay, fill, only, records_after, replay, start_of

STATUSES = only(EventType.STATUS)

pytestmark = pytest.mark.parametrize("make_log", LOGS)


async def test_events_have_rising_ids_and_times_that_never_fall(make_log: MakeLog) -> None:
    log = make_log(100)
    ids = await fill(log, [status("default/weather"), line("default/weather"), metrics("default/maps"), status("default/maps")])

    records = await records_after(log, await start_of(log))

    assert [record.id for record in records] == ids
    assert len({event_id.epoch for event_id in ids}) == 1
    assert [event_id.seq for event_id in ids] == sorted({event_id.seq for event_id in ids})
    times = [json.loads(record.data)["time"] for record in records]
    assert times == sorted(times)
    assert log.head == ids[-1]


async def test_writers_at_the_same_time_share_one_order(make_log: MakeLog) -> None:
    log = make_log(1000)

    async with asyncio.TaskGroup() as writers:
        for server in ("default/a", "default/b", "default/c"):
            writers.create_task(fill(log, [progress(server, percent) for percent in range(30)]))

    records = await records_after(log, await start_of(log), limit=7)
    assert len({record.id for record in records}) == 90
    for server in ("default/a", "default/b", "default/c"):
        told = [json.loads(record.data)["percent"] for record in records if str(record.server) == server]
        assert told == list(range(30))


async def test_each_writer_learns_the_id_of_its_own_event(make_log: MakeLog) -> None:
    log = make_log(1000)
    keys: dict[EventId, str] = {}

    async def write(writer: str) -> None:
        for number in range(20):
            event = response("default/a", number + 1, key=f"{writer}{number}")
            keys[await log.append(event)] = event.key

    async with asyncio.TaskGroup() as writers:
        for writer in "abc":
            writers.create_task(write(writer))

    told = {record.id: json.loads(record.data)["key"] for record in await records_after(log, await start_of(log))}
    assert told == keys


async def test_an_id_is_short_printable_and_reads_back(make_log: MakeLog) -> None:
    log = make_log(10)
    event_id = await log.append(status("default/weather"))

    assert str(event_id).isascii()
    assert str(event_id).isprintable()
    assert len(str(event_id)) < 40
    assert EventId.parse(str(event_id)) == event_id


async def test_a_new_log_is_another_history(make_log: MakeLog) -> None:
    old, new = make_log(10), make_log(10)
    cursor = await old.append(status("default/weather"))
    await new.append(status("default/weather"))

    assert await new.read(cursor, EVERYTHING, limit=10) == Gap(GapReason.EPOCH)


async def test_a_cursor_past_the_head_is_declared(make_log: MakeLog) -> None:
    log = make_log(10)
    head = await log.append(status("default/weather"))

    assert await log.read(EventId(head.epoch, head.seq + 1), EVERYTHING, limit=10) == Gap(GapReason.AHEAD)


@pytest.mark.parametrize(
    ("selection", "told"),
    [
        (Selection(), ["a1", "b1", "a2", "l1", "m1", "c1", "b2", "l2"]),
        (only(EventType.PROGRESS), ["b1", "b2"]),
        (only(EventType.LOG), ["l1", "l2"]),
        (only(EventType.METRICS, EventType.LOG, EventType.PROGRESS), ["b1", "l1", "m1", "b2", "l2"]),
        (only(EventType.LOG, namespaces=frozenset({"team"})), ["l2"]),
        (Selection(namespaces=frozenset({"team"})), ["b1", "b2", "l2"]),
        (Selection(namespaces=frozenset({"team", "default"})), ["a1", "b1", "a2", "l1", "m1", "c1", "b2", "l2"]),
        (Selection(servers=frozenset({status("default/a").server})), ["a1", "a2", "l1", "m1", "c1"]),
        (Selection(uid=uid_of("default/a")), ["a1", "a2", "l1", "m1"]),
        (Selection(uid=uid_of("default/a", life=2)), ["c1"]),
        (Selection(servers=frozenset({status("default/a").server}), namespaces=frozenset({"team"})), []),
        (
            Selection(servers=frozenset({uid_of("default/a"), status("team/b").server})),
            ["a1", "b1", "a2", "l1", "m1", "b2", "l2"],
        ),
        (Selection(servers=frozenset()), []),
        (Selection(selector=Selector.parse("tier")), ["b1", "a2", "l1"]),
        (Selection(selector=Selector.parse("tier=gold")), ["b1", "l1"]),
        (Selection(selector=Selector.parse("tier!=gold")), ["a1", "a2", "m1", "c1", "b2", "l2"]),
        (only(EventType.LOG, selector=Selector.parse("tier=gold"), namespaces=frozenset({"default"})), ["l1"]),
    ],
)
@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_a_reader_gets_what_it_selects(make_log: MakeLog, selection: Selection, told: list[str], limit: int) -> None:
    log = make_log(100)
    await fill(
        log,
        [
            status("default/a", key="a1"),
            labelled(progress("team/b", 10, key="b1"), tier="gold"),
            labelled(status("default/a", Status.DEGRADED, key="a2"), tier="silver"),
            labelled(line("default/a", key="l1"), tier="gold"),
            metrics("default/a", key="m1"),
            status("default/a", Status.PENDING, life=2, key="c1"),
            progress("team/b", 20, key="b2"),
            line("team/b", key="l2"),
        ],
    )

    records = await records_after(log, await start_of(log), selection, limit=limit)

    assert [json.loads(record.data)["key"] for record in records] == told


async def test_a_read_looks_at_a_bounded_part_of_the_log(make_log: MakeLog) -> None:
    log = make_log(100)
    await fill(log, [progress("default/busy", percent) for percent in range(20)])
    head = await log.append(progress("team/quiet", 1))

    first = await log.read(await start_of(log), only(EventType.PROGRESS, namespaces=frozenset({"team"})), limit=8)

    assert first == Batch((), EventId(head.epoch, 8), ended=False)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(uid=uid_of("default/quiet")),
        Selection(servers=frozenset({uid_of("default/quiet"), uid_of("default/nobody")})),
        Selection(servers=frozenset({status("default/quiet").server})),
        only(
            EventType.STATUS,
            EventType.LOG,
            servers=frozenset({status("default/quiet").server}),
            namespaces=frozenset({"default"}),
        ),
    ],
)
async def test_events_of_other_servers_cost_a_reader_nothing_who_names_its_own(make_log: MakeLog, selection: Selection) -> None:
    log = make_log(1000)
    flood = [event for number in range(100) for event in (line("default/busy", f"{number}"), status("default/busy"))]
    wanted = []
    for said in (Status.DEPLOYING, Status.RUNNING):
        await fill(log, flood)
        wanted += await fill(log, [line("default/quiet"), status("default/quiet", said)])
    await fill(log, flood)

    batch = await log.read(await start_of(log), selection, limit=5)

    assert isinstance(batch, Batch)
    assert ([record.id for record in batch.records], batch.position) == (wanted, log.head)


async def test_events_of_types_that_nobody_asked_for_cost_a_reader_nothing(make_log: MakeLog) -> None:
    log = make_log(1000)
    await fill(log, [line("default/busy", f"{number}") for number in range(500)])
    wanted = await log.append(status("default/busy"))
    head = await log.append(metrics("default/busy"))

    batch = await log.read(await start_of(log), STATUSES, limit=2)

    assert isinstance(batch, Batch)
    assert ([record.id for record in batch.records], batch.position) == ([wanted], head)


@pytest.mark.parametrize(
    ("event", "origin", "announces_loss"),
    [
        (
            line("default/a", level=LogLevel.ERROR, instance="a-7d4b9-1", container="sidecar"),
            LineOrigin(LogLevel.ERROR, "a-7d4b9-1", "sidecar"),
            False,
        ),
        (line("default/a", previous=True, cause="c"), LineOrigin(LogLevel.INFO, "weather-7d4b9-0", "mcp"), False),
        (follow("default/a"), None, False),
        (follow("default/a", dropped=True), None, True),
        (metrics("default/a"), None, False),
        (status("default/a"), None, False),
    ],
)
async def test_a_record_says_who_printed_its_line(
    make_log: MakeLog, event: Event, origin: LineOrigin | None, announces_loss: bool
) -> None:
    log = make_log(10)
    await log.append(event)

    [record] = await records_after(log, await start_of(log))

    assert (record.line, record.announces_loss) == (origin, announces_loss)


@pytest.mark.parametrize("types", [(EventType.PROGRESS,), (EventType.LOG,), (EventType.STATUS,), tuple(EventType)])
@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_reading_one_object_ends_with_its_last_word_whatever_types_are_wanted(
    make_log: MakeLog, types: tuple[EventType, ...], limit: int
) -> None:
    log = make_log(100)
    await fill(log, [status("default/a"), progress("default/a", 10), line("default/a")])
    last_word = await log.append(status("default/a", Status.DELETED))
    await fill(log, [status("default/a", life=2), progress("default/a", 10, life=2), line("default/a", life=2)])

    read = await replay(log, await start_of(log), only(*types, uid=uid_of("default/a")), limit=limit)

    assert isinstance(read, Replay)
    assert read.ended
    assert {record.type for record in read.records} == set(types) - {EventType.METRICS, EventType.RESPONSE, EventType.KUBERNETES}
    assert all(record.id.seq <= last_word.seq for record in read.records)


async def test_what_comes_after_an_objects_last_word_is_not_told_to_who_follows_it_alone(make_log: MakeLog) -> None:
    log = make_log(100)
    told = await fill(log, [status("default/a"), status("default/a", Status.DELETED)])
    late = await log.append(line("default/a", "printed while it ended"))

    alone = await replay(log, await start_of(log), Selection(uid=uid_of("default/a")))
    by_name = await replay(log, await start_of(log), Selection(servers=frozenset({status("default/a").server})))

    assert isinstance(alone, Replay)
    assert isinstance(by_name, Replay)
    assert ([record.id for record in alone.records], alone.ended) == (told, True)
    assert ([record.id for record in by_name.records], by_name.ended) == ([*told, late], False)


async def test_a_line_and_a_follow_are_log_events_alike(make_log: MakeLog) -> None:
    log = make_log(10)
    ids = await fill(log, [follow("default/a"), line("default/a"), follow("default/a", Follow.ENDED)])

    assert [record.id for record in await records_after(log, await start_of(log), only(EventType.LOG))] == ids
