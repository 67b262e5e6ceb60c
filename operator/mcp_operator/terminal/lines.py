"""One event as a line of text: what is said of it, and in which colour. Pure functions; `narrating` chooses what is shown.

Nothing here is rich markup and every piece of an event passes `values`, so what a pod has printed is text and nothing else.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from mcp_operator.model.events import LogLevel
from mcp_operator.model.statuses import Status
from mcp_operator.terminal.values import (
    EventJson,
    author,
    figure,
    harmless,
    instances,
    items_of,
    memory,
    number_of,
    object_of,
    short_instance,
    text_of,
    time_of,
)
from mcp_operator.terminal.values import clock as time_of_day

MAIN_CONTAINER = "mcp"
"""Name of the container that isn't named, because nearly all lines are its own."""

_KIND_WIDTH = 8
_STATUS_WIDTH = max(map(len, Status))
_LEVEL_WIDTH = max(map(len, LogLevel))
_REASONS_SHOWN = 3
_ENVELOPE = frozenset({"id", "type", "server", "uid", "time", "key", "snapshot", "late", "truncated"})
_TIMES = frozenset({"time", "timestamp", "ts", "@timestamp"})
"""Fields of log lines that say what the line begins with."""

DIM = "bright_black"
_GOOD, _BUSY, _WARNING, _BAD = "green", "cyan", "yellow", "red"
STATUS_STYLES: Mapping[str, str] = {
    Status.RUNNING: f"bold {_GOOD}",
    Status.PENDING: f"bold {_BUSY}",
    Status.DEPLOYING: f"bold {_BUSY}",
    Status.SCALING: f"bold {_BUSY}",
    Status.DEGRADED: f"bold {_WARNING}",
    Status.FAILED: f"bold {_BAD}",
    Status.STOPPED: "bold",
    Status.TERMINATING: "bold magenta",
    Status.DELETED: "bold magenta",
}
_LEVEL_STYLES: Mapping[str, str] = {
    LogLevel.TRACE: DIM,
    LogLevel.DEBUG: DIM,
    LogLevel.INFO: _GOOD,
    LogLevel.WARN: _WARNING,
    LogLevel.ERROR: _BAD,
    LogLevel.FATAL: f"bold {_BAD}",
}
OUTCOME_STYLES: Mapping[str, str] = {"succeeded": _GOOD, "superseded": _WARNING, "cancelled": _WARNING}
_INSTANCE_STYLES = ("cyan", "magenta", "blue", "yellow", "green", "bright_cyan", "bright_magenta", "bright_blue")


@dataclass(frozen=True, slots=True)
class Line:
    """One line to show: where the terminal is narrower than all of it, the body goes on below itself, not below the head."""

    head: Text
    body: Text

    @property
    def plain(self) -> str:
        """The line without colours."""
        return (self.head.plain + self.body.plain).rstrip()


@dataclass(frozen=True, slots=True)
class Heading:
    """The columns on the left of every line."""

    server_width: int = 0
    """Characters of the column that names the server; 0 where only one is shown."""

    def of(self, event: EventJson, kind: str, *, time: str = "time") -> Text:
        """Time of day, server and kind of one event.

        Args:
            time: name of the field with the time that is shown; the event's own where it is missing.
        """
        clock = time_of_day(time_of(event, time) or time_of(event, "time"))
        return self._columns(clock, text_of(event, "server", otherwise=""), kind)

    def below(self, kind: str) -> Text:
        """The columns of a line that belongs to the one above it."""
        return self._columns(" " * len(time_of_day(None)), "", kind)

    def _columns(self, clock: str, server: str, kind: str) -> Text:
        parts = [(f"{clock}  ", DIM)]
        if self.server_width:
            parts.append((f"{server:<{self.server_width}}  ", "bold"))
        return Text.assemble(*parts, (f"{kind:<{_KIND_WIDTH}}  ", DIM))


def status_line(event: EventJson, heading: Heading) -> Line:
    """How a server is: `failed       1/2  ProgressDeadlineExceeded: no progress for 600 s`.

    A message that is that of a cause is left to the cause's own line.
    """
    status, reason = text_of(event, "status"), text_of(event, "reason")
    message = text_of(event, "message", otherwise="")
    if any(cause.get("message") == event.get("message") for cause in items_of(event, "causes")):
        said = reason
    else:
        said = message if reason.lower() == status else f"{reason}: {message}"
    body = Text.assemble(
        (f"{status:<{_STATUS_WIDTH}}", STATUS_STYLES.get(status, "bold")), f"  {instances(event)}  ", said, *_remarks(event)
    )
    return Line(heading.of(event, "status"), body)


def author_line(by: EventJson, heading: Heading) -> Line:
    """Who started an operation: `by kubectl (scale), 1 → 3`."""
    hpa = object_of(by, "hpa")
    said = [f"by {author(by)}"]
    if by.get("to") is not None:
        said.append(f"{text_of(by, 'from', otherwise='')} → {text_of(by, 'to')}".strip())
    told = (metric for metric in items_of(hpa, "metrics") if metric.get("current") is not None)
    said += [f"{text_of(each, 'name')} {text_of(each, 'current')} of {text_of(each, 'target')}" for each in told]
    said += [f"at its limit ({text_of(hpa, 'limited')})"] if hpa.get("limited") is not None else []
    return Line(heading.below("by"), Text(", ".join(said)))


def cause_line(cause: EventJson, server: str, heading: Heading) -> Line:
    """One cause, as it appears or when it is over."""
    reason = text_of(cause, "reason")
    if cause.get("state") == "recovered":
        return Line(heading.below("cause"), Text.assemble(("✓ ", _GOOD), (f"{reason} is over", _GOOD)))
    where = []
    if "instance" in cause and cause["instance"] is not None:
        where.append(short_instance(text_of(cause, "instance"), server))
    if (container := text_of(cause, "container", otherwise=MAIN_CONTAINER)) != MAIN_CONTAINER:
        where.append(f"container {container}")
    for field, name in (("exitCode", "exit code"), ("signal", "signal")):
        if cause.get(field) is not None:
            where.append(f"{name} {text_of(cause, field)}")
    if (number_of(cause, "count") or 1) > 1:
        where.append(f"{text_of(cause, 'count')} instances")
    said = text_of(cause, "message", otherwise="") + (f" ({', '.join(where)})" if where else "")
    return Line(heading.below("cause"), Text.assemble(("✗ ", _BAD), (reason, f"bold {_BAD}"), ": ", said))


def progress_line(event: EventJson, heading: Heading) -> Line:
    """How far an operation is: ` 45 %  1/3 ready, 2 old`."""
    outcome = text_of(event, "outcome", otherwise="")
    body = Text.assemble((f"{percent(event):>3} %  ", "bold"), *([(outcome, OUTCOME_STYLES.get(outcome, ""))] if outcome else []))
    if not outcome:
        body.append_text(steps(event))
    body.append_text(Text.assemble(*_remarks(event)))
    return Line(heading.of(event, text_of(event, "kind", otherwise="progress")), body)


def percent(event: EventJson) -> int:
    """The percent of a progress event, between 0 and 100 whatever it says."""
    return int(min(100, max(0, number_of(event, "percent") or 0)))


def steps(event: EventJson) -> Text:
    """What is left of an operation in numbers of instances."""
    counted = [f"{text_of(event, 'ready', otherwise='?')}/{text_of(event, 'desired', otherwise='?')} ready"]
    counted += [f"{text_of(event, name)} {name}" for name in ("old", "terminating") if number_of(event, name)]
    text = Text(", ".join(counted))
    if (seconds := number_of(event, "remainingSeconds")) is not None:
        text.append(f", about {max(seconds, 0):.0f} s left")
    if event.get("stalledSince") is not None:
        text.append(f", stalled since {time_of_day(time_of(event, 'stalledSince'))[:8]}", _BAD)
    return text


def metrics_line(event: EventJson, heading: Heading, *, reasons: Sequence[str]) -> Line:
    """What a server uses: `cpu 12 % (120m)  memory 45 MiB (9 %)  requests 1234 (2.5/s)  errors 3  in flight 1`.

    Of the first three what can't be told is `-`; errors and requests in flight are left out.

    Args:
        reasons: why, where that is worth telling.
    """
    body = Text()
    for name, shown in metric_figures(event).items():
        body.append(f"{name} ", DIM).append(f"{shown}  ")
    for reason in reasons[:_REASONS_SHOWN]:
        body.append(f"({reason})  ", _WARNING)
    if len(reasons) > _REASONS_SHOWN:
        body.append(f"(and {len(reasons) - _REASONS_SHOWN} more)", _WARNING)
    body.rstrip()
    return Line(heading.of(event, "metrics"), body)


def metric_figures(event: EventJson) -> Mapping[str, str]:
    """The figures of a metrics event by their names; errors and requests in flight only where they are known."""
    millicores, of_limit = number_of(event, "cpuMillicores"), number_of(event, "memoryPercent")
    per_second = number_of(event, "requestsPerSecond")
    known = {name: number_of(event, field) for name, field in (("errors", "errors"), ("in flight", "inFlight"))}
    return {
        "cpu": figure(number_of(event, "cpu"), "%") + (f" ({millicores:.0f}m)" if millicores is not None else ""),
        "memory": memory(number_of(event, "memory")) + (f" ({figure(of_limit, '%')})" if of_limit is not None else ""),
        "requests": figure(number_of(event, "requests")) + (f" ({rate(per_second)})" if per_second is not None else ""),
        **{name: figure(value) for name, value in known.items() if value is not None},
    }


def rate(per_second: float | None) -> str:
    """Requests per second: `2.5/s`, and with two digits below one, because one request in two minutes isn't none."""
    if per_second is None:
        return figure(None)
    return f"{per_second:.2g}/s" if 0 < per_second < 1 else f"{figure(per_second)}/s"


def missing_figures(event: EventJson) -> Sequence[str]:
    """Why figures that are shown can't be told, or lack the part of some instances."""
    server = text_of(event, "server")
    lacking: dict[tuple[str, str], list[str]] = {}
    for entry in items_of(event, "unavailable"):
        names = [name for name in metric_figures({}) if name in _words(entry, "fields")]
        if names:
            said = lacking.setdefault((", ".join(names), text_of(entry, "message", otherwise=text_of(entry, "reason"))), [])
            said += [short_instance(text_of(entry, "instance"), server)] if entry.get("instance") is not None else []
    return [f"{names}{' of ' + ', '.join(of) if of else ''}: {message}" for (names, message), of in lacking.items()]


def _words(event: EventJson, name: str) -> Sequence[str]:
    """A field that is a list of strings."""
    value = event.get(name)
    return [harmless(word) for word in value if isinstance(word, str)] if isinstance(value, list) else []


def log_line(event: EventJson, heading: Heading) -> Line:
    """A line that a container has printed: `x2x7q  warn   the disk is nearly full  free=3 GiB`.

    One that continues another, such as those of a stack trace, has no level: so they read as one.
    """
    body = Text()
    instance = text_of(event, "instance")
    body.append(short_instance(instance, text_of(event, "server")), _instance_style(instance))
    if (container := text_of(event, "container")) != MAIN_CONTAINER:
        body.append(f"/{container}", DIM)
    if event.get("previous") is True:
        body.append("  previous", "magenta")
    if event.get("follow") is not None:
        lost = event.get("dropped") is True
        body.append(f"  {text_of(event, 'msg', otherwise='')}", _WARNING if lost else DIM)
    else:
        level = text_of(event, "level") if event.get("continues") is None else ""
        body.append(f"  {level:<{_LEVEL_WIDTH}}", _LEVEL_STYLES.get(level, ""))
        body.append(f"  {text_of(event, 'msg', otherwise='')}")
        for name, value in _fields(event):
            body.append(f"  {name}=", DIM).append(value)
    body.append_text(Text.assemble(*_remarks(event)))
    return Line(heading.of(event, "log", time="timestamp"), body)


def _fields(event: EventJson) -> Iterator[tuple[str, str]]:
    fields = event.get("fields")
    for name, value in fields.items() if isinstance(fields, Mapping) else ():
        if name not in _TIMES:
            yield harmless(name), harmless(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _instance_style(instance: str) -> str:
    """Always the same for one instance."""
    return _INSTANCE_STYLES[zlib.crc32(instance.encode("utf-8", "replace")) % len(_INSTANCE_STYLES)]


def warning_line(event: EventJson, heading: Heading) -> Line:
    """A warning of Kubernetes itself: `! FailedPreStopHook: PreStopHook failed (Pod x2x7q, 3 times)`."""
    kind, name = text_of(event, "kind", otherwise="object"), text_of(event, "name", otherwise="")
    about = f"{kind} {short_instance(name, text_of(event, 'server')) if kind == 'Pod' else name}".rstrip()
    often = f", {text_of(event, 'count')} times" if (number_of(event, "count") or 1) > 1 else ""
    said = f": {text_of(event, 'message', otherwise='')} ({about}{often})"
    body = Text.assemble(("! ", _WARNING), (text_of(event, "reason"), f"bold {_WARNING}"), said, *_remarks(event))
    return Line(heading.of(event, "warning"), body)


def other_line(event: EventJson, heading: Heading) -> Line:
    """An event of a type that this version doesn't know."""
    payload = {name: value for name, value in event.items() if name not in _ENVELOPE}
    return Line(heading.of(event, text_of(event, "type")), Text(harmless(json.dumps(payload, ensure_ascii=False)), DIM))


def reset_line(event: EventJson, heading: Heading) -> Line:
    """History can't be continued."""
    said = f"history can't be continued from here ({text_of(event, 'reason')}): what follows is the state now"
    return Line(heading.of(event, "stream"), Text(said, _WARNING))


def dropped_line(event: EventJson, heading: Heading) -> Line:
    """Events are missing."""
    names = " and ".join(_words(event, "types")) or "some"
    count = number_of(event, "count")
    said = f"{names} events are missing here" if count is None else f"{count:.0f} {names} events are missing here"
    return Line(heading.of(event, "stream"), Text(said, _WARNING))


def stream_line(said: str, heading: Heading, *, time: str) -> Line:
    """Something about the stream itself."""
    return Line(heading.of({"time": time}, "stream"), Text(harmless(said), DIM))


def date_line(day: str) -> Line:
    """From here on the times are of another day."""
    return Line(Text(), Text(f"── {day} ──", DIM))


def _remarks(event: EventJson) -> Iterator[tuple[str, str]]:
    if event.get("late") is True:
        yield "  (while the operator was away)", DIM
    if event.get("truncated") is True:
        yield "  (cut)", DIM
