"""What is known about servers now, as a table or as one server's page. Pure functions; `asking` gets the values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from rich.text import Text

from mcp_operator.terminal import lines
from mcp_operator.terminal.lines import DIM, STATUS_STYLES, Heading
from mcp_operator.terminal.values import (
    NOTHING,
    EventJson,
    age,
    clock,
    figure,
    instances,
    items_of,
    memory,
    number_of,
    object_of,
    short_instance,
    text_of,
    time_of,
)

_GAP = "   "
_BAR = 20


def servers_table(servers: Sequence[EventJson], *, now: datetime, wide: bool) -> Sequence[Text]:
    """One line for each server, with a heading, as kubectl would show them.

    Args:
        servers: snapshots, as `GET /api/servers` lists them.
        wide: with the columns that few need.
    """
    header = ["NAMESPACE", "NAME", "STATUS", "INSTANCES", "PROGRESS", "CPU", "MEMORY", "REASON", "CHANGED"]
    header += ["REQUESTS", "RATE", "REVISION", "MESSAGE"] if wide else []
    rows = [_server_row(server, now=now, wide=wide) for server in servers]
    return columns([[Text(name, "bold") for name in header], *rows])


def _server_row(server: EventJson, *, now: datetime, wide: bool) -> Sequence[Text]:
    namespace, _, name = text_of(server, "server").partition("/")
    status, progress, metrics = (object_of(server, part) for part in ("status", "progress", "metrics"))
    word = text_of(status, "status")
    row = [
        Text(namespace),
        Text(name, "bold"),
        Text(word, STATUS_STYLES.get(word, "")),
        Text(instances(status)),
        Text(f"{text_of(progress, 'kind')} {lines.percent(progress)}%" if progress else NOTHING),
        Text(figure(number_of(metrics, "cpu"), "%").replace(" ", "")),
        Text(memory(number_of(metrics, "memory")).replace(" ", "")),
        Text(text_of(status, "reason")),
        Text(age(time_of(status, "time"), now=now)),
    ]
    if wide:
        row += [
            Text(figure(number_of(metrics, "requests"))),
            Text(lines.rate(number_of(metrics, "requestsPerSecond"))),
            Text(text_of(status, "revision")),
            Text(text_of(status, "message")),
        ]
    return row


def server_page(server: str, events: Sequence[EventJson], *, now: datetime) -> Sequence[Text]:
    """All that is known about one server.

    Args:
        server: "namespace/name".
        events: a stream's snapshot of it: its newest status, progress and metrics, and log lines.
    """
    newest: Mapping[str, EventJson] = {text_of(event, "type"): event for event in events}
    status, progress, metrics = (newest.get(type_, {}) for type_ in ("status", "progress", "metrics"))
    log = [event for event in events if event.get("type") == "log"]
    causes = [lines.cause_line(cause, server, Heading()).body for cause in items_of(status, "causes")]
    return [
        *_overview(server, status, progress, now=now),
        *_instances(server, progress),
        *_section("Causes", [Text.assemble("  ", cause) for cause in causes]),
        *_metrics(server, metrics, now=now),
        *_section("Log", [_log_line(event) for event in log]),
    ]


def _overview(server: str, status: EventJson, progress: EventJson, *, now: datetime) -> Iterator[Text]:
    word = text_of(status, "status", otherwise="unknown")
    yield Text.assemble((server, "bold"), _GAP, (word, STATUS_STYLES.get(word, "")), _GAP, f"{instances(status)} instances")
    changed = time_of(status, "time")
    facts = [
        [Text("  reason", DIM), Text(f"{text_of(status, 'reason')}: {text_of(status, 'message', otherwise='')}")],
        [Text("  changed", DIM), Text(f"{age(changed, now=now)} ago")],
        [Text("  revision", DIM), Text(text_of(status, "revision"))],
        [Text("  uid", DIM), Text(text_of(status, "uid"))],
    ]
    if progress:
        done = lines.percent(progress) * _BAR // 100
        bar = Text.assemble(
            ("━" * done, "cyan"), ("━" * (_BAR - done), DIM), f" {lines.percent(progress)} %  ", lines.steps(progress)
        )
        facts.insert(0, [Text(f"  {text_of(progress, 'kind')}", DIM), bar])
    yield from columns(facts)


def _instances(server: str, progress: EventJson) -> Sequence[Text]:
    """The instances within an operation, with the step that each has reached."""
    rows = [
        [
            Text(f"  {short_instance(text_of(instance, 'name'), server)}", "cyan"),
            Text(text_of(instance, "step")),
            Text("" if revision.get("current") is True else "old", DIM),
        ]
        for revision in items_of(progress, "revisions")
        for instance in items_of(revision, "instances")
    ]
    return _section("Instances", columns(rows))


def _metrics(server: str, metrics: EventJson, *, now: datetime) -> Sequence[Text]:
    if not metrics:
        return []
    heading = f"Metrics of {age(time_of(metrics, 'sampledAt'), now=now)} ago"
    each_shown = [(text_of(each, "name"), lines.metric_figures(each)) for each in items_of(metrics, "perInstance")]
    names = dict.fromkeys(name for _, shown in each_shown for name in shown)
    rows = [
        [
            Text(f"  {short_instance(instance, server)}", "cyan"),
            *(Text.assemble((f"{name} ", DIM), shown.get(name, NOTHING)) for name in names),
        ]
        for instance, shown in each_shown
    ]
    total = lines.metrics_line(metrics, Heading(), reasons=lines.missing_figures(metrics)).body
    return _section(heading, [Text.assemble("  ", total), *columns(rows)])


def _log_line(event: EventJson) -> Text:
    line = lines.log_line(event, Heading())
    return Text.assemble("  ", (clock(time_of(event, "timestamp") or time_of(event, "time")), DIM), "  ", line.body)


def _section(title: str, texts: Sequence[Text]) -> Sequence[Text]:
    return [Text(title, "bold"), *texts] if texts else []


def columns(rows: Sequence[Sequence[Text]]) -> Sequence[Text]:
    """The rows with each column as wide as its widest cell; `rollouts` makes its tables with it too."""
    widths = [max(cell.cell_len for cell in column) for column in zip(*rows, strict=True)]
    joined = []
    for row in rows:
        line = Text()
        for cell, width in zip(row, widths, strict=True):
            line.append_text(cell).append(" " * (width - cell.cell_len) + _GAP)
        line.rstrip()
        joined.append(line)
    return joined
