"""What every event log must do, whatever holds its events. Another implementation joins by a line in LOGS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_operator.eventlog.log import Batch, EventId, EventLog, Gap, GapReason, Record, Selection
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.model.events import Event, EventType
from mcp_operator.model.operations import Outcome
from mcp_operator.model.statuses import Status
from tests.events import progress, status, uid_of

MakeLog = Callable[[int], EventLog]

LOGS: list[MakeLog] = [lambda capacity: MemoryLog(capacity=capacity)]

EVERYTHING = Selection()
STATUSES = Selection(types=frozenset({EventType.STATUS}))

pytestmark = pytest.mark.parametrize("make_log", LOGS)


async def fill(log: EventLog, events: Iterable[Event]) -> list[EventId]:
    return [await log.append(event) for event in events]


async def read_all(log: EventLog, after: EventId, selection: Selection = EVERYTHING, *, limit: int = 100) -> list[Record] | Gap:
    """Read on from a position to the head, in as many steps as that takes."""
    records: list[Record] = []
    while True:
        match await log.read(after, selection, limit=limit):
            case Gap() as gap:
                return gap
            case Batch() as batch:
                records += batch.records
                if batch.ended or batch.position == log.head:
                    return records
                after = batch.position


async def start_of(log: EventLog) -> EventId:
    return EventId(log.head.epoch, 0)


async def test_events_have_rising_ids_and_times_that_never_fall(make_log: MakeLog) -> None:
    log = make_log(100)
    ids = await fill(log, [status("default/weather"), progress("default/weather", 10), status("default/maps")])

    records = await read_all(log, await start_of(log))

    assert isinstance(records, list)
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

    records = await read_all(log, await start_of(log), limit=7)
    assert isinstance(records, list)
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
        (Selection(), ["a1", "b1", "a2", "c1", "b2"]),
        (Selection(types=frozenset({EventType.PROGRESS})), ["b1", "b2"]),
        (Selection(namespaces=frozenset({"team"})), ["b1", "b2"]),
        (Selection(namespaces=frozenset({"team", "default"})), ["a1", "b1", "a2", "c1", "b2"]),
        (Selection(server=status("default/a").server), ["a1", "a2", "c1"]),
        (Selection(uid=uid_of("default/a")), ["a1", "a2"]),
        (Selection(uid=uid_of("default/a", life=2)), ["c1"]),
        (Selection(server=status("default/a").server, namespaces=frozenset({"team"})), []),
    ],
)
async def test_a_reader_gets_what_it_selects(make_log: MakeLog, selection: Selection, told: list[str]) -> None:
    log = make_log(100)
    await fill(
        log,
        [
            status("default/a", key="a1"),
            progress("team/b", 10, key="b1"),
            status("default/a", Status.DEGRADED, key="a2"),
            status("default/a", Status.PENDING, life=2, key="c1"),
            progress("team/b", 20, key="b2"),
        ],
    )

    records = await read_all(log, await start_of(log), selection)

    assert isinstance(records, list)
    assert [json.loads(record.data)["key"] for record in records] == told


async def test_a_read_looks_at_a_bounded_part_of_the_log(make_log: MakeLog) -> None:
    log = make_log(100)
    await fill(log, [progress("default/busy", percent) for percent in range(20)])
    wanted = await log.append(status("default/quiet"))

    first = await log.read(await start_of(log), STATUSES, limit=8)

    assert first == Batch((), EventId(wanted.epoch, 8), ended=False)


async def test_waiting_ends_when_an_event_comes(make_log: MakeLog) -> None:
    log = make_log(10)
    before = log.head

    async with asyncio.timeout(5), asyncio.TaskGroup() as readers:
        waiting = [readers.create_task(log.wait(before)) for _ in range(3)]
        readers.create_task(log.append(status("default/weather")))

    assert all(task.done() for task in waiting)
    assert log.head != before


async def test_waiting_for_what_has_come_already_returns_at_once(make_log: MakeLog) -> None:
    log = make_log(10)
    before = log.head
    await log.append(status("default/weather"))

    async with asyncio.timeout(5):
        await log.wait(before)


async def test_a_reader_that_waits_and_reads_misses_nothing(make_log: MakeLog) -> None:
    log = make_log(1000)
    seen: list[EventId] = []

    async def follow(until: int) -> None:
        position = log.head
        while len(seen) < until:
            await log.wait(position)
            batch = await log.read(position, EVERYTHING, limit=3)
            assert isinstance(batch, Batch)
            seen.extend(record.id for record in batch.records)
            position = batch.position

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(follow(200))
        for writer in ("default/a", "default/b"):
            tasks.create_task(fill(log, [progress(writer, percent) for percent in range(100)]))

    assert [event_id.seq for event_id in seen] == list(range(1, 201))


async def test_the_newest_status_of_a_quiet_server_stays(make_log: MakeLog) -> None:
    log = make_log(5)
    quiet = await log.append(status("default/quiet", key="old news"))
    await fill(log, [progress("default/busy", percent) for percent in range(50)])

    snapshot = await log.snapshot(EVERYTHING)
    records = await read_all(log, await start_of(log), STATUSES)

    known = {str(server.server): server for server in snapshot.servers}
    assert known["default/quiet"].status is not None
    assert known["default/quiet"].status.id == quiet
    assert isinstance(records, list)
    assert [record.id for record in records] == [quiet]
    assert log.statistics().held == 6


async def test_a_hole_is_declared_to_those_who_want_what_is_lost_and_to_no_one_else(make_log: MakeLog) -> None:
    log = make_log(5)
    await fill(log, [status("default/a"), status("default/b")])
    cursor = log.head
    await fill(log, [progress("default/a", percent) for percent in range(20)])

    assert await read_all(log, cursor) == Gap(GapReason.EXPIRED)
    assert await read_all(log, cursor, Selection(uid=uid_of("default/a"))) == Gap(GapReason.EXPIRED)
    assert await read_all(log, cursor, STATUSES) == []
    assert await read_all(log, cursor, Selection(uid=uid_of("default/b"))) == []


async def test_a_hole_is_declared_however_small_the_steps_of_the_reader(make_log: MakeLog) -> None:
    """The event after the hole comes later than the first step, which must not carry the reader past the hole."""
    log = make_log(1)
    await fill(log, [status("default/a"), status("default/b"), status("default/a")])

    assert await read_all(log, await start_of(log), limit=1) == Gap(GapReason.EXPIRED)


async def test_what_a_reader_has_read_may_go(make_log: MakeLog) -> None:
    log = make_log(2)
    [seen, *_] = await fill(log, [status("default/a"), status("default/b")])
    await fill(log, [status("default/a", Status.DEGRADED), progress("default/b", 1), progress("default/b", 2)])

    records = await read_all(log, seen, STATUSES)

    assert isinstance(records, list)
    assert [str(record.server) for record in records] == ["default/b", "default/a"]


async def test_a_reader_far_behind_lets_others_have_their_turn(make_log: MakeLog) -> None:
    log = make_log(100)
    await fill(log, [progress("default/a", percent) for percent in range(50)])
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(others())
        await read_all(log, await start_of(log), limit=1)
        running.cancel()

    assert turns >= 50


async def test_a_deleted_server_is_remembered_for_a_while_and_then_forgotten(make_log: MakeLog) -> None:
    log = make_log(5)
    before = await log.append(status("default/gone"))
    await fill(log, [progress("default/gone", 50), status("default/gone", Status.DELETED)])
    remembered = await log.snapshot(EVERYTHING)
    await fill(log, [progress("default/busy", percent) for percent in range(20)])
    forgotten = await log.snapshot(EVERYTHING)

    assert [(server.deleted, server.progress) for server in remembered.servers] == [(True, None)]
    assert [str(server.server) for server in forgotten.servers] == ["default/busy"]
    # Nothing newer names the lost word, and yet it isn't lost in silence.
    assert await read_all(log, before, STATUSES) == Gap(GapReason.EXPIRED)


async def test_servers_that_come_and_go_leave_nothing_behind(make_log: MakeLog) -> None:
    log = make_log(10)
    for life in range(200):
        await fill(log, [progress("default/a", 10, life=life), progress("default/a", 20, life=life)])
        await fill(log, [status("default/a", life=life), status("default/a", Status.DELETED, life=life)])

    assert log.statistics().held <= 12
    assert all(len(state) <= 20 for state in vars(log).values() if isinstance(state, dict))


async def test_not_even_an_event_after_the_last_word_is_lost_in_silence(make_log: MakeLog) -> None:
    log = make_log(3)
    await fill(log, [status("default/gone"), status("default/gone", Status.DELETED)])
    cursor = log.head
    await fill(log, [progress("default/gone", 1), *(progress("default/busy", percent) for percent in range(20))])

    assert await read_all(log, cursor, Selection(server=status("default/gone").server)) == Gap(GapReason.EXPIRED)


async def test_reading_one_object_ends_with_its_last_word_whatever_types_are_wanted(make_log: MakeLog) -> None:
    log = make_log(100)
    await fill(log, [status("default/a"), progress("default/a", 10)])
    last_word = await log.append(status("default/a", Status.DELETED))
    await fill(log, [status("default/a", life=2)])

    batch = await log.read(
        await start_of(log), Selection(uid=uid_of("default/a"), types=frozenset({EventType.PROGRESS})), limit=100
    )

    assert isinstance(batch, Batch)
    assert [record.type for record in batch.records] == [EventType.PROGRESS]
    assert (batch.position, batch.ended) == (last_word, True)


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


async def test_the_log_counts_what_it_was_given_and_what_it_holds(make_log: MakeLog) -> None:
    log = make_log(100)
    await fill(log, [status("default/a"), progress("default/a", 10), progress("default/a", 20)])

    statistics = log.statistics()

    assert statistics.appended == {EventType.STATUS: 1, EventType.PROGRESS: 2}
    assert statistics.held == 3


@dataclass
class History:
    """All that was ever appended: the oracle that a bounded log is compared with."""

    events: list[tuple[EventId, Event]] = field(default_factory=list)

    def wanted_after(self, cursor: int, selection: Selection) -> list[EventId]:
        return [
            event_id
            for event_id, event in self.events
            if event_id.seq > cursor and event.type in selection.types and selection.covers(event.server, event.uid)
        ]

    def must_hold(self, capacity: int) -> set[EventId]:
        newest = {(event.uid, event.type): event_id for event_id, event in self.events}
        return {event_id for event_id, _ in self.events[-capacity:]} | set(newest.values())


SERVERS = ("default/a", "default/b", "team/c")

stories = st.lists(
    st.one_of(
        st.builds(status, st.sampled_from(SERVERS), st.sampled_from([Status.RUNNING, Status.DEGRADED])),
        st.builds(progress, st.sampled_from(SERVERS), st.integers(0, 99)),
    ),
    max_size=40,
)

selections = st.builds(
    Selection,
    types=st.sampled_from([frozenset(EventType), frozenset({EventType.STATUS}), frozenset({EventType.PROGRESS})]),
    namespaces=st.sampled_from([None, frozenset({"default"}), frozenset({"team"})]),
    uid=st.sampled_from([None, uid_of("default/a")]),
)


@settings(max_examples=200)
@given(story=stories, capacity=st.integers(1, 20), cursor=st.integers(0, 45), selection=selections, limit=st.integers(1, 9))
def test_every_answer_is_a_replay_without_a_hole_or_a_declared_gap(
    make_log: MakeLog, *, story: list[Event], capacity: int, cursor: int, selection: Selection, limit: int
) -> None:
    async def tell() -> None:
        log = make_log(capacity)
        history = History()
        for event in story:
            history.events.append((await log.append(event), event))

        answer = await read_all(log, EventId(log.head.epoch, cursor), selection, limit=limit)

        wanted = history.wanted_after(cursor, selection)
        if cursor > log.head.seq:
            assert answer == Gap(GapReason.AHEAD)
        elif isinstance(answer, Gap):
            # No server was deleted here, so a gap is declared only where something wanted is really lost.
            assert not set(wanted) <= history.must_hold(capacity)
        else:
            assert [record.id for record in answer] == wanted
        assert log.statistics().held == len(history.must_hold(capacity))

    asyncio.run(tell())


lives = st.lists(
    st.tuples(st.sampled_from(SERVERS), st.sampled_from([Status.RUNNING, Status.DELETED]), st.booleans()), max_size=40
)


@settings(max_examples=200)
@given(story=lives, capacity=st.integers(1, 12), draw=st.data())
def test_no_deletion_is_lost_in_silence(
    make_log: MakeLog, story: list[tuple[str, Status, bool]], capacity: int, draw: st.DataObject
) -> None:
    """Servers live, are deleted and come back under their names; whatever was forgotten meanwhile, no answer has a hole."""

    async def tell() -> None:
        log = make_log(capacity)
        history = History()
        life = dict.fromkeys(SERVERS, 1)
        phases: dict[str, Status] = {}
        for name, said, with_progress in story:
            events = [progress(name, 10, life=life[name])] if with_progress else []
            events.append(status(name, said, life=life[name]))
            for event in events:
                history.events.append((await log.append(event), event))
            phases[uid_of(name, life[name])] = said
            if said is Status.DELETED:
                life[name] += 1

        cursor = draw.draw(st.integers(0, log.head.seq))
        answer = await read_all(log, EventId(log.head.epoch, cursor), limit=5)
        wanted = history.wanted_after(cursor, EVERYTHING)
        if isinstance(answer, Gap):
            assert not set(wanted) <= {event_id for event_id, _ in history.events[-capacity:]}
        else:
            assert [record.id for record in answer] == wanted

        known = {server.uid: server.phase for server in (await log.snapshot(EVERYTHING)).servers}
        assert known.items() <= phases.items()
        assert {uid for uid, phase in phases.items() if phase is not Status.DELETED} <= known.keys()

    asyncio.run(tell())
