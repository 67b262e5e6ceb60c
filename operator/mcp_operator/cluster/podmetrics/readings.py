"""What one sample has read of each instance, and why a figure is missing. No I/O.

`usage`, `exposition` and `scraping` make these values, `summing` makes the event of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias


class Reason(StrEnum):
    """Why a figure is null, or a sum lacks a part: stable words, because people write switch statements on them."""

    NO_INSTANCES = "NoInstances"
    """The server has no instance."""
    INVALID_SPEC = "InvalidSpec"
    """The server's spec can't be read."""
    NOT_RUNNING = "NotRunning"
    """The instance doesn't run yet."""
    METRICS_UNAVAILABLE = "MetricsUnavailable"
    """metrics.k8s.io doesn't answer, or refuses: metrics-server is away, for instance."""
    NOT_YET_MEASURED = "NotYetMeasured"
    """metrics.k8s.io has no figures of the instance."""
    NO_MEMORY_LIMIT = "NoMemoryLimit"
    """There is no limit that the memory could be a percentage of."""
    NO_PROMETHEUS_ENDPOINT = "NoPrometheusEndpoint"
    """The spec doesn't say where requests are counted."""
    NO_REQUEST_COUNTER = "NoRequestCounter"
    """The instance's endpoint has no figure that is known to count requests."""
    SCRAPE_REFUSED = "ScrapeRefused"
    """No connection to the instance's endpoint."""
    SCRAPE_TIMED_OUT = "ScrapeTimedOut"
    SCRAPE_TOO_LARGE = "ScrapeTooLarge"
    SCRAPE_REDIRECTED = "ScrapeRedirected"
    SCRAPE_STATUS = "ScrapeStatus"
    """An HTTP status other than 200."""
    SCRAPE_UNREADABLE = "ScrapeUnreadable"
    """The answer isn't the text format of Prometheus, or was cut off."""
    TOO_MANY_INSTANCES = "TooManyInstances"
    """`perInstance` leaves some out; the sums don't."""
    TOO_MANY_TROUBLES = "TooManyTroubles"
    """`unavailable` leaves some out."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Why something couldn't be read.

    `of_server` marks what concerns the server as a whole, and so no single instance.
    """

    reason: Reason
    message: str
    of_server: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """What an instance uses: all its containers together."""

    cpu: Decimal
    """Cores."""
    memory: int
    """Bytes of working set."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an instance may use; None where at least one of its containers is without a limit."""

    cpu: Decimal | None
    """Cores."""
    memory: Decimal | None
    """Bytes."""


Requests: TypeAlias = float
"""Requests that an instance has served since it started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All that one sample has read of one instance."""

    instance: str
    limits: Limits
    usage: Usage | Missing
    requests: Requests | Missing
