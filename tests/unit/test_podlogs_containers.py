"""Which logs there are to read, as a pod's status tells it."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_operator.cluster.podlogs.containers import Container, Read, Run, containers_of, next_read
from tests.builders import having, pod

RUNNING = {"running": {"startedAt": "2026-11-23T09:00:01Z"}}
CREATING = {"waiting": {"reason": "ContainerCreating"}}
BACKING_OFF = {"waiting": {"reason": "CrashLoopBackOff"}}


def ended(run: str, code: int = 1, **more: Any) -> dict[str, Any]:
    return {"terminated": {"containerID": run, "exitCode": code, "reason": "Error", **more}}


def status(restarts: int = 0, *, run: str | None = None, state: Any, last: Any = None) -> dict[str, Any]:
    identity = {"containerID": run} if run else {}
    return {"name": "mcp", "restartCount": restarts, "state": state, "lastState": last or {}, **identity}


def container(*args: Any, **kwargs: Any) -> Container:
    (found,) = containers_of(pod("weather-7d4b9-0", having("status.containerStatuses", [status(*args, **kwargs)])))
    return found


FAILED = "Container mcp ended with exit code 1 (Error)"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param({"state": CREATING}, (None, None), id="not begun"),
        pytest.param({"run": "a", "state": RUNNING}, ((0, "a", None), None), id="runs"),
        pytest.param({"run": "a", "state": ended("a")}, ((0, "a", FAILED), None), id="has ended"),
        pytest.param(
            {"run": "a", "state": BACKING_OFF, "last": ended("a")}, ((0, "a", FAILED), None), id="waits to be started again"
        ),
        pytest.param(
            {"restarts": 1, "run": "b", "state": RUNNING, "last": ended("a")},
            ((1, "b", None), (0, "a", FAILED)),
            id="runs for the second time",
        ),
        pytest.param(
            {"restarts": 4, "run": "e", "state": ended("e"), "last": ended("d", 2)},
            ((4, "e", FAILED), (3, "d", "Container mcp ended with exit code 2 (Error)")),
            id="has ended for the fifth time",
        ),
        pytest.param(
            {"state": {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}}}, (None, None), id="was never seen"
        ),
        pytest.param(
            {"run": "a", "state": ended("a", 137, signal=9, reason="OOMKilled")},
            ((0, "a", "Container mcp ended by signal 9 with exit code 137 (OOMKilled)"), None),
            id="was killed",
        ),
        pytest.param({"run": "a", "state": {}}, ((0, "a", "Container mcp has ended"), None), id="says nothing"),
    ],
)
def test_the_status_tells_the_newest_run_and_the_one_before(told: dict[str, Any], expected: tuple[Any, Any]) -> None:
    found = container(**told)
    runs = tuple((run.number, run.id, run.ended) if run else None for run in (found.run, found.previous))
    assert runs == expected


def test_every_container_counts() -> None:
    body = pod(
        "weather-7d4b9-0",
        having("spec.initContainers", [{"name": "migrate"}, {"name": "proxy", "restartPolicy": "Always"}]),
        having("spec.containers", [{"name": "mcp"}, {"name": "helper"}]),
        having("spec.ephemeralContainers", [{"name": "debugger"}]),
        having("status.initContainerStatuses", [{"name": "migrate", "containerID": "m", "state": ended("m", 0)}]),
        having("status.ephemeralContainerStatuses", [{"name": "debugger", "containerID": "d", "state": RUNNING}]),
    )
    found = {each.name: each.run.id if each.run else None for each in containers_of(body)}
    assert found == {"migrate": "m", "proxy": None, "mcp": None, "helper": None, "debugger": "d"}


def test_a_pod_that_says_nothing_yet_has_its_containers() -> None:
    assert containers_of({"metadata": {}, "spec": {"containers": [{"name": "mcp"}]}}) == (Container(name="mcp"),)


def run(number: int, *, over: bool = False) -> Run:
    return Run(id=f"run-{number}", number=number, ended=FAILED if over else None)


FIRST, FIRST_OVER, SECOND, THIRD = run(0), run(0, over=True), run(1), run(2)
SECOND_OVER = run(1, over=True)


@pytest.mark.parametrize(
    ("now", "read", "done", "expected"),
    [
        pytest.param((None, None), None, True, None, id="nothing has begun"),
        pytest.param((FIRST, None), None, True, Read(run=FIRST), id="the first run has begun"),
        pytest.param((FIRST, None), FIRST, False, Read(run=FIRST), id="it is being read"),
        pytest.param((FIRST_OVER, None), FIRST, False, Read(run=FIRST_OVER), id="it has ended, and may have more"),
        pytest.param((FIRST_OVER, None), FIRST_OVER, True, None, id="it is read to its end"),
        pytest.param((SECOND, FIRST_OVER), FIRST, False, Read(run=FIRST_OVER, previous=True), id="restarted before it was read"),
        pytest.param((SECOND, FIRST_OVER), FIRST_OVER, True, Read(run=SECOND), id="restarted after it was read"),
        pytest.param((THIRD, SECOND_OVER), FIRST, True, Read(run=SECOND_OVER, previous=True), id="restarted twice"),
        pytest.param((THIRD, SECOND_OVER), FIRST, False, Read(run=SECOND_OVER, previous=True), id="twice, the rest is lost"),
        pytest.param((THIRD, None), FIRST, False, Read(run=THIRD), id="no log of the one before"),
        pytest.param((Run(id="new", number=0, ended=None), None), THIRD, True, Read(run=Run(id="new", number=0, ended=None)),
                     id="counted anew"),
    ],
)  # fmt: skip
def test_runs_are_read_in_their_order(now: tuple[Run | None, Run | None], read: Run, done: bool, expected: Read | None) -> None:
    newest, previous = now
    assert next_read(Container(name="mcp", run=newest, previous=previous), read, done=done, whole=True) == expected


def test_of_a_container_that_has_long_been_there_only_the_newest_run_is_read() -> None:
    now = Container(name="mcp", run=SECOND, previous=FIRST_OVER)
    assert next_read(now, None, done=True, whole=False) == Read(run=SECOND)
    assert next_read(now, None, done=True, whole=True) == Read(run=FIRST_OVER, previous=True)


def test_of_a_pod_that_is_gone_the_rest_is_read() -> None:
    assert next_read(None, FIRST, done=False, whole=True) == Read(run=FIRST, gone=True)
    assert next_read(None, FIRST, done=True, whole=True) is None
    assert next_read(None, None, done=True, whole=True) is None
