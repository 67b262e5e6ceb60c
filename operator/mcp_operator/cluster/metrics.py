"""The numbers of this room for /metrics, in an injected registry, so that tests have their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric


class ClusterMetrics:
    """Counters and histograms that the modules of this room fill."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.relists = Counter(
            "mcp_operator_relists", "Lists read again because following a watch failed.", ["kind", "reason"], registry=registry
        )
        self.watch_restarts = Counter(
            "mcp_operator_watch_restarts", "Watches that ended as agreed and went on.", ["kind"], registry=registry
        )
        self.reconciles = Counter(
            "mcp_operator_reconciles",
            "Runs that compared a server's children with its spec, by what came of it: accepted, refused, failed.",
            ["result"],
            registry=registry,
        )
        self.writes = Counter(
            "mcp_operator_writes",
            "Objects written, by kind and by result: written, refused, failed.",
            ["kind", "result"],
            registry=registry,
        )
        self.evaluation_seconds = Histogram(
            "mcp_operator_evaluation_seconds",
            "Time to evaluate one server.",
            buckets=(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5),
            registry=registry,
        )
        self.crashes = Counter(
            "mcp_operator_crashes_read",
            "Crashes whose last lines were asked for, by what came of it: told, empty, failed.",
            ["result"],
            registry=registry,
        )
        self.trigger_restarts = Counter(
            "mcp_operator_trigger_restarts", "Times that kopf ended by itself and was started again.", registry=registry
        )

    def watch_silence(self, read: Callable[[], Mapping[tuple[str, str], float]]) -> None:
        """Show how long each watch has been silent, read when /metrics is.

        Args:
            read: seconds by kind and namespace ("" for all of them).
        """
        self._registry.register(_Silence(read))


class _Silence:
    def __init__(self, read: Callable[[], Mapping[tuple[str, str], float]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "mcp_operator_watch_silence_seconds",
            "Time since the API server last said anything about a collection.",
            labels=["kind", "namespace"],
        )
        for labels, seconds in self._read().items():
            family.add_metric(list(labels), seconds)
        yield family
