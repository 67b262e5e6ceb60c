"""An event's JSON, as every reader gets it: the log encodes each event once, when it is appended."""

import json
import re
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pydantic_core
from pydantic_core import PydanticSerializationError

from mcp_operator.eventlog.log import EventId
from mcp_operator.model.events import Event, Payload

MAX_EVENT_BYTES = 59 * 1024
"""Bound of one event's JSON. A whole SSE frame stays under 60 KiB with it: common clients read at most 64 KiB per event."""

_STRING_BYTES = (16384, 4096, 1024, 256)
_ARRAY_ITEMS = (1024, 256, 64, 16, 4, 1, 0)
_OBJECT_MEMBERS = (64, 16, 4, 0)

# JSON escapes what is below U+0020. These may stand in it as they are, but some readers of lines split at them (Python's
# str.splitlines does) and some terminals obey them (C1 controls).
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029]")
_ESCAPES = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encode(event: Event, *, event_id: EventId, time: datetime) -> bytes:
    """The event as one JSON object on one line, in UTF-8.

    The envelope comes first, then the payload's fields. A payload that is too large is shortened, which `truncated: true` tells.

    Raises:
        ValueError: the payload can't be shortened to MAX_EVENT_BYTES.
    """
    envelope: dict[str, Any] = {
        "id": str(event_id),
        "type": event.type.value,
        "server": str(event.server),
        "uid": event.uid,
        "time": timestamp(time),
        "key": event.key,
    }
    if event.late:
        envelope["late"] = True
    head = to_json(envelope)
    limit = MAX_EVENT_BYTES - len(head)
    payload = _payload_json(event.payload)
    if len(payload) > limit:
        payload = shorten(event.payload.to_json_object(), limit)
    return head[:-1] + b"," + payload[1:]


def _payload_json(payload: Payload) -> bytes:
    try:
        return _harmless(payload.model_dump_json(by_alias=True))
    except PydanticSerializationError:  # a lone surrogate
        return to_json(payload.to_json_object())


def to_json(value: object) -> bytes:
    """Compact JSON on one line, in UTF-8, harmless to line readers and terminals; lone surrogates become question marks."""
    try:
        encoded = pydantic_core.to_json(value)
    except PydanticSerializationError:  # a lone surrogate
        return _harmless(_ENCODER.encode(value))
    return encoded if encoded.isascii() and b"\x7f" not in encoded else _harmless(encoded.decode())


def _harmless(text: str) -> bytes:
    if text.isascii() and "\x7f" not in text:
        return text.encode()
    if _UNSAFE.search(text) is not None:
        text = text.translate(_ESCAPES)
    return text.encode("utf-8", "replace")


def shorten(value: dict[str, Any], limit: int) -> bytes:
    """The object's JSON in at most `limit` bytes: its longest strings are cut first, then its longest arrays, then its objects.

    It keeps all its own fields. What was cut shows as `truncated: true` among them.

    Raises:
        ValueError: the object is still too large with short strings and empty arrays and objects.
    """
    encoded = to_json(value)
    if len(encoded) <= limit:
        return encoded
    shortest, fewest = _STRING_BYTES[-1], _ARRAY_ITEMS[-1]
    steps: list[tuple[int, int | None, int | None]] = [(size, None, None) for size in _STRING_BYTES]
    steps += [(shortest, items, None) for items in _ARRAY_ITEMS]
    steps += [(shortest, fewest, members) for members in _OBJECT_MEMBERS]
    for step in steps:
        encoded = to_json({**{key: _cut(inner, *step) for key, inner in value.items()}, "truncated": True})
        if len(encoded) <= limit:
            return encoded
    raise ValueError(f"an object of {len(to_json(value))} bytes can't be shortened to {limit}: it has too many fields")


def _cut(value: Any, string_bytes: int, array_items: int | None, object_members: int | None) -> Any:
    bounds = (string_bytes, array_items, object_members)
    match value:
        case str() if len(encoded := value.encode("utf-8", "replace")) > string_bytes:
            return encoded[: string_bytes - len("…".encode())].decode("utf-8", "ignore") + "…"
        case list():
            return [_cut(item, *bounds) for item in value[:array_items]]
        case dict():
            return {key: _cut(inner, *bounds) for key, inner in islice(value.items(), object_members)}
        case _:
            return value


def timestamp(time: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, as all times that the log and the gateway give out: 2026-11-23T08:15:00.123Z."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
