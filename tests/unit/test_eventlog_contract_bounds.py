"""What every event log keeps within its bounds, what it keeps beyond them, and who gives up what where room is short."""

from __future__ import annotations

from collections import Counter

import pytest

from mcp_operator.eventlog.log import EVERYTHING, EventId, EventLog, Gap, GapReason, Selection
from mcp_operator.model.events import Event, EventType
from mcp_operator.model.statuses import Status
from tests.events import line, metrics, progress, response, status, uid_of, warning
from tests.logs import LOGS, PLENTY, Clock, MakeLog, Replay, fill, only, records_after, replay, start_of

STATUSES = only(EventType.STATUS)
LINES = only(EventType.LOG)
NONE_ELSE = dict.fromkeys((EventType.PROGRESS, EventType.RESPONSE, EventType.KUBERNETES), 0)

pytestmark = pytest.mark.parametrize("make_log", LOGS)


def flood(server: str, count: int = 50) -> list[Event]:
    return [event for number in range(count) for event in (line(server, f"{number}"), metrics(server, number))]


async def held_of(log: EventLog, server: str) -> int:
    """How many events of a server can be read, of types of which some may be missing or none is."""
    for cursor in range(log.head.seq + 1):
        read = await replay(log, EventId(log.head.epoch, cursor), Selection(uid=uid_of(server)), limit=10_000)
        if isinstance(read, Replay):
            return len(read.records)
    raise AssertionError("a cursor at the head can always be continued")


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
            await fill(log, [response("default/a", number), warning("default/a", count=number)])

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

    async def test_of_one_that_was_forgotten_and_is_heard_of_again_the_newest_stays_too(self, make_log: MakeLog) -> None:
        log = make_log(5)
        await fill(log, [status("default/back"), line("default/back"), status("default/back", Status.DELETED)])
        await fill(log, [status("default/busy") for _ in range(20)])
        back = await fill(log, [status("default/back"), line("default/back", "again")])
        await fill(log, [*(status("default/busy") for _ in range(20)), *flood("default/busy")])

        snapshot = await log.snapshot(Selection(uid=uid_of("default/back")), tail=1)

        assert [known.status and known.status.id for known in snapshot.servers] == back[:1]
        assert [each.id for each in snapshot.lines] == back[1:]

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


class TestShares:
    """Where room is short, a server that holds more than twice an even share gives its oldest events up first."""

    @pytest.mark.parametrize(("capacity", "capacity_bytes"), [(60, PLENTY), (PLENTY, 60 * 400)])
    async def test_a_crash_loop_leaves_what_was_said_about_all_others(
        self, make_log: MakeLog, capacity: int, capacity_bytes: int
    ) -> None:
        log = make_log(capacity, capacity_bytes)
        quiet = [f"default/{number}" for number in range(10)]
        told = await fill(log, [status(server, said) for server in quiet for said in (Status.DEPLOYING, Status.RUNNING)])
        await fill(log, [status("default/looping", key=f"{number}") for number in range(500)])

        for number, server in enumerate(quiet):
            records = await records_after(log, await start_of(log), Selection(uid=uid_of(server)))
            assert [record.id for record in records] == told[2 * number : 2 * number + 2]
        held = log.statistics().held[EventType.STATUS]
        assert held == 60 if capacity_bytes == PLENTY else 50 < held < 70
        assert await held_of(log, "default/looping") == held - 20

    async def test_several_that_take_too_much_all_give_something_up(self, make_log: MakeLog) -> None:
        log = make_log(100)
        quiet = [f"default/{number}" for number in range(8)]
        await fill(log, [line(server, f"{number}") for number in range(5) for server in quiet])
        await fill(log, [line("default/loud", f"{number}") for number in range(1000)])
        await fill(log, [line(server, f"{number}") for number in range(200) for server in ("default/loud", "default/louder")])

        held = Counter({server: await held_of(log, server) for server in (*quiet, "default/loud", "default/louder")})

        assert [held[server] for server in quiet] == [5] * 8
        assert held["default/loud"] + held["default/louder"] == 60
        assert min(held["default/loud"], held["default/louder"]) >= 20

    async def test_shares_become_smaller_as_servers_come(self, make_log: MakeLog) -> None:
        log = make_log(40)
        await fill(log, [line("default/first", f"{number}") for number in range(100)])
        alone = await held_of(log, "default/first")
        later = [f"default/{number}" for number in range(9)]
        await fill(log, [line(server, f"{number}") for number in range(3) for server in later])

        assert alone == 40
        assert [await held_of(log, server) for server in later] == [3] * 9
        assert await held_of(log, "default/first") == 13

    async def test_who_takes_too_much_only_now_that_others_have_come_gives_up_first(self, make_log: MakeLog) -> None:
        log = make_log(40)
        await fill(log, [line("default/quiet", f"{number}") for number in range(3)])
        await fill(log, [line("default/loud", f"{number}") for number in range(37)])
        await fill(log, [line(f"default/{number}") for number in range(9)])

        assert [await held_of(log, server) for server in ("default/quiet", "default/loud", "default/0")] == [3, 28, 1]

    async def test_where_nobody_takes_too_much_the_oldest_goes(self, make_log: MakeLog) -> None:
        log = make_log(12)
        ids = await fill(log, [line(f"default/{number % 4}", f"{number}") for number in range(100)])

        read = await replay(log, await start_of(log), LINES)

        assert isinstance(read, Replay)
        assert [record.id for record in read.records] == ids[-12:]

    async def test_nobody_loses_anything_while_there_is_room(self, make_log: MakeLog) -> None:
        log = make_log(100)
        await fill(log, [line("default/loud", f"{number}") for number in range(90)])
        await fill(log, [line(f"default/{number}") for number in range(10)])

        assert log.statistics().evicted[EventType.LOG] == 0

    async def test_one_with_nothing_but_its_newest_event_keeps_it_however_large(self, make_log: MakeLog) -> None:
        log = make_log(PLENTY, 10_000)
        large = await log.append(line("default/large", "x" * 9000))
        await fill(log, [line("default/small", f"{number}") for number in range(100)])

        records = await records_after(log, await start_of(log), Selection(uid=uid_of("default/large")))

        assert [record.id for record in records] == [large]


class TestAge:
    """Events go when they have become too old, but for the newest of each server and type."""

    async def test_they_go_as_time_passes(self, make_log: MakeLog) -> None:
        clock = Clock()
        log = make_log(100, max_age_seconds=60, clock=clock)
        ids = []
        for minute in range(10):
            ids += await fill(log, [line("default/a", f"{minute}"), metrics("default/a", minute)])
            clock.advance(20)

        read = await replay(log, await start_of(log))

        assert isinstance(read, Replay)
        assert [record.id for record in read.records] == ids[-6:]
        assert read.dropped[0][1] == {EventType.LOG: ids[-8], EventType.METRICS: ids[-7]}

    async def test_they_go_without_anything_being_appended(self, make_log: MakeLog) -> None:
        clock = Clock()
        log = make_log(100, max_age_seconds=60, clock=clock)
        cursor = await start_of(log)
        _, newest, *_ = await fill(log, [status("default/a"), status("default/a", Status.DEGRADED), *flood("default/a", 5)])
        clock.advance(61)
        statistics = log.statistics()

        assert statistics.held == {**dict.fromkeys((EventType.STATUS, EventType.METRICS, EventType.LOG), 1), **NONE_ELSE}
        assert await replay(log, cursor) == Gap(GapReason.EXPIRED)
        assert [known.status and known.status.id for known in (await log.snapshot(EVERYTHING)).servers] == [newest]

    async def test_a_survivor_goes_when_a_newer_one_has_come(self, make_log: MakeLog) -> None:
        clock = Clock()
        log = make_log(100, max_age_seconds=60, clock=clock)
        await log.append(line("default/a", "old"))
        clock.advance(1000)
        newer = await log.append(line("default/a", "new"))

        read = await replay(log, await start_of(log))

        assert isinstance(read, Replay)
        assert ([record.id for record in read.records], read.lost) == ([newer], {EventType.LOG})

    async def test_a_deleted_server_is_forgotten_in_time(self, make_log: MakeLog) -> None:
        clock = Clock()
        log = make_log(100, max_age_seconds=60, clock=clock)
        await fill(log, [*flood("default/gone", 5), status("default/gone"), response("default/gone")])
        await log.append(status("default/gone", Status.DELETED))
        remembered = await log.snapshot(EVERYTHING)
        clock.advance(61)

        assert [server.deleted for server in remembered.servers] == [True]
        assert (await log.snapshot(EVERYTHING)).servers == ()
        assert not any(log.statistics().held.values())

    async def test_very_many_of_one_moment_all_go(self, make_log: MakeLog) -> None:
        clock = Clock()
        log = make_log(PLENTY, max_age_seconds=60, clock=clock)
        await fill(log, [progress("default/a", 10) for _ in range(5000)])
        clock.advance(61)
        for _ in range(10):
            await log.append(line("default/a"))
            await replay(log, log.head)

        assert log.statistics().held[EventType.PROGRESS] == 1
