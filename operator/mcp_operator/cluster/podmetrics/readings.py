"""What one sample has read of each instance, and why a figure is missing. No I/O.

`usage`, `exposition`, `scraping` and `rating` make these values, `summing` makes the event of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

from mcp_operator.rollout.wording import tidy

_MESSAGE_LIMIT: Final = 256


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
    """metrics.k8s.io has no figures of the instance, or there is no sample before this one that a rate could begin at."""
    COUNTER_RESET = "CounterReset"
    """The counter of requests has fallen though the pod tells of no restart."""
    NO_MEMORY_LIMIT = "NoMemoryLimit"
    """There is no limit that the memory could be a percentage of."""
    NO_PROMETHEUS_ENDPOINT = "NoPrometheusEndpoint"
    """The spec doesn't say where requests are counted."""
    NO_REQUEST_COUNTER = "NoRequestCounter"
    """The instance's endpoint has no figure that is known to count requests."""
    NO_ERROR_COUNTER = "NoErrorCounter"
    """The instance's endpoint doesn't tell which requests failed."""
    NO_IN_FLIGHT_GAUGE = "NoInFlightGauge"
    """The instance's endpoint has no figure that is known to tell how many requests are worked on."""
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


def brief(message: str) -> str:
    """What somebody else said, fit to be told within a message of a `Missing`."""
    text = tidy(message)
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"


@dataclass(frozen=True, slots=True)
class Usage:
    """What an instance uses: all its containers together."""

    cpu: Decimal
    """Cores."""
    memory: int
    """Bytes of working set."""
    measured_at: datetime | None = None
    """The end of the window that `cpu` is an average of; None if it wasn't said."""
    window_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What an instance may use; None where at least one of its containers is without a limit."""

    cpu: Decimal | None
    """Cores."""
    memory: Decimal | None
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A counter of requests since the instance started."""

    series: str
    """The series that it is the sum of."""
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the endpoint of an instance says of its requests."""

    requests: Count | Missing
    errors: float | Missing
    """Those that failed."""
    in_flight: float | Missing
    """Those that are worked on."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """One whole answer of an instance's endpoint."""

    traffic: Traffic
    at: float
    """When the answer began, in seconds of a clock that never steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All that one sample has read of one instance."""

    instance: str
    limits: Limits
    usage: Usage | Missing
    traffic: Traffic | Missing
    rate: float | Missing
    """Requests per second since the sample before."""
