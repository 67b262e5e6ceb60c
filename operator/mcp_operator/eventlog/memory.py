"""The event log of one process, in its memory: what an operator with a single replica uses (`app` makes it).

Its history begins with the process, so every process has an epoch of its own.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from itertools import islice
from typing import TypeAlias

from mcp_operator.eventlog.demand import Listeners
from mcp_operator.eventlog.encoding import encode
from mcp_operator.eventlog.folding import fold, is_last_word
from mcp_operator.eventlog.log import (
    Batch,
    Demand,
    EventId,
    Gap,
    GapReason,
    LogStatistics,
    Record,
    Selection,
    ServerSnapshot,
    Snapshot,
)
from mcp_operator.model.events import Event, EventType

_Key: TypeAlias = tuple[str, EventType]
"""A server's UID and a type of events."""


def _now() -> datetime:
    return datetime.now(UTC)


class MemoryLog:
    """An `EventLog` of at most `capacity` events, and beyond these the newest of each server and type.

    Belongs to one event loop. Nothing suspends within a method but where it says so: each call sees one state of the log.
    """

    def __init__(self, *, capacity: int, clock: Callable[[], datetime] = _now) -> None:
        self._capacity = capacity
        self._clock = clock
        self._epoch = secrets.token_hex(5)
        self._head = 0
        self._time = clock()
        self._moved = asyncio.Event()
        self._recent: dict[int, Record] = {}
        """The last `capacity` records by seq, without holes."""
        self._survivors: dict[int, Record] = {}
        """Older ones that are the newest of their server and type, by seq, in its order."""
        self._newest: dict[_Key, Record] = {}
        self._lost: dict[_Key, int] = {}
        """Seq of the newest event that is no longer held, of each server and type that has lost any: a reader who isn't past it
        has a hole there."""
        self._servers: dict[str, ServerSnapshot] = {}
        """What is known about each server, by UID."""
        self._horizon = 0
        """Seq of the newest event of servers that were forgotten: a reader who isn't past it may have a hole anywhere."""
        self._appended: Counter[EventType] = Counter()
        self._listeners = Listeners()

    @property
    def head(self) -> EventId:
        return EventId(self._epoch, self._head)

    async def append(self, event: Event) -> EventId:
        event_id = EventId(self._epoch, self._head + 1)
        time = max(self._time, self._clock())
        data = encode(event, event_id=event_id, time=time)
        record = Record(
            id=event_id, type=event.type, server=event.server, uid=event.uid, last_word=is_last_word(event), data=data
        )
        self._time = time
        self._head = event_id.seq
        self._recent[record.id.seq] = record
        self._supersede(record)
        self._servers[event.uid] = fold(self._servers.get(event.uid), event, record)
        self._appended[event.type] += 1
        if len(self._recent) > self._capacity:
            self._evict(self._recent.pop(self._head - self._capacity))
        self._moved.set()
        self._moved = asyncio.Event()
        return event_id

    async def read(self, after: EventId, selection: Selection, *, limit: int) -> Batch | Gap:
        # A reader far behind reads many batches in a row: the others get a turn before each.
        await asyncio.sleep(0)
        if after.epoch != self._epoch:
            return Gap(GapReason.EPOCH)
        if after.seq > self._head:
            return Gap(GapReason.AHEAD)
        if self._has_hole(after.seq, selection):
            return Gap(GapReason.EXPIRED)
        wanted: list[Record] = []
        position = after
        for record in islice(self._held_after(after.seq), limit):
            position = record.id
            if not selection.covers(record.server, record.uid):
                continue
            if record.type in selection.types:
                wanted.append(record)
            if record.last_word and selection.uid is not None:
                return Batch(tuple(wanted), position, ended=True)
        return Batch(tuple(wanted), position, ended=False)

    async def wait(self, after: EventId) -> None:
        while self.head == after:
            await self._moved.wait()

    def listening(self, selection: Selection, *, tail: int = 0) -> AbstractContextManager[None]:
        return self._listeners.listening(selection, tail=tail)

    @property
    def demand(self) -> Demand:
        return self._listeners

    async def snapshot(self, selection: Selection, *, tail: int = 0) -> Snapshot:
        servers = [known for known in self._servers.values() if selection.covers(known.server, known.uid)]
        servers.sort(key=lambda known: (known.server, known.status.id.seq if known.status else 0))
        return Snapshot(self.head, tuple(servers))

    def statistics(self) -> LogStatistics:
        return LogStatistics(appended=dict(self._appended), held=len(self._recent) + len(self._survivors))

    @property
    def _whole_since(self) -> int:
        """Everything after this seq is held."""
        return self._head - len(self._recent)

    def _held_after(self, seq: int) -> Iterator[Record]:
        if seq < self._whole_since:
            yield from (record for survivor, record in self._survivors.items() if survivor > seq)
        for recent in range(max(seq, self._whole_since) + 1, self._head + 1):
            yield self._recent[recent]

    def _has_hole(self, after: int, selection: Selection) -> bool:
        if after >= self._whole_since:
            return False
        return after < self._horizon or any(
            lost > after and type_ in selection.types and selection.covers(self._servers[uid].server, uid)
            for (uid, type_), lost in self._lost.items()
        )

    def _supersede(self, record: Record) -> None:
        """Make a record the newest of its server and type: the one before it no longer outlives its time."""
        key = (record.uid, record.type)
        before = self._newest.get(key)
        if before is not None and self._survivors.pop(before.id.seq, None) is not None:
            self._lost[key] = before.id.seq
        self._newest[key] = record

    def _evict(self, record: Record) -> None:
        """Let a record go that the ordinary bound no longer has room for."""
        key = (record.uid, record.type)
        newest = self._newest.get(key)
        if newest is None:
            self._horizon = record.id.seq
        elif newest is not record:
            self._lost[key] = record.id.seq
        elif record.last_word:
            self._forget(record)
        else:
            self._survivors[record.id.seq] = record

    def _forget(self, last_word: Record) -> None:
        """Drop all that is known about a deleted server: cursors from before its last word can't be continued any more."""
        del self._servers[last_word.uid]
        for type_ in EventType:
            self._lost.pop((last_word.uid, type_), None)
            newest = self._newest.pop((last_word.uid, type_), None)
            if newest is not None:
                self._survivors.pop(newest.id.seq, None)
        self._horizon = last_word.id.seq
