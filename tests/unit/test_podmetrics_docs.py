"""docs/metrics.md says what the code does: every reason, every counter, every figure, every bound."""

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from mcp_operator.cluster.podmetrics.exposition import KEPT_LIMIT
from mcp_operator.cluster.podmetrics.metrics import SamplingMetrics
from mcp_operator.cluster.podmetrics.readings import Reason
from mcp_operator.cluster.podmetrics.scraping import LONGEST_ANSWER, SCRAPE_SECONDS, SERVER_SECONDS
from mcp_operator.cluster.podmetrics.series import (
    ERROR_COUNTER,
    FAILED_OUTCOMES,
    IN_FLIGHT_GAUGES,
    REQUEST_COUNTERS,
    STATUS_LABELS,
)
from mcp_operator.cluster.podmetrics.summing import MOST_INSTANCES, MOST_TROUBLES
from mcp_operator.model.events import MetricsPayload

DOCUMENT = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()


def section(heading: str) -> str:
    """What stands below a heading."""
    return DOCUMENT.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


def first_column(heading: str) -> list[str]:
    """The names in the first column of the table below a heading."""
    return re.findall(r"^\| `(\w+)", section(heading), re.MULTILINE)


def test_every_reason_has_its_row() -> None:
    assert sorted(first_column("What is missing")) == sorted(Reason)


def test_the_counters_are_listed_in_the_order_in_which_they_are_taken() -> None:
    assert tuple(first_column("Which figure counts requests")) == REQUEST_COUNTERS


def test_the_gauges_are_listed_in_the_order_in_which_they_are_taken() -> None:
    assert tuple(first_column("Which figure tells what is worked on")) == IN_FLIGHT_GAUGES


@pytest.mark.parametrize("name", [ERROR_COUNTER, *STATUS_LABELS, *FAILED_OUTCOMES])
def test_what_tells_failed_requests_is_named(name: str) -> None:
    assert f"`{name}`" in section("Which requests have failed")


def test_every_field_has_its_row() -> None:
    assert first_column("Figures") == [field.alias or name for name, field in MetricsPayload.model_fields.items()]


def test_every_figure_of_the_operator_has_its_row() -> None:
    registry = CollectorRegistry()
    SamplingMetrics(registry)
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in registry.collect()}
    assert set(first_column("The operator's own figures")) == names


@pytest.mark.parametrize(
    "bound",
    [
        f"at most {MOST_INSTANCES} instances",
        f"At most {MOST_TROUBLES} are listed",
        f"within {SCRAPE_SECONDS:g} seconds, or {SERVER_SECONDS:g} seconds for all",
        f"more than {LONGEST_ANSWER // 2**20} MiB, or series about requests of more than {KEPT_LIMIT // 1024} KiB",
    ],
)
def test_the_bounds_are_the_real_ones(bound: str) -> None:
    assert bound in DOCUMENT
