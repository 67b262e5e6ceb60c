"""Which steps of a server become Kubernetes Events."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mcp_operator.cluster.recording import steps
from mcp_operator.model.operations import Operation, OperationKind, Outcome, Target
from mcp_operator.model.servers import ServerName
from mcp_operator.model.statuses import Status
from mcp_operator.rollout.state import Counts, Ended, State

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def operation(id_: str, kind: OperationKind = OperationKind.ROLLOUT) -> Operation:
    return Operation(id=id_, kind=kind, percent=0, started_at=NOW, progressed_at=NOW, base_work=6)


def state(status: Status, *, open_: Operation | None = None, ended: tuple[Ended, ...] = (), version: str = "v") -> State:
    return State(
        server=ServerName("default", "weather"),
        uid="uid",
        generation=1,
        status=status,
        reason="ImagePullBackOff" if status is Status.FAILED else "Reason",
        message="there is no such image",
        counts=Counts(desired=3, available=3),
        conditions=(),
        target=Target(template="digest", desired=3),
        operation=open_,
        ended=ended,
        fingerprint=version,
    )


FIRST, SECOND = operation("uid-1"), operation("uid-2")
SCALE = operation("uid-3", OperationKind.SCALE)


@pytest.mark.parametrize(
    ("previous", "current", "expected"),
    [
        pytest.param(None, state(Status.PENDING), ["Created"], id="seen for the first time"),
        pytest.param(state(Status.PENDING), state(Status.DEPLOYING, open_=FIRST), ["RolloutStarted"], id="a rollout starts"),
        pytest.param(state(Status.DEPLOYING, open_=FIRST), state(Status.DEPLOYING, open_=FIRST), [], id="it goes on"),
        pytest.param(
            state(Status.DEPLOYING, open_=FIRST),
            state(Status.DEPLOYING, open_=SECOND, ended=(Ended(FIRST, Outcome.SUPERSEDED, 3),)),
            ["RolloutSuperseded", "RolloutStarted"],
            id="another one takes its place",
        ),
        pytest.param(
            state(Status.SCALING, open_=SCALE),
            state(Status.RUNNING, ended=(Ended(SCALE, Outcome.SUCCEEDED, 3),)),
            ["ScalingSucceeded"],
            id="scaled",
        ),
        pytest.param(
            state(Status.SCALING, open_=SCALE),
            state(Status.STOPPED, ended=(Ended(SCALE, Outcome.SUCCEEDED, 0),)),
            ["ScalingSucceeded", "Stopped"],
            id="scaled to none",
        ),
        pytest.param(state(Status.DEPLOYING, open_=FIRST), state(Status.FAILED, open_=FIRST), ["Failed"], id="it fails"),
        pytest.param(state(Status.FAILED, open_=FIRST), state(Status.FAILED, open_=FIRST), [], id="it still fails"),
        pytest.param(
            state(Status.FAILED, open_=FIRST),
            state(Status.RUNNING, ended=(Ended(FIRST, Outcome.SUCCEEDED, 3),)),
            ["RolloutSucceeded", "Recovered"],
            id="it recovers",
        ),
        pytest.param(state(Status.RUNNING), state(Status.DEGRADED), ["Degraded"], id="an instance is lost"),
        pytest.param(state(Status.DEGRADED), state(Status.RUNNING), ["Recovered"], id="and is back"),
        pytest.param(state(Status.RUNNING), state(Status.TERMINATING), [], id="its deletion needs no Event on it"),
    ],
)
def test_big_steps(previous: State | None, current: State, expected: list[str]) -> None:
    assert [step.reason for step in steps(previous, current)] == expected


def test_a_failure_is_a_warning_that_names_the_cause() -> None:
    (failed,) = steps(state(Status.RUNNING), state(Status.FAILED))
    assert failed.warning
    assert failed.message == "ImagePullBackOff: there is no such image"


def test_the_same_step_has_the_same_key_and_another_one_another() -> None:
    (once,) = steps(state(Status.RUNNING), state(Status.FAILED, version="a"))
    (repeated,) = steps(state(Status.DEPLOYING), state(Status.FAILED, version="a"))
    (later,) = steps(state(Status.RUNNING), state(Status.FAILED, version="b"))
    assert once.key == repeated.key != later.key
