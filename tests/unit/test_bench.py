"""The benchmarks' own arithmetic: a figure that is computed wrongly is worse than none."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.model.events import EventType
from tests.bench import __main__ as command
from tests.bench.figures import AtLeast, AtMost, Failure, Figure, Goal, Peer, Spread, TimesAtMost, number, percentile
from tests.bench.inside import Arrival
from tests.bench.mixing import mixed
from tests.bench.probing import ProbeError, run_probe
from tests.bench.reporting import table, write
from tests.bench.rows import ROWS, appending, logs, memory, watch
from tests.bench.running import Lab, run

FIELDS = {"name", "value", "unit", "peer", "peerValue", "ratio", "range", "goal", "met", "conditions"}


def figure(value: float = 4.0, *, goal: Goal | None = None, peer: Peer | None = None, name: str = "lag") -> Figure:
    return Figure(name=name, value=value, unit="ms", goal=goal, peer=peer, conditions="asyncio")


# --- statistics -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "percent", "expected"),
    [(1, 50, 1), (2, 50, 1), (3, 50, 2), (100, 99, 99), (101, 99, 100), (210, 99, 208), (10, 100, 10), (10, 0, 1)],
)
def test_a_percentile_is_one_of_the_values(count: int, percent: float, expected: float) -> None:
    values = [float(value) for value in range(count, 0, -1)]
    assert percentile(values, percent) == expected


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.floats(min_value=0.1, max_value=100))
def test_so_many_percent_do_not_exceed_a_percentile(values: list[float], percent: float) -> None:
    assert sum(value <= percentile(values, percent) for value in values) >= len(values) * percent / 100


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 99)


def test_a_peer_is_compared_round_by_round() -> None:
    # The machine was four times slower in the last round: for both.
    peer = Peer.compared("nchan", ours=[2.0, 3.0, 8.0], theirs=[1.0, 2.0, 4.0])
    assert (peer.ratio, peer.value) == (Spread(2.0, 1.5, 2.0), 2.0)


@pytest.mark.parametrize(("ours", "theirs"), [([1.0], [0.0]), ([1.0, 2.0], [1.0])])
def test_rounds_that_cannot_be_compared_are_refused(ours: list[float], theirs: list[float]) -> None:
    with pytest.raises(ValueError, match=r"nothing to compare|shorter"):
        Peer.compared("nchan", ours=ours, theirs=theirs)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (5, "5"), (-0.03279, "-0.0328"), (1.0349, "1.03"), (12.34, "12.3"), (4999.8, "5,000"), (1234567.2, "1,234,567")],
)
def test_numbers_have_three_significant_digits(value: float, expected: str) -> None:
    assert number(value) == expected


# --- goals, table and JSON --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [(AtMost(5), 5.0, True), (AtMost(5), 5.1, False), (AtLeast(5), 5.0, True), (AtLeast(5), 4.9, False), (None, 4.0, None)],
)
def test_a_goal_is_met_missed_or_only_stated(goal: Goal | None, value: float, met: bool | None) -> None:
    assert figure(value, goal=goal).met is met


@pytest.mark.parametrize(("theirs", "met"), [(8.0, True), (4.0, False)])
def test_a_goal_for_the_ratio_is_not_one_for_the_value(theirs: float, met: bool) -> None:
    compared = figure(4.0, goal=TimesAtMost(0.75), peer=Peer.compared("nchan", ours=[4.0], theirs=[theirs]))
    assert compared.met is met
    assert compared.to_json_object("")["goal"] == "at most 0.750 times the peer's"


def test_a_goal_for_the_ratio_is_missed_without_a_peer() -> None:
    assert figure(goal=TimesAtMost(10)).met is False


def test_the_kept_list_has_all_fields_of_each_figure(tmp_path: Path) -> None:
    peer = Peer.compared("bare watch", ours=[3.0, 4.0, 6.0], theirs=[2.0, 2.0, 2.0])
    path = tmp_path / ".local" / "bench.json"
    figures = [figure(goal=AtMost(5), peer=peer), figure(12.0, goal=AtMost(5)), figure()]
    write(path, figures, [Failure("logs", "ProbeError: no lines")], machine="2 cores")
    compared, missed, stated, failed = json.loads(path.read_text())
    assert compared == {
        "name": "lag",
        "value": 4.0,
        "unit": "ms",
        "peer": "bare watch",
        "peerValue": 2.0,
        "ratio": 2.0,
        "range": [1.5, 3.0],
        "goal": "at most 5 ms",
        "met": True,
        "conditions": "asyncio; 2 cores",
    }
    assert (missed["met"], stated["met"], stated["goal"], stated["ratio"]) == (False, None, "stated", None)
    assert set(missed) == set(stated) == FIELDS
    assert set(failed) == FIELDS | {"error"}
    assert (failed["name"], failed["value"], failed["met"]) == ("logs", None, False)


def test_a_new_list_takes_the_old_ones_place(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    write(path, [figure(), figure()], [], machine="")
    write(path, [figure()], [], machine="")
    assert len(json.loads(path.read_text())) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["bench.json"]


def test_the_table_shows_what_was_missed_and_what_failed() -> None:
    peer = Peer.compared("bare watch", ours=[3.0, 4.0, 6.0], theirs=[2.0, 2.0, 2.0])
    figures = [figure(7.0, goal=AtMost(5), peer=peer), figure(3.0, goal=AtMost(5)), figure(name="cost")]
    _, missed, met, stated, failed, conditions = table(figures, [Failure("logs", "no lines")]).splitlines()
    assert all(part in missed for part in ("7 ms", "bare watch: 2 ms", "2x (1.50 to 3)", "at most 5 ms", "MISSED"))
    assert "met" in met
    assert "cost" in stated
    assert "stated" in stated
    assert "logs FAILED: no lines" in failed
    assert all("[1]" in line for line in (missed, met, stated))
    assert "[1] asyncio" in conditions


# --- running ----------------------------------------------------------------------------------------------------------------


def _breaks(_: Lab) -> Sequence[Figure]:
    raise ProbeError("no lines came")


def test_a_row_that_fails_does_not_keep_others_from_being_measured() -> None:
    with Lab() as lab:
        figures, failures = run({"logs": _breaks, "memory": lambda _: [figure()]}, lab)
    assert [each.name for each in figures] == ["lag"]
    assert failures == [Failure("logs", "ProbeError: no lines came")]


@pytest.mark.parametrize(("chosen", "code"), [(["memory"], 0), (["memory", "logs"], 1), ([], 1)])
def test_the_command_fails_with_a_row_but_not_with_a_goal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chosen: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "ROWS", {"logs": _breaks, "memory": lambda _: [figure(7.0, goal=AtMost(5))]})
    monkeypatch.setattr(command, "RESULT", tmp_path / "bench.json")
    monkeypatch.setattr(command, "idle_share", lambda: 1.0)
    monkeypatch.setattr("sys.argv", ["bench", *chosen])
    assert command.main() == code
    assert "MISSED" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "bench.json").read_text())) == 1 + code


def test_an_unknown_row_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "memroy"])
    with pytest.raises(SystemExit):
        command.main()
    assert "no row is called memroy" in capsys.readouterr().err


def test_a_probe_that_fails_says_why() -> None:
    with pytest.raises(ProbeError, match=r"probe of nothing failed: .*No module named"):
        run_probe("nothing", {}, seconds=60)


def test_every_row_can_be_chosen() -> None:
    without_cluster = {"appending", "fanout", "idle", "returning", "filtering", "stopped", "memory"}
    assert set(ROWS) == without_cluster | {"scale", "watch", "trouble", "logs"}


# --- rows -------------------------------------------------------------------------------------------------------------------


def test_the_mix_is_what_it_says() -> None:
    types = Counter(event.type for event in mixed(10_000))
    assert types == {EventType.LOG: 8500, EventType.METRICS: 1000, EventType.PROGRESS: 400, EventType.STATUS: 100}
    assert len({event.uid for event in mixed(10_000) if event.type is EventType.STATUS}) == 100


async def test_memory_is_told_per_retained_event() -> None:
    filled = await memory.probe(events=300)
    assert sum(filled["held"].values()) == 300
    listed = await memory.probe(events=300, kept=filled["held"])
    assert listed["held"] == filled["held"]
    assert listed["bytes"] > 300 * 300
    grown = {**filled, "before": 2**20, "after": 2**20 + 300 * 1000}, {**listed, "before": 0, "after": 300 * 500}
    _, each = memory.figures([grown[0]], [grown[1]])
    assert (each.value, each.peer and each.peer.ratio.median) == (1000, 2)


async def test_the_cost_of_each_type_is_told() -> None:
    probed = await appending.probe(rounds=2, events=20)
    names = [figure.name for figure in appending.figures(probed["costs"], python="3")]
    assert all(f"{way} a {type_} event" in names for type_ in EventType for way in ("encode", "encode and append"))
    assert len(names) == 2 * len(EventType) + 1


def test_the_difference_to_the_watch_is_held_to_the_goals() -> None:
    rounds = [[[10.0, 12.0]] * 99 + [[10.0, 40.0]] * 2]
    median, last, whole = watch.figures(rounds, streams=100, conditions="")
    assert (median.value, median.met) == (2, True)
    assert (last.value, last.met) == (30, False)
    assert (whole.value, whole.peer and whole.peer.ratio.median, whole.met) == (12, 1.2, None)
    assert [figure.met for figure in watch.figures(rounds, streams=1, conditions="")] == [None] * 3


def _frame(number: int | None, *, second: float) -> bytes:
    event: Mapping[str, Any] = {
        "type": "log",
        "timestamp": f"1970-01-01T00:00:{second:012.9f}Z",
        "fields": {} if number is None else {"line": number},
    }
    return b"event: log\ndata: " + json.dumps(event).encode() + b"\nid: 1-1\n\n"


def test_lines_of_the_stream_carry_their_number_and_lag() -> None:
    hello = b'event: hello\ndata: {"type":"hello"}\n\n'
    first, second = _frame(7, second=1.25), _frame(8, second=1.5)
    arrivals = [Arrival(2.0, hello + first + second[:20]), Arrival(2.5, second[20:] + _frame(None, second=2))]
    lines = list(logs.told_lines(arrivals))
    assert [(line.number, line.read, line.lag) for line in lines] == [(7, 2.0, 750), (8, 2.5, 1000)]


def test_lines_of_kubectl_carry_their_number_and_lag() -> None:
    text = b'1970-01-01T00:00:01.250000000Z {"msg":"flood","line":7}\n1970-01-01T00:00:01.500000000Z {"msg":"starting"}\n'
    arrivals = [Arrival(2.0, text[:90]), Arrival(3.0, text[90:])]
    assert [(line.number, line.read, line.lag) for line in logs.printed_lines(arrivals)] == [(7, 2.0, 750)]


@pytest.mark.parametrize(
    ("numbers", "lost", "doubled"), [([4, 5, 6], 0, 0), ([4, 6, 9], 3, 0), ([4, 5, 5, 6, 6], 0, 2), ([6, 4, 5], 0, 0)]
)
def test_lost_and_doubled_lines_are_counted_by_their_numbers(numbers: list[int], lost: int, doubled: int) -> None:
    reading = logs.Reading.of([logs.Line(number, 10 + number / 100, 20) for number in numbers], cpu_seconds=1.0)
    assert reading.written == pytest.approx(100)
    assert (reading.lines, reading.lost, reading.doubled) == (len(numbers), lost, doubled)


def test_one_lost_line_misses_the_goal() -> None:
    whole = logs.Reading(lines=25_000, written=5000, lost=0, doubled=0, lag_median=20, lag_99=80, cpu_percent=50)
    slow = logs.Reading(lines=20_000, written=5000, lost=1, doubled=0, lag_median=40, lag_99=80, cpu_percent=25)
    rate, lost, lag, *_ = logs.figures([whole, whole], [whole, slow], conditions="")
    assert (rate.value, rate.met, lost.value, lost.met) == (5000, True, 0, True)
    assert (lag.value, lag.range) == (20, Spread(0.75, 0.5, 1.0))
    rate, lost, *_ = logs.figures([slow, slow], [whole, whole], conditions="")
    assert (rate.value, rate.met, lost.value, lost.met) == (4000, False, 2, False)
