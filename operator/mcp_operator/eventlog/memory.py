"""The event log of one process, in its memory: what an operator with a single replica uses (`app` makes it).

Its history begins with the process, so every process has an epoch of its own.
"""

import asyncio
import heapq
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain, islice, takewhile

from mcp_operator.eventlog.demand import Listeners
from mcp_operator.eventlog.encoding import encode
from mcp_operator.eventlog.folding import is_last_word
from mcp_operator.eventlog.knowing import KnownServers
from mcp_operator.eventlog.log import (
    EVERYTHING,
    EXPENDABLE,
    Batch,
    Demand,
    EventId,
    Gap,
    GapReason,
    LineOrigin,
    LogStatistics,
    Record,
    Selection,
    Snapshot,
    Subject,
)
from mcp_operator.eventlog.ordering import seq_of
from mcp_operator.eventlog.retaining import Retained
from mcp_operator.eventlog.sifting import passes, sifts
from mcp_operator.eventlog.tailing import Lines
from mcp_operator.model.events import Event, EventType, LogPayload, MetricsPayload, ProgressPayload


def _now() -> datetime:
    return datetime.now(UTC)


class MemoryLog:
    """An `EventLog` of so many events of each type, and beyond these the newest of each server and type.

    Belongs to one event loop. Nothing suspends within a method but where it says so: each call sees one state of the log.
    """

    def __init__(
        self,
        *,
        capacity: int,
        capacity_bytes: int = 32 * 1024 * 1024,
        max_age_seconds: float = 24 * 3600,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        """
        Args:
            capacity: events of each type that are kept.
            capacity_bytes: bytes of these events' JSON that are kept, of each type; memory holds some 400 more per event.
            max_age_seconds: how long they are kept; all three are bounds for what isn't the newest of its server and type.
            clock: gives the time, with its zone.
        """
        self._clock = clock
        self._max_age_seconds = max_age_seconds
        self._epoch = secrets.token_hex(5)
        self._head = 0
        self._time = clock()
        self._retained = {type_: Retained(capacity=capacity, capacity_bytes=capacity_bytes) for type_ in EventType}
        self._lines = Lines()
        self._servers = KnownServers()
        self._appended = dict.fromkeys(EventType, 0)
        self._listeners = Listeners()
        self._awaited: dict[frozenset[EventType], asyncio.Event] = {}
        """Set with the next event of one of these types."""

    @property
    def head(self) -> EventId:
        return EventId(self._epoch, self._head)

    async def append(self, event: Event) -> EventId:
        event_id = EventId(self._epoch, self._head + 1)
        time = max(self._time, self._clock())
        record = _record(event, event_id, encode(event, event_id=event_id, time=time))
        self._time = time
        self._head = event_id.seq
        seconds = time.timestamp()
        retained = self._retained[event.type]
        self._discard(retained.expire(seconds - self._max_age_seconds))
        self._servers.learn(event, record)
        self._lines.add(record)
        self._discard(retained.append(record, seconds))
        self._appended[event.type] += 1
        for types in [types for types in self._awaited if event.type in types]:
            self._awaited.pop(types).set()
        return event_id

    async def read(self, after: EventId, selection: Selection, *, limit: int) -> Batch | Gap:
        if self._head - after.seq >= limit:
            await asyncio.sleep(0)  # a reader far behind reads many batches in a row: the others get a turn before each
        if after.epoch != self._epoch:
            return Gap(GapReason.EPOCH)
        if after.seq > self._head:
            return Gap(GapReason.AHEAD)
        self._expire()
        missing = self._missing(after, selection)
        if missing.keys() - EXPENDABLE or self._end_is_forgotten(after, selection):
            return Gap(GapReason.EXPIRED)
        last_word = self._last_word_after(after, selection)
        end = last_word or self.head
        looked_at = list(islice(self._held(after, end, selection), limit))
        position = end if len(looked_at) < limit else looked_at[-1].id
        wanted = looked_at
        if not selection.is_of_all:
            wanted = [record for record in wanted if selection.covers(record.subject)]
        if sifts(selection):
            wanted = [record for record in wanted if passes(record, selection)]
        return Batch(tuple(wanted), position, ended=position == last_word, dropped=missing)

    async def position(self, since: datetime | None, selection: Selection) -> EventId:
        self._expire()
        if since is not None:
            seconds = since.timestamp()
            return EventId(self._epoch, max(retained.newest_before(seconds) for retained in self._retained.values()))
        start = EventId(self._epoch, 0)
        gone = [missing.seq for type_, missing in self._missing(start, selection).items() if type_ not in EXPENDABLE]
        if self._end_is_forgotten(start, selection):
            gone.append(self._retained[EventType.STATUS].horizon)
        return EventId(self._epoch, max(gone, default=0))

    async def wait(self, after: EventId, selection: Selection = EVERYTHING) -> None:
        types = selection.types if selection.uid is None else selection.types | {EventType.STATUS}
        while after.epoch == self._epoch and self._newest_seq(types) <= after.seq <= self._head:
            await self._awaited.setdefault(types, asyncio.Event()).wait()

    def listening(self, selection: Selection, *, tail: int = 0) -> AbstractContextManager[None]:
        return self._listeners.listening(selection, tail=tail)

    @property
    def demand(self) -> Demand:
        return self._listeners

    async def snapshot(self, selection: Selection, *, tail: int = 0) -> Snapshot:
        self._expire()
        position = self.head
        servers = self._servers.selected(selection)
        if tail == 0 or EventType.LOG not in selection.types:
            return Snapshot(position, tuple(servers))
        # Suspends, and still answers with what was held when it began.
        uids = self._retained[EventType.LOG].objects.selected(selection)
        return Snapshot(position, tuple(servers), await self._lines.newest(selection, tail, uids))

    def statistics(self) -> LogStatistics:
        self._expire()
        return LogStatistics(
            appended=dict(self._appended),
            held={type_: retained.held for type_, retained in self._retained.items()},
            held_bytes={type_: retained.bytes for type_, retained in self._retained.items()},
            evicted={type_: retained.evicted for type_, retained in self._retained.items()},
        )

    def _held(self, after: EventId, end: EventId, selection: Selection) -> Iterator[Record]:
        """The records of some types that are held between two positions, in order, but for such of servers that the selection
        doesn't name."""
        sources = [source for type_ in selection.types for source in self._retained[type_].after(after.seq, selection)]
        held = heapq.merge(*sources, key=seq_of) if len(sources) > 1 else chain(*sources)
        return held if end.seq == self._head else takewhile(lambda record: record.id.seq <= end.seq, held)

    def _missing(self, after: EventId, selection: Selection) -> dict[EventType, EventId]:
        """The types of which wanted events after a position are no longer held, and the newest of them."""
        missing = ((type_, self._retained[type_].missing_after(after.seq, selection)) for type_ in selection.types)
        return {type_: EventId(self._epoch, seq) for type_, seq in missing if seq is not None}

    def _last_word_after(self, after: EventId, selection: Selection) -> EventId | None:
        """Where the one object that is selected ends, if that is known and comes after a position."""
        known = None if selection.uid is None else self._servers.get(selection.uid)
        if known is None or known.status is None or not (known.deleted and selection.covers(known.subject)):
            return None
        return known.status.id if known.status.id.seq > after.seq else None

    def _end_is_forgotten(self, after: EventId, selection: Selection) -> bool:
        """Whether the one object that is selected may have ended after a position, and nobody knows any more."""
        return (
            selection.uid is not None
            and selection.uid not in self._servers
            and after.seq < self._retained[EventType.STATUS].horizon
        )

    def _newest_seq(self, types: frozenset[EventType]) -> int:
        return max(self._retained[type_].newest_seq for type_ in types)

    def _expire(self) -> None:
        """Let go what has become too old."""
        before = max(self._time, self._clock()).timestamp() - self._max_age_seconds
        for retained in self._retained.values():
            self._discard(retained.expire(before))

    def _discard(self, gone: list[Record]) -> None:
        """Know no more of records that are no longer held, and of servers whose last word is one of them."""
        for record in gone:
            self._lines.remove(record)
            known = self._servers.get(record.uid) if record.last_word else None
            if known is not None and known.status is record:
                self._servers.forget(record.uid)
                for retained in self._retained.values():
                    self._discard(retained.forget(record.uid))


def _record(event: Event, event_id: EventId, data: bytes) -> Record:
    topic, closes_topic = _topic(event)
    log = event.payload if isinstance(event.payload, LogPayload) else None
    return Record(
        id=event_id,
        type=event.type,
        subject=_subject(event.server, event.uid, event.labels),
        last_word=is_last_word(event),
        data=data,
        line=None if log is None or log.level is None else _origin(log.level, log.instance, log.container),
        announces_loss=log is not None and log.dropped,
        topic=topic,
        closes_topic=closes_topic,
        observed=event.observed,
    )


def _topic(event: Event) -> tuple[str | None, bool]:
    match event.payload:
        case MetricsPayload():
            return event.uid, False
        case ProgressPayload(operation=operation, outcome=outcome):
            return f"{event.uid}/{operation}", outcome is not None
        case _:
            return None, False


# Few servers tell most events.
_subject = lru_cache(4096)(Subject)


# Most lines come from few containers.
_origin = lru_cache(4096)(LineOrigin)
