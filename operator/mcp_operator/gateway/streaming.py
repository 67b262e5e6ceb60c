"""One subscriber's way through the log: snapshot, replay and live events, joined without a gap or a repeat.

A `Stream` knows nothing of HTTP: `delivering` asks it for bytes and writes them. It holds a position in the shared log and no
events of its own, so a slow subscriber costs no memory.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain

from mcp_operator.eventlog.log import Batch, EventId, EventLog, Gap, GapReason, Record, ServerSnapshot, Snapshot
from mcp_operator.gateway import framing
from mcp_operator.gateway.metrics import StreamMetrics
from mcp_operator.gateway.subscribing import Subscription
from mcp_operator.model.events import EventType

_BATCH_EVENTS = 512
"""Events looked at between two turns of the other streams."""

_MALFORMED = "malformed"

RESET_REASONS: Sequence[str] = (*GapReason, _MALFORMED)
"""Why a cursor couldn't be continued, as `reset` frames and metrics name it."""


class ByeReason(StrEnum):
    """Why the server ended a stream."""

    DELETED = "deleted"
    """The object that the stream was about is gone, and all about it has been told."""
    SHUTDOWN = "shutdown"
    """The gateway stops."""
    STARTING = "starting"
    """The gateway doesn't know the whole cluster yet: come back."""
    ERROR = "error"
    """The gateway failed: resume from the last id that arrived."""


def retry_ms(*, least: int = 1000, most: int = 3000) -> int:
    """After how many milliseconds a client comes back: random, so that those cut off together don't come back together."""
    return least + secrets.randbelow(most - least + 1)


class Stream:
    """Where one subscriber is, and what to send it next."""

    def __init__(self, log: EventLog, subscription: Subscription, *, heartbeat_seconds: float, metrics: StreamMetrics) -> None:
        self._log = log
        self._subscription = subscription
        self._heartbeat_seconds = heartbeat_seconds
        self._metrics = metrics
        self._position = log.head
        """Everything wanted up to here has been handed out."""
        self._told = self._position
        """The last id that the subscriber got: it resumes from there."""
        self._missed: dict[EventType, EventId] = {}
        """The newest missing event of each type that the subscriber knows to be missing."""
        self._opening: Iterable[bytes] = ()
        self._ending = False
        self._complete = False
        self._patience: asyncio.Timeout | None = None

    async def open(self) -> EventId:
        """Decide whether the subscriber's cursor can be continued, and say which position it is served from."""
        cursor = self._subscription.cursor
        if self._subscription.cursor_malformed:
            self._opening = await self._restart(_MALFORMED)
        elif cursor is None:
            self._opening = await self._restart(None)
        elif isinstance(gap := await self._read(cursor), Gap):
            self._opening = await self._restart(gap.reason)
        else:
            self._position = self._told = cursor
            self._metrics.replays.inc()
        return self._position

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """All that the subscriber gets, as it happens, in pieces that are each worth a write. Call `open` first.

        Ends after a `bye` frame: when `end` was called, or when the one object that it is about is gone.
        """
        frames: Iterable[bytes] = chain([self._hello()], self._opening)
        while True:
            for chunk in framing.coalesce(frames):
                yield chunk
            if self._complete:
                return
            frames = await self._next_frames()

    def end(self) -> None:
        """Let the stream say goodbye and end: at once if it waits for events, else after the chunk in hand."""
        self._ending = True
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(asyncio.get_running_loop().time())

    def _bye(self, reason: ByeReason) -> bytes:
        self._complete = True
        return framing.bye_frame(time=_now(), retry_ms=retry_ms(), cursor=self._told, reason=reason)

    async def _next_frames(self) -> Iterable[bytes]:
        """What comes next; waits for it, but not longer than a subscriber may be left in silence."""
        clock = asyncio.get_running_loop().time
        due = clock() + self._heartbeat_seconds
        while not self._ending:
            answer = await self._read(self._position)
            if isinstance(answer, Gap):
                return await self._restart(answer.reason)
            after, self._position = self._position, answer.position
            if frames := self._batch(after, answer):
                return frames
            if clock() >= due:
                return [self._heartbeat()]
            if not self._ending:
                await self._wait(due)
        return [self._bye(ByeReason.SHUTDOWN)]

    async def _read(self, after: EventId) -> Batch | Gap:
        return await self._log.read(after, self._subscription.selection, limit=_BATCH_EVENTS)

    async def _wait(self, due: float) -> None:
        """Wait until there may be more, the time has come, or `end` is called."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due) as self._patience:
                    await self._log.wait(self._position, self._subscription.selection)
        finally:
            self._patience = None

    async def _restart(self, reason: str | None) -> Iterable[bytes]:
        """Begin anew with a snapshot: for the first time, or because history can't be continued for this reason."""
        selection = self._subscription.selection
        snapshot = await self._log.snapshot(selection, tail=self._subscription.tail)
        servers = _standing(snapshot, whole_cluster=selection.servers is None and selection.uid is None)
        self._position = self._told = snapshot.position
        bookmark = framing.bookmark_frame(time=_now(), cursor=snapshot.position)
        frames: Iterable[bytes] = chain(self._snapshot(servers, snapshot.lines), [bookmark])
        if reason is not None:
            self._metrics.reset(reason)
            reset = framing.reset_frame(time=_now(), cursor=snapshot.position, reason=reason, named=self._subscription.named)
            frames = chain([reset], frames)
        if selection.uid is not None and all(server.deleted for server in servers):
            frames = chain(frames, [self._bye(ByeReason.DELETED)])
        return frames

    def _snapshot(self, servers: Sequence[ServerSnapshot], lines: Iterable[Record]) -> Iterator[bytes]:
        known = (record for server in servers for record in (server.status, server.progress, server.metrics))
        wanted = (record for record in known if record is not None and record.type in self._subscription.selection.types)
        told = {server.uid for server in servers}
        for record in chain(wanted, (line for line in lines if line.uid in told)):
            self._metrics.delivered(record)
            yield framing.snapshot_frame(record, named=self._subscription.snapshot_named)

    def _batch(self, after: EventId, batch: Batch) -> list[bytes]:
        frames = self._dropped(after, batch.dropped)
        for record in batch.records:
            self._metrics.delivered(record)
            frames.append(framing.event_frame(record, named=self._subscription.named))
            self._told = record.id
        if batch.ended:
            self._told = batch.position
            frames.append(self._bye(ByeReason.DELETED))
        return frames

    def _dropped(self, after: EventId, missing: Mapping[EventType, EventId]) -> list[bytes]:
        """Say that events are missing, unless it has been said."""
        news = {type_: newest for type_, newest in missing.items() if newest != self._missed.get(type_)}
        if not news:
            return []
        self._missed |= news
        for type_ in news:
            self._metrics.dropped(type_)
        newest = max(news.values(), key=lambda event_id: event_id.seq)
        before = EventId(newest.epoch, newest.seq + 1)
        return [
            framing.dropped_frame(time=_now(), types=news, count=None, after=after, before=before, named=self._subscription.named)
        ]

    def _heartbeat(self) -> bytes:
        if self._told == self._position:
            return framing.HEARTBEAT
        self._told = self._position
        return framing.bookmark_frame(time=_now(), cursor=self._position)

    def _hello(self) -> bytes:
        return framing.hello_frame(
            time=_now(), retry_ms=retry_ms(), heartbeat_seconds=self._heartbeat_seconds, cursor=self._position
        )


def _standing(snapshot: Snapshot, *, whole_cluster: bool) -> Sequence[ServerSnapshot]:
    """The servers to tell of: those that exist. Who follows one server alone hears that it is gone."""
    servers = [server for server in snapshot.servers if not server.deleted]
    if servers or whole_cluster:
        return servers
    return snapshot.servers[-1:]


def _now() -> datetime:
    return datetime.now(UTC)
