"""How readers of every event log wait for what they want, and how others get their turn meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from mcp_operator.eventlog.log import Batch, EventId
from mcp_operator.model.events import EventType
from mcp_operator.model.statuses import Status
from tests.events import line, progress, status, uid_of
from tests.logs import LOGS, MakeLog, fill, only, others, replay, start_of

STATUSES = only(EventType.STATUS)

pytestmark = pytest.mark.parametrize("make_log", LOGS)


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
