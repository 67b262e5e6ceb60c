"""Reads the log's head once for all streams, and writes what is new to those that are up to date.

One task does all of it, one thing after the other: a pass over the news, heartbeats, ends. So at every point where it lets others
run, each stream of a feed has heard exactly what is before `position`. A stream that its client slows down leaves its feed and is
brought up to date by a task of its own (`catching_up`); nobody else waits for it.

The first event after a quiet moment goes out at once; those of the next few milliseconds share one write.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple

from mcp_operator.eventlog.log import EVERYTHING, EventId, EventLog, Gap, Record
from mcp_operator.gateway import framing
from mcp_operator.gateway.catching_up import CatchUp
from mcp_operator.gateway.connections import chunk
from mcp_operator.gateway.feeds import Feed, Feeds, FrameForm
from mcp_operator.gateway.metrics import StreamMetrics
from mcp_operator.gateway.opening import Opening
from mcp_operator.gateway.options import StreamOptions
from mcp_operator.gateway.reusing import Reused
from mcp_operator.gateway.streaming import EndReason, Stream
from mcp_operator.model.events import EventType

logger = logging.getLogger(__name__)

_SHARED_SECONDS = 0.005
"""Events of so much time after a write share the next one."""

_PASS_EVENTS = 512
"""Events that one pass writes at most."""

_LEAST_PASS_EVENTS = 8

_PASS_LOOKS = 10_000
"""Where many filters look at each event a pass has fewer events: so many looks take some 20 milliseconds."""

_TURN_STREAMS = 128
"""Streams written to between two turns of others: about a millisecond's worth."""

_LONGEST_TICK_SECONDS = 1.0

_DRAIN_STEP_SECONDS = 0.01

_LEAST_DRAINED_PER_SECOND = 20
"""A few streams are not kept waiting for their end."""

_BACK_OFF_SECONDS = 0.1
"""After a fault, so that one that stays doesn't keep the event loop busy."""

_OVERDUE_SECONDS = 10
"""How long a stream that is old enough may take to say so. Who takes a byte a second is cut then."""

_STEPS_OF_AGE = 32

_CATCHING_UP_AT_ONCE = 16
"""Streams that may read the log between two turns of the broadcaster."""


class _Piece(NamedTuple):
    """What is written at once."""

    data: bytes
    seq: int
    """Where a stream is behind it."""
    counts: Mapping[EventType, int] = MappingProxyType({})
    """Events in it by type."""


class _Delivery(NamedTuple):
    streams: Sequence[Stream]
    pieces: Iterable[_Piece]
    """Made when their turn has come: those of hundreds of feeds together may be very large."""


class Broadcaster:
    """All open streams, and the one reader of the log's head. Belongs to one event loop; `run` is its owner's to await."""

    def __init__(self, log: EventLog, reused: Reused, *, options: StreamOptions, metrics: StreamMetrics) -> None:
        self._log = log
        self._reused = reused
        self._options = options
        self._metrics = metrics
        self._clock = asyncio.get_running_loop().time
        self.position: EventId = log.head
        """Up to here every stream of a feed has heard everything that it wants. `_move` moves it."""
        self._moved = asyncio.Event()
        """Set when the position is another."""
        self.turn = asyncio.Semaphore(_CATCHING_UP_AT_ONCE)
        """Held while a stream opens, and while one that is behind reads the log: so much and no more of it happens between two
        passes, however many come at once."""
        self.streams: dict[Stream, None] = {}
        """All that are open, the oldest first."""
        self._feeds = Feeds()
        self._tasks: asyncio.TaskGroup
        self._turn = 0
        """Streams that were written to since others had their last turn."""
        self._gone: dict[str, int] = {}
        """UIDs of objects whose last word is in this pass, and its seq."""
        self._leaving: list[Stream] = []
        """Streams of feeds that are to end."""
        self._expiring: dict[int, set[Stream]] = {}
        """By the second in which they have been open for long enough."""
        self._empty = asyncio.Event()
        """Set whenever the last stream has ended."""
        self._passed: deque[tuple[float, int]] = deque([(self._clock(), self.position.seq)])
        """When the broadcaster was where (seq), in steps, as far back as a backlog's age is bounded."""
        self._patience: asyncio.Timeout | None = None
        self._tick_seconds = min(_LONGEST_TICK_SECONDS, options.heartbeat_seconds / 4)
        self._next_tick = self._clock()
        self._rested = 0.0
        """When the last pass was over."""

    async def run(self) -> None:
        """Serve the streams until cancelled; those that are still catching up are cancelled then as well."""
        async with asyncio.TaskGroup() as self._tasks:
            while True:
                try:
                    await self._wait()
                    await self._go_on()
                except Exception:
                    logger.exception("What is new can't be told to the streams: they end, and their clients come back")
                    self._end_feeds(EndReason.ERROR)
                    self._move(self._log.head)
                    await asyncio.sleep(_BACK_OFF_SECONDS)

    def open(self, stream: Stream, opening: Opening) -> None:
        """Begin to serve a stream."""
        self.streams[stream] = None
        self._empty.clear()
        if stream.expires:
            self._expiring.setdefault(stream.expires, set()).add(stream)
        self._metrics.opened(named=stream.named)
        self._catch_up(stream, opening, asked_until=self._log.head.seq)

    async def reached(self, stream: Stream) -> None:
        """Wait until the position is where a stream is or later, or the stream ends: a snapshot may be of a moment that the
        streams of the feeds haven't heard of yet."""
        while self.position.seq < stream.position and stream.ending is None:
            await self._moved.wait()

    def join(self, stream: Stream) -> None:
        """A stream has heard everything up to `position`: from now on it hears the news with the others."""
        told = stream.told if stream.told is not None else 0
        stream.feed = self._feeds.join(stream, told=told, position=self.position.seq, now=self._clock())

    def end(self, stream: Stream, reason: EndReason) -> None:
        """End a stream as soon as that can be said to it."""
        stream.ending = stream.ending or reason
        if stream.feed is None:
            self._wake_waiting()
            return
        self._leaving.append(stream)
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(self._clock())

    def bid_farewell(self, stream: Stream, reason: EndReason, *, last: int | None = None) -> None:
        """End a stream now, with `bye` if its connection has room.

        Args:
            last: seq of its last event, where it ends before the position.
        """
        if stream.ended:
            return
        told = last or (self.position.seq if stream.feed is not None else stream.told)
        # After a fault of ours nobody knows what arrived but the client.
        cursor = None if told is None or reason is EndReason.ERROR else EventId(self.position.epoch, told)
        if stream.connection.ready:
            frame = framing.bye_frame(time=datetime.now(UTC), retry_ms=framing.retry_ms(), cursor=cursor, reason=reason)
            stream.connection.send(chunk(frame) if stream.connection.chunked else frame)
        stream.connection.finish()
        self._close(stream, reason)

    def lost(self, stream: Stream, *, stalled: bool) -> None:
        """A stream's client is gone, or (`stalled`) acknowledges nothing."""
        self._close(stream, EndReason.STALLED if stalled else EndReason.LEFT)

    async def drain(self, seconds: float, *, grace_seconds: float) -> None:
        """End all streams, spread over so much time; those whose clients don't take it are cut some time later."""
        streams = list(self.streams)
        begin, ended = self._clock(), 0
        rate = max(_LEAST_DRAINED_PER_SECOND, len(streams) / seconds) if seconds else math.inf
        while ended < len(streams):
            passed = self._clock() - begin
            due = min(len(streams), 1 + int(passed * rate)) if rate < math.inf else len(streams)
            for stream in streams[ended:due]:
                self.end(stream, EndReason.SHUTDOWN)
            ended = due
            await asyncio.sleep(_DRAIN_STEP_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                while self.streams:
                    await self._empty.wait()
        for stream in list(self.streams):
            stream.connection.abort()
            self._close(stream, EndReason.SHUTDOWN)

    @property
    def outdated(self) -> int:
        """Seq of what has been news for longer than a backlog may be old."""
        since, seq = self._passed[0]
        return seq if since <= self._clock() - self._options.backlog_seconds else 0

    def age(self, seq: int) -> float:
        """For how many seconds about an event has been news, at most as long as a backlog may be old."""
        now = self._clock()
        return max((now - when for when, passed in self._passed if passed >= seq), default=0.0)

    def _move(self, position: EventId) -> None:
        self.position = position
        self._wake_waiting()

    def _wake_waiting(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _wait(self) -> None:
        """Wait until there is news, a stream is to end, or time has come for something."""
        if self._leaving:
            return
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._next_tick) as self._patience:
                    await self._log.wait(self.position)
        finally:
            self._patience = None

    async def _go_on(self) -> None:
        if self._log.head.seq > self.position.seq:
            if (rest := self._rested + _SHARED_SECONDS - self._clock()) > 0:
                await asyncio.sleep(rest)
            await self._tell_news()
            self._rested = self._clock()
        leaving, self._leaving = self._leaving, []
        for stream in leaving:
            self.bid_farewell(stream, stream.ending or EndReason.ERROR)
            if self._turn_is_over():
                await asyncio.sleep(0)
        if self._clock() >= self._next_tick:
            await self._keep_time()

    async def _tell_news(self) -> None:
        begin = self._clock()
        limit = max(_LEAST_PASS_EVENTS, min(_PASS_EVENTS, _PASS_LOOKS // max(1, len(self._feeds))))
        batch = await self._log.read(self.position, EVERYTHING, limit=limit)
        if isinstance(batch, Gap) or batch.dropped:
            self._scatter()
            return
        self._gone = {record.uid: record.id.seq for record in batch.records if record.last_word}
        news = self._feeds.sort(batch.records)
        deliveries = [delivery for feed, records in news.items() for delivery in self._prepare(feed, records)]
        # Who joins from here on has heard it.
        self._move(batch.position)
        for delivery in deliveries:
            await self._write(delivery)
        self._measure(batch.records, begin)
        for record in batch.records:
            if record.last_word:
                await self._end_with(record)

    async def _end_with(self, last_word: Record) -> None:
        """End the streams that are about nothing but an object that is gone."""
        for feed in self._feeds.ending(last_word):
            for stream in list(_streams_of(feed)):
                self.bid_farewell(stream, EndReason.DELETED, last=last_word.id.seq)
                if self._turn_is_over():
                    await asyncio.sleep(0)

    def _prepare(self, feed: Feed, records: Sequence[Record]) -> Iterator[_Delivery]:
        """What the feed's streams of today get, before anybody else gets a turn."""
        feed.told = records[-1].id.seq
        feed.written = self._clock()
        for form, streams in feed.audiences.items():
            yield _Delivery(list(streams), _pieces(records, form))

    async def _write(self, delivery: _Delivery) -> None:
        """Write to streams one after the other; those without room fall behind."""
        streams, pieces = delivery.streams, list(delivery.pieces)
        written = [0] * len(pieces)
        for stream in streams:
            if stream.feed is not None:
                for number, piece in enumerate(pieces):
                    written[number] += 1
                    if not stream.connection.send(piece.data):
                        self._fall_behind(stream, piece.seq)
                        break
            if self._turn_is_over():
                await asyncio.sleep(0)
        for count, piece in zip(written, pieces, strict=True):
            self._metrics.sent(count * len(piece.data))
            for type_, records in piece.counts.items():
                self._metrics.delivered(type_, count * records)

    def _turn_is_over(self) -> bool:
        """Whether others shall have a turn: so many streams have been written to since they had their last."""
        self._turn = (self._turn + 1) % _TURN_STREAMS
        return self._turn == 0

    def _measure(self, records: Sequence[Record], begin: float) -> None:
        now = self._clock()
        self._metrics.broadcast(seconds=now - begin)
        for record in records:
            if record.observed is not None:
                self._metrics.reached(now - record.observed)
        self._note_when(now)

    def _note_when(self, now: float) -> None:
        step = self._options.backlog_seconds / _STEPS_OF_AGE
        if now - self._passed[-1][0] >= step:
            self._passed.append((now, self.position.seq))

    async def _keep_time(self) -> None:
        """Heartbeats, and the ends of streams that have been open for long enough."""
        now = self._clock()
        self._next_tick = now + self._tick_seconds
        self._note_when(now)
        while len(self._passed) > 1 and self._passed[1][0] <= now - self._options.backlog_seconds:
            self._passed.popleft()
        for second in [second for second in self._expiring if second <= now]:
            for stream in list(self._expiring.get(second, ())):
                if second <= now - _OVERDUE_SECONDS:
                    self.bid_farewell(stream, EndReason.AGE)
                else:
                    self.end(stream, EndReason.AGE)
        quiet = [feed for feed in self._feeds if now + self._tick_seconds >= feed.written + self._options.heartbeat_seconds]
        for delivery in [delivery for feed in quiet for delivery in self._beat(feed, now)]:
            await self._write(delivery)

    def _beat(self, feed: Feed, now: float) -> Iterator[_Delivery]:
        frame = framing.HEARTBEAT
        if feed.told < self.position.seq:
            frame = framing.bookmark_frame(time=datetime.now(UTC), cursor=self.position)
        feed.told = self.position.seq
        feed.written = now
        for form, streams in feed.audiences.items():
            yield _Delivery(list(streams), [_Piece(chunk(frame) if form.chunked else frame, self.position.seq)])

    def _fall_behind(self, stream: Stream, seq: int) -> None:
        """A stream's client has no room for more: what comes is not for it until it has."""
        self._leave_feed(stream)
        stream.position = stream.told = seq
        if stream.selection.uid is not None and seq >= self._gone.get(stream.selection.uid, math.inf):
            stream.ending = stream.ending or EndReason.DELETED  # it has its last word, and the log says that only once
        self._catch_up(stream, None, asked_until=0)

    def _scatter(self) -> None:
        """The log has let go of what the streams of the feeds have not heard yet: each is to see what it has missed."""
        behind = self.position
        self._move(self._log.head)
        for stream in [stream for feed in self._feeds for stream in _streams_of(feed)]:
            self._leave_feed(stream)
            stream.position = stream.told = behind.seq
            self._catch_up(stream, None, asked_until=self.position.seq)

    def _end_feeds(self, reason: EndReason) -> None:
        for stream in [stream for feed in self._feeds for stream in _streams_of(feed)]:
            self.bid_farewell(stream, reason)

    def _catch_up(self, stream: Stream, opening: Opening | None, *, asked_until: int) -> None:
        catching_up = CatchUp(
            stream,
            reused=self._reused,
            broadcaster=self,
            options=self._options,
            metrics=self._metrics,
            asked_until=asked_until,
        )
        self._tasks.create_task(self._bring_up(stream, catching_up, opening))

    async def _bring_up(self, stream: Stream, catching_up: CatchUp, opening: Opening | None) -> None:
        self._metrics.behind(events=self._log.head.seq - stream.position)
        try:
            await catching_up.run(opening)
        except Exception:
            logger.exception("The stream %.200r broke", stream.path)
            self.bid_farewell(stream, EndReason.ERROR)

    def _leave_feed(self, stream: Stream) -> None:
        if stream.feed is not None:
            self._feeds.leave(stream, stream.feed)
            stream.feed = None

    def _close(self, stream: Stream, reason: EndReason) -> None:
        if stream.ended:
            return
        self._leave_feed(stream)
        del self.streams[stream]
        if stream.expires:
            expiring = self._expiring[stream.expires]
            expiring.discard(stream)
            if not expiring:
                del self._expiring[stream.expires]
        self._metrics.ended(named=stream.named, reason=reason)
        stream.close(reason)
        self._wake_waiting()
        if not self.streams:
            self._empty.set()


def _streams_of(feed: Feed) -> Iterator[Stream]:
    for streams in feed.audiences.values():
        yield from streams


def _pieces(records: Sequence[Record], form: FrameForm) -> Iterator[_Piece]:
    """The frames of events joined to pieces that are each worth a write."""
    waiting: list[bytes] = []
    size = 0
    counts: dict[EventType, int] = {}
    for number, record in enumerate(records, start=1):
        frame = framing.event_frame(record, named=form.named)
        waiting.append(frame)
        size += len(frame)
        counts[record.type] = counts.get(record.type, 0) + 1
        if size >= framing.CHUNK_BYTES or number == len(records):
            data = b"".join(waiting)
            yield _Piece(chunk(data) if form.chunked else data, record.id.seq, counts)
            waiting, size, counts = [], 0, {}
