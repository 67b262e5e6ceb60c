"""The records of a server's rollouts and scalings: as a table, or one of them as a timeline. Pure; `asking` gets the values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from rich.text import Text

from mcp_operator.terminal.lines import DIM, OUTCOME_STYLES, percent
from mcp_operator.terminal.tables import columns
from mcp_operator.terminal.values import (
    NOTHING,
    EventJson,
    age,
    author,
    figure,
    items_of,
    number_of,
    object_of,
    short_instance,
    text_of,
    time_of,
)

_REASONS_SHOWN = 3
_LEAST_BAR, _WIDEST_BAR = 10, 60
_STEPS: Final[Mapping[str, tuple[str, str]]] = {
    # What a bar shows of the way to each step: a character that can be told without colours, and a colour.
    "scheduled": ("·", "bright_black"),
    "pulled": ("░", "blue"),
    "started": ("▒", "magenta"),
    "ready": ("▓", "cyan"),
    "available": ("█", "green"),
}
_UNFINISHED = ("?", "red")
_SPREAD = ("min", "p50", "p90", "max")


class UnclearRolloutError(ValueError):
    """No record, or more than one, is called so."""


def rollouts_table(records: Sequence[EventJson], *, now: datetime) -> Sequence[Text]:
    """One line for each record, with a heading.

    Args:
        records: as `GET /api/servers/{id}/rollouts` lists them.
    """
    header = ("ID", "KIND", "REVISION", "INSTANCES", "BY", "STARTED", "DURATION", "OUTCOME", "FAILURES")
    return columns([[Text(name, "bold") for name in header], *(_row(record, now=now) for record in records)])


def find(records: Sequence[EventJson], wanted: str) -> EventJson:
    """The record with this id: short (or the beginning of it), or long, or the name of its object.

    Raises:
        UnclearRolloutError: there is none, or more than one.
    """
    exact = [each for each in records if wanted in {each.get("id"), each.get("name")}]
    found = exact or [each for each in records if short_id(each).startswith(wanted)]
    if len(found) == 1:
        return found[0]
    what = "No record has" if not found else "More than one record has"
    known = ", ".join(map(short_id, found or records)) or "none"
    raise UnclearRolloutError(f"{what} the id {wanted!r}; there are: {known}")


def short_id(record: EventJson) -> str:
    """What tells the records of one server apart: the end of their objects' names."""
    return text_of(record, "name").rpartition("-")[2]


def rollout_page(record: EventJson, *, now: datetime, width: int) -> Sequence[Text]:
    """One record as a timeline.

    Args:
        width: columns that a line may have.
    """
    return [*_overview(record, now=now), *_timeline(record, now=now, width=width), *_others(record), *_failures(record, now=now)]


def _row(record: EventJson, *, now: datetime) -> Sequence[Text]:
    reasons = list(dict.fromkeys(text_of(failure, "reason") for failure in items_of(record, "failures")))
    more = ["…"] if len(reasons) > _REASONS_SHOWN or number_of(record, "failuresOmitted") else []
    return [
        Text(short_id(record), "bold"),
        Text(text_of(record, "kind")),
        Text(text_of(record, "revision")),
        Text(_change(record)),
        Text(author(object_of(record, "by"))),
        Text(f"{age(time_of(record, 'startedAt'), now=now)} ago"),
        Text(_duration(record, now=now)),
        _outcome(record),
        Text(",".join(reasons[:_REASONS_SHOWN] + more) or NOTHING, "red" if reasons else ""),
    ]


def _overview(record: EventJson, *, now: datetime) -> Iterator[Text]:
    started = time_of(record, "startedAt")
    heading = (text_of(record, "server"), "bold"), "   ", text_of(record, "kind"), "   ", (short_id(record), "bold"), "   "
    yield Text.assemble(*heading, _outcome(record))
    shown = f"{started:%Y-%m-%d %H:%M:%S} ({age(started, now=now)} ago)" if started is not None else NOTHING
    facts = {
        "started": shown,
        "took": _duration(record, now=now),
        "instances": _change(record),
        "revision": text_of(record, "revision"),
        "by": author(object_of(record, "by")),
        "id": text_of(record, "id"),
    }
    yield from columns([[Text(f"  {name}", DIM), Text(value)] for name, value in facts.items()])


def _timeline(record: EventJson, *, now: datetime, width: int) -> Iterator[Text]:
    """A line for each instance, in the order of their creation, with a bar of its phases under one scale of time."""
    started, ended = time_of(record, "startedAt"), time_of(record, "endedAt") or now
    instances = [(created, each) for each in items_of(record, "instances") if (created := time_of(each, "createdAt"))]
    if started is None or not instances:
        return
    instances.sort(key=lambda pair: pair[0])
    server = text_of(record, "server")
    begin = min(started, instances[0][0])
    until = max(ended, *(created + timedelta(seconds=sum(s for _, s in _phases(each))) for created, each in instances))
    total = max((until - begin).total_seconds(), 0.001)
    names = [short_instance(text_of(each, "name"), server) for _, each in instances]
    words = [_in_words(each) for _, each in instances]
    room = width - max(map(len, names)) - max(map(len, words)) - 8
    cells = max(_LEAST_BAR, min(_WIDEST_BAR, room))
    yield Text.assemble(("Instances", "bold"), f"  (0s to {figure(total, 's').replace(' ', '')}; ", *_legend(), ")")
    rows = []
    for (created, each), name, said in zip(instances, names, words, strict=True):
        bar = _bar((created - begin).total_seconds(), each, open_until=(ended - begin).total_seconds(), total=total, cells=cells)
        rows.append([Text(f"  {name}", "cyan"), bar, Text(said, DIM if each.get("gone") is True else "")])
    yield from columns(rows)


def _bar(offset: float, instance: EventJson, *, open_until: float, total: float, cells: int) -> Text:
    """Phases as runs of characters; a phase too short for a cell of its own has none."""
    drawn: list[tuple[str, str]] = []
    at = offset
    phases = [(_STEPS[step], seconds) for step, seconds in _phases(instance)]
    if number_of(instance, "seconds") is None and instance.get("gone") is not True:
        phases.append((_UNFINISHED, max(0.0, open_until - offset - sum(seconds for _, seconds in phases))))
    drawn += [(" ", "")] * _cell(at, total, cells)
    for (character, style), seconds in phases:
        at += seconds
        drawn += [(character, style)] * (_cell(at, total, cells) - len(drawn))
    if len(drawn) == _cell(offset, total, cells):
        drawn.append(("|", ""))  # all of it took less than a cell
    return Text.assemble(*drawn[:cells], " " * (cells - len(drawn)))


def _cell(seconds: float, total: float, cells: int) -> int:
    return min(cells, max(0, round(seconds / total * cells)))


def _phases(instance: EventJson) -> Sequence[tuple[str, float]]:
    """The steps whose seconds are known."""
    phases = object_of(instance, "phases")
    known = ((step, number_of(phases, step)) for step in _STEPS)
    return [(step, min(max(seconds, 0.0), 1e9)) for step, seconds in known if seconds is not None]


def _in_words(instance: EventJson) -> str:
    seconds = number_of(instance, "seconds")
    whole = _seconds(seconds) if seconds is not None else "unfinished"
    steps = ", ".join(f"{step} {_seconds(taken)}" for step, taken in _phases(instance) if taken or step != "available")
    return f"{whole}  {steps}" + ("  gone" if instance.get("gone") is True else "")


def _legend() -> Iterator[str | tuple[str, str]]:
    for step, (character, style) in _STEPS.items():
        yield (character, style)
        yield f" {step} "
    yield _UNFINISHED
    yield " unfinished"


def _others(record: EventJson) -> Iterator[Text]:
    """What the record sums up."""
    others = object_of(record, "others")
    if not others:
        return
    yield Text(f"{text_of(others, 'count')} more instances, each faster than those above", "bold")
    rows = [[Text("  seconds", DIM), *(Text(name, DIM) for name in _SPREAD)]]
    for step in (*_STEPS, "seconds"):
        spread = object_of(object_of(others, "spreads"), step)
        if spread:
            name = "in all" if step == "seconds" else step
            rows.append([Text(f"  {name}"), *(Text(_seconds(number_of(spread, each))) for each in _SPREAD)])
    yield from columns(rows)


def _failures(record: EventJson, *, now: datetime) -> Iterator[Text]:
    failures, server = items_of(record, "failures"), text_of(record, "server")
    if failures:
        yield Text("Failures", "bold")
    for failure in failures:
        since, until = time_of(failure, "since"), time_of(failure, "until")
        lasted = f"for {age(since, now=until)}" if until is not None else "until the end" if record.get("outcome") else "lasts"
        where = [short_instance(text_of(failure, "instance"), server)] if failure.get("instance") is not None else []
        where += [
            f"{name} {text_of(failure, key)}"
            for key, name in (("exitCode", "exit code"), ("signal", "signal"))
            if failure.get(key) is not None
        ]
        said = f": {text_of(failure, 'message')}" + (f" ({', '.join(where)})" if where else "")
        begin = f"{since:%H:%M:%S}" if since is not None else NOTHING
        yield Text.assemble(f"  {begin}  ", ("✗ ", "red"), (text_of(failure, "reason"), "bold red"), said, (f"  {lasted}", DIM))
    if omitted := number_of(record, "failuresOmitted"):
        yield Text(f"  and {omitted:.0f} more")


def _outcome(record: EventJson) -> Text:
    outcome = text_of(record, "outcome", otherwise="")
    return Text(outcome, OUTCOME_STYLES.get(outcome, "")) if outcome else Text(f"open, {percent(record)} %", "cyan")


def _duration(record: EventJson, *, now: datetime) -> str:
    started, ended = time_of(record, "startedAt"), time_of(record, "endedAt") or now
    seconds = (ended - started).total_seconds() if started is not None else None
    return _seconds(seconds) if seconds is not None and 0 <= seconds < 10 else age(started, now=ended)


def _change(record: EventJson) -> str:
    return f"{text_of(record, 'before')} → {text_of(record, 'desired')}"


def _seconds(seconds: float | None) -> str:
    return figure(seconds, "s").replace(" ", "")
