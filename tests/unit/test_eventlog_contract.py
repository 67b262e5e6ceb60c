"""What every event log must do: one order, selections, waiting, snapshots, demand. Its bounds and its lines have files beside."""

from __future__ import annotations

import asyncio
import json

import pytest

from mcp_operator.eventlog.log import EVERYTHING, Batch, Demand, EventId, EventLog, Gap, GapReason, LineOrigin, Selection
from mcp_operator.model.events import Event, EventType, Follow, LogLevel
from mcp_operator.model.operations import Outcome
from mcp_operator.model.statuses import Status
from tests.events import follow, line, metrics, progress, status, uid_of
from tests.logs import LOGS, MakeLog, Replay, fill, only, others, records_after, replay, start_of

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
    ],
)
@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_a_reader_gets_what_it_selects(make_log: MakeLog, selection: Selection, told: list[str], limit: int) -> None:
    log = make_log(100)
    await fill(
        log,
        [
            status("default/a", key="a1"),
            progress("team/b", 10, key="b1"),
            status("default/a", Status.DEGRADED, key="a2"),
            line("default/a", key="l1"),
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
    head = await log.append(progress("default/quiet", 1))

    first = await log.read(
        await start_of(log), only(EventType.PROGRESS, servers=frozenset({status("default/quiet").server})), limit=8
    )

    assert first == Batch((), EventId(head.epoch, 8), ended=False)


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


class TestWaiting:
    async def test_it_ends_when_an_event_comes(self, make_log: MakeLog) -> None:
        log = make_log(10)
        before = log.head

        async with asyncio.timeout(60), asyncio.TaskGroup() as readers:
            waiting = [readers.create_task(log.wait(before)) for _ in range(3)]
            readers.create_task(log.append(status("default/weather")))

        assert all(task.done() for task in waiting)
        assert log.head != before

    async def test_for_what_has_come_already_it_returns_at_once(self, make_log: MakeLog) -> None:
        log = make_log(10)
        before = log.head
        await log.append(status("default/weather"))

        async with asyncio.timeout(60):
            await log.wait(before)
            await log.wait(before, STATUSES)
            await log.wait(EventId("another", 1))

    async def test_a_reader_of_one_type_sleeps_through_a_flood_of_another(self, make_log: MakeLog) -> None:
        log = make_log(10)
        async with asyncio.TaskGroup() as readers:
            waiting = readers.create_task(log.wait(log.head, STATUSES))
            others = readers.create_task(log.wait(log.head, only(EventType.LOG)))
            await asyncio.sleep(0)  # both wait
            await fill(log, [line("default/busy", f"{number}") for number in range(20)])
            await others
            asleep = not waiting.done()
            await log.append(status("default/busy"))

        assert asleep

    async def test_whatever_a_reader_of_one_object_wants_it_hears_of_the_last_word(self, make_log: MakeLog) -> None:
        log = make_log(10)
        await log.append(status("default/a"))
        selection = only(EventType.LOG, uid=uid_of("default/a"))

        async with asyncio.timeout(60), asyncio.TaskGroup() as readers:
            readers.create_task(log.wait(log.head, selection))
            readers.create_task(log.append(status("default/a", Status.DELETED)))

    async def test_reading_and_waiting_in_turn_misses_nothing(self, make_log: MakeLog) -> None:
        log = make_log(1000)
        seen: list[EventId] = []
        selection = only(EventType.PROGRESS, EventType.LOG)

        async def read_until(count: int) -> None:
            position = log.head
            while len(seen) < count:
                await log.wait(position, selection)
                batch = await log.read(position, selection, limit=3)
                assert isinstance(batch, Batch)
                seen.extend(record.id for record in batch.records)
                position = batch.position

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(read_until(200))
            tasks.create_task(fill(log, [progress("default/a", percent) for percent in range(100)]))
            tasks.create_task(fill(log, [line("default/b", f"{number}") for number in range(100)]))

        assert [event_id.seq for event_id in seen] == list(range(1, 201))


async def test_a_reader_far_behind_lets_others_have_their_turn(make_log: MakeLog) -> None:
    log = make_log(100)
    await fill(log, [progress("default/a", percent) for percent in range(50)])

    async with others() as counted:
        await replay(log, await start_of(log), limit=1)

    assert counted.turns >= 50


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
    assert {record.type for record in read.records} == set(types) - {EventType.METRICS}
    assert all(record.id.seq <= last_word.seq for record in read.records)


async def test_a_snapshot_has_progress_only_while_an_operation_is_open(make_log: MakeLog) -> None:
    log = make_log(100)
    await fill(log, [status("default/a", Status.DEPLOYING), progress("default/a", 10), progress("default/a", 40)])
    during = await log.snapshot(EVERYTHING)
    await fill(log, [progress("default/a", 100, outcome=Outcome.SUCCEEDED), status("default/a")])
    after = await log.snapshot(EVERYTHING)

    assert during.servers[0].progress is not None
    assert json.loads(during.servers[0].progress.data)["percent"] == 40
    assert after.servers[0].progress is None
    assert after.position == log.head


async def test_a_snapshot_has_the_newest_metrics(make_log: MakeLog) -> None:
    log = make_log(100)
    await fill(log, [status("default/a"), status("default/b"), metrics("default/a", 1), metrics("default/a", 2)])

    measured, unmeasured = (await log.snapshot(EVERYTHING)).servers

    assert measured.metrics is not None
    assert json.loads(measured.metrics.data)["cpu"] == 2
    assert unmeasured.metrics is None


async def test_a_line_alone_makes_no_server_known(make_log: MakeLog) -> None:
    log = make_log(100)
    await log.append(line("default/a"))

    assert (await log.snapshot(EVERYTHING, tail=10)).servers == ()


class TestDemand:
    """Who listens to what."""

    def wants(self, demand: Demand, event: Event) -> bool:
        return demand.wanted(event.type, event.server, event.uid)

    @pytest.mark.parametrize(
        ("selection", "wanted"),
        [
            (Selection(), ["a log", "a metrics", "a status", "b log", "reborn log"]),
            (only(EventType.LOG), ["a log", "b log", "reborn log"]),
            (only(EventType.METRICS), ["a metrics"]),
            (only(EventType.LOG, uid=uid_of("default/a")), ["a log"]),
            (only(EventType.LOG, servers=frozenset({status("default/a").server})), ["a log", "reborn log"]),
            (only(EventType.LOG, namespaces=frozenset({"team", "other"})), ["b log"]),
            (only(EventType.LOG, level=LogLevel.FATAL, grep="nowhere"), ["a log", "b log", "reborn log"]),
        ],
    )
    async def test_what_somebody_listens_to_is_wanted_as_long_as_they_do(
        self, make_log: MakeLog, selection: Selection, wanted: list[str]
    ) -> None:
        log = make_log(10)
        events = {
            "a log": line("default/a"),
            "a metrics": metrics("default/a"),
            "a status": status("default/a"),
            "b log": line("team/b"),
            "reborn log": line("default/a", life=2),
        }

        before = [name for name, event in events.items() if self.wants(log.demand, event)]
        with log.listening(selection):
            during = [name for name, event in events.items() if self.wants(log.demand, event)]
        after = [name for name, event in events.items() if self.wants(log.demand, event)]

        assert (before, during, after) == ([], wanted, [])

    async def test_it_lasts_until_the_last_listener_has_left_however(self, make_log: MakeLog) -> None:
        log = make_log(10)
        wanted = []
        with log.listening(EVERYTHING):
            with pytest.raises(RuntimeError), log.listening(EVERYTHING):
                raise RuntimeError("the subscriber's connection broke")
            wanted.append(self.wants(log.demand, line("default/a")))
        wanted.append(self.wants(log.demand, line("default/a")))

        assert wanted == [True, False]

    async def test_the_longest_tail_of_those_who_listen_to_the_log_counts(self, make_log: MakeLog) -> None:
        log = make_log(10)
        server, uid = status("default/a").server, uid_of("default/a")
        tails = [log.demand.tail(server, uid)]
        with log.listening(only(EventType.METRICS), tail=5000), log.listening(only(EventType.LOG, uid=uid), tail=10):
            tails.append(log.demand.tail(server, uid))
            with log.listening(EVERYTHING, tail=200), log.listening(EVERYTHING, tail=200):
                tails.append(log.demand.tail(server, uid))
            with log.listening(only(EventType.LOG, namespaces=frozenset({"team"})), tail=300):
                tails.append(log.demand.tail(server, uid))
        tails.append(log.demand.tail(server, uid))

        assert tails == [0, 10, 200, 10, 0]

    async def test_a_change_wakes_those_who_serve_it(self, make_log: MakeLog) -> None:
        log = make_log(10)
        versions = [0]
        heard = asyncio.Event()

        async def serve() -> None:
            while len(versions) < 3:
                versions.append(await log.demand.changed(versions[-1]))
                heard.set()

        async def come_and_go(log: EventLog) -> None:
            with log.listening(EVERYTHING):
                await heard.wait()

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(serve())
            tasks.create_task(come_and_go(log))

        assert versions == sorted(set(versions))
        # Whoever has served an older version is told at once.
        assert await log.demand.changed(0) == versions[-1]


async def test_a_line_and_a_follow_are_log_events_alike(make_log: MakeLog) -> None:
    log = make_log(10)
    ids = await fill(log, [follow("default/a"), line("default/a"), follow("default/a", Follow.ENDED)])

    assert [record.id for record in await records_after(log, await start_of(log), only(EventType.LOG))] == ids
