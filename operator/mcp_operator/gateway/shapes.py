"""The shapes of what the gateway sends besides events: control frames, lists, pages and problem documents, as JSON Schemas.

The bytes themselves are put together where they are sent (`framing`, `listing`, `paging`, `problems`); here is what they promise,
for `describing`. Tests hold every frame and every answer that they see to these schemas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from mcp_operator.gateway.overviewing import StreamState
from mcp_operator.gateway.rollouts import RolloutList
from mcp_operator.model.base import Count, Model
from mcp_operator.model.events import EventType, LogLevel
from mcp_operator.model.schemas import (
    EventIdText,
    Schema,
    Timestamp,
    definitions,
    event_definitions,
    event_name,
    one_line_a_paragraph,
    one_of,
)

AT: Final = "#/components/schemas/"
"""Where the schemas stand in the OpenAPI document."""


class Control(Model):
    """What every control frame has."""

    time: Timestamp
    """When it was sent."""
    cursor: EventIdText | None
    """The position that the stream has reached: give it as Last-Event-ID to go on from there; null if nothing is served."""


class Hello(Control):
    """Opens every stream, with a random `retry:`: after how many milliseconds to come back when the connection ends."""

    type: Literal["hello"]
    heartbeat_seconds: float
    """The longest silence: a stream that is silent for much longer is dead."""


class Bookmark(Control):
    """Everything up to the cursor has been told: it closes a snapshot, and keeps the cursor of a quiet stream fresh."""

    type: Literal["bookmark"]


class Reset(Control):
    """History can't be continued from the client's cursor: forget what was known, a snapshot follows."""

    type: Literal["reset"]
    reason: str
    """Why, in one word: the cursor is of another history (`epoch`), newer than any event (`ahead`), no event id (`malformed`), or
    events after it are no longer held (`expired`)."""


class Dropped(Control):
    """Events that were wanted are missing here."""

    type: Literal["dropped"]
    types: tuple[EventType, ...]
    """Their types."""
    count: Count | None
    """How many; null if it isn't known."""
    after: EventIdText
    """They were told after this id ..."""
    before: EventIdText
    """... and before this one."""


class Bye(Control):
    """The last frame of a stream that the gateway ends, with a `retry:` of its own: come back then, with the cursor."""

    type: Literal["bye"]
    reason: str
    """Why, in one word. `deleted`: the object of a stream by UID is gone, and all about it has been told. `age`: the stream has
    been open for long enough. `slow`: the client was so far behind that it would have missed what nobody may miss. `shutdown`:
    the gateway stops. `starting`: it doesn't know the whole cluster yet. `too-many-streams`, `too-many-of-client`, `too-fast`:
    there are too many streams, in all, of this client, or beginning at once. `error`: the gateway failed. But for the first: come
    back, and go on."""


CONTROL_FRAMES: Final[Sequence[type[Control]]] = (Hello, Bookmark, Reset, Dropped, Bye)


def control_name(frame: type[Control]) -> str:
    """Its `type`, which is the frame's `event:` too."""
    return frame.__name__.lower()


class PageReset(Model):
    """Of a page: history couldn't be continued from the client's cursor, so there is a snapshot."""

    reason: str
    """Why, as in a `reset` frame."""
    cursor: EventIdText
    """The position of the snapshot."""


class Missing(Model):
    """Of a page: events that were wanted and aren't held any more."""

    types: tuple[EventType, ...]
    """Their types."""
    count: Count | None
    """How many; null if it isn't known."""
    after: EventIdText
    """They were told after this id ..."""
    before: EventIdText
    """... and before this one."""


class StreamFilters(Model):
    """What a stream wants, each as its parameter is called; null: not filtered by it."""

    types: tuple[EventType, ...]
    """Types of events."""
    servers: tuple[str, ...] | None
    """`namespace/name`, or UIDs."""
    namespace: tuple[str, ...] | None
    """Namespaces."""
    selector: str | None
    """A label selector."""
    level: LogLevel | None
    """The least grave level of log lines."""
    grep: str | None
    """What log lines contain."""


class OpenStream(Model):
    """One stream that is open."""

    client: str
    """Who listens: an identity, or an address where there is none."""
    path: str
    """Of its URL, without the query."""
    named: bool
    """Whether its events have an `event:` line."""
    filters: StreamFilters
    """What it wants."""
    state: StreamState
    """Whether it has got all that there is (`live`), is being sent what was before (`catching-up`), or ends (`ending`)."""
    cursor: EventIdText
    """Everything that it wants up to here has been written to it."""
    behind: Count
    """How many events have been told since, whether it wants them or not."""
    opened_at: Timestamp
    """When it was opened."""
    age_seconds: Annotated[float, Field(ge=0)]
    """How long it has been open."""


class StreamList(Model):
    """The streams that are open."""

    total: Count
    """How many there are."""
    streams: tuple[OpenStream, ...]
    """The oldest of them, as many as `limit` allows."""


class MomentFigures(Model):
    """Figures of a moment, named as in a metrics event; null where they couldn't be told."""

    cpu: float | None
    """Percent of the CPU limits."""
    cpu_millicores: float | None
    """Thousandths of a core."""
    memory: float | None
    """Working set in MiB."""
    memory_bytes: int | None
    """Working set in bytes."""
    memory_percent: float | None
    """Percent of the memory limits."""
    requests_per_second: float | None
    """Requests served per second."""
    in_flight: float | None
    """Requests that are worked on."""


class MetricsPoint(MomentFigures):
    """One point of a chart: a sample, or the samples of a slice of time. Of several samples a figure is their mean over those
    that tell it, and a counter is the newest that is known."""

    time: Timestamp
    """When its newest sample was told."""
    samples: Annotated[int, Field(ge=1)]
    """How many samples it sums up."""
    requests: float | None
    """Requests served since the instances started."""
    errors: float | None
    """Requests that failed since the instances started."""
    max: MomentFigures
    """The largest figures among its samples; of one sample the figures themselves."""


class MetricsHistory(Model):
    """What one server has used lately."""

    server: str
    """`namespace/name`."""
    uid: str
    """UID of the MCPServer object."""
    from_: Annotated[Timestamp, Field(alias="from")]
    """The time asked for; with `earliest` that of the first point."""
    to: Timestamp
    """When it was asked."""
    slice_seconds: Annotated[int | None, Field(ge=1)]
    """Each point sums up a slice of so many seconds, which begins at a multiple of them since 1970; null: each is a sample."""
    points: tuple[MetricsPoint, ...]
    """The oldest first; without one the server wasn't measured in that time."""
    dropped: tuple[Missing, ...]
    """What is missing at the beginning, because it isn't held any more."""
    cursor: EventIdText
    """The position of the history: a stream with this as `last_event_id` goes on from it."""


def schemas() -> dict[str, Schema]:
    """All schemas of the API, by name."""
    return {
        "Message": _message(),
        "StreamItem": _stream_item(),
        **event_definitions(at=AT),
        **definitions([*CONTROL_FRAMES, PageReset, Missing, StreamList, MetricsHistory, RolloutList], at=AT),
        "Snapshot": _snapshot(),
        "ServerList": _server_list(),
        "Page": _page(),
        "Problem": _problem(),
    }


def reference(name: str) -> Schema:
    """A reference to one of the schemas."""
    return {"$ref": AT + name}


def _message() -> Schema:
    """What stands in the `data` of a frame."""
    names = {type_.value: event_name(type_) for type_ in EventType} | {control_name(f): f.__name__ for f in CONTROL_FRAMES}
    return one_of({type_: AT + name for type_, name in names.items()}, "An event or a control frame, told apart by `type`.")


def _stream_item() -> Schema:
    """One Server-Sent Event as OpenAPI models it: an object of its fields, comments left out."""
    names = {type_.value: event_name(type_) for type_ in EventType} | {control_name(f): f.__name__ for f in CONTROL_FRAMES}
    named = [
        {"required": ["event"], "properties": {"event": {"const": name}, "data": _json_text(schema)}}
        for name, schema in names.items()
    ]
    unnamed = {"properties": {"event": {"const": "message"}, "data": _json_text("Message")}}
    return {
        "description": one_line_a_paragraph(
            """One Server-Sent Event. Its `data` is JSON, one object on one line, that names its own `type`; with `named=0` events
            have no `event` line, which clients read as `message`."""
        ),
        "type": "object",
        "required": ["data"],
        "properties": {
            "event": {"type": "string", "description": "The `type` of what is in `data`; absent with `named=0`."},
            "data": {"type": "string", "description": "One JSON object."},
            "id": {
                "type": "string",
                "description": "The cursor after this event; a frame without it leaves the last one as it is.",
            },
            "retry": {"type": "integer", "minimum": 0, "description": "Milliseconds to wait before coming back."},
        },
        "oneOf": [*named, unnamed],
    }


def _json_text(schema: str) -> Schema:
    return {"contentMediaType": "application/json", "contentSchema": reference(schema)}


def _snapshot() -> Schema:
    def newest(type_: EventType, description: str) -> Schema:
        return {"description": description, "anyOf": [reference(event_name(type_)), {"type": "null"}]}

    return _object(
        "What is known about one server.",
        {
            "server": {"type": "string", "description": "`namespace/name`."},
            "uid": {"type": "string", "description": "UID of the MCPServer object."},
            "status": newest(EventType.STATUS, "Its newest status event."),
            "progress": newest(EventType.PROGRESS, "Its newest progress event while a rollout or scaling is open, else null."),
            "metrics": newest(EventType.METRICS, "Its newest metrics event; `sampledAt` says how old it is."),
        },
    )


def _server_list() -> Schema:
    return _object(
        "All servers, and the position at which this was so.",
        {
            "items": {
                "type": "array",
                "items": reference("Snapshot"),
                "description": "The servers, in the order of their names.",
            },
            "cursor": _event_id("The position of the list: a stream with this as `last_event_id` goes on from it."),
        },
    )


def _page() -> Schema:
    events: Schema = {"type": "array", "items": reference("Event")}
    return _object(
        "The events of a stream's URL as an answer that ends.",
        {
            "events": {**events, "description": "The events, in their order; at most `limit`."},
            "next": _event_id("How far history was looked through: the `last_event_id` of the next page."),
            "reset": {"anyOf": [reference("PageReset"), {"type": "null"}], "description": "Null where nothing had to be reset."},
            "snapshot": {
                **events,
                "type": ["array", "null"],
                "description": "What is known, if there was no cursor or a reset; else null.",
            },
            "dropped": {"type": "array", "items": reference("Missing"), "description": "What is missing among the events."},
            "more": {"type": "boolean", "description": "Whether the next page has something at once."},
        },
    )


def _problem() -> Schema:
    texts = {
        "type": "`about:blank`: the status says it all.",
        "title": "The status in words.",
        "detail": "What is wrong, for people.",
        "parameter": "Which parameter of the URL or header can't be used.",
        "value": "The value that it has.",
        "expected": "What it may be.",
        "reason": "Of an overload: what there is too much of, in one word.",
    }
    fields: dict[str, Schema] = {name: {"type": "string", "description": text} for name, text in texts.items()}
    fields["status"] = {"type": "integer", "description": "The HTTP status."}
    return _object("Why there is no better answer (RFC 9457).", fields, optional=("parameter", "value", "expected", "reason"))


def _event_id(description: str) -> Schema:
    return {**reference("Envelope/properties/id"), "description": description}


def _object(description: str, fields: Mapping[str, Any], *, optional: Sequence[str] = ()) -> Schema:
    return {
        "type": "object",
        "description": description,
        "properties": dict(fields),
        "required": [name for name in fields if name not in optional],
    }
