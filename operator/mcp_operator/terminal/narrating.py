"""A stream as a story for a person: which lines each event is worth, given what has been told before. No I/O.

What it remembers is bounded: the newest of each server, and the newest keys.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import date, datetime

from mcp_operator.model.events import EventType
from mcp_operator.model.statuses import Status
from mcp_operator.terminal import lines
from mcp_operator.terminal.lines import Heading, Line
from mcp_operator.terminal.values import EventJson, items_of, object_of, text_of, time_of

_KEYS_REMEMBERED = 20_000
_SERVER_WIDTH = 40


class Narrator:
    """Tells one stream.

    Args:
        several: whether it is about several servers, so that each line names its own.
        bars: whether open operations are shown as bars (`operations`), and not by a line for each step.
        today: times of this day need no date.
    """

    def __init__(self, *, several: bool, bars: bool, today: date) -> None:
        self._several = several
        self._bars = bars
        self._day = today
        self._heading = Heading()
        self._authors: dict[str, EventJson] = {}
        self._causes: dict[str, frozenset[str]] = {}
        self._progress: dict[str, tuple[str, str, str, str]] = {}
        self._missing: dict[str, frozenset[str]] = {}
        self._keys: OrderedDict[str, None] = OrderedDict()
        self.operations: dict[str, EventJson] = {}
        """The newest progress event of each open operation, by the server's UID."""

    def tell(self, event: EventJson) -> Sequence[Line]:
        """The lines that an event or control frame is worth, which may be none."""
        match event.get("type"):
            case "reset":
                self.operations.clear()
                return self._dated(event, [lines.reset_line(event, self._heading)])
            case "dropped":
                return self._dated(event, [lines.dropped_line(event, self._heading)])
            case "hello" | "bookmark" | "bye":
                return []
        if self._several:
            width = max(self._heading.server_width, min(len(text_of(event, "server")), _SERVER_WIDTH))
            self._heading = Heading(width)
        repeated = self._repeated(event)
        told = self._tell(event)
        return [] if repeated else self._dated(event, told)

    def say(self, said: str, *, now: datetime) -> Line:
        """A line of our own about the stream."""
        return lines.stream_line(said, self._heading, time=now.isoformat())

    def _tell(self, event: EventJson) -> Sequence[Line]:
        match event.get("type"):
            case EventType.STATUS:
                return self._status(event)
            case EventType.PROGRESS:
                return self._operation(event)
            case EventType.METRICS:
                return self._metrics(event)
            case EventType.LOG:
                return [lines.log_line(event, self._heading)]
            case EventType.KUBERNETES:
                return [lines.warning_line(event, self._heading)]
            case _:
                return [lines.other_line(event, self._heading)]

    def _status(self, event: EventJson) -> Sequence[Line]:
        uid, causes = text_of(event, "uid"), items_of(event, "causes")
        known = self._causes.get(uid, frozenset())
        # Active ones that are new, and known ones that are over: one that was over before we came is no news.
        news = [cause for cause in causes if (text_of(cause, "id") in known) == (cause.get("state") == "recovered")]
        told = [lines.status_line(event, self._heading), *self._author(event)]
        told += [lines.cause_line(cause, text_of(event, "server"), self._heading) for cause in news]
        self._causes[uid] = frozenset(text_of(cause, "id") for cause in causes if cause.get("state") != "recovered")
        if event.get("status") == Status.DELETED:
            self._forget(uid)
        elif event.get("operation") is None:
            self.operations.pop(uid, None)
        return told

    def _author(self, event: EventJson) -> Sequence[Line]:
        """Who started the operation, once, and again when more is known of it."""
        uid, by = text_of(event, "uid"), object_of(event, "by")
        known, self._authors[uid] = self._authors.get(uid, {}), by
        return [lines.author_line(by, self._heading)] if by and by != known else []

    def _operation(self, event: EventJson) -> Sequence[Line]:
        uid = text_of(event, "uid")
        step = (text_of(event, "operation"), str(lines.percent(event)), text_of(event, "outcome"), text_of(event, "stalledSince"))
        moved, self._progress[uid] = self._progress.get(uid) != step, step
        if event.get("outcome") is not None:
            self.operations.pop(uid, None)
        else:
            self.operations[uid] = event
            if self._bars:
                return []
        return [lines.progress_line(event, self._heading)] if moved else []

    def _metrics(self, event: EventJson) -> Sequence[Line]:
        """Why something is missing stays the same for long: it is told once."""
        uid, reasons = text_of(event, "uid"), lines.missing_figures(event)
        new = [reason for reason in reasons if reason not in self._missing.get(uid, ())]
        self._missing[uid] = frozenset(reasons)
        return [lines.metrics_line(event, self._heading, reasons=new)]

    def _forget(self, uid: str) -> None:
        for remembered in (self._authors, self._causes, self._progress, self._missing, self.operations):
            remembered.pop(uid, None)

    def _repeated(self, event: EventJson) -> bool:
        """Whether its key has been told: after a crash of the operator the same fact is told again."""
        key = event.get("key")
        if not isinstance(key, str):
            return False
        if key in self._keys:
            self._keys.move_to_end(key)
            return True
        self._keys[key] = None
        if len(self._keys) > _KEYS_REMEMBERED:
            self._keys.popitem(last=False)
        return False

    def _dated(self, event: EventJson, told: Sequence[Line]) -> Sequence[Line]:
        time = time_of(event, "timestamp") or time_of(event, "time")
        if not told or time is None or time.date() == self._day:
            return told
        self._day = time.date()
        return [lines.date_line(self._day.isoformat()), *told]
