"""docs/operating.md says what the code does: every figure on /metrics, every reason, every field of the list of streams."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from mcp_operator.cluster.metrics import ClusterMetrics
from mcp_operator.cluster.podlogs.metrics import FollowingMetrics
from mcp_operator.cluster.podmetrics.metrics import SamplingMetrics
from mcp_operator.cluster.running import Cluster
from mcp_operator.eventlog.log import EventLog
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.gateway.admitting import RefusalReason
from mcp_operator.gateway.metrics import LogCollector, RefusalCollector, StreamMetrics
from mcp_operator.gateway.options import HttpOptions, StreamOptions
from mcp_operator.gateway.serving import Gateway
from mcp_operator.gateway.shapes import OpenStream
from mcp_operator.gateway.stalling import StallMeter
from mcp_operator.gateway.streaming import RESET_REASONS, EndReason

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT = (DOCS / "operating.md").read_text()


def rows(text: str) -> dict[str, set[str]]:
    """The metrics in the first column of tables, each with its labels."""
    found = re.findall(r"^\| `(mcp_operator_\w+)(?:\{([\w,]+)\})?` \|", text, re.MULTILINE)
    assert len({name for name, _ in found}) == len(found), "a metric has two rows"
    return {name: set(filter(None, labels.split(","))) for name, labels in found}


def registered(registry: CollectorRegistry) -> dict[str, set[str]]:
    """What is on /metrics, as Prometheus calls it, with its labels."""
    declared = {name: set(getattr(each, "_labelnames", ())) for name, each in registry._names_to_collectors.items()}
    return {
        _name(family): {label for sample in family.samples for label in sample.labels} - {"le"} or declared[family.name]
        for family in registry.collect()
    }


def _name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def parts(log: EventLog) -> CollectorRegistry:
    """All that counts anything, in one registry."""
    registry = CollectorRegistry()
    ClusterMetrics(registry).watch_silence(lambda: {("Pod", ""): 0.0})
    for of in (FollowingMetrics, SamplingMetrics, StallMeter):
        of(registry)
    StreamMetrics(registry, reset_reasons=RESET_REASONS, end_reasons=tuple(EndReason))
    registry.register(LogCollector(log))
    registry.register(RefusalCollector(lambda: dict.fromkeys(RefusalReason, 0)))
    return registry


async def test_every_figure_has_its_row_and_every_row_its_figure() -> None:
    log = MemoryLog(capacity=10)
    documented = {name for document in ("operating", "logs", "metrics") for name in rows((DOCS / f"{document}.md").read_text())}
    assert documented == registered(parts(log)).keys()
    whole = CollectorRegistry()
    Cluster(log=log, namespaces=(), instance="test", registry=whole)
    http = HttpOptions(host="127.0.0.1", port=0, health_port=0)
    Gateway(log=log, synced=lambda: True, registry=whole, http=http, streams=StreamOptions())
    assert registered(whole).keys() <= documented


def test_labels_are_written_as_they_are() -> None:
    figures = {name: labels for name, labels in registered(parts(MemoryLog(capacity=10))).items() if labels}
    documented = rows(DOCUMENT)
    assert {name: labels for name, labels in documented.items() if name in figures} == {
        name: labels for name, labels in figures.items() if name in documented
    }


@pytest.mark.parametrize(
    ("metric", "reasons"),
    [
        ("mcp_operator_streams_refused_total", set(RefusalReason)),
        ("mcp_operator_stream_resets_total", set(RESET_REASONS)),
    ],
)
def test_every_reason_is_in_the_row_of_its_metric(metric: str, reasons: set[str]) -> None:
    [row] = re.findall(rf"^\| `{metric}.*$", DOCUMENT, re.MULTILINE)
    assert set(re.findall(r"`([a-z-]+)`", row)) == reasons


def test_queries_ask_for_what_there_is() -> None:
    names = registered(parts(MemoryLog(capacity=10))).keys()
    queries = "\n".join(re.findall(r"^```promql\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL))
    asked = {name.removesuffix("_bucket") for name in re.findall(r"mcp_operator_\w+", queries)}
    assert len(asked) >= 6
    assert asked <= names
    for metric, reasons in (("streams_ended_total", set(EndReason)), ("stream_resets_total", set(RESET_REASONS))):
        assert set(re.findall(rf'{metric}{{reason="([\w-]+)"}}', queries)) <= reasons


def test_every_field_of_a_stream_has_its_row() -> None:
    section = DOCUMENT.split("## Who listens\n", 1)[1]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [
        field.alias or name for name, field in OpenStream.model_fields.items()
    ]
