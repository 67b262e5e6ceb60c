"""Server-Sent Events on the wire: what `streaming` tells, as bytes. Pure functions.

The format is WHATWG HTML's, section "Server-sent events". Within its freedom every choice here is one that a client in use
needs (docs/streams.md): LF only, one JSON object on one `data` line, fields in the order event, retry, data, id. The id comes
last so that a client that takes over ids before a frame is complete has the data as well.

"Unnamed" frames have no `event` line: clients whose only listener is `onmessage` see these and no others.
"""

import secrets
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache

from mcp_operator.eventlog.encoding import timestamp, to_json
from mcp_operator.eventlog.log import EventId, Record
from mcp_operator.model.events import EventType

HEARTBEAT = b":\n"
"""A comment without text and without a blank line after it: some clients report anything more as an empty event."""

MAX_FRAME_BYTES = 60 * 1024
"""No frame is longer; common clients read at most 64 KiB per event."""

CHUNK_BYTES = 64 * 1024
"""Frames are written together up to about this size."""

# One frame serves all streams that are at the same place, and most are at the newest events: the caches are small.
_CACHED_FRAMES = 1024


@lru_cache(_CACHED_FRAMES)
def event_frame(record: Record, *, named: bool) -> bytes:
    """One event, with its id: a client that has seen it resumes behind it."""
    return _frame(record.type if named else None, record.data, event_id=record.id)


@lru_cache(_CACHED_FRAMES)
def snapshot_frame(record: Record, *, named: bool) -> bytes:
    """One event as part of a snapshot: without an id line, because a client that resumed behind it would miss the others."""
    return _frame(record.type if named else None, record.data[:-1] + b',"snapshot":true}')


def hello_frame(*, time: datetime, retry_ms: int, heartbeat_seconds: float, cursor: EventId | None) -> bytes:
    """Opens every response. It is named, so it starts no workflow, and it flushes what a client kept of a broken-off frame.

    `cursor` is the position served, None if none is. There is no id line: nothing has been seen yet.
    """
    data = {**_control("hello", time, cursor), "heartbeatSeconds": heartbeat_seconds}
    return _frame("hello", to_json(data), retry_ms=retry_ms)


def bookmark_frame(*, time: datetime, cursor: EventId) -> bytes:
    """Everything up to the cursor has been told: closes a snapshot, and keeps a quiet stream's cursor fresh."""
    return _frame("bookmark", to_json(_control("bookmark", time, cursor)), event_id=cursor)


def reset_frame(*, time: datetime, cursor: EventId, reason: str, named: bool) -> bytes:
    """History can't be continued from the client's cursor: what it knows is replaced by the snapshot that follows."""
    return _frame("reset" if named else None, to_json({**_control("reset", time, cursor), "reason": reason}))


def dropped_frame(
    *, time: datetime, types: Iterable[EventType], count: int | None, after: EventId, before: EventId, named: bool
) -> bytes:
    """Events of these types that were wanted are missing, somewhere after one id and before another; `count` is None where it
    isn't known how many. There is no id line: who is cut off here and comes back is told again.
    """
    data = {
        **_control("dropped", time, after),
        "types": sorted(types),
        "count": count,
        "after": str(after),
        "before": str(before),
    }
    return _frame("dropped" if named else None, to_json(data))


def bye_frame(*, time: datetime, retry_ms: int, cursor: EventId | None, reason: str) -> bytes:
    """The last frame of a stream that the server ends, and why. `cursor` is where to resume, None if nothing was served."""
    data = to_json({**_control("bye", time, cursor), "reason": reason})
    return _frame("bye", data, retry_ms=retry_ms, event_id=cursor)


def retry_ms(*, least: int = 1000, most: int = 3000) -> int:
    """After how many milliseconds a client comes back: random, so that those cut off together don't come back together."""
    return least + secrets.randbelow(most - least + 1)


def coalesce(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Join frames to chunks of about CHUNK_BYTES: one write carries many frames, and memory per stream stays small."""
    waiting: list[bytes] = []
    size = 0
    for frame in frames:
        waiting.append(frame)
        size += len(frame)
        if size >= CHUNK_BYTES:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    if waiting:
        yield b"".join(waiting)


def _control(name: str, time: datetime, cursor: EventId | None) -> dict[str, object]:
    return {"type": name, "time": timestamp(time), "cursor": None if cursor is None else str(cursor)}


def _frame(name: str | None, data: bytes, *, retry_ms: int | None = None, event_id: EventId | None = None) -> bytes:
    lines = []
    if name is not None:
        lines.append(b"event: %b\n" % name.encode())
    if retry_ms is not None:
        lines.append(b"retry: %d\n" % retry_ms)
    lines.append(b"data: %b\n" % data)
    if event_id is not None:
        lines.append(b"id: %b\n" % str(event_id).encode())
    lines.append(b"\n")
    return b"".join(lines)
