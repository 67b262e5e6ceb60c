"""What many streams ask for at the same moment is made once: the replay behind a cursor, and the snapshot of a position.

When a proxy restarts, thousands of subscribers come back within a second, most with the same cursor and the same filters.
`opening` and `catching_up` ask here instead of the log. What is kept is little and is always right: what a log holds between two
positions never changes, and a snapshot is kept for its own position only.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Generic, TypeAlias, TypeVar

from mcp_operator.eventlog.log import Batch, EventId, EventLog, Gap, Record, Selection
from mcp_operator.gateway import framing
from mcp_operator.gateway.naming import told_by
from mcp_operator.gateway.subscribing import Subscription
from mcp_operator.model.events import EventType

PIECE_BYTES = 16 * 1024
"""Frames are joined up to about this size: what one write to a stream that is behind carries."""

_BATCH_EVENTS = 512
"""Events looked at between two turns of the other streams."""

_KEPT = 16
"""Batches and snapshots that are kept for others, each."""

_KEPT_LINES = 1_000
"""Log lines of a snapshot that is kept; one with more would keep what the log has long let go."""

Piece: TypeAlias = tuple[bytes, int | None]
"""Frames joined, and the seq of the last id in them, if there is one."""

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class SharedBatch:
    """Events behind a position, as the log gave them."""

    batch: Batch
    counts: Mapping[EventType, int]
    _pieces: dict[bool, Sequence[Piece]] = field(default_factory=dict)

    def pieces(self, *, named: bool) -> Sequence[Piece]:
        """Their frames."""
        if named not in self._pieces:
            self._pieces[named] = list(
                joined((framing.event_frame(each, named=named), each.id.seq) for each in self.batch.records)
            )
        return self._pieces[named]


@dataclass(frozen=True, slots=True)
class SharedSnapshot:
    """What is known at a position."""

    position: EventId
    newest: Sequence[Piece]
    """The newest events of each server, in frames."""
    lines: Sequence[Record]
    named: bool
    counts: Mapping[EventType, int]
    complete: bool
    """Whether nothing will follow: the one object that it is about is gone."""

    def pieces(self) -> Iterator[Piece]:
        """All of it in frames. A subscriber may ask for very many lines and take them slowly: their frames are made as they
        are sent, so what it holds until then is the log's own records."""
        return joined(chain(self.newest, _snapshot_frames(self.lines, named=self.named)))


class Reused:
    """Reads a log for streams. Belongs to one event loop."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._batches: _Newest[tuple[EventId, Selection], SharedBatch] = _Newest()
        self._snapshots: _Newest[tuple[EventId, Selection, int, bool], SharedSnapshot] = _Newest()

    async def read(self, after: EventId, selection: Selection) -> SharedBatch | Gap:
        """The next wanted events after a position."""
        key = (after, selection)
        shared = self._batches.get(key)
        if shared is not None:
            await asyncio.sleep(0)
            return shared
        answer = await self._log.read(after, selection, limit=_BATCH_EVENTS)
        if isinstance(answer, Gap):
            return answer
        shared = SharedBatch(answer, Counter(record.type for record in answer.records))
        if answer.records:
            self._batches.keep(key, shared)
        return shared

    async def snapshot(self, subscription: Subscription) -> SharedSnapshot:
        """What is known now about the servers that a subscription selects."""
        selection, tail, named = subscription.selection, subscription.tail, subscription.snapshot_named
        shared = self._snapshots.get((self._log.head, selection, tail, named))
        if shared is not None:
            return shared
        snapshot = await self._log.snapshot(selection, tail=tail)
        records = list(told_by(snapshot, selection))
        lines = [record for record in records if record.type is EventType.LOG]
        newest = (record for record in records if record.type is not EventType.LOG)
        shared = SharedSnapshot(
            position=snapshot.position,
            newest=list(joined(_snapshot_frames(newest, named=named))),
            lines=lines,
            named=named,
            counts=Counter(record.type for record in records),
            complete=selection.uid is not None and all(server.deleted for server in snapshot.servers),
        )
        if len(lines) <= _KEPT_LINES:
            self._snapshots.keep((snapshot.position, selection, tail, named), shared)
        return shared


def _snapshot_frames(records: Iterable[Record], *, named: bool) -> Iterator[Piece]:
    return ((framing.snapshot_frame(record, named=named), None) for record in records)


def joined(frames: Iterable[Piece]) -> Iterator[Piece]:
    """Frames, or small pieces, joined to pieces that are each worth a write; one that is large enough stays the object it is."""
    waiting: list[bytes] = []
    size, told = 0, None
    for frame, seq in frames:
        waiting.append(frame)
        size += len(frame)
        told = told if seq is None else seq
        if size >= PIECE_BYTES:
            yield b"".join(waiting), told
            waiting.clear()
            size, told = 0, None
    if waiting:
        yield b"".join(waiting), told


class _Newest(Generic[K, V]):
    """The few newest of what was kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        return self._kept.get(key)

    def keep(self, key: K, value: V) -> None:
        self._kept[key] = value
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
