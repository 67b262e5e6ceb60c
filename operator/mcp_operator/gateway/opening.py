"""What a stream begins with: where its subscriber's cursor leads, and the snapshot of one that has none that can be continued."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain

from mcp_operator.eventlog.log import EventId, Gap
from mcp_operator.gateway import framing
from mcp_operator.gateway.metrics import StreamMetrics
from mcp_operator.gateway.reusing import Piece, Reused
from mcp_operator.gateway.streaming import MALFORMED
from mcp_operator.gateway.subscribing import Subscription


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """The beginning of a stream, or of its new beginning."""

    position: EventId
    """Where events go on behind it."""
    anew: bool = False
    """Whether its client has an id to come back with only once all of the beginning is sent; else its cursor is continued."""
    pieces: Iterable[Piece] = ()
    """What is sent before the events, to be gone through once."""
    complete: bool = False
    """Whether nothing will follow: the one object that the stream is about is gone."""


async def open_at(reused: Reused, subscription: Subscription, metrics: StreamMetrics) -> Opening:
    """Decide whether the subscriber's cursor (a settled one: `resuming`) can be continued, and where it is served from."""
    if subscription.cursor_malformed:
        return await begin_anew(reused, subscription, metrics, reason=MALFORMED)
    cursor = subscription.cursor
    if cursor is None:
        return await begin_anew(reused, subscription, metrics, reason=None)
    answer = await reused.read(cursor, subscription.selection)
    if isinstance(answer, Gap):
        return await begin_anew(reused, subscription, metrics, reason=answer.reason)
    metrics.replayed()
    return Opening(position=cursor)


async def begin_anew(reused: Reused, subscription: Subscription, metrics: StreamMetrics, *, reason: str | None) -> Opening:
    """Begin with a snapshot: for the first time, or because history can't be continued for this reason."""
    snapshot = await reused.snapshot(subscription)
    position = snapshot.position
    reset: list[Piece] = []
    if reason is not None:
        metrics.reset(reason)
        reset.append((framing.reset_frame(time=_now(), cursor=position, reason=reason, named=subscription.named), None))
    bookmark = (framing.bookmark_frame(time=_now(), cursor=position), position.seq)
    for type_, count in snapshot.counts.items():
        metrics.delivered(type_, count)
    return Opening(position=position, anew=True, pieces=chain(reset, snapshot.pieces(), [bookmark]), complete=snapshot.complete)


def _now() -> datetime:
    return datetime.now(UTC)
