"""From the readings of instances to the event: which figures there are, and what is said of those that aren't."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from mcp_operator.cluster.podmetrics.readings import Count, Limits, Missing, Reading, Reason, Traffic, Usage
from mcp_operator.cluster.podmetrics.summing import MOST_INSTANCES, MOST_TROUBLES, nothing, summarise
from mcp_operator.eventlog.encoding import encode
from mcp_operator.eventlog.log import EventId
from mcp_operator.model.events import Event, MetricsPayload
from mcp_operator.model.servers import ServerName

NOW = datetime(2026, 11, 23, 9, 0, 0, tzinfo=UTC)
MIB = 2**20
USAGE = ["cpu", "cpuMillicores", "memory", "memoryBytes", "memoryPercent"]
TRAFFIC = ["requests", "requestsPerSecond", "errors", "inFlight"]

AWAY = Missing(Reason.METRICS_UNAVAILABLE, "away", of_server=True)
UNMEASURED = Missing(Reason.NOT_YET_MEASURED, "not yet")
PENDING = Missing(Reason.NOT_RUNNING, "pending")
NO_ENDPOINT = Missing(Reason.NO_PROMETHEUS_ENDPOINT, "none", of_server=True)
REFUSED = Missing(Reason.SCRAPE_REFUSED, "refused")
NO_COUNTER = Missing(Reason.NO_REQUEST_COUNTER, "no counter")
NO_ERRORS = Missing(Reason.NO_ERROR_COUNTER, "no errors")
NO_GAUGE = Missing(Reason.NO_IN_FLIGHT_GAUGE, "no gauge")
FIRST = Missing(Reason.NOT_YET_MEASURED, "first", of_server=True)
NEW = Missing(Reason.NOT_YET_MEASURED, "new")


def uses(millicores: str, mebibytes: int, **said: Any) -> Usage:
    return Usage(cpu=Decimal(millicores) / 1000, memory=mebibytes * MIB, **said)


def counted(requests: float, errors: float | Missing = 0, in_flight: float | Missing = 0) -> Traffic:
    return Traffic(requests=Count(series="mcp_requests_total", value=requests), errors=errors, in_flight=in_flight)


def reading(
    usage: Usage | Missing,
    requests: float | Traffic | Missing,
    *,
    rate: float | Missing = 0,
    name: str = "weather-7d4b9-a",
    cpu: str | None = "500m",
    memory: int | None = 100,
) -> Reading:
    """What was read of an instance; with a number it has served so many requests, without an error, and works on none."""
    traffic = counted(requests) if isinstance(requests, int | float) else requests
    limits = Limits(
        cpu=None if cpu is None else Decimal(cpu.removesuffix("m")) / 1000,
        memory=None if memory is None else Decimal(memory * MIB),
    )
    return Reading(
        instance=name, limits=limits, usage=usage, traffic=traffic, rate=traffic if isinstance(traffic, Missing) else rate
    )


def figures(payload: MetricsPayload) -> tuple[Any, ...]:
    return (
        *(payload.cpu, payload.cpu_millicores, payload.memory, payload.memory_bytes, payload.memory_percent, payload.requests),
        payload.requests_source,
    )


def troubles(payload: MetricsPayload) -> list[tuple[str, str | None, list[str]]]:
    return [(each.reason, each.instance, list(each.fields)) for each in payload.unavailable]


A, B = "weather-7d4b9-a", "weather-7d4b9-b"


@pytest.mark.parametrize(
    ("readings", "expected", "unavailable"),
    [
        pytest.param([reading(uses("50", 25), 7)], (10.0, 50.0, 25.0, 25 * MIB, 25.0, 7.0, "pod"), [], id="one instance"),
        pytest.param(
            [reading(uses("50", 25), 7), reading(uses("100", 50), 5, name=B)],
            (15.0, 150.0, 75.0, 75 * MIB, 37.5, 12.0, "pod"),
            [],
            id="two instances",
        ),
        pytest.param(
            [reading(uses("50", 25), 7), reading(UNMEASURED, 5, name=B)],
            (10.0, 50.0, 25.0, 25 * MIB, 25.0, 12.0, "pod"),
            [("NotYetMeasured", B, USAGE)],
            id="one of them not measured",
        ),
        pytest.param(
            [reading(uses("50", 25), 7), reading(uses("0", 1), REFUSED, name=B)],
            (5.0, 50.0, 26.0, 26 * MIB, 13.0, 7.0, "pod"),
            [("ScrapeRefused", B, TRAFFIC)],
            id="one of them without requests",
        ),
        pytest.param(
            [reading(PENDING, PENDING)],
            (None, None, None, None, None, None, None),
            [("NotRunning", A, [*USAGE, *TRAFFIC])],
            id="an instance that does not run yet",
        ),
        pytest.param(
            [reading(AWAY, 7), reading(AWAY, REFUSED, name=B)],
            (None, None, None, None, None, 7.0, "pod"),
            [("MetricsUnavailable", None, USAGE), ("ScrapeRefused", B, TRAFFIC)],
            id="metrics-server away",
        ),
        pytest.param(
            [reading(uses("50", 25), NO_ENDPOINT), reading(uses("50", 25), NO_ENDPOINT, name=B)],
            (10.0, 100.0, 50.0, 50 * MIB, 25.0, None, None),
            [("NoPrometheusEndpoint", None, TRAFFIC)],
            id="no endpoint named",
        ),
        pytest.param(
            [reading(uses("50", 25), 0, cpu=None, memory=None), reading(uses("50", 25), 0, name=B, cpu=None, memory=None)],
            (5.0, 100.0, 50.0, 50 * MIB, None, 0.0, "pod"),
            [("NoMemoryLimit", None, ["memoryPercent"])],
            id="no limits at all: percent of one core each",
        ),
        pytest.param(
            [reading(uses("50", 25), 0), reading(uses("100", 25), 0, name=B, cpu=None, memory=None)],
            (10.0, 150.0, 50.0, 50 * MIB, None, 0.0, "pod"),
            [("NoMemoryLimit", B, ["memoryPercent"])],
            id="one of them without limits",
        ),
        pytest.param([reading(uses("0", 0), 0)], (0.0, 0.0, 0.0, 0, 0.0, 0.0, "pod"), [], id="what is known to be 0 is 0"),
        pytest.param(
            [reading(uses("1.346421", 25), 0)], (0.269, 1.346421, 25.0, 25 * MIB, 25.0, 0.0, "pod"), [], id="no nanocore is lost"
        ),
    ],
)
def test_sums_are_over_what_is_known_and_the_rest_is_named(
    readings: list[Reading], expected: tuple[Any, ...], unavailable: list[Any]
) -> None:
    payload = summarise(readings, sampled_at=NOW)
    assert figures(payload) == expected
    assert troubles(payload) == unavailable
    assert [instance.name for instance in payload.per_instance] == [each.instance for each in readings]
    assert payload.sampled_at == NOW


def test_each_instance_has_its_own_figures() -> None:
    usage = uses("50", 25, measured_at=NOW - timedelta(seconds=12), window_seconds=15.2)
    whole = reading(usage, counted(7, errors=3, in_flight=1), rate=2.34567)
    payload = summarise([whole, reading(UNMEASURED, REFUSED, name=B, memory=None)], sampled_at=NOW)
    assert [instance.to_json_object() for instance in payload.per_instance] == [
        {
            "name": A,
            "cpu": 10.0,
            "cpuMillicores": 50.0,
            "memory": 25.0,
            "memoryBytes": 25 * MIB,
            "memoryPercent": 25.0,
            "requests": 7.0,
            "requestsPerSecond": 2.346,
            "errors": 3.0,
            "inFlight": 1.0,
            "sampledAt": "2026-11-23T08:59:48Z",
            "windowSeconds": 15.2,
        },
        {
            "name": B,
            "cpu": None,
            "cpuMillicores": None,
            "memory": None,
            "memoryBytes": None,
            "memoryPercent": None,
            "requests": None,
            "requestsPerSecond": None,
            "errors": None,
            "inFlight": None,
            "sampledAt": None,
            "windowSeconds": None,
        },
    ]


@pytest.mark.parametrize(
    ("readings", "expected", "unavailable"),
    [
        pytest.param(
            [reading(uses("0", 0), counted(7, 2, 1), rate=1.5), reading(uses("0", 0), counted(5, 1, 3), rate=0.25, name=B)],
            (12, 1.75, 3, 4),
            [],
            id="two instances",
        ),
        pytest.param(
            [reading(uses("0", 0), counted(7), rate=FIRST), reading(uses("0", 0), counted(5), rate=FIRST, name=B)],
            (12, None, 0, 0),
            [("NotYetMeasured", None, ["requestsPerSecond"])],
            id="the first sample has no rate, which is said once",
        ),
        pytest.param(
            [reading(uses("0", 0), counted(7), rate=1.5), reading(uses("0", 0), counted(400), rate=NEW, name=B)],
            (407, 1.5, 0, 0),
            [("NotYetMeasured", B, ["requestsPerSecond"])],
            id="one has just come",
        ),
        pytest.param(
            [
                reading(uses("0", 0), counted(7, NO_ERRORS, NO_GAUGE), rate=1.5),
                reading(uses("0", 0), counted(5, NO_ERRORS, NO_GAUGE), rate=1.5, name=B),
                reading(uses("0", 0), REFUSED, name="c"),
            ],
            (12, 3, None, None),
            [
                ("NoErrorCounter", None, ["errors"]),
                ("NoInFlightGauge", None, ["inFlight"]),
                ("ScrapeRefused", "c", TRAFFIC),
            ],
            id="what none of those that answer has is said once",
        ),
        pytest.param(
            [reading(uses("0", 0), counted(7, NO_ERRORS), rate=1.5), reading(uses("0", 0), counted(5, 4), rate=1, name=B)],
            (12, 2.5, 4, 0),
            [("NoErrorCounter", A, ["errors"])],
            id="an older instance that counts no errors",
        ),
        pytest.param(
            [reading(uses("0", 0), Traffic(requests=NO_COUNTER, errors=NO_COUNTER, in_flight=2), rate=NO_COUNTER)],
            (None, None, None, 2),
            [("NoRequestCounter", None, ["requests", "requestsPerSecond", "errors"])],
            id="only a gauge",
        ),
    ],
)
def test_figures_about_requests_are_summed_over_the_instances_that_tell_them(
    readings: list[Reading], expected: tuple[Any, ...], unavailable: list[Any]
) -> None:
    payload = summarise(readings, sampled_at=NOW)
    assert (payload.requests, payload.requests_per_second, payload.errors, payload.in_flight) == expected
    assert troubles(payload) == unavailable


def test_of_a_server_of_which_nothing_can_be_read_the_reason_is_told() -> None:
    payload = nothing(Missing(Reason.NO_INSTANCES, "none", of_server=True), sampled_at=NOW)
    assert figures(payload) == (None,) * 7
    assert payload.per_instance == ()
    assert troubles(payload) == [("NoInstances", None, [*USAGE, *TRAFFIC])]


def test_a_huge_server_is_summed_whole_and_listed_as_far_as_an_event_has_room() -> None:
    long = Missing(Reason.SCRAPE_REFUSED, "x" * 600)
    usage = uses("1234.567891", 10_000, measured_at=NOW, window_seconds=15.123)
    traffic = counted(1_234_567, errors=123_456, in_flight=1234)
    readings = [reading(usage, traffic, rate=12345.678, name=f"{'w' * 52}-7d4b9-{number}") for number in range(900)]
    readings += [reading(uses("1", 1), long, name=f"{'w' * 52}-7d4b9-{number}") for number in range(900, 1000)]
    payload = summarise(readings, sampled_at=NOW)
    assert payload.requests == 900 * 1_234_567
    assert payload.requests_per_second == pytest.approx(900 * 12345.678)
    assert payload.memory == 900 * 10_000 + 100
    assert len(payload.per_instance) == MOST_INSTANCES
    assert len(payload.unavailable) == MOST_TROUBLES
    assert troubles(payload)[-1] == ("TooManyTroubles", None, [*TRAFFIC, "perInstance"])
    data = encode(Event(ServerName("default", "w"), "uid", "key", payload), event_id=EventId("e", 1), time=NOW)
    assert b'"truncated"' not in data, "the event's own bound is never needed"


def test_instances_that_are_not_listed_are_told() -> None:
    readings = [reading(uses("1", 1), 1, name=f"w-7d4b9-{number}") for number in range(MOST_INSTANCES + 3)]
    payload = summarise(readings, sampled_at=NOW)
    assert troubles(payload) == [("TooManyInstances", None, ["perInstance"])]
    assert payload.unavailable[0].message == "3 more instances are not listed; the sums are over all of them"
