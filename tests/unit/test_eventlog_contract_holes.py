"""What every event log does at its bounds: what goes, what stays, and that nothing is ever missing in silence."""

from __future__ import annotations

from collections import Counter

import pytest

from mcp_operator.eventlog.log import EVERYTHING, Batch, Gap, GapReason, Selection
from mcp_operator.model.events import Event, EventType, LogLevel
from mcp_operator.model.statuses import Status
from tests.events import line, metrics, progress, status, uid_of
from tests.logs import LOGS, PLENTY, MakeLog, Replay, fill, only, records_after, replay, start_of

STATUSES = only(EventType.STATUS)
LINES = only(EventType.LOG)
MEASUREMENTS = only(EventType.METRICS)

pytestmark = pytest.mark.parametrize("make_log", LOGS)


def flood(server: str, count: int = 50) -> list[Event]:
    return [event for number in range(count) for event in (line(server, f"{number}"), metrics(server, number))]


class TestBounds:
    async def test_a_flood_of_lines_and_metrics_pushes_no_status_and_no_progress_out(self, make_log: MakeLog) -> None:
        log = make_log(10)
        kept = await fill(log, [status("default/a"), *(progress("default/a", percent) for percent in range(8))])
        await fill(log, flood("default/a"))

        records = await records_after(log, await start_of(log), only(EventType.STATUS, EventType.PROGRESS))

        assert [record.id for record in records] == kept

    async def test_each_type_has_the_same_bound(self, make_log: MakeLog) -> None:
        log = make_log(5)
        for number in range(20):
            await fill(log, [status("default/a"), progress("default/a", number), line("default/a"), metrics("default/a")])

        statistics = log.statistics()

        assert statistics.held == dict.fromkeys(EventType, 5)
        assert statistics.evicted == dict.fromkeys(EventType, 15)
        assert statistics.appended == dict.fromkeys(EventType, 20)

    async def test_long_events_reach_the_bound_of_bytes_first(self, make_log: MakeLog) -> None:
        log = make_log(100, 10_000)
        await fill(log, [line("default/a", f"{number:04}" + "x" * 2000) for number in range(50)])
        short = await fill(log, [status("default/a", key=f"{number}") for number in range(5)])

        statistics = log.statistics()

        assert 2 <= statistics.held[EventType.LOG] <= 4
        assert 0 < statistics.held_bytes[EventType.LOG] <= 10_000
        assert [record.id for record in await records_after(log, await start_of(log), STATUSES)] == short

    @pytest.mark.parametrize(("capacity", "capacity_bytes"), [(2, PLENTY), (100, 500)])
    async def test_the_newest_event_of_each_server_and_type_stays(
        self, make_log: MakeLog, capacity: int, capacity_bytes: int
    ) -> None:
        log = make_log(capacity, capacity_bytes)
        quiet = await fill(log, [status("default/quiet"), metrics("default/quiet"), line("default/quiet", "the last words")])
        for number in range(20):
            await fill(log, [status("default/busy"), metrics("default/busy", number), line("default/busy", f"{number}")])

        snapshot = await log.snapshot(EVERYTHING, tail=5)
        records = await records_after(log, await start_of(log), Selection(uid=uid_of("default/quiet")))

        known = {str(server.server): server for server in snapshot.servers}["default/quiet"]
        assert known.status is not None
        assert known.metrics is not None
        assert [known.status.id, known.metrics.id] == quiet[:2]
        assert [record.id for record in records] == quiet
        assert quiet[2] in [each.id for each in snapshot.lines]

    async def test_what_it_was_given_is_held_or_has_gone(self, make_log: MakeLog) -> None:
        log = make_log(7)
        for life in range(30):
            await fill(log, [status("default/a", life=life), *flood("default/a", 3), line("default/a", life=life)])
            await fill(log, [progress("default/a", 5, life=life), status("default/a", Status.DELETED, life=life)])

        statistics = log.statistics()
        lines = await replay(log, await start_of(log), LINES)

        assert all(statistics.appended[type_] == statistics.held[type_] + statistics.evicted[type_] for type_ in EventType)
        assert isinstance(lines, Replay)
        assert len(lines.records) == statistics.held[EventType.LOG]
        assert sum(len(record.data) for record in lines.records) == statistics.held_bytes[EventType.LOG]

    async def test_servers_that_come_and_go_leave_nothing_behind(self, make_log: MakeLog) -> None:
        log = make_log(10)
        for life in range(200):
            await fill(log, [progress("default/a", 10, life=life), progress("default/a", 20, life=life)])
            await fill(log, [status("default/a", life=life), line("default/a", life=life), metrics("default/a", life=life)])
            await log.append(status("default/a", Status.DELETED, life=life))

        # The newest of those that it still remembers, beyond the bound of each type.
        assert all(held <= 20 for held in log.statistics().held.values())
        assert len((await log.snapshot(EVERYTHING)).servers) <= 10


class TestGaps:
    """A missing status or progress can't be made good: the cursor can't be continued."""

    async def test_it_is_declared_to_those_who_want_what_is_lost_and_to_no_one_else(self, make_log: MakeLog) -> None:
        log = make_log(5)
        await fill(log, [status("default/a"), status("default/b")])
        cursor = log.head
        await fill(log, [progress("default/a", percent) for percent in range(20)])

        assert await replay(log, cursor) == Gap(GapReason.EXPIRED)
        assert await replay(log, cursor, Selection(uid=uid_of("default/a"))) == Gap(GapReason.EXPIRED)
        assert await records_after(log, cursor, STATUSES) == []
        assert await records_after(log, cursor, Selection(uid=uid_of("default/b"))) == []

    async def test_it_is_declared_however_small_the_steps_of_the_reader(self, make_log: MakeLog) -> None:
        """The event after the hole comes later than the first step, which must not carry the reader past the hole."""
        log = make_log(1)
        await fill(log, [status("default/a"), status("default/b"), status("default/a")])

        assert await replay(log, await start_of(log), limit=1) == Gap(GapReason.EXPIRED)

    async def test_what_a_reader_has_read_may_go(self, make_log: MakeLog) -> None:
        log = make_log(1)
        [seen, *_] = await fill(log, [status("default/a"), status("default/b")])
        await fill(log, [status("default/a", Status.DEGRADED), progress("default/b", 1), progress("default/b", 2)])

        records = await records_after(log, seen, STATUSES)

        assert [str(record.server) for record in records] == ["default/b", "default/a"]

    async def test_a_deleted_server_is_remembered_for_a_while_and_then_forgotten(self, make_log: MakeLog) -> None:
        log = make_log(5)
        before = await log.append(status("default/gone"))
        await fill(log, [progress("default/gone", 50), status("default/gone", Status.DELETED)])
        remembered = await log.snapshot(EVERYTHING)
        await fill(log, [status("default/busy") for _ in range(20)])
        forgotten = await log.snapshot(EVERYTHING)

        assert [(server.deleted, server.progress) for server in remembered.servers] == [(True, None)]
        assert [str(server.server) for server in forgotten.servers] == ["default/busy"]
        # Nothing newer names the lost word, and yet it isn't lost in silence.
        assert await replay(log, before, STATUSES) == Gap(GapReason.EXPIRED)
        assert await replay(log, before, Selection(servers=frozenset({status("default/gone").server}))) == Gap(GapReason.EXPIRED)

    async def test_who_reads_lines_of_one_object_is_told_that_its_end_is_forgotten(self, make_log: MakeLog) -> None:
        """All of its lines are held, but not the last word that would end the reading."""
        log = make_log(5)
        first, _, last_word = await fill(
            log, [status("default/gone"), line("default/gone"), status("default/gone", Status.DELETED)]
        )
        await fill(log, [status("default/busy") for _ in range(20)])
        selection = only(EventType.LOG, uid=uid_of("default/gone"))

        assert await replay(log, first, selection) == Gap(GapReason.EXPIRED)
        assert await records_after(log, last_word, selection) == []

    async def test_lines_of_an_object_that_lives_go_on_whoever_else_is_forgotten(self, make_log: MakeLog) -> None:
        log = make_log(5)
        await fill(log, [status("default/gone"), status("default/gone", Status.DELETED), status("default/a")])
        told = await log.append(line("default/a"))
        await fill(log, [status("default/busy") for _ in range(20)])

        records = await records_after(log, await start_of(log), only(EventType.LOG, uid=uid_of("default/a")))

        assert [record.id for record in records] == [told]

    async def test_an_end_that_is_told_again_is_remembered_from_then_on(self, make_log: MakeLog) -> None:
        log = make_log(5)
        await fill(log, [status("default/gone", Status.DELETED), *(status("default/busy") for _ in range(3))])
        await fill(log, [status("default/gone", Status.DELETED), *(status("default/busy") for _ in range(3))])

        known = {str(server.server): server.deleted for server in (await log.snapshot(EVERYTHING)).servers}

        assert known == {"default/busy": False, "default/gone": True}

    async def test_not_even_an_event_after_the_last_word_is_lost_in_silence(self, make_log: MakeLog) -> None:
        log = make_log(3)
        await fill(log, [status("default/gone"), status("default/gone", Status.DELETED)])
        cursor = log.head
        await fill(log, [progress("default/gone", 1), *(progress("default/busy", percent) for percent in range(20))])
        await fill(log, [status("default/busy") for _ in range(20)])

        assert await replay(log, cursor, Selection(servers=frozenset({status("default/gone").server}))) == Gap(GapReason.EXPIRED)


class TestDropped:
    """Missing lines and metrics are told in their place, and the reader goes on."""

    async def test_the_types_are_named_and_what_is_left_is_read(self, make_log: MakeLog) -> None:
        log = make_log(5)
        cursor = await log.append(status("default/a"))
        await fill(log, flood("default/a"))
        later = await log.append(status("default/a", Status.DEGRADED))

        read = await replay(log, cursor)

        assert isinstance(read, Replay)
        assert read.lost == {EventType.LOG, EventType.METRICS}
        assert Counter(record.type for record in read.records) == {
            EventType.LOG: 5,
            EventType.METRICS: 5,
            EventType.STATUS: 1,
        }
        assert read.records[-1].id == later

    async def test_it_names_the_newest_that_is_missing(self, make_log: MakeLog) -> None:
        log = make_log(3)
        ids = await fill(log, [line("default/a", f"{number}") for number in range(10)])

        batch = await log.read(await start_of(log), LINES, limit=100)

        assert batch == Batch(batch.records, ids[-1], ended=False, dropped={EventType.LOG: ids[6]})  # type: ignore[union-attr]  # no gap
        assert [record.id for record in batch.records] == ids[7:]

    @pytest.mark.parametrize(
        ("selection", "lost"),
        [
            (EVERYTHING, {EventType.LOG, EventType.METRICS}),
            (LINES, {EventType.LOG}),
            (MEASUREMENTS, {EventType.METRICS}),
            (STATUSES, set()),
            (Selection(uid=uid_of("default/a")), {EventType.LOG, EventType.METRICS}),
            (Selection(uid=uid_of("default/b")), set()),
            (Selection(namespaces=frozenset({"team"})), set()),
            # Whether it would have passed the filter isn't known any more.
            (only(EventType.LOG, level=LogLevel.FATAL, grep="never printed"), {EventType.LOG}),
        ],
    )
    async def test_only_to_those_who_want_what_is_missing(
        self, make_log: MakeLog, selection: Selection, lost: set[EventType]
    ) -> None:
        log = make_log(5)
        cursor = await log.append(status("default/a"))
        await fill(log, [line("default/b"), metrics("default/b"), *flood("default/a")])

        read = await replay(log, cursor, selection)

        assert isinstance(read, Replay)
        assert read.lost == lost

    async def test_a_reader_who_is_past_it_misses_nothing(self, make_log: MakeLog) -> None:
        log = make_log(5)
        ids = await fill(log, [line("default/a", f"{number}") for number in range(10)])

        assert [record.id for record in await records_after(log, ids[4], LINES)] == ids[5:]

    async def test_small_steps_are_told_until_they_are_past_it(self, make_log: MakeLog) -> None:
        log = make_log(5)
        statuses = await fill(log, [status("default/a") for _ in range(4)])
        ids = await fill(log, [line("default/a", f"{number}") for number in range(10)])

        read = await replay(log, await start_of(log), limit=2)

        assert isinstance(read, Replay)
        assert [record.id for record in read.records] == [*statuses, *ids[5:]]
        assert [(after.seq, missing) for after, missing in read.dropped] == [
            (0, {EventType.LOG: ids[4]}),
            (2, {EventType.LOG: ids[4]}),
            (4, {EventType.LOG: ids[4]}),
            (ids[6].seq, {}),
            (ids[8].seq, {}),
        ]

    async def test_a_missing_status_beside_it_can_still_not_be_made_good(self, make_log: MakeLog) -> None:
        log = make_log(3)
        await fill(log, [*flood("default/a"), *(status("default/a") for _ in range(10))])

        assert await replay(log, await start_of(log)) == Gap(GapReason.EXPIRED)

    async def test_lines_of_a_server_that_was_forgotten_are_not_lost_in_silence(self, make_log: MakeLog) -> None:
        log = make_log(3)
        cursor = await log.append(status("default/gone"))
        await fill(log, [line("default/gone"), status("default/gone", Status.DELETED)])
        await fill(log, [*(status("default/busy") for _ in range(9)), *(line("default/busy", f"{n}") for n in range(3))])

        read = await replay(log, cursor, only(EventType.LOG, servers=frozenset({status("default/gone").server})))

        assert isinstance(read, Replay)
        assert read.lost == {EventType.LOG}
