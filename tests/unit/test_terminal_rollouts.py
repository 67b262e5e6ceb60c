"""Records on the terminal: a table, one of them as a timeline, and nothing that a terminal would obey."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.terminal.rollouts import UnclearRolloutError, find, rollout_page, rollouts_table
from mcp_operator.terminal.screen import Style, coloured_text
from tests.streams import NOON

NOW = NOON + timedelta(minutes=5)
PLAIN, COLOURED = Style(coloured=False, live=False), Style(coloured=True, live=False)


def time(seconds: float) -> str:
    return (NOON + timedelta(seconds=seconds)).isoformat()


def instance(name: str, began: float, *, gone: bool = False, **phases: float) -> dict[str, Any]:
    seconds = sum(phases.values()) if "available" in phases else None
    steps = {step: phases.get(step) for step in ("scheduled", "pulled", "started", "ready", "available")}
    return {"name": f"weather-7d4b9-{name}", "createdAt": time(began), "phases": steps, "seconds": seconds, "gone": gone}


def record(**fields: Any) -> dict[str, Any]:
    return {
        "name": "weather-3f2a9c1b04",
        "id": "0d2c7c1e-8f0f-4a55-9d0b-3f2a6f0f6c21-4",
        "kind": "rollout",
        "server": "default/weather",
        "uid": "u",
        "revision": "7d4b9",
        "by": None,
        "before": 2,
        "desired": 2,
        "startedAt": time(0),
        "endedAt": time(20),
        "outcome": "succeeded",
        "percent": 100,
        "instances": [
            instance("late", 10, scheduled=0, started=2, ready=8, available=0),
            instance("early", 0, scheduled=1, started=3, ready=6, available=0),
        ],
        "others": None,
        "failures": [],
        "failuresOmitted": 0,
        **fields,
    }


FAILURE = {
    "id": "c",
    "reason": "CrashLoopBackOff",
    "message": "Container mcp exits with 3",
    "instance": "weather-7d4b9-early",
    "container": "mcp",
    "exitCode": 3,
    "signal": None,
    "count": 1,
    "since": time(4),
    "until": time(16),
}


def table(*records: dict[str, Any]) -> list[str]:
    return coloured_text(rollouts_table(records, now=NOW), style=PLAIN).splitlines()


def page(shown: dict[str, Any], *, width: int = 100) -> list[str]:
    return coloured_text(rollout_page(shown, now=NOW, width=width), style=PLAIN).splitlines()


def test_the_table_has_a_line_for_each() -> None:
    by = {"manager": "kubectl-scale", "hpa": None}
    opened = record(name="weather-aaaaaaaaaa", kind="scale", outcome=None, endedAt=None, percent=45, by=by, desired=5)
    failed = record(name="weather-bbbbbbbbbb", failures=[FAILURE, {**FAILURE, "reason": "ErrImagePull"}], failuresOmitted=2)
    header, *lines = table(opened, record(), failed)
    assert header.split() == ["ID", "KIND", "REVISION", "INSTANCES", "BY", "STARTED", "DURATION", "OUTCOME", "FAILURES"]
    assert [[cell.strip() for cell in line.split("   ") if cell.strip()] for line in lines] == [
        ["aaaaaaaaaa", "scale", "7d4b9", "2 → 5", "kubectl-scale", "5m ago", "5m", "open, 45 %", "-"],
        ["3f2a9c1b04", "rollout", "7d4b9", "2 → 2", "-", "5m ago", "20s", "succeeded", "-"],
        ["bbbbbbbbbb", "rollout", "7d4b9", "2 → 2", "-", "5m ago", "20s", "succeeded", "CrashLoopBackOff,ErrImagePull,…"],
    ]


def test_what_a_hpa_did_is_named_after_it() -> None:
    assert "autoscaler weather" in table(record(by={"manager": "kube-controller-manager", "hpa": {"name": "weather"}}))[1]


def test_the_timeline_has_a_bar_for_each_instance_in_the_order_of_their_creation() -> None:
    shown = page(record())
    assert shown[0] == "default/weather   rollout   3f2a9c1b04   succeeded"
    bars = [line for line in shown if "▓" in line and "scheduled" in line and not line.startswith("Instances")]
    assert [line.split()[0] for line in bars] == ["early", "late"]
    begins = [next(at for at, character in enumerate(line) if character in "·▒") for line in bars]
    assert begins[1] - begins[0] == pytest.approx(sum(map(bars[0].count, "·▒▓")), abs=1)  # the one begins when the other is done
    assert "10s  scheduled 1s, started 3s, ready 6s" in bars[0]
    assert bars[0].count("▓") == pytest.approx(2 * bars[0].count("▒"), abs=2)


def test_an_instance_that_never_came_is_drawn_up_to_the_end() -> None:
    shown = page(record(instances=[instance("stuck", 0, scheduled=1)], outcome=None, endedAt=None, percent=20))
    (bar,) = (line for line in shown if line.startswith("  stuck"))
    assert bar.count("?") > 20
    assert "unfinished" in bar


def test_failures_say_when_they_were_and_for_how_long() -> None:
    shown = "\n".join(
        page(record(failures=[FAILURE, {**FAILURE, "until": None, "signal": 9, "exitCode": None}], failuresOmitted=3))
    )
    assert "✗ CrashLoopBackOff: Container mcp exits with 3 (early, exit code 3)  for 12s" in shown
    assert "(early, signal 9)  until the end" in shown
    assert "and 3 more" in shown


def test_the_rest_of_many_instances_is_summed_up() -> None:
    spread = {"min": 1, "p50": 2, "p90": 3.5, "max": 9}
    spreads = {"scheduled": None, "pulled": None, "started": spread, "ready": None, "available": None, "seconds": spread}
    shown = page(record(others={"count": 80, "spreads": spreads}))
    assert "80 more instances, each faster than those above" in shown
    assert [line.split() for line in shown if line.strip().startswith("in all")] == [["in", "all", "1s", "2s", "3.5s", "9s"]]


@pytest.mark.parametrize("width", [20, 60, 80, 120, 400])
def test_bars_fit_the_terminal(width: int) -> None:
    bars = [line for line in page(record(), width=width) if line.startswith(("  early", "  late"))]
    assert len(bars) == 2
    assert all(len(line) <= max(width, 70) for line in bars)


def test_colours_can_be_turned_off() -> None:
    texts = rollout_page(record(failures=[FAILURE]), now=NOW, width=100)
    assert "\x1b[" in coloured_text(texts, style=COLOURED)
    assert "\x1b" not in coloured_text(texts, style=PLAIN)


@pytest.mark.parametrize("wanted", ["3f2a9c1b04", "3f2", "weather-3f2a9c1b04", "0d2c7c1e-8f0f-4a55-9d0b-3f2a6f0f6c21-4"])
def test_a_record_is_found_by_any_of_its_ids(wanted: str) -> None:
    records = [record(name="weather-4aaaaaaaaa", id="other"), record()]
    assert find(records, wanted)["name"] == "weather-3f2a9c1b04"


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("9", "No record has the id '9'; there are: 4aaaaaaaaa, 4bbbbbbbbb"),
        ("4", "More than one record has the id '4'; there are: 4aa"),
    ],
)
def test_an_id_that_is_unclear_is_said_to_be(wanted: str, said: str) -> None:
    records = [record(name="weather-4aaaaaaaaa", id="x"), record(name="weather-4bbbbbbbbb", id="y")]
    with pytest.raises(UnclearRolloutError) as raised:
        find(records, wanted)
    assert str(raised.value).startswith(said)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(time(5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
PHASES = st.fixed_dictionaries({"scheduled": JSON, "ready": JSON})
INSTANCES = st.lists(
    st.fixed_dictionaries({"name": JSON, "createdAt": st.just(time(1)) | JSON, "phases": PHASES, "seconds": JSON})
)
RECORDS = st.fixed_dictionaries(
    {name: JSON for name in record() if name not in {"instances", "startedAt"}}
    | {"startedAt": st.just(time(0)) | JSON, "instances": INSTANCES}
)


@given(RECORDS)
def test_whatever_a_gateway_says_is_shown_and_none_of_it_is_obeyed(said: dict[str, Any]) -> None:
    for texts in (rollouts_table([said], now=NOW), rollout_page(said, now=NOW, width=80)):
        assert "\x1b" not in coloured_text(texts, style=PLAIN)
