"""What an event log promises, whatever holds its events.

Writers (`app` on behalf of the cluster side, later gateways) append events; readers (`gateway`) hold a position and move it.
`MemoryLog` in this room is one implementation; tests/unit/test_eventlog_contract*.py hold any implementation to this page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from mcp_operator.model.events import Event, EventType, LogLevel
from mcp_operator.model.labels import NO_LABELS, Labels, Selector
from mcp_operator.model.servers import ServerName
from mcp_operator.model.statuses import Status

EXPENDABLE = frozenset({EventType.METRICS, EventType.LOG})
"""Types of which a reader may miss some and go on, if it is told where. Of the others it must miss none."""

_EVENT_ID = re.compile(r"([0-9a-z]{1,32})-(0|[1-9][0-9]{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class EventId:
    """The place of an event in the log, and so also a cursor: "everything up to here is known".

    Written `<epoch>-<seq>`. The epoch names one unbroken history: a log that can't continue an old one starts another. The
    first event of a history has seq 1, so seq 0 is the position before it.
    """

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> EventId:
        """Read `<epoch>-<seq>`.

        Raises:
            ValueError: the text is no event id of any log.
        """
        match = _EVENT_ID.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not an event id: it is written <epoch>-<number>")
        return cls(match[1], int(match[2]))


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom an event is about: a server as it was named and labelled then. Events of one server share it."""

    server: ServerName
    uid: str
    labels: Labels = NO_LABELS
    """Labels of the MCPServer object when the event was made."""


@dataclass(frozen=True, slots=True)
class LineOrigin:
    """How grave a log line is and who printed it."""

    level: LogLevel
    instance: str
    container: str


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """An event in the log, encoded once for all who read it. Two records are equal only if they are the same one."""

    id: EventId
    type: EventType
    subject: Subject
    last_word: bool
    """Whether it says `deleted`, after which nothing follows for this UID."""
    data: bytes
    """The event's JSON: one object on one line, at most `encoding.MAX_EVENT_BYTES`."""
    line: LineOrigin | None = None
    """Of a log event that tells a line: what it is chosen by."""
    announces_loss: bool = False
    """Of a log event: whether it says that lines are missing, which no filter may hide."""
    topic: str | None = None
    """What a newer event of the same topic says anew, so that a reader who is late needs only the newest one: a server's metrics
    (its UID), how far one operation is (its id)."""
    closes_topic: bool = False
    """Whether it ends its topic (an operation's outcome): no reader may miss it."""
    observed: float | None = None
    """When the operator learned of it, by the event loop's clock (seconds); None if that says nothing about its delivery."""

    @property
    def server(self) -> ServerName:
        return self.subject.server

    @property
    def uid(self) -> str:
        return self.subject.uid


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which events a reader wants: those that pass all that is given. Without anything: all."""

    types: frozenset[EventType] = frozenset(EventType)
    uid: str | None = None
    """This one object: nothing follows after its last word."""
    servers: frozenset[ServerName | str] | None = None
    """Any of these: names mean whatever object has them, one after the other, strings are UIDs."""
    namespaces: frozenset[str] | None = None
    selector: Selector | None = None
    """Servers whose labels, when the event was made, match."""
    level: LogLevel | None = None
    """Of log events only lines at least as grave as this."""
    grep: str | None = None
    """Of log events only lines whose `msg` contains this literally. Events of other types pass both, and of those log events
    that tell no line only what announces a loss."""

    def covers(self, subject: Subject) -> bool:
        """Whether it is about this server at all, whatever the event's type."""
        return self.concerns(subject.server, subject.uid) and (self.selector is None or self.selector.matches(subject.labels))

    @property
    def is_of_all(self) -> bool:
        """Whether it covers every server."""
        return self.uid is None and self.servers is None and self.namespaces is None and self.selector is None

    def concerns(self, server: ServerName, uid: str) -> bool:
        """Whether it is about this server with some labels."""
        return (
            (self.uid is None or self.uid == uid)
            and (self.servers is None or server in self.servers or uid in self.servers)
            and (self.namespaces is None or server.namespace in self.namespaces)
        )


EVERYTHING = Selection()


class GapReason(StrEnum):
    """Why history can't be continued from a cursor."""

    EPOCH = "epoch"
    """It belongs to another history."""
    AHEAD = "ahead"
    """It lies after the newest event."""
    EXPIRED = "expired"
    """Events after it that the selection wants are no longer held."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A cursor that can't be continued: instead of a replay that would silently leave out a status or a progress."""

    reason: GapReason


@dataclass(frozen=True, slots=True)
class Batch:
    """The next wanted events after a position: all of them up to `position`."""

    records: tuple[Record, ...]
    position: EventId
    """Where to read on: how far the log was looked through, not the id of the last record."""
    ended: bool
    """The selection is one UID, and `position` is that of its last word: nothing will follow."""
    dropped: Mapping[EventType, EventId] = field(default_factory=dict)
    """The expendable types of which wanted events after `after` are no longer held, and the newest that is missing of each,
    which may lie after `position`: it is said again with each batch up to there. Whether missing log lines would have passed
    `level` and `grep` isn't known any more; they count as wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSnapshot:
    """What is known about one server at a position."""

    subject: Subject
    """As of its newest event."""
    phase: Status | None
    """The status in one word, None before its first status event."""
    status: Record | None
    """The newest status event."""
    progress: Record | None
    """The newest progress event while an operation is open."""
    metrics: Record | None = None
    """The newest metrics event."""

    @property
    def server(self) -> ServerName:
        return self.subject.server

    @property
    def uid(self) -> str:
        return self.subject.uid

    @property
    def deleted(self) -> bool:
        return self.phase is Status.DELETED


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known about the selected servers when everything up to `position` has been read.

    Servers are in the order of their names, those of one name in the order of their newest status. A deleted server is among
    them as long as the log remembers it.
    """

    position: EventId
    servers: tuple[ServerSnapshot, ...]
    lines: tuple[Record, ...] = ()
    """The newest log lines of each container, as many as were asked for and are held, in the log's order."""


@dataclass(frozen=True, slots=True)
class LogStatistics:
    """Figures for the operator's own metrics."""

    appended: Mapping[EventType, int]
    """Events appended by this process, by type."""
    held: Mapping[EventType, int]
    """Events that can still be read, by type."""
    held_bytes: Mapping[EventType, int]
    """What these events' JSON has, by type; a log may need more room for an event than its JSON."""
    evicted: Mapping[EventType, int]
    """Events that this process has let go, by type."""


class Demand(Protocol):
    """Who listens to what: logs are followed and metrics sampled only for those who do."""

    def wanted(self, type_: EventType, server: ServerName, uid: str, labels: Labels = NO_LABELS) -> bool:
        """Whether anybody listens to events of this type of this server, with the labels that it has."""

    def tail(self, server: ServerName, uid: str, labels: Labels = NO_LABELS) -> int:
        """The most lines of a container's past that any listener to this server's log wants; 0 without one."""

    async def changed(self, since: int) -> int:
        """Wait until what is wanted isn't as it was at version `since`, and return its version now. The first one is 0."""


class EventLog(Protocol):
    """The ordered, bounded history of events.

    - One total order: ids rise with every append, whoever the writers are, and times never fall along it. Several writers are
      normal. A log that processes share refuses the events of a writer whose term is over, so that of two controllers only
      one is heard.
    - Bounded by count, bytes and age, each type by itself: a flood of one type takes no room from another. Where room is short,
      servers that hold more than twice an even share give theirs up first, so that one server's flood doesn't push out what was
      said about the others. The newest of each server and type stays, until a server's last word (`deleted`) has itself gone;
      then the server is forgotten.
    - Never a silent hole: a read gives every wanted event between two positions, or says that some are missing (`Gap`,
      `Batch.dropped`). More than is missing is declared only of servers that were forgotten, of lines that `level` or `grep`
      might have left out, and of servers that lost events under very many labels.
    """

    @property
    def head(self) -> EventId:
        """Id of the newest event; of an empty log the position before the first one."""

    async def append(self, event: Event) -> EventId:
        """Add an event and give it its id and time.

        Raises:
            ValueError: the event's JSON is larger than `encoding.MAX_EVENT_BYTES` and can't be shortened to it, or it is nested
                deeper than 250 levels.
        """

    async def read(self, after: EventId, selection: Selection, *, limit: int) -> Batch | Gap:
        """The next events after a position; never waits for new ones.

        It looks at no more than `limit` events of the selection's types, wanted or not, and at none of others. Of a selection by
        UID or by servers it looks at none of other servers.
        """

    async def position(self, since: datetime | None, selection: Selection) -> EventId:
        """From where to read all that was appended at a time or later; None: all that is still held of the selection.

        Read on from there, events that are no longer held are declared as ever. From the position that None gives, that is never
        a `Gap`: history begins behind the newest event that has gone of a type of which none may be missed.
        """

    async def wait(self, after: EventId, selection: Selection = EVERYTHING) -> None:
        """Return once there is something after a position that may be for this selection: at once if there is already."""

    async def snapshot(self, selection: Selection, *, tail: int = 0) -> Snapshot:
        """What is known about the selected servers now; of the selection's types only `log` matters, for the lines.

        Args:
            tail: log lines of each container that are wanted.
        """

    def listening(self, selection: Selection, *, tail: int = 0) -> AbstractContextManager[None]:
        """Somebody listens to these events while inside the block; `demand` shows it.

        Args:
            tail: how many lines that a container has already printed are wanted, if its log isn't followed yet.
        """

    @property
    def demand(self) -> Demand:
        """Who listens to what, over all readers of the log."""

    def statistics(self) -> LogStatistics: ...
