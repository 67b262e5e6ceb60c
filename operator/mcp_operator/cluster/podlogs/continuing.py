"""Which lines belong to an earlier one: those of a stack trace, and those that are indented. Pure; `interpreting` uses it.

Every line is told at once and as an event of its own; that it continues another is said beside it. A table of rules, which
docs/logs.md shows, for what Python, Java, Go, Rust, Ruby and their kin print; where none applies, a line stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from mcp_operator.cluster.podlogs.lines import WHOLE_SECONDS, Line
from mcp_operator.cluster.podlogs.parsing import WORDS, level_of_text
from mcp_operator.model.events import LogLevel

MOST_LINES = 1000
"""That belong to one; the next one stands for itself again."""
MOST_SECONDS = 5
"""Between two neighbours: a trace is printed at once, but on a busy machine."""


_GRAVE = frozenset({LogLevel.ERROR, LogLevel.FATAL})


class _Stage(Enum):
    """What was printed last of lines that belong together."""

    PLAIN = auto()
    """No trace, as far as is known."""
    FRAMES = auto()
    """A line of a Python traceback before its last one, which names the exception."""
    RAISED = auto()
    """That one, or a blank line after it."""
    CHAINED = auto()
    """The sentence between two tracebacks of which one led to the other."""
    STACK = auto()
    """A line of a trace that begins with the exception: Java, JavaScript, .NET."""
    GOROUTINES = auto()
    PANICKED = auto()
    """The first line of a panic of Rust, whose message is the next one."""
    BACKTRACE = auto()
    """That one, or what follows it."""
    RUBY = auto()


_HEAD = re.compile(
    r"(?P<FRAMES>\s*(?:\+ Exception Group )?Traceback \(most recent call last\):)"
    r"|(?P<STACK>(?:Exception in thread |Unhandled exception\. )?[\w.$]*(?:Error|Exception|Throwable)(?=[: \[]|$))"
    r"|(?P<GOROUTINES>panic: |fatal error: |goroutine \d+ \[)"
    r"|thread '[^']{1,60}' (?:\(\d+\) )?panicked at (?:(?P<PANICKED>[^'\s]\S*:$)|(?P<BACKTRACE>))"
    r"|(?P<RUBY>\S{1,90}:\d{1,6}:in [`'][^']{1,80}': )"
)
_RAISED = re.compile(r"([A-Za-z_][\w.]*+)(?:: |:?$)")
_CHAINED = re.compile(
    r"During handling of the above exception, another exception occurred:|The above exception was the direct cause of"
)
_CAUSE = re.compile(r"Caused by: |Suppressed: |\.\.\. \d+ more")
_GOROUTINE = re.compile(
    r"goroutine \d+ \[|\[signal |created by |exit status \d|runtime stack:|[^\s()]++(?:\(\*[^\s()]++\)[^\s()]*+)*+\("
)
_OF_BACKTRACE = re.compile(r"stack backtrace:$|note: ")
_RUBY_FRAME = re.compile(r"[^\s:]{1,300}:\d{1,6}:in [`']")
_QUALIFIED = re.compile(r"(?:[a-z]\w*\.)+[\w$]*(?:Error|Exception)(?=:|$)")


@dataclass(slots=True)
class _First:
    """The line that the next one may belong to."""

    key: str
    level: LogLevel
    stage: _Stage
    last: str
    """The timestamp of the newest line that belongs to it."""
    lines: int = 0


class Continuations:
    """The lines of one run of a container, in their order."""

    def __init__(self) -> None:
        self._first: _First | None = None

    def take(self, line: Line, level: LogLevel, *, key: str) -> tuple[str, LogLevel] | None:
        """Take the next line, which is no JSON.

        Args:
            level: what the line says by itself.
            key: of its event.

        Returns:
            The key and the level of the line that it belongs to; None if it stands for itself.
        """
        first = self._first
        if first is not None and first.lines < MOST_LINES:
            stage = _next_stage(first, line.text)
            if stage is not None and _are_near(first.last, line.timestamp):
                first.stage, first.last = stage, line.timestamp
                first.lines += 1
                return first.key, first.level
        stage = _first_stage(line.text) if level in _GRAVE else _Stage.PLAIN
        self._first = _First(key, level, stage, line.timestamp) if line.text.strip() else None
        return None

    def interrupt(self) -> None:
        """Whatever comes next belongs to nothing before it."""
        self._first = None


def _first_stage(text: str) -> _Stage:
    found = _HEAD.match(text)
    return _Stage[str(found.lastgroup)] if found is not None else _Stage.PLAIN


def _next_stage(first: _First, text: str) -> _Stage | None:
    """The stage after a line, if it belongs to those before it."""
    blank = not text.strip()
    indented = not blank and text[0] in {" ", "\t"}
    match first.stage:
        case _Stage.PLAIN:
            return _after_plain(first, text, indented=indented)
        case _Stage.FRAMES if _names_exception(text):
            return _Stage.RAISED
        case _Stage.RAISED if _CHAINED.match(text):
            return _Stage.CHAINED
        case _Stage.CHAINED if _first_stage(text) is _Stage.FRAMES:
            return _Stage.FRAMES
        case _Stage.PANICKED:
            return None if blank else _Stage.BACKTRACE
    return first.stage if _BELONGS[first.stage](text, indented, blank) else None


def _names_exception(text: str) -> bool:
    """Whether it is the last line of a Python traceback."""
    found = _RAISED.match(text)
    return found is not None and found[1].lower() not in WORDS


def _after_plain(first: _First, text: str, *, indented: bool) -> _Stage | None:
    """What may follow a line that begins no trace: its details, or the trace of what it tells of."""
    grave = first.level in _GRAVE
    if not indented and not grave and not text.startswith("goroutine "):
        return None
    match stage := _Stage.RUBY if _RUBY_FRAME.match(text) else _first_stage(text):
        case _Stage.FRAMES | _Stage.RUBY:
            return stage if grave else None
        case _Stage.STACK:
            return stage if grave and _QUALIFIED.match(text) else None
        case _Stage.GOROUTINES:
            return stage if text.startswith("goroutine ") else None
        case _:
            return stage if indented and level_of_text(text) is None else None


_BELONGS: Mapping[_Stage, Callable[[str, bool, bool], object]] = {
    _Stage.FRAMES: lambda text, indented, blank: indented,
    _Stage.RAISED: lambda text, indented, blank: indented or blank,
    _Stage.CHAINED: lambda text, indented, blank: blank,
    _Stage.STACK: lambda text, indented, blank: indented or _CAUSE.match(text),
    _Stage.GOROUTINES: lambda text, indented, blank: indented or blank or _GOROUTINE.match(text),
    _Stage.BACKTRACE: lambda text, indented, blank: indented or _OF_BACKTRACE.match(text),
    _Stage.RUBY: lambda text, indented, blank: indented or _RUBY_FRAME.match(text),
}
"""Whether a line belongs to those before it, by the stage that these have come to."""


def _are_near(before: str, after: str) -> bool:
    if before[:WHOLE_SECONDS] == after[:WHOLE_SECONDS]:
        return True
    seconds = [datetime.fromisoformat(timestamp[:WHOLE_SECONDS]) for timestamp in (before, after)]
    return abs((seconds[1] - seconds[0]).total_seconds()) <= MOST_SECONDS
