"""The gateway's own figures for Prometheus: streams and what goes through them, and the log that they read."""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mcp_operator.eventlog.log import EventLog, Record
from mcp_operator.model.events import EventType


class StreamMetrics:
    """What streams count while they run. All of a name's label values exist from the start, so that rates begin at zero."""

    def __init__(self, registry: CollectorRegistry, *, reset_reasons: Sequence[str]) -> None:
        self.open = Gauge("mcp_operator_streams", "Event streams that are open.", registry=registry)
        self.replays = Counter(
            "mcp_operator_stream_replays", "Streams that were continued from a subscriber's cursor.", registry=registry
        )
        self._delivered = Counter(
            "mcp_operator_events_delivered", "Events written to streams, snapshots included.", ["type"], registry=registry
        )
        self._resets = Counter(
            "mcp_operator_stream_resets",
            "Times that a stream could not be continued from its cursor and got a snapshot instead.",
            ["reason"],
            registry=registry,
        )
        for type_ in EventType:
            self._delivered.labels(type_)
        for reason in reset_reasons:
            self._resets.labels(reason)

    def delivered(self, record: Record) -> None:
        self._delivered.labels(record.type).inc()

    def reset(self, reason: str) -> None:
        self._resets.labels(reason).inc()


class LogCollector(Collector):
    """The log's figures, asked for when Prometheus asks."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def collect(self) -> Iterator[Metric]:
        statistics = self._log.statistics()
        appended = CounterMetricFamily("mcp_operator_events_appended", "Events appended to the log.", labels=["type"])
        for type_ in EventType:
            appended.add_metric([type_], statistics.appended.get(type_, 0))
        yield appended
        yield GaugeMetricFamily("mcp_operator_log_events", "Events that the log holds.", value=statistics.held)
