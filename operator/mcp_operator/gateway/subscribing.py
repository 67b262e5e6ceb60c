"""What a request for events asks for: its query and its headers, read into a `Subscription`. No I/O.

Streams and the JSON pages of the same URLs (`paging`) are asked for with the same parameters; only a page has an end to choose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Literal, TypeAlias

from multidict import MultiMapping

from mcp_operator.eventlog.log import EventId, Selection
from mcp_operator.gateway.filtering import EVENT_FILTERS, SERVER_FILTERS, choose_events, choose_servers
from mcp_operator.gateway.negotiating import Form
from mcp_operator.gateway.problems import bad_parameter
from mcp_operator.gateway.querying import flag_of, number_of, read_parameters
from mcp_operator.model.events import EventType

PAGE_PARAMETERS = ("limit", "wait")
"""Parameters that only a JSON page has."""

LIST_PARAMETERS = SERVER_FILTERS
SERVER_STREAM_PARAMETERS = (*EVENT_FILTERS, "tail", "named", "snapshot", "last_event_id", "since", *PAGE_PARAMETERS)
CLUSTER_STREAM_PARAMETERS = (*SERVER_FILTERS, *SERVER_STREAM_PARAMETERS)

_UNNAMED_TYPES = frozenset({EventType.STATUS, EventType.RESPONSE})
"""Types that a stream of unnamed events carries unless it says otherwise: each such event starts a workflow in n8n."""

_TAIL_LINES = 10_000
_PAGE_EVENTS = 1_000
_WAIT_SECONDS = 30

_DURATION = re.compile(r"(?=.)(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", re.ASCII)
_LONGEST = timedelta(days=366)
_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d{1,9})?(?:[Zz]|([ +-]\d\d:\d\d))",  # an unescaped + of a query arrives as a space
    re.ASCII,
)
_WAIT = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)s?", re.ASCII)


class Earliest(Enum):
    """The oldest event that is held, whenever it was."""

    EARLIEST = "earliest"


EARLIEST: Literal[Earliest.EARLIEST] = Earliest.EARLIEST

Since: TypeAlias = datetime | timedelta | Earliest
"""From when on events are wanted: appended at this time (in UTC) or later, so long ago at most, or all that are held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What one subscriber wants to hear, from where on, and in which form."""

    selection: Selection
    tail: int = 0
    """How many of the newest log lines of each container the snapshot has."""
    cursor: EventId | None = None
    """What it has seen. None: nothing, or something unreadable."""
    cursor_malformed: bool = False
    """Its Last-Event-ID is no event id: it has seen something, but nobody knows what."""
    since: Since | None = None
    """From when on it wants events, if it has no cursor; `resuming` makes a cursor of it."""
    named: bool = True
    """Whether events have an `event` line."""
    snapshot_named: bool = True
    limit: int = 100
    """Most events of a page."""
    wait_seconds: float = 0
    """How long a page that would be empty waits for its first event."""

    @property
    def resumes(self) -> bool:
        """Whether it has heard something before."""
        return self.cursor is not None or self.cursor_malformed


def subscription(
    query: MultiMapping[str],
    headers: Mapping[str, str],
    *,
    selection: Selection,
    known: tuple[str, ...],
    default_namespace: str,
    form: Form = Form.STREAM,
) -> Subscription:
    """Read a query and its Last-Event-ID header, which wins over `last_event_id=`, as that does over `since=`; empty is absent.

    Args:
        selection: what the path says.
        default_namespace: of a server named without one.

    Raises:
        ProblemError: 400 for an unknown parameter or a value that it can't have.
    """
    parameters = read_parameters(query, known)
    _require_form(parameters, form)
    named = flag_of(parameters, "named", default=True)
    snapshot_unnamed = flag_of(parameters, "snapshot", default=False)
    types = selection.types if named else _UNNAMED_TYPES
    selection = choose_servers(selection, parameters, default_namespace=default_namespace)
    selection = choose_events(selection, parameters, types=types)
    cursor, since = _query_cursor(parameters), since_of(parameters)
    cursor_malformed = False
    if last_event_id := headers.get("Last-Event-ID"):
        try:
            cursor = EventId.parse(last_event_id)
        except ValueError:
            cursor, cursor_malformed = None, True
    return Subscription(
        selection=selection,
        tail=number_of(parameters, "tail", least=0, most=_TAIL_LINES, default=0, meaning="a number of log lines"),
        cursor=cursor,
        cursor_malformed=cursor_malformed,
        since=None if cursor is not None or cursor_malformed else since,
        named=named,
        snapshot_named=named or not snapshot_unnamed,
        limit=number_of(parameters, "limit", least=1, most=_PAGE_EVENTS, default=100, meaning="a number of events"),
        wait_seconds=_wait_seconds(parameters),
    )


def _require_form(parameters: Mapping[str, str], form: Form) -> None:
    for name in PAGE_PARAMETERS:
        if form is Form.STREAM and name in parameters:
            expected = "Accept: application/json beside it: only the JSON page has an end"
            raise bad_parameter(name, parameters[name], expected=expected)


def _query_cursor(parameters: Mapping[str, str]) -> EventId | None:
    value = parameters.get("last_event_id")
    if value is None:
        return None
    try:
        return EventId.parse(value)
    except ValueError:
        expected = "the id of an event, <epoch>-<number>, as streams and lists give it"
        raise bad_parameter("last_event_id", value, expected=expected) from None


def since_of(parameters: Mapping[str, str]) -> Since | None:
    """From when on, if that is said.

    Raises:
        ProblemError: 400, it is none of the three forms.
    """
    value = parameters.get("since")
    if value is None:
        return None
    if value == EARLIEST.value:
        return EARLIEST
    since: Since | None = _duration(value)
    if since is None:
        since = _time(value)
    if since is None:
        expected = (
            f"a time as RFC 3339 writes it (2026-11-23T08:15:00Z), a duration such as 30s, 5m, 1h30m or 1d (at most "
            f"{_LONGEST.days}d), or earliest"
        )
        raise bad_parameter("since", value, expected=expected)
    return since


def _duration(value: str) -> timedelta | None:
    """None if it is none, or too long."""
    match = _DURATION.fullmatch(value)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(count or 0) for count in match.groups())
    duration = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    return duration if duration <= _LONGEST else None


def _time(value: str) -> datetime | None:
    match = _RFC_3339.fullmatch(value)
    if match is None:
        return None
    date, clock, fraction, offset = match.groups()
    microseconds = (fraction or ".0")[:7]
    try:
        time = datetime.fromisoformat(f"{date}T{clock}{microseconds:0<7}{(offset or '+00:00').replace(' ', '+')}")
        return time.astimezone(UTC)
    except (ValueError, OverflowError):  # 31 February, or a time that is before the year 1 in UTC
        return None


def _wait_seconds(parameters: Mapping[str, str]) -> float:
    value = parameters.get("wait", "0")
    match = _WAIT.fullmatch(value)
    if match is None or float(match[1]) > _WAIT_SECONDS:
        raise bad_parameter("wait", value, expected=f"seconds to wait for an event, from 0 to {_WAIT_SECONDS}, such as 20 or 20s")
    return float(match[1])
