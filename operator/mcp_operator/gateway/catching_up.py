"""Brings one stream up to date: what it opens with, what it has missed, and what it fell behind with because its client is slow.

Its task runs only while a stream is behind. What it has read and not sent yet is bounded; while the client takes nothing it reads
nothing. A client that is slow beyond the bounds gets the thinned-out version of what has happened since it was opened
(`thinning`); what had happened before is what it asked for, and it gets that in full.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING

from mcp_operator.eventlog.log import Batch, EventId, Gap, GapReason, Record
from mcp_operator.gateway import framing
from mcp_operator.gateway.connections import chunk
from mcp_operator.gateway.metrics import StreamMetrics
from mcp_operator.gateway.opening import Opening, begin_anew
from mcp_operator.gateway.options import StreamOptions
from mcp_operator.gateway.reusing import PIECE_BYTES, Piece, Reused, SharedBatch, joined
from mcp_operator.gateway.streaming import EndReason, Stream
from mcp_operator.gateway.subscribing import Subscription
from mcp_operator.gateway.thinning import Thinned, size, thin
from mcp_operator.model.events import EventType

if TYPE_CHECKING:
    from mcp_operator.gateway.broadcasting import Broadcaster

_PATIENCE_SECONDS = 1.0
"""A client is slow if it has been waited for so long since the log was last read for it. One that isn't is spared nothing: then
it is the gateway that is slow."""


class CatchUp:
    """One stream's way to where the broadcaster is.

    Args:
        asked_until: seq up to which nothing is the client's fault: it has asked for it in full, or the gateway was slow.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        reused: Reused,
        broadcaster: Broadcaster,
        options: StreamOptions,
        metrics: StreamMetrics,
        asked_until: int,
    ) -> None:
        self._stream = stream
        self._reused = reused
        self._broadcaster = broadcaster
        self._options = options
        self._metrics = metrics
        self._asked_until = asked_until
        self._complete = False
        """Whether nothing follows what was read last."""
        self._waited = 0.0
        """Seconds for which the client was waited for since the log was last read."""
        self._missed: dict[EventType, EventId] = {}
        """The newest missing event of each type that the client knows to be missing."""

    async def run(self, opening: Opening | None = None) -> None:
        """Go on until the stream is up to date or has ended."""
        pieces: Iterable[Piece] = () if opening is None else self._open(opening)
        stream = self._stream
        while True:
            await self._send(pieces)
            await self._broadcaster.reached(stream)
            if stream.ended:
                return
            if stream.ending is not None or self._complete:
                # All of it has been sent, also if nothing of the end was wanted: who comes back has heard it.
                last = stream.position if stream.ending is None else None
                self._broadcaster.bid_farewell(stream, stream.ending or EndReason.DELETED, last=last)
                return
            if stream.position == self._broadcaster.position.seq and stream.connection.ready:
                self._broadcaster.join(stream)
                return
            async with self._broadcaster.turn:
                pieces = await self._read_on()

    def _open(self, opening: Opening) -> Iterable[Piece]:
        """Hello comes first, whatever follows."""
        hello = framing.hello_frame(
            time=_now(),
            retry_ms=framing.retry_ms(),
            heartbeat_seconds=self._options.heartbeat_seconds,
            cursor=opening.position,
        )
        return joined(chain([(hello, None)], self._begin(opening)))

    def _begin(self, opening: Opening) -> Iterable[Piece]:
        self._stream.position = opening.position.seq
        self._complete = opening.complete
        return opening.pieces

    async def _read_on(self) -> Iterable[Piece]:
        """What to send next, and where the stream is then."""
        stream, slow = self._stream, self._waited >= _PATIENCE_SECONDS
        self._waited = 0.0
        begin = self._id(stream.position)
        notices: list[bytes] = []
        backlog = Thinned([])
        spare = False
        while True:
            after = self._id(stream.position)
            answer = await self._reused.read(after, stream.selection)
            if stream.ended:
                return ()
            if isinstance(answer, Gap):
                return await self._after_gap(answer.reason)
            notices += self._dropped(after, answer.batch)
            if answer.batch.position.seq <= min(self._asked_until, self._broadcaster.position.seq):
                stream.position = answer.batch.position.seq
                self._complete = answer.batch.ended
                return self._told_together(notices, answer)
            backlog.records += self._up_to_broadcaster(answer.batch)
            asked = bool(backlog.records) and backlog.records[0].id.seq <= self._asked_until
            spare = spare or (slow and not asked and self._exceeds(backlog.records))
            if spare:
                thin(backlog)
                if size(backlog.records) > self._options.backlog_bytes:
                    stream.ending = EndReason.SLOW
                    return ()
            whole = stream.position == self._broadcaster.position.seq or self._complete
            if whole or asked or (not slow and size(backlog.records) > PIECE_BYTES):
                return self._told([*notices, *self._left_out(begin, backlog)], backlog.records)

    def _up_to_broadcaster(self, batch: Batch) -> list[Record]:
        """What of a batch the broadcaster has sent the others: what is newer will come with theirs."""
        limit = self._broadcaster.position.seq
        if batch.position.seq <= limit:
            self._stream.position = batch.position.seq
            self._complete = batch.ended
            return list(batch.records)
        self._stream.position = limit
        return [record for record in batch.records if record.id.seq <= limit]

    def _exceeds(self, records: Sequence[Record]) -> bool:
        """Whether what the client has yet to take is too much or too old."""
        too_old = bool(records) and records[0].id.seq <= self._broadcaster.outdated
        return too_old or size(records) > self._options.backlog_bytes

    def _left_out(self, after: EventId, backlog: Thinned) -> list[bytes]:
        """Say what the client was spared where that can't be made good."""
        for type_, count in backlog.coalesced.items():
            self._metrics.coalesced(type_, count)
        if backlog.newest_line is None:
            return []
        self._metrics.dropped(EventType.LOG, backlog.lines)
        return [self._dropped_frame(after, {EventType.LOG: backlog.newest_line}, count=backlog.lines)]

    def _dropped(self, after: EventId, batch: Batch) -> list[bytes]:
        """Say that events are no longer held, unless it has been said."""
        news = {type_: newest for type_, newest in batch.dropped.items() if newest != self._missed.get(type_)}
        if not news:
            return []
        self._missed |= news
        for type_ in news:
            self._metrics.dropped(type_)
        return [self._dropped_frame(after, news, count=None)]

    def _dropped_frame(self, after: EventId, news: dict[EventType, EventId], *, count: int | None) -> bytes:
        newest = max(event_id.seq for event_id in news.values())
        return framing.dropped_frame(
            time=_now(), types=news, count=count, after=after, before=self._id(newest + 1), named=self._stream.named
        )

    async def _after_gap(self, reason: GapReason) -> Iterable[Piece]:
        """History can't be continued. Of what was asked for: begin anew. Else the client was too slow, and comes back."""
        stream = self._stream
        if stream.position >= self._asked_until:
            stream.ending = EndReason.SLOW
            return ()
        wanted = Subscription(selection=stream.selection, named=stream.named, snapshot_named=stream.snapshot_named)
        opening = await begin_anew(self._reused, wanted, self._metrics, reason=reason)
        self._asked_until = opening.position.seq
        stream.told = None
        return self._begin(opening)

    def _told_together(self, notices: Sequence[bytes], shared: SharedBatch) -> Iterable[Piece]:
        """A whole batch, as everybody gets it who has asked for it."""
        self._count(shared.batch.records, shared.counts)
        return joined(chain(((notice, None) for notice in notices), shared.pieces(named=self._stream.named)))

    def _told(self, notices: Sequence[bytes], records: Sequence[Record]) -> Iterable[Piece]:
        self._count(records, Counter(record.type for record in records))
        named = self._stream.named
        frames = ((framing.event_frame(record, named=named), record.id.seq) for record in records)
        return joined(chain(((notice, None) for notice in notices), frames))

    def _count(self, records: Sequence[Record], counts: Mapping[EventType, int]) -> None:
        if records:
            self._metrics.lagged(self._broadcaster.age(records[0].id.seq))
        for type_, count in counts.items():
            self._metrics.delivered(type_, count)

    async def _send(self, pieces: Iterable[Piece]) -> None:
        """Send pieces as the client takes them; stops where the stream ends or is to end.

        While it waits for the client it makes no piece: there is only what the connection has left over of the last one.
        """
        stream, unsent = self._stream, iter(pieces)
        while True:
            if not (stream.ended or stream.connection.ready):
                await self._drained()
            if stream.ended or stream.ending is not None or not self._send_next(unsent):
                return

    def _send_next(self, pieces: Iterator[Piece]) -> bool:
        """Send the next piece; False: there is none."""
        data, told = next(pieces, (b"", None))
        if not data:
            return False
        stream = self._stream
        stream.connection.send(chunk(data) if stream.connection.chunked else data)
        stream.told = stream.told if told is None else told
        self._metrics.sent(len(data))
        return True

    async def _drained(self) -> None:
        clock = asyncio.get_running_loop().time
        begin = clock()
        await self._stream.drained()
        self._waited += clock() - begin

    def _id(self, seq: int) -> EventId:
        return EventId(self._broadcaster.position.epoch, seq)


def _now() -> datetime:
    return datetime.now(UTC)
