"""Which series of a Prometheus endpoint tell what of an instance's requests: names and labels as the field has them. No I/O.

`exposition` reads lines with it. docs/metrics.md lists the same names, and a test compares; where they come from is written in
docs/decisions/20261123-request-figures.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from mcp_operator.cluster.podmetrics.readings import Count, Missing, Reason, Traffic

REQUEST_COUNTERS: Final = (
    "mcp_server_operation_duration_seconds_count",
    "mcp_requests_total",
    "http_server_request_duration_seconds_count",
    "http_requests_total",
    "http_server_requests_seconds_count",
    "http_request_duration_seconds_count",
)
"""Series that count served requests, the most telling first: the requests of MCP as OpenTelemetry's conventions for MCP servers
name them, then as a plain counter; requests of HTTP as its conventions for HTTP servers name them, as Prometheus' own
documentation does, as Micrometer (Spring, Quarkus) does, and as middlewares do that have only a histogram."""

ERROR_COUNTER: Final = "mcp_errors_total"
"""Counts failed requests where the counter of requests doesn't tell them apart."""

IN_FLIGHT_GAUGES: Final = (
    "mcp_server_active_requests",
    "mcp_requests_in_flight",
    "mcp_active_requests",
    "http_server_active_requests",
    "http_requests_inprogress",
    "http_requests_in_progress",
    "http_requests_in_flight",
    "starlette_requests_in_progress",
)
"""Series that tell how many requests are worked on, the most telling first."""

KNOWN: Final = (*REQUEST_COUNTERS, ERROR_COUNTER, *IN_FLIGHT_GAUGES)
FAMILIES: Final = {series: series.removesuffix("_count").removesuffix("_total") for series in KNOWN}
"""The name under which each series is declared."""

ERROR_TYPE: Final = "error_type"
"""A label of OpenTelemetry's conventions that only failed requests have."""
STATUS_LABELS: Final = ("http_response_status_code", "http_status_code", "status_code", "status", "code")
"""Labels with a status of HTTP; the server has failed with 500 and above, also written 5xx."""
OUTCOME_LABELS: Final = ("status", "outcome", "result")
FAILED_OUTCOMES: Final = ("error", "failed", "failure", "exception", "timeout", "server_error")

_ALWAYS_TELL: Final = frozenset({"mcp_server_operation_duration_seconds_count", "http_server_request_duration_seconds_count"})
"""Counters whose conventions demand a label for failed requests: without it none has failed."""
_TELLING: Final = frozenset({ERROR_TYPE, *STATUS_LABELS, *OUTCOME_LABELS})
_SERVER_ERROR: Final = re.compile(r"5(\d\d|xx)", re.ASCII | re.IGNORECASE)
_LARGEST: Final = 2.0**63
"""No count gets there; sums of such numbers stay finite."""

Labels: TypeAlias = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Found:
    """What an answer has of the known series."""

    values: Mapping[str, Mapping[Labels, float]] = field(default_factory=dict)
    """By series and labels."""
    counters: frozenset[str] = frozenset()
    """Families that are declared as counting, with a series or none yet."""
    gauges: frozenset[str] = frozenset()
    """Families that are declared as gauges."""


def traffic(found: Found) -> Traffic:
    """The figures of the first known series of each kind, summed over their labels.

    A series that is declared and not there yet counts as 0.
    """
    series = _first(REQUEST_COUNTERS, found, found.counters)
    in_flight = _first(IN_FLIGHT_GAUGES, found, found.gauges)
    if series is None:
        no_counter = Missing(Reason.NO_REQUEST_COUNTER, f"the answer has none of the counters {', '.join(REQUEST_COUNTERS)}")
        requests: Count | Missing = no_counter
        errors: float | Missing = no_counter
    else:
        total = _sum(series, found.values.get(series, {}).values())
        requests = total if isinstance(total, Missing) else Count(series=series, value=total)
        errors = total if isinstance(total, Missing) else _errors(series, found)
    no_gauge = Missing(Reason.NO_IN_FLIGHT_GAUGE, f"the answer has none of the gauges {', '.join(IN_FLIGHT_GAUGES)}")
    return Traffic(
        requests=requests,
        errors=errors,
        in_flight=no_gauge if in_flight is None else _sum(in_flight, found.values.get(in_flight, {}).values()),
    )


def _first(names: Iterable[str], found: Found, declared: frozenset[str]) -> str | None:
    return next((series for series in names if series in found.values or FAMILIES[series] in declared), None)


def _errors(series: str, found: Found) -> float | Missing:
    values = found.values.get(series, {})
    names = {name for labels in values for name, _ in labels}
    if series in _ALWAYS_TELL or not values or names & _TELLING:
        return math.fsum(value for labels, value in values.items() if _failed(labels))
    if ERROR_COUNTER in found.values or FAMILIES[ERROR_COUNTER] in found.counters:
        return _sum(ERROR_COUNTER, found.values.get(ERROR_COUNTER, {}).values())
    message = f"{series} has no label that tells failed requests, such as {ERROR_TYPE} or status, and there is no {ERROR_COUNTER}"
    return Missing(Reason.NO_ERROR_COUNTER, message)


def _failed(labels: Labels) -> bool:
    by_name = dict(labels)
    return (
        by_name.get(ERROR_TYPE, "") != ""
        or any(_SERVER_ERROR.fullmatch(by_name.get(name, "")) for name in STATUS_LABELS)
        or any(by_name.get(name, "").lower() in FAILED_OUTCOMES for name in OUTCOME_LABELS)
    )


def _sum(series: str, values: Iterable[float]) -> float | Missing:
    values = list(values)
    try:
        total = math.fsum(values)
    except (OverflowError, ValueError):  # infinities of both signs; whole numbers that are no float
        total = math.nan
    if not 0 <= total < _LARGEST or any(value < 0 for value in values):
        return Missing(Reason.SCRAPE_UNREADABLE, f"a value of {series} is not a count")
    return total
