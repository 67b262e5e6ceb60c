"""What the log in memory does beyond the contract: what it knows doesn't grow, and it wakes nobody for nothing."""

from __future__ import annotations

import asyncio

from mcp_operator.eventlog.log import EVERYTHING
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.model.events import EventType
from mcp_operator.model.statuses import Status
from tests.events import line, metrics, progress, status
from tests.logs import Replay, only, replay, start_of


async def test_servers_that_come_and_go_leave_nothing_behind() -> None:
    log = MemoryLog(capacity=10)
    for life in range(500):
        for event in (
            progress("default/a", 10, life=life),
            line("default/a", life=life, instance=f"a-{life}"),
            line("default/a", life=life, instance=f"a-{life}"),
            metrics("default/a", life=life),
            status("default/a", life=life),
            status("default/a", Status.DELETED, life=life),
        ):
            await log.append(event)

    states = [log, log._lines, *log._retained.values()]
    sizes = {name: len(value) for state in states for name, value in vars(state).items() if isinstance(value, dict | list)}
    assert max(sizes.values()) <= 20, sizes


async def test_only_the_first_and_the_last_listener_are_news() -> None:
    """Otherwise each of a thousand streams that come and go would have every server looked at."""
    log = MemoryLog(capacity=10)
    with log.listening(EVERYTHING):
        version = await log.demand.changed(0)
        with log.listening(EVERYTHING, tail=10), log.listening(only(EventType.LOG, namespaces=frozenset({"team"}))):
            narrower = await log.demand.changed(version)
        second = asyncio.create_task(log.demand.changed(narrower + 1))
        await asyncio.sleep(0)  # it waits
        with log.listening(EVERYTHING, tail=20):
            pass
        await asyncio.sleep(0)  # it would hear
        unmoved = not second.done()
    async with asyncio.timeout(60):
        assert await second > narrower + 1

    assert unmoved


async def test_a_long_log_keeps_little_of_what_has_gone() -> None:
    log = MemoryLog(capacity=2000)
    for number in range(5003):
        await log.append(line("default/a", f"{number}"))

    read = await replay(log, await start_of(log))
    assert isinstance(read, Replay)
    assert [record.id.seq for record in read.records] == list(range(3004, 5004))
    assert 2000 <= len(log._retained[EventType.LOG]._recent) <= 2010
