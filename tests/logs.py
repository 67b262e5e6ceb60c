"""The event logs that the contract suite (tests/unit/test_eventlog_contract*.py) holds to what every log promises.

Another implementation joins by a line in LOGS.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol

from mcp_operator.eventlog.log import EVERYTHING, Batch, EventId, EventLog, Gap, Record, Selection
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.model.events import Event, EventType

PLENTY = 1 << 30
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Clock:
    """A log's clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class MakeLog(Protocol):
    """Makes an empty log that keeps so many events of each type, so many bytes of their JSON, and for so long by this clock."""

    def __call__(
        self, capacity: int, capacity_bytes: int = PLENTY, /, *, max_age_seconds: float = PLENTY, clock: Clock | None = None
    ) -> EventLog: ...


def memory_log(
    capacity: int, capacity_bytes: int = PLENTY, /, *, max_age_seconds: float = PLENTY, clock: Clock | None = None
) -> EventLog:
    return MemoryLog(
        capacity=capacity,
        capacity_bytes=capacity_bytes,
        max_age_seconds=max_age_seconds,
        clock=clock or partial(datetime.now, UTC),
    )


LOGS: list[MakeLog] = [memory_log]


class Others:
    """Whatever else runs in the event loop."""

    def __init__(self) -> None:
        self.turns = 0

    async def run(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)


@asynccontextmanager
async def others() -> AsyncIterator[Others]:
    """Count the turns that others get while the block runs."""
    counted = Others()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(counted.run())
        yield counted
        running.cancel()


def only(*types: EventType, **fields: Any) -> Selection:
    """A selection of these types."""
    return Selection(types=frozenset(types), **fields)


async def fill(log: EventLog, events: Iterable[Event]) -> list[EventId]:
    return [await log.append(event) for event in events]


async def start_of(log: EventLog) -> EventId:
    return EventId(log.head.epoch, 0)


@dataclass
class Replay:
    """What a reader gets who reads on from a position to the head, in as many steps as that takes."""

    records: list[Record] = field(default_factory=list)
    dropped: list[tuple[EventId, dict[EventType, EventId]]] = field(default_factory=list)
    """What each step said to be missing after its position."""
    ended: bool = False

    @property
    def lost(self) -> set[EventType]:
        """Types of which something is missing."""
        return {type_ for _, missing in self.dropped for type_ in missing}


async def replay(log: EventLog, after: EventId, selection: Selection = EVERYTHING, *, limit: int = 100) -> Replay | Gap:
    """Read on to the head."""
    read = Replay()
    while True:
        match await log.read(after, selection, limit=limit):
            case Gap() as gap:
                return gap
            case Batch() as batch:
                read.records += batch.records
                read.dropped.append((after, dict(batch.dropped)))
                if batch.ended or batch.position == log.head:
                    read.ended = batch.ended
                    return read
                after = batch.position


async def records_after(log: EventLog, after: EventId, selection: Selection = EVERYTHING, *, limit: int = 100) -> list[Record]:
    """The same where nothing may be missing."""
    read = await replay(log, after, selection, limit=limit)
    assert isinstance(read, Replay)
    assert not read.lost
    return read.records
