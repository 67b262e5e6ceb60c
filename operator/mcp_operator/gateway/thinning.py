"""What a slow client still gets of what it has fallen behind with. Pure functions; `catching_up` calls them.

Metrics and progress say anew what they said before: the newest of a topic is enough, and the last word on an operation is always
kept. A lost log line is a loss, so lines are counted. Everything else is kept. What is kept stays in order.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from mcp_operator.eventlog.log import EventId, Record
from mcp_operator.model.events import EventType


@dataclass(slots=True)
class Thinned:
    """A backlog: what is left of it, and what was left out so far."""

    records: list[Record]
    coalesced: Counter[EventType] = field(default_factory=Counter)
    """Events that a newer one of the same topic replaces."""
    lines: int = 0
    """Log events left out."""
    newest_line: EventId | None = None
    """The newest of them."""


def thin(backlog: Thinned) -> None:
    """Leave out what a client that is late can do without. More may be added behind and thinned again."""
    kept: list[Record] = []
    lines: list[Record] = []
    topics: set[tuple[EventType, str]] = set()
    for record in reversed(backlog.records):
        if record.type is EventType.LOG and not record.announces_loss:
            lines.append(record)
            continue
        if record.topic is not None:
            topic = (record.type, record.topic)
            if topic in topics and not record.closes_topic:
                backlog.coalesced[record.type] += 1
                continue
            topics.add(topic)
        kept.append(record)
    backlog.records = kept[::-1]
    if lines:
        backlog.lines += len(lines)
        backlog.newest_line = lines[0].id


def size(records: Iterable[Record]) -> int:
    """Bytes of the events' JSON."""
    return sum(len(record.data) for record in records)
