"""The gateway's own figures for Prometheus: streams and what goes through them, and the log that they read.

The engine of the streams counts here while it works, so nothing on its way may be dear: it counts per batch and not per stream
and event, and every label value is looked up once, in advance. That also lets rates begin at zero. There is no figure per stream:
/metrics stays as short with 20,000 of them (`overviewing` tells of single ones).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mcp_operator.eventlog.log import EventLog
from mcp_operator.gateway.admitting import RefusalReason
from mcp_operator.model.events import EventType

_FORMS: Mapping[bool, str] = {True: "named", False: "unnamed"}

_BACKLOG_EVENTS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
_LAG_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3_600, 21_600, 86_400)
_DELIVERY_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_BUSY_SECONDS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class StreamMetrics:
    """What streams count while they run.

    Args:
        reset_reasons: why a cursor may be impossible to continue.
        end_reasons: why a stream may end.
    """

    def __init__(self, registry: CollectorRegistry, *, reset_reasons: Sequence[str], end_reasons: Sequence[str] = ()) -> None:
        self._count_streams(registry, end_reasons=end_reasons)
        self._count_events(registry, reset_reasons=reset_reasons)
        self._measure(registry)

    def opened(self, *, named: bool) -> None:
        """A stream is open: its answer has begun."""
        self._all.inc()
        self._open[named].inc()
        self._opened[named].inc()

    def ended(self, *, named: bool, reason: str) -> None:
        """A stream that was open has ended, for a reason in one word."""
        self._all.dec()
        self._open[named].dec()
        self._ended.labels(reason).inc()

    def replayed(self) -> None:
        """A stream goes on from its subscriber's cursor."""
        self._replays.inc()

    def reset(self, reason: str) -> None:
        """A stream couldn't go on from its cursor."""
        self._resets.labels(reason).inc()

    def delivered(self, type_: EventType, count: int = 1) -> None:
        """So many events of a type were written, each counted once for every stream that it was written to."""
        self._delivered[type_].inc(count)

    def sent(self, bytes_: int) -> None:
        """So much was written to streams, before TLS."""
        self._sent.inc(bytes_)

    def coalesced(self, type_: EventType, count: int) -> None:
        """So many events weren't written to a slow stream, because it got a newer one that says the same anew."""
        self._coalesced[type_].inc(count)

    def dropped(self, type_: EventType, count: int | None = None) -> None:
        """A stream was told that events of a type are missing: so many, or None where nobody knows."""
        self._drops[type_].inc()
        if count:
            self._dropped[type_].inc(count)

    def behind(self, *, events: int) -> None:
        """A stream begins to catch up with so many events, wanted or not; a new one without a cursor with none."""
        self._backlog.observe(events)

    def lagged(self, seconds: float) -> None:
        """A stream that is behind was written to, and the oldest event of it was this old."""
        self._lag.observe(seconds)

    def broadcast(self, *, seconds: float) -> None:
        """It took so long to write to all streams that are up to date, with the turns of others in between."""
        self._broadcast.observe(seconds)

    def reached(self, seconds: float) -> None:
        """An event was written to the last of the streams that are up to date, so long after the watch told of its cause."""
        self._reached.observe(seconds)

    def _count_streams(self, registry: CollectorRegistry, *, end_reasons: Sequence[str]) -> None:
        self._all = Gauge("mcp_operator_streams", "Event streams that are open.", registry=registry)
        open_ = Gauge(
            "mcp_operator_streams_open",
            "Event streams that are open, by form: named events, or unnamed ones (named=0).",
            ["form"],
            registry=registry,
        )
        opened = Counter("mcp_operator_streams_opened", "Event streams that were opened, by form.", ["form"], registry=registry)
        self._open = {named: open_.labels(form) for named, form in _FORMS.items()}
        self._opened = {named: opened.labels(form) for named, form in _FORMS.items()}
        self._ended = Counter("mcp_operator_streams_ended", "Event streams that ended, by reason.", ["reason"], registry=registry)
        for reason in end_reasons:
            self._ended.labels(reason)

    def _count_events(self, registry: CollectorRegistry, *, reset_reasons: Sequence[str]) -> None:
        self._replays = Counter(
            "mcp_operator_stream_replays", "Streams that were continued from a subscriber's cursor.", registry=registry
        )
        self._resets = Counter(
            "mcp_operator_stream_resets",
            "Times that a stream could not be continued from its cursor and got a snapshot instead.",
            ["reason"],
            registry=registry,
        )
        for reason in reset_reasons:
            self._resets.labels(reason)
        self._delivered = _by_type("mcp_operator_events_delivered", "Events written to streams, snapshots included.", registry)
        self._coalesced = _by_type(
            "mcp_operator_events_coalesced",
            "Events that a slow stream was spared, because a newer one that it got says the same anew.",
            registry,
        )
        self._dropped = _by_type("mcp_operator_events_dropped", "Events that a slow stream did not get.", registry)
        self._drops = _by_type(
            "mcp_operator_stream_drops",
            "Times that a stream told that events of a type are missing, and went on.",
            registry,
        )
        self._sent = Counter("mcp_operator_stream_sent_bytes", "Bytes written to streams, before TLS.", registry=registry)

    def _measure(self, registry: CollectorRegistry) -> None:
        self._backlog = Histogram(
            "mcp_operator_stream_backlog_events",
            "Events behind which a stream begins to catch up, wanted or not.",
            buckets=_BACKLOG_EVENTS,
            registry=registry,
        )
        self._lag = Histogram(
            "mcp_operator_stream_lag_seconds",
            "Age of the oldest event in each write to a stream that is behind.",
            buckets=_LAG_SECONDS,
            registry=registry,
        )
        self._broadcast = Histogram(
            "mcp_operator_broadcast_duration_seconds",
            "Time to write what is new to all streams that are up to date, with the turns of others in between.",
            buckets=_BUSY_SECONDS,
            registry=registry,
        )
        self._reached = Histogram(
            "mcp_operator_event_delivery_duration_seconds",
            "Time from the watch that told of a change to the last write of its event to the streams that are up to date.",
            buckets=_DELIVERY_SECONDS,
            registry=registry,
        )


def _by_type(name: str, text: str, registry: CollectorRegistry) -> Mapping[EventType, Counter]:
    """A counter's children for every type of event."""
    counter = Counter(name, text, ["type"], registry=registry)
    return {type_: counter.labels(type_) for type_ in EventType}


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


class RefusalCollector(Collector):
    """How many streams admission has refused, asked for when Prometheus asks.

    Args:
        refused: the counts by reason, with zeros.
    """

    def __init__(self, refused: Callable[[], Mapping[RefusalReason, int]]) -> None:
        self._refused = refused

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "mcp_operator_streams_refused", "Event streams that were told to come back later, by reason.", labels=["reason"]
        )
        for reason, count in self._refused().items():
            family.add_metric([reason], count)
        yield family
