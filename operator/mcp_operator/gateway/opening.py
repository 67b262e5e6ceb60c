"""What a stream begins with: where its subscriber's cursor leads, and the snapshot of one that has none that can be continued."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain

from mcp_operator.eventlog.log import EventId, EventLog, Gap, Record, ServerSnapshot, Snapshot
from mcp_operator.gateway import framing
from mcp_operator.gateway.metrics import StreamMetrics
from mcp_operator.gateway.naming import standing
from mcp_operator.gateway.streaming import MALFORMED
from mcp_operator.gateway.subscribing import Subscription


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """The beginning of a stream, or of its new beginning."""

    position: EventId
    """Where events go on behind it."""
    frames: Iterable[bytes] = ()
    """What is sent before them, without an id: a reset, a snapshot."""
    bookmark: bytes | None = None
    """Closes the snapshot. Only with it the subscriber has an id to come back with; None: its cursor is continued."""
    complete: bool = False
    """Whether nothing will follow: the one object that the stream is about is gone."""


async def open_at(log: EventLog, subscription: Subscription, metrics: StreamMetrics) -> Opening:
    """Decide whether the subscriber's cursor (a settled one: `resuming`) can be continued, and where it is served from."""
    if subscription.cursor_malformed:
        return await begin_anew(log, subscription, metrics, reason=MALFORMED)
    cursor = subscription.cursor
    if cursor is None:
        return await begin_anew(log, subscription, metrics, reason=None)
    answer = await log.read(cursor, subscription.selection, limit=1)
    if isinstance(answer, Gap):
        return await begin_anew(log, subscription, metrics, reason=answer.reason)
    metrics.replayed()
    return Opening(position=cursor)


async def begin_anew(log: EventLog, subscription: Subscription, metrics: StreamMetrics, *, reason: str | None) -> Opening:
    """Begin with a snapshot: for the first time, or because history can't be continued for this reason."""
    selection = subscription.selection
    snapshot = await log.snapshot(selection, tail=subscription.tail)
    servers = standing(snapshot, selection)
    frames: Iterable[bytes] = _snapshot(snapshot, servers, subscription, metrics)
    if reason is not None:
        metrics.reset(reason)
        reset = framing.reset_frame(time=_now(), cursor=snapshot.position, reason=reason, named=subscription.named)
        frames = chain([reset], frames)
    complete = selection.uid is not None and all(server.deleted for server in servers)
    bookmark = framing.bookmark_frame(time=_now(), cursor=snapshot.position)
    return Opening(position=snapshot.position, frames=frames, bookmark=bookmark, complete=complete)


def _snapshot(
    snapshot: Snapshot, servers: Sequence[ServerSnapshot], subscription: Subscription, metrics: StreamMetrics
) -> Iterator[bytes]:
    types = subscription.selection.types
    known = (record for server in servers for record in (server.status, server.progress, server.metrics))
    told = {server.uid for server in servers}
    wanted: Iterable[Record] = (record for record in known if record is not None and record.type in types)
    for record in chain(wanted, (line for line in snapshot.lines if line.uid in told)):
        metrics.delivered(record.type)
        yield framing.snapshot_frame(record, named=subscription.snapshot_named)


def _now() -> datetime:
    return datetime.now(UTC)
