"""The gateway's figures: what streams count, how it shows on /metrics, and that none grows with the number of streams."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from mcp_operator.cluster.running import Cluster
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.gateway.admitting import RefusalReason
from mcp_operator.gateway.metrics import RefusalCollector, StreamMetrics
from mcp_operator.gateway.options import HttpOptions, StreamOptions
from mcp_operator.gateway.serving import Gateway
from mcp_operator.gateway.stalling import StallMeter
from mcp_operator.gateway.streaming import RESET_REASONS, EndReason
from mcp_operator.model.events import EventType
from tests.component.conftest import Loopback, StartGateway
from tests.component.fake_api import running
from tests.events import line, metrics, progress, status
from tests.waiting import until


class Counted:
    """A stream's counting, and what came of it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = StreamMetrics(self.registry, reset_reasons=RESET_REASONS, end_reasons=tuple(EndReason))

    def figures(self) -> dict[str, float]:
        """All that isn't zero, as `name{label="value"}`, without the buckets of histograms."""
        return {
            f"{sample.name}{labels}": sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.value and not sample.name.endswith(("_created", "_bucket"))
            for labels in ["".join(f"{{{name}={value}}}" for name, value in sample.labels.items())]
        }


def opened_twice_and_ended_once(stream: StreamMetrics) -> None:
    stream.opened(named=True)
    stream.opened(named=False)
    stream.ended(named=True, reason="age")


@pytest.mark.parametrize(
    ("happens", "figures"),
    [
        pytest.param(
            opened_twice_and_ended_once,
            {
                "mcp_operator_streams": 1,
                "mcp_operator_streams_open{form=unnamed}": 1,
                "mcp_operator_streams_opened_total{form=named}": 1,
                "mcp_operator_streams_opened_total{form=unnamed}": 1,
                "mcp_operator_streams_ended_total{reason=age}": 1,
            },
            id="streams come and go",
        ),
        pytest.param(lambda stream: stream.replayed(), {"mcp_operator_stream_replays_total": 1}, id="a replay"),
        pytest.param(
            lambda stream: stream.reset("expired"), {"mcp_operator_stream_resets_total{reason=expired}": 1}, id="a reset"
        ),
        pytest.param(
            lambda stream: stream.delivered(EventType.STATUS, 5000),
            {"mcp_operator_events_delivered_total{type=status}": 5000},
            id="one event to 5,000 streams",
        ),
        pytest.param(lambda stream: stream.sent(1234), {"mcp_operator_stream_sent_bytes_total": 1234}, id="bytes"),
        pytest.param(
            lambda stream: stream.coalesced(EventType.METRICS, 7),
            {"mcp_operator_events_coalesced_total{type=metrics}": 7},
            id="coalesced",
        ),
        pytest.param(
            lambda stream: stream.dropped(EventType.LOG, 57),
            {"mcp_operator_events_dropped_total{type=log}": 57, "mcp_operator_stream_drops_total{type=log}": 1},
            id="dropped, so many",
        ),
        pytest.param(
            lambda stream: stream.dropped(EventType.LOG),
            {"mcp_operator_stream_drops_total{type=log}": 1},
            id="dropped, nobody knows how many",
        ),
        pytest.param(
            lambda stream: stream.behind(events=40),
            {"mcp_operator_stream_backlog_events_count": 1, "mcp_operator_stream_backlog_events_sum": 40},
            id="behind",
        ),
        pytest.param(
            lambda stream: stream.lagged(2.5),
            {"mcp_operator_stream_lag_seconds_count": 1, "mcp_operator_stream_lag_seconds_sum": 2.5},
            id="lagging",
        ),
        pytest.param(
            lambda stream: stream.broadcast(seconds=0.25),
            {"mcp_operator_broadcast_duration_seconds_count": 1, "mcp_operator_broadcast_duration_seconds_sum": 0.25},
            id="a broadcast",
        ),
        pytest.param(
            lambda stream: stream.reached(0.5),
            {"mcp_operator_event_delivery_duration_seconds_count": 1, "mcp_operator_event_delivery_duration_seconds_sum": 0.5},
            id="from the watch to the last write",
        ),
    ],
)
def test_what_happens_is_counted(happens: Callable[[StreamMetrics], None], figures: dict[str, float]) -> None:
    counted = Counted()
    happens(counted.metrics)
    assert counted.figures() == figures


def test_every_label_value_is_there_from_the_start_so_that_rates_begin_at_zero() -> None:
    counted = Counted()
    values: dict[str, set[str]] = {}
    for family in counted.registry.collect():
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label != "le" and not sample.name.endswith("_created"):
                    values.setdefault(f"{sample.name} by {label}", set()).add(value)
    types, forms = set(EventType), {"named", "unnamed"}
    assert values == {
        "mcp_operator_streams_open by form": forms,
        "mcp_operator_streams_opened_total by form": forms,
        "mcp_operator_streams_ended_total by reason": set(EndReason),
        "mcp_operator_stream_resets_total by reason": set(RESET_REASONS),
        "mcp_operator_events_delivered_total by type": types,
        "mcp_operator_events_coalesced_total by type": types,
        "mcp_operator_events_dropped_total by type": types,
        "mcp_operator_stream_drops_total by type": types,
    }


def test_nothing_on_it_grows_with_the_number_of_streams() -> None:
    counted = Counted()
    before = len(generate_latest(counted.registry).splitlines())
    for number in range(20_000):
        counted.metrics.opened(named=bool(number % 2))
    assert len(generate_latest(counted.registry).splitlines()) == before


def test_refusals_are_read_when_prometheus_asks() -> None:
    refused = dict.fromkeys(RefusalReason, 0)
    registry = CollectorRegistry()
    registry.register(RefusalCollector(lambda: refused))
    refused[RefusalReason.TOO_FAST] += 3
    told = {reason: registry.get_sample_value("mcp_operator_streams_refused_total", {"reason": reason}) for reason in refused}
    assert told == {"too-many-streams": 0, "too-many-of-client": 0, "too-fast": 3}


async def test_a_stall_of_the_event_loop_is_seen() -> None:
    registry = CollectorRegistry()

    def delays(least: str = "+Inf") -> float:
        return registry.get_sample_value("mcp_operator_event_loop_delay_seconds_bucket", {"le": least}) or 0

    async with running(StallMeter(registry).run()):
        await until(lambda: delays() >= 1, "it measures", every=0.01)
        long_ones = delays() - delays("0.25")
        time.sleep(0.5)  # noqa: ASYNC251 - the stall itself
        await until(lambda: delays() - delays("0.25") > long_ones, "the stall is counted", every=0.01)


class TestOnMetrics:
    async def test_a_subscriber_that_comes_back_is_seen_in_all_that_it_did(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(capacity=1000)
        first, *_ = await loopback.tell(status("default/weather"), metrics("default/weather"), line("default/weather"))
        async with loopback.subscribe("/api/events?named=0&types=status,metrics,log", cursor=first) as subscriber:
            await subscriber.until("hello")
            await loopback.tell(progress("default/weather", 10), status("default/weather"))
            heard = await subscriber.take(3)
            assert {message.json["type"] for message in heard} == {"metrics", "log", "status"}
            figures = {
                "streams_open{form=unnamed}": 1,
                "streams_opened_total{form=unnamed}": 1,
                "stream_replays_total": 1,
                "events_appended_total{type=status}": 2,
                "events_delivered_total{type=status}": 1,
                "events_delivered_total{type=metrics}": 1,
                "events_delivered_total{type=log}": 1,
                "events_delivered_total{type=progress}": 0,
                "log_events{type=status}": 2,
                "stream_backlog_events_sum": 2,
            }
            assert {name: figure(loopback, name) for name in figures} == figures
            assert figure(loopback, "stream_sent_bytes_total") >= len(subscriber.received)
        await until(lambda: figure(loopback, "streams_ended_total{reason=left}") == 1, "it has left", every=0.01)

    async def test_how_long_news_take_from_the_watch_to_the_last_subscriber(self, loopback: Loopback) -> None:
        async with loopback.subscribe("/api/events") as one, loopback.subscribe("/api/events?types=status") as other:
            for subscriber in (one, other):
                await subscriber.until("bookmark")
            observed = asyncio.get_running_loop().time() - 2
            await loopback.tell(replace(status("default/weather"), observed=observed), status("default/geo"))
            for subscriber in (one, other):
                await subscriber.take(2)
            name = "event_delivery_duration_seconds"
            await until(lambda: figure(loopback, f"{name}_count") == 1, "the one event of a watch is measured", every=0.01)
            assert figure(loopback, f"{name}_sum") >= 2


def figure(loopback: Loopback, name: str) -> float:
    """One of the figures, written `name{label=value}` without the common prefix."""
    labels = dict(re.findall(r"(\w+)=([\w-]+)", name.partition("{")[2]))
    return loopback.figure(f"mcp_operator_{name.partition('{')[0]}", **labels)


UNITS = {
    *("milliseconds", "minutes", "hours", "days", "kilobytes", "megabytes", "percent", "ms", "us", "ns", "sec", "secs"),
    *("min", "mins", "kb", "mb", "gb", "kib", "mib", "gib", "millis", "micros"),
}
"""What a name may not be measured in: Prometheus wants base units, written out."""


async def test_every_family_is_named_as_prometheus_wants_it() -> None:
    """The rules of `promtool check metrics`, for all that a process of this operator shows."""
    registry, stalls, log = CollectorRegistry(), CollectorRegistry(), MemoryLog(capacity=10)
    StallMeter(stalls)
    Cluster(log=log, namespaces=(), instance="test", registry=registry)
    http = HttpOptions(host="127.0.0.1", port=0, health_port=0)
    Gateway(log=log, synced=lambda: True, registry=registry, http=http, streams=StreamOptions())
    shown = (generate_latest(each).decode() for each in (registry, stalls))
    families = [family for text in shown for family in text_string_to_metric_families(text)]
    families = [family for family in families if not family.name.endswith("_created")]
    assert len(families) > 30
    wrong = [f"{family.type} {family.name}: {what}" for family in families for what in faults(family)]
    assert wrong == []


def faults(family: Any) -> list[str]:
    words = family.name.split("_")
    labels = {label for sample in family.samples for label in sample.labels} - {"le"}
    rules = {
        "no help text": not family.documentation.endswith("."),
        "not ours": not family.name.startswith("mcp_operator_"),
        "not snake case": re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", family.name) is None,
        "not a base unit": bool(UNITS & set(words)),
        "a unit in the middle": bool({"seconds", "bytes"} & set(words[:-1])) and family.type != "counter",
        "a reserved suffix": words[-1] in {"total", "count", "sum", "bucket", "info"},
        "its type in its name": bool({"counter", "gauge", "histogram", "summary"} & set(words)),
        "a label's name in its name": any(label in words for label in labels),
        "an untyped family": family.type not in {"counter", "gauge", "histogram"},
    }
    return [what for what, broken in rules.items() if broken]
