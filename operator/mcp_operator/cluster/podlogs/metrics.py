"""The numbers of followed logs for /metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class FollowingMetrics:
    """What following logs counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.open = Gauge("mcp_operator_log_follows", "Requests for the log of a container that are open.", registry=registry)
        self.begun = Counter(
            "mcp_operator_log_follows_begun",
            "Times that a container's log began to be followed; each run of the container is one.",
            registry=registry,
        )
        self.reconnects = Counter(
            "mcp_operator_log_reconnects", "Times that a log was asked for again, from the last line told.", registry=registry
        )
        self.refused = Counter(
            "mcp_operator_log_follows_refused",
            "Times that a log had to wait, because as many as may be were followed already.",
            registry=registry,
        )
        self.lines = Counter("mcp_operator_log_lines", "Lines of followed logs that were told.", registry=registry)
