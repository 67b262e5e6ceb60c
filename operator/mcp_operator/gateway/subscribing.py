"""What a request for an event stream asks for: its query and its headers, read into a `Subscription`. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus

from multidict import MultiMapping

from mcp_operator.eventlog.log import EventId, Selection
from mcp_operator.gateway.naming import is_label
from mcp_operator.gateway.problems import ProblemError, bad_parameter
from mcp_operator.model.events import EventType, LogLevel

SERVER_STREAM_PARAMETERS = ("types", "level", "grep", "tail", "named", "snapshot", "last_event_id")
CLUSTER_STREAM_PARAMETERS = ("namespace", *SERVER_STREAM_PARAMETERS)

_UNNAMED_TYPES = frozenset({EventType.STATUS})
"""Types that a stream of unnamed events carries unless it says otherwise: each such event starts a workflow in n8n."""

_GREP_CHARACTERS = 256
_TAIL_LINES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What one subscriber wants to hear, and in which form."""

    selection: Selection
    tail: int = 0
    """How many of the newest log lines of each container the snapshot has."""
    cursor: EventId | None = None
    """What it has seen. None: nothing, or something unreadable."""
    cursor_malformed: bool = False
    """Its Last-Event-ID is no event id: it has seen something, but nobody knows what."""
    named: bool = True
    """Whether events have an `event` line."""
    snapshot_named: bool = True

    @property
    def resumes(self) -> bool:
        """Whether it has heard something before."""
        return self.cursor is not None or self.cursor_malformed


def subscription(
    query: MultiMapping[str], headers: Mapping[str, str], *, selection: Selection, known: tuple[str, ...]
) -> Subscription:
    """Read a stream's query and its Last-Event-ID header. The header wins over `last_event_id=`; empty ones count as absent.

    Raises:
        ProblemError: 400 for an unknown parameter or a value that it can't have.
    """
    parameters = read_parameters(query, known)
    named = _flag(parameters, "named", default=True)
    unnamed_snapshot = _flag(parameters, "snapshot", default=False)
    types = _types(parameters)
    if types is None and not named:
        types = _UNNAMED_TYPES
    selection = replace(
        selection,
        types=types or selection.types,
        namespaces=namespaces(parameters),
        level=_level(parameters),
        grep=_grep(parameters),
    )
    cursor = _query_cursor(parameters)
    cursor_malformed = False
    if last_event_id := headers.get("Last-Event-ID"):
        try:
            cursor = EventId.parse(last_event_id)
        except ValueError:
            cursor, cursor_malformed = None, True
    return Subscription(
        selection=selection,
        tail=_tail(parameters),
        cursor=cursor,
        cursor_malformed=cursor_malformed,
        named=named,
        snapshot_named=named or not unnamed_snapshot,
    )


def read_parameters(query: MultiMapping[str], known: tuple[str, ...]) -> dict[str, str]:
    """The query's parameters that have a value.

    Raises:
        ProblemError: 400 for an unknown parameter, or one given twice.
    """
    expected = f"one of the parameters {', '.join(known)}, once" if known else "no parameters"
    for name in query:
        if name not in known or len(query.getall(name)) > 1:
            raise bad_parameter(name, ",".join(query.getall(name)), expected=expected)
    return {name: value for name, value in query.items() if value}


def namespaces(parameters: Mapping[str, str]) -> frozenset[str] | None:
    """The namespaces of `namespace=`, None if it isn't given.

    Raises:
        ProblemError: 400, one of them can't be a namespace.
    """
    if "namespace" not in parameters:
        return None
    names = frozenset(parameters["namespace"].split(","))
    if not all(is_label(name) for name in names):
        raise bad_parameter("namespace", parameters["namespace"], expected="names of namespaces, separated by commas")
    return names


def require_event_stream(accept: str | None) -> None:
    """Check that the client takes an event stream; `*/*` and no Accept header at all mean it.

    Raises:
        ProblemError: 406.
    """
    ranges = {part.split(";")[0].strip().lower() for part in (accept or "*/*").split(",")}
    if not ranges & {"text/event-stream", "text/*", "*/*"}:
        raise ProblemError(
            HTTPStatus.NOT_ACCEPTABLE,
            "This URL answers with text/event-stream only: send it in the Accept header, or */*",
            expected="text/event-stream",
        )


def _types(parameters: Mapping[str, str]) -> frozenset[EventType] | None:
    if "types" not in parameters:
        return None
    try:
        return frozenset(EventType(name) for name in parameters["types"].split(","))
    except ValueError:
        expected = f"types of events, separated by commas: {', '.join(EventType)}"
        raise bad_parameter("types", parameters["types"], expected=expected) from None


def _level(parameters: Mapping[str, str]) -> LogLevel | None:
    if "level" not in parameters:
        return None
    try:
        return LogLevel(parameters["level"])
    except ValueError:
        expected = f"the least grave level of log lines to tell, one of {', '.join(LogLevel)}"
        raise bad_parameter("level", parameters["level"], expected=expected) from None


def _grep(parameters: Mapping[str, str]) -> str | None:
    text = parameters.get("grep")
    if text is not None and len(text) > _GREP_CHARACTERS:
        raise bad_parameter("grep", text, expected=f"a text of at most {_GREP_CHARACTERS} characters")
    return text


def _tail(parameters: Mapping[str, str]) -> int:
    value = parameters.get("tail", "0")
    if re.fullmatch("[0-9]{1,5}", value) is None or int(value) > _TAIL_LINES:
        raise bad_parameter("tail", value, expected=f"a number of log lines from 0 to {_TAIL_LINES}")
    return int(value)


def _flag(parameters: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = parameters.get(name, str(int(default)))
    if value not in {"0", "1"}:
        raise bad_parameter(name, value, expected="0 or 1")
    return value == "1"


def _query_cursor(parameters: Mapping[str, str]) -> EventId | None:
    value = parameters.get("last_event_id")
    if value is None:
        return None
    try:
        return EventId.parse(value)
    except ValueError:
        expected = "the id of an event, <epoch>-<number>, as streams and lists give it"
        raise bad_parameter("last_event_id", value, expected=expected) from None
