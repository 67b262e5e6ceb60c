"""A stream as a person reads it: which lines an event is worth, word for word."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from mcp_operator.model.authors import Author, AuthorKind, Autoscaler, AutoscalerMetric
from mcp_operator.model.events import Event, Follow, LogLevel
from mcp_operator.model.operations import OperationKind, Outcome
from mcp_operator.model.statuses import Status
from mcp_operator.terminal.narrating import Narrator
from tests.events import follow, line, metrics, progress, status, uid_of, warning
from tests.streams import NOON, cause, control, told

TODAY = NOON.date()


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clocks are of the local time zone; here it is UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def narrator(*, several: bool = False, bars: bool = False, today: date = TODAY) -> Narrator:
    return Narrator(several=several, bars=bars, today=today)


def shown(*events: Event | dict[str, Any], teller: Narrator | None = None) -> list[str]:
    """What is shown of events that are told one after the other."""
    teller = teller or narrator()
    bodies = [body for event in events for body in (told(event) if isinstance(event, Event) else [event])]
    return [line.plain for body in bodies for line in teller.tell(body)]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        pytest.param(
            status("default/weather", instances=2, desired=3, message="2 of 3 instances available"),
            "12:00:00.123  status    running      2/3  2 of 3 instances available",
            id="a reason that only repeats the status is left out",
        ),
        pytest.param(
            status("default/weather", Status.DEPLOYING, reason="RollingOut", message="1 of 3 instances on the newest revision"),
            "12:00:00.123  status    deploying    1/1  RollingOut: 1 of 3 instances on the newest revision",
            id="another reason is told",
        ),
        pytest.param(
            progress("default/weather", 45, ready=2, desired=3, old=1, terminating=2),
            "12:00:00.123  rollout    45 %  2/3 ready, 1 old, 2 terminating",
            id="progress",
        ),
        pytest.param(
            progress("default/weather", 45, kind=OperationKind.SCALE, stalled_since=NOON),
            "12:00:00.123  scale      45 %  0/1 ready, stalled since 12:00:00",
            id="stalled",
        ),
        pytest.param(
            progress("default/weather", 100, outcome=Outcome.SUCCEEDED), "12:00:00.123  rollout   100 %  succeeded", id="the end"
        ),
        pytest.param(
            metrics("default/weather", requests=1234),
            "12:00:00.123  metrics   cpu 12 % (125m)  memory 48 MiB (38 %)  requests 1234",
            id="metrics",
        ),
        pytest.param(
            metrics("default/weather", requests=1234, requests_per_second=2.5, errors=3, in_flight=0),
            "12:00:00.123  metrics   cpu 12 % (125m)  memory 48 MiB (38 %)  requests 1234 (2.5/s)  errors 3  in flight 0",
            id="metrics of requests",
        ),
        pytest.param(
            metrics("default/weather", requests=1234, requests_per_second=0.0084),
            "12:00:00.123  metrics   cpu 12 % (125m)  memory 48 MiB (38 %)  requests 1234 (0.0084/s)",
            id="a request in two minutes",
        ),
        pytest.param(
            line("default/weather", "disk full", level=LogLevel.ERROR, fields={"free": 0, "ts": 1, "of": {"GiB": 3}}),
            '12:00:00.000  log       0  error  disk full  free=0  of={"GiB": 3}',
            id="a log line has the time when it was printed",
        ),
        pytest.param(
            line("default/weather", "KeyError: 'Paris'", level=LogLevel.ERROR, continues="the key of the traceback's first line"),
            "12:00:00.000  log       0         KeyError: 'Paris'",
            id="a line that continues another has no level",
        ),
        pytest.param(
            line("default/weather", "hi", container="proxy", previous=True, truncated=True),
            "12:00:00.000  log       0/proxy  previous  info   hi  (cut)",
            id="another container, a crashed one",
        ),
        pytest.param(
            follow("default/weather", Follow.ENDED, msg="The container has ended"),
            "12:00:00.123  log       0  The container has ended",
            id="a follow ends",
        ),
        pytest.param(
            warning("default/weather", 3, name="weather-7d4b9-x2x7q"),
            "12:00:00.123  warning   ! FailedPreStopHook: PreStopHook failed (Pod x2x7q, 3 times)",
            id="a warning of Kubernetes",
        ),
        pytest.param(
            warning("default/weather", kind="ReplicaSet", name="weather-7d4b9", message="not by policy"),
            "12:00:00.123  warning   ! FailedPreStopHook: not by policy (ReplicaSet weather-7d4b9)",
            id="a warning about another object",
        ),
        pytest.param(
            control("reset", reason="epoch"),
            "12:00:00.123  stream    history can't be continued from here (epoch): what follows is the state now",
            id="reset",
        ),
        pytest.param(
            control("dropped", types=["log", "metrics"], count=None),
            "12:00:00.123  stream    log and metrics events are missing here",
            id="dropped, nobody knows how many",
        ),
        pytest.param(
            control("dropped", types=["log"], count=31),
            "12:00:00.123  stream    31 log events are missing here",
            id="dropped",
        ),
        pytest.param(
            {**control("bookmark"), "type": "forecast", "server": "a/b", "kind": "result"},
            '12:00:00.123  forecast  {"cursor": "epoch-7", "kind": "result"}',
            id="a type of a later version",
        ),
    ],
)
def test_one_event_is_one_line(event: Event | dict[str, Any], expected: str) -> None:
    assert shown(event) == [expected]


@pytest.mark.parametrize("name", ["hello", "bookmark", "bye"])
def test_frames_that_only_serve_the_stream_are_not_shown(name: str) -> None:
    assert shown(control(name)) == []


def test_a_cause_is_told_when_it_appears_and_when_it_is_over() -> None:
    crash = cause(instance="weather-7d4b9-x2x7q", container="proxy", exit_code=3, count=2)
    lines = shown(
        status("default/weather", Status.DEPLOYING, causes=[crash], key="1"),
        status("default/weather", Status.FAILED, causes=[crash], key="2"),
        status("default/weather", causes=[{**crash, "state": "recovered"}], key="3"),
        status("default/weather", causes=[{**cause("Evicted"), "state": "recovered"}], key="4"),
    )
    assert [line.strip() for line in lines if "cause" in line] == [
        "cause     ✗ CrashLoopBackOff: it is CrashLoopBackOff (x2x7q, container proxy, exit code 3, 2 instances)",
        "cause     ✓ CrashLoopBackOff is over",
    ]
    assert lines[1].startswith(" " * 14 + "cause"), "it stands below the status that it explains"


def test_a_status_that_says_what_its_cause_says_leaves_it_to_the_cause() -> None:
    same = status("default/weather", Status.FAILED, reason="CrashLoopBackOff", message="it is CrashLoopBackOff", causes=[cause()])
    first, second = shown(same)
    assert first == "12:00:00.123  status    failed       1/1  CrashLoopBackOff"
    assert second.endswith("✗ CrashLoopBackOff: it is CrashLoopBackOff")


def test_of_several_servers_each_line_names_its_own() -> None:
    lines = shown(status("a/b"), status("default/weather"), status("a/b", key="2"), teller=narrator(several=True))
    assert [line[14:31] for line in lines] == ["a/b  status    ru", "default/weather  ", "a/b              "]


def test_without_bars_a_line_tells_each_change_of_an_operation_once() -> None:
    lines = shown(*(progress("default/weather", percent, key=str(n)) for n, percent in enumerate((10, 10, 40, 40))))
    assert [line[24:29] for line in lines] == [" 10 %", " 40 %"]


def test_with_bars_only_the_end_of_an_operation_is_a_line() -> None:
    teller = narrator(bars=True)
    assert shown(progress("default/weather", 10), progress("default/weather", 40), teller=teller) == []
    assert [event["percent"] for event in teller.operations.values()] == [40]

    assert len(shown(progress("default/weather", 100, outcome=Outcome.SUCCEEDED), teller=teller)) == 1
    assert not teller.operations


@pytest.mark.parametrize(
    "end",
    [status("default/weather", Status.DELETED), status("default/weather", operation=None), control("reset", reason="epoch")],
    ids=["deleted", "no operation", "reset"],
)
def test_a_bar_goes_with_its_operation_even_if_nobody_has_told_the_end(end: Event | dict[str, Any]) -> None:
    teller = narrator(bars=True)
    shown(progress("default/weather", 10), end, teller=teller)
    assert not teller.operations


def test_what_has_been_told_is_not_told_again_after_a_reset() -> None:
    running = status("default/weather", key="same")
    lines = shown(running, control("reset", reason="epoch"), running, status("default/weather", Status.DEGRADED))
    assert [line.split()[1:3] for line in lines] == [["status", "running"], ["stream", "history"], ["status", "degraded"]]


def test_why_a_figure_is_missing_is_told_once_and_only_for_figures_that_are_shown() -> None:
    absent = [
        {"fields": ["requests"], "reason": "NoSuchFamily", "message": "no family"},
        {"fields": ["memoryPercent"], "reason": "NoMemoryLimit", "message": "no limit"},
    ]
    late = {"fields": ["cpu"], "reason": "NotYetMeasured", "message": "not yet", "instance": "weather-7d4b9-x2x7q"}
    lines = shown(
        metrics("default/weather", 1.0, unavailable=absent),
        metrics("default/weather", 2.0, unavailable=[*absent, late, {**late, "instance": "weather-7d4b9-abcde"}]),
        metrics("default/weather", 3.0, unavailable=absent),
    )
    assert [line.partition("requests -")[2] for line in lines] == [
        "  (requests: no family)",
        "  (cpu of x2x7q, abcde: not yet)",
        "",
    ]


def test_times_of_another_day_say_which() -> None:
    teller = narrator(today=date(2026, 11, 24))
    first, second, third = shown(status("default/weather"), status("default/weather", key="2"), teller=teller)
    assert first == "── 2026-11-23 ──"
    assert second.startswith("12:00:00.123")
    assert third.startswith("12:00:00.123")


@pytest.mark.parametrize("type_", ["status", "progress", "metrics", "log", "reset", "dropped", "unheard-of", None, 7])
def test_nonsense_is_shown_as_well_as_it_can_be(type_: object) -> None:
    names = (
        *("status", "reason", "message", "causes", "conditions", "instances", "desired", "percent", "outcome", "kind", "uid"),
        *("operation", "stalledSince", "ready", "old", "cpu", "memory", "unavailable", "level", "msg", "instance", "fields"),
        *("container", "timestamp", "follow", "types", "count", "server", "time", "key"),
    )
    for value in (None, -1, 1e300, float("nan"), "\x1b[2J", [], [None, {"fields": 7, "id": {}}], {"a": "\x1b"}, True):
        teller = narrator(several=True)
        lines = shown({"type": type_, **dict.fromkeys(names, value)}, {"type": type_}, teller=teller)
        assert all("\x1b" not in line for line in lines)


def test_servers_that_are_gone_are_forgotten() -> None:
    teller = narrator()
    shown(status("default/weather", causes=[cause()]), metrics("default/weather"), progress("default/weather", 5), teller=teller)
    shown(status("default/weather", Status.DELETED), teller=teller)
    remembered = (teller.operations, teller._causes, teller._missing, teller._progress)
    assert not any(uid_of("default/weather") in each for each in remembered)


def test_who_started_an_operation_is_told_once_and_again_when_more_is_known() -> None:
    hpa = Autoscaler(name="weather", min=1, max=3, metrics=(AutoscalerMetric(name="cpu", current=None, target="50%"),))
    asked = Author(kind=AuthorKind.HPA, manager="kube-controller-manager", operation="Update", from_=1, to=3, hpa=hpa)
    decided = AutoscalerMetric(name="cpu", current="140%", target="50%")
    limited = hpa.model_copy(update={"desired": 3, "metrics": (decided,), "limited": "TooManyReplicas"})
    scaling: dict[str, Any] = {"reason": "Scaling", "message": "1 of 3 instances available", "operation": "4f2a-7"}

    told_lines = shown(
        status("default/weather", Status.SCALING, key="1", by=asked, **scaling),
        status("default/weather", Status.SCALING, key="2", by=asked, instances=2, **scaling),
        status("default/weather", Status.SCALING, key="3", by=asked.model_copy(update={"hpa": limited}), **scaling),
    )

    assert [line.split("by ", 1)[1].strip() for line in told_lines if "  by " in line] == [
        "by autoscaler weather, 1 → 3",
        "by autoscaler weather, 1 → 3, cpu 140% of 50%, at its limit (TooManyReplicas)",
    ]


def test_who_scaled_by_kubectl_is_named_with_what_was_before_and_is_now() -> None:
    by = Author(kind=AuthorKind.SCALE, manager="kubectl", operation="Update", from_=1, to=3)

    told_lines = shown(status("default/weather", Status.SCALING, by=by, operation="4f2a-7"))

    assert told_lines[1].split() == ["by", "by", "kubectl", "(scale),", "1", "→", "3"]
