"""The gateway's own figures for Prometheus: streams and what goes through them, and the log that they read."""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mcp_operator.eventlog.log import EXPENDABLE, EventLog, Record
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
        self._dropped = Counter(
            "mcp_operator_stream_drops",
            "Times that a stream told that events of a type are missing, and went on.",
            ["type"],
            registry=registry,
        )
        for type_ in EXPENDABLE:
            self._dropped.labels(type_)
        for type_ in EventType:
            self._delivered.labels(type_)
        for reason in reset_reasons:
            self._resets.labels(reason)

    def delivered(self, record: Record) -> None:
        self._delivered.labels(record.type).inc()

    def dropped(self, type_: EventType) -> None:
        self._dropped.labels(type_).inc()

    def reset(self, reason: str) -> None:
        self._resets.labels(reason).inc()


class LogCollector(Collector):
    """The log's figures, asked for when Prometheus asks."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def collect(self) -> Iterator[Metric]:
        statistics = self._log.statistics()
        families = (
            (CounterMetricFamily, "mcp_operator_events_appended", "Events appended to the log.", statistics.appended),
            (CounterMetricFamily, "mcp_operator_events_evicted", "Events that the log has let go.", statistics.evicted),
            (GaugeMetricFamily, "mcp_operator_log_events", "Events that the log holds.", statistics.held),
            (GaugeMetricFamily, "mcp_operator_log_bytes", "Bytes of the held events' JSON.", statistics.held_bytes),
        )
        for kind, name, text, figures in families:
            family = kind(name, text, labels=["type"])
            for type_ in EventType:
                family.add_metric([type_], figures.get(type_, 0))
            yield family
