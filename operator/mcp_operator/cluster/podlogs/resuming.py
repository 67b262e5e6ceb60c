"""Where reading a log goes on after it was cut off, and which of the lines that come then were told already. No I/O.

A log can be asked for from a whole second on: the API server takes a finer `sinceTime`, but kubelet gets it without fractions
(pkg/registry/core/pod/strategy.go, LogLocation). So the answer begins with lines that were told, and they are skipped up to and
with the last of them. Lines of standard output and standard error may be out of order by what writing one takes; so the answer is
asked for from a second earlier, and only a line that is later than all that were told shows that the last one isn't there any
more; where a clock was set back, only the whole log does. `reading` uses it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mcp_operator.cluster.podlogs.lines import Line, LogLines

_REMEMBERED = 64
"""Timestamps that are looked through for how often one came; lines of one timestamp are neighbours, or nearly so."""


@dataclass(frozen=True, slots=True)
class Position:
    """The last line of a container's log that was told."""

    timestamp: str
    nth: int
    """Which line of this timestamp it is, from 1 on."""
    highest: str
    """The latest timestamp of all lines that were told."""

    @property
    def since(self) -> str:
        """The `sinceTime` from which an answer has this line and all after it."""
        second = datetime.fromisoformat(self.timestamp[:19])
        return f"{max(second, _EARLIEST) - timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}"


_EARLIEST = datetime.fromisoformat("1970-01-02T00:00:00")


class Told:
    """How far one container's log was told."""

    def __init__(self) -> None:
        self.position: Position | None = None
        """None before the first line."""
        self._recent: deque[str] = deque(maxlen=_REMEMBERED)

    def nth(self, line: Line) -> int:
        """Which line of its timestamp it will be, if it comes next."""
        return self._recent.count(line.timestamp) + 1

    def took(self, line: Line) -> None:
        """It is the last line now."""
        highest = line.timestamp if self.position is None else max(self.position.highest, line.timestamp)
        self.position = Position(line.timestamp, self.nth(line), highest)
        self._recent.append(line.timestamp)


class Answer:
    """One answer of the API server: bytes in, lines out that weren't told yet.

    Args:
        position: the one that it was asked for from; None: from the beginning of the log, or of its last lines.
    """

    def __init__(self, position: Position | None) -> None:
        self.found: bool | None = None if position else True
        """Whether the last line told is in it, so that nothing is missing; None as long as that isn't known."""
        self.rest: Line | None = None
        """A new line that had no line feed yet when the answer ended."""
        self.remark = ""
        """What kubelet says in its place where it can't go on."""
        self._position = position
        self._left = position.nth if position else 0
        self._lines = LogLines()

    def read(self, chunk: bytes) -> Sequence[Line]:
        """Take the next bytes; the new lines that they complete."""
        return [line for line in self._lines.read(chunk) if self._is_printed(line) and self._is_new(line)]

    def end(self) -> None:
        """The answer has ended: what is left of it becomes `rest` or `remark`."""
        for line in self._lines.end():
            if self._is_printed(line) and self._is_new(line):
                self.rest = line

    def accept_gap(self) -> None:
        """What is missing before the new lines is known, and won't come."""
        self.found = True

    def _is_printed(self, line: Line) -> bool:
        if not line.timestamp:
            self.remark = line.text
        return bool(line.timestamp)

    def _is_new(self, line: Line) -> bool:
        position = self._position
        if position is None or self.found is not None:
            return True
        if line.timestamp == position.timestamp:
            self._left -= 1
            self.found = None if self._left else True
        elif line.timestamp > position.highest:
            self.found = False
        return self.found is False
