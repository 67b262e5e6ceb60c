"""The numbers of this room for /metrics, in an injected registry, so that tests have their own."""

from prometheus_client import CollectorRegistry, Counter, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class SamplingMetrics:
    """What sampling does, and that it does nothing while nobody listens."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.samples = Counter("mcp_operator_metrics_samples", "Samples taken of servers.", registry=registry)
        self.sample_seconds = Histogram(
            "mcp_operator_metrics_sample_seconds", "Time to take one sample of a server.", buckets=_SECONDS, registry=registry
        )
        self.usage_requests = Counter(
            "mcp_operator_metrics_usage_requests",
            "Requests to metrics.k8s.io, by result: read, refused, failed.",
            ["result"],
            registry=registry,
        )
        self.usage_seconds = Histogram(
            "mcp_operator_metrics_usage_seconds", "Time until metrics.k8s.io answered.", buckets=_SECONDS, registry=registry
        )
        self.scrapes = Counter(
            "mcp_operator_metrics_scrapes",
            "Requests to Prometheus endpoints of instances, by result: read, or the reason that the event gives.",
            ["result"],
            registry=registry,
        )
        self.scrape_seconds = Histogram(
            "mcp_operator_metrics_scrape_seconds",
            "Time until the Prometheus endpoint of an instance was read, or given up.",
            buckets=_SECONDS,
            registry=registry,
        )
