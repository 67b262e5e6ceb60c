"""What pods use and may use, as the API server writes it."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from mcp_operator.cluster.podmetrics.readings import Limits, Usage
from mcp_operator.cluster.podmetrics.usage import limits_of, read_usages
from tests.builders import having, pod

MIB = 2**20


def measured(name: str, *containers: tuple[str, str]) -> dict[str, Any]:
    """PodMetrics with the cpu and memory of each container."""
    usages = [{"name": f"c{number}", "usage": {"cpu": cpu, "memory": memory}} for number, (cpu, memory) in enumerate(containers)]
    return {"metadata": {"name": name, "namespace": "default"}, "containers": usages, "window": "10s"}


def container(name: str = "mcp", **limits: str) -> dict[str, Any]:
    return {"name": name, "image": "x", "resources": {"limits": limits}}


def test_containers_of_a_pod_are_summed() -> None:
    answer = {"items": [measured("a", ("1500000n", "20Mi"), ("3m", "1024Ki")), measured("b", ("0", "5Mi"))]}
    assert read_usages(answer) == {
        "a": Usage(cpu=Decimal("0.0045"), memory=21 * MIB, window_seconds=10.0),
        "b": Usage(cpu=Decimal(0), memory=5 * MIB, window_seconds=10.0),
    }


@pytest.mark.parametrize(
    ("timestamp", "window", "expected"),
    [
        ("2026-11-23T05:32:32Z", "15.123s", (datetime(2026, 11, 23, 5, 32, 32, tzinfo=UTC), 15.123)),
        ("2026-11-23T06:32:32+01:00", "1m0.5s", (datetime(2026, 11, 23, 5, 32, 32, tzinfo=UTC), 60.5)),
        (None, "2h", (None, 7200.0)),
        ("2026-11-23T05:32:32", "30", (None, None)),
        ("0001-01-01T00:00:00+23:00", "", (None, None)),
        ("yesterday", "-5s", (None, None)),
        (7, 7, (None, None)),
    ],
)
def test_it_is_told_when_and_for_how_long_a_pod_was_measured_if_that_was_said(
    timestamp: object, window: object, expected: object
) -> None:
    item = {**measured("a", ("1m", "1Mi")), "timestamp": timestamp, "window": window}
    usage = read_usages({"items": [item]})["a"]
    assert (usage.measured_at, usage.window_seconds) == expected


@pytest.mark.parametrize(
    "broken",
    [
        measured("a"),
        measured("a", ("lots", "5Mi")),
        measured("a", ("5m", "-5Mi")),
        measured("a", ("-5m", "5Mi")),
        {"metadata": {"name": "a"}},
        {"metadata": {"name": "a"}, "containers": None},
        {"metadata": {"name": "a"}, "containers": [{"usage": {"cpu": "1"}}]},
        {"metadata": {"name": "a"}, "containers": [{"usage": None}]},
        {"containers": []},
        None,
        "PodMetrics",
    ],
)
def test_figures_that_cannot_be_read_are_left_out_and_the_others_stay(broken: Any) -> None:
    answer = {"items": [broken, measured("b", ("1m", "1Mi"))]}
    assert set(read_usages(answer)) == {"b"}


@pytest.mark.parametrize("answer", [{"items": None}, {"items": []}])
def test_an_empty_list_has_no_usages(answer: dict[str, Any]) -> None:
    assert read_usages(answer) == {}


@pytest.mark.parametrize("answer", [{}, [], None, "x", {"items": "x"}, {"items": {}}])
def test_what_is_no_list_is_refused(answer: object) -> None:
    with pytest.raises(ValueError, match="not a list of PodMetrics"):
        read_usages(answer)


@pytest.mark.parametrize(
    ("spec", "limits"),
    [
        ({"containers": [{"name": "mcp"}]}, Limits(None, None)),
        ({"containers": [container(cpu="500m", memory="64Mi")]}, Limits(Decimal("0.5"), Decimal(64 * MIB))),
        (
            {"containers": [container(cpu="1", memory="64Mi"), container("sidecar", cpu="250m", memory="32Mi")]},
            Limits(Decimal("1.25"), Decimal(96 * MIB)),
        ),
        ({"containers": [container(cpu="1", memory="64Mi"), container("sidecar", cpu="1")]}, Limits(Decimal(2), None)),
        (
            {"containers": [container(memory="64Mi")], "initContainers": [container("once", memory="1Gi")]},
            Limits(None, Decimal(64 * MIB)),
        ),
        (
            {
                "containers": [container(memory="64Mi")],
                "initContainers": [{**container("sidecar", memory="16Mi"), "restartPolicy": "Always"}],
            },
            Limits(None, Decimal(80 * MIB)),
        ),
        (
            {"containers": [container(cpu="1")], "resources": {"limits": {"memory": "1Gi"}}},
            Limits(Decimal(1), Decimal(1024 * MIB)),
        ),
        ({"containers": [container(cpu="0", memory="lots")]}, Limits(None, None)),
        ({"containers": [{"name": "mcp", "resources": None}]}, Limits(None, None)),
    ],
)
def test_the_limits_of_a_pod_are_those_of_all_that_runs_in_it(spec: dict[str, Any], limits: Limits) -> None:
    assert limits_of(pod("weather-7d4b9-x2x7q", having("spec", spec))) == limits
