"""When `--until` ends, and how."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_operator.model.events import Event
from mcp_operator.model.statuses import Status
from mcp_operator.terminal.errors import ExitCode
from mcp_operator.terminal.judging import Edit, Goal, Judge
from tests.events import status, uid_of
from tests.streams import cause, control, told

SERVER = "default/weather"
DONE, MISSED = ExitCode.DONE, ExitCode.MISSED


def verdict(goal: Goal, *heard: Event | dict[str, Any], edit: Edit | None = None, same_cluster: bool = True) -> ExitCode | None:
    """How the waiting ends, hearing these; None if it goes on."""
    judge = Judge(goal, server=SERVER, edit=edit, same_cluster=same_cluster)
    for each in heard:
        for body in told(each) if isinstance(each, Event) else [each]:
            if said := judge.hear(body):
                return said.code
    return None


@pytest.mark.parametrize(
    ("goal", "said", "code"),
    [
        (Goal.RUNNING, Status.RUNNING, DONE),
        (Goal.RUNNING, Status.FAILED, MISSED),
        (Goal.RUNNING, Status.DELETED, MISSED),
        (Goal.RUNNING, Status.DEGRADED, None),
        (Goal.RUNNING, Status.STOPPED, None),
        (Goal.FAILED, Status.FAILED, DONE),
        (Goal.FAILED, Status.RUNNING, None),
        (Goal.FAILED, Status.DELETED, MISSED),
        (Goal.STOPPED, Status.STOPPED, DONE),
        (Goal.STOPPED, Status.FAILED, None),
        (Goal.STOPPED, Status.DELETED, MISSED),
        (Goal.DELETED, Status.TERMINATING, None),
        (Goal.DELETED, Status.FAILED, None),
        (Goal.DELETED, Status.DELETED, DONE),
    ],
)
def test_a_status_ends_the_waiting_or_does_not(goal: Goal, said: Status, code: ExitCode | None) -> None:
    assert verdict(goal, status(SERVER, said)) is code


NEWEST = Edit(uid_of(SERVER), 2)


@pytest.mark.parametrize(
    ("goal", "event", "code"),
    [
        pytest.param(Goal.RUNNING, status(SERVER, generation=1), None, id="from before the edit"),
        pytest.param(Goal.RUNNING, status(SERVER, generation=2), DONE, id="of the edit"),
        pytest.param(Goal.RUNNING, status(SERVER, generation=3), DONE, id="of a later one"),
        pytest.param(Goal.RUNNING, status(SERVER, Status.FAILED, generation=1), None, id="failed before the edit"),
        pytest.param(Goal.DELETED, status(SERVER, Status.DELETED, generation=1), DONE, id="deleted before the edit was seen"),
        pytest.param(Goal.RUNNING, status(SERVER, Status.DELETED, life=2), None, id="an object that had the name before is gone"),
        pytest.param(Goal.RUNNING, status(SERVER, life=2, generation=9), None, id="an object that had the name before runs"),
    ],
)
def test_only_what_knows_of_the_newest_edit_counts(goal: Goal, event: Event, code: ExitCode | None) -> None:
    assert verdict(goal, event, edit=NEWEST) is code


def test_an_object_that_takes_over_the_name_counts() -> None:
    ours, next_ = status(SERVER, Status.DEPLOYING, generation=2), status(SERVER, life=2)
    assert verdict(Goal.RUNNING, ours, next_, edit=NEWEST) is DONE


def test_a_gateway_of_another_cluster_is_believed() -> None:
    assert verdict(Goal.RUNNING, status(SERVER, life=2, generation=1), edit=NEWEST, same_cluster=False) is DONE


@pytest.mark.parametrize(("goal", "code"), [(Goal.DELETED, DONE), (Goal.RUNNING, MISSED)])
def test_a_server_that_a_new_history_does_not_know_is_gone(goal: Goal, code: ExitCode) -> None:
    known = status(SERVER, Status.DEPLOYING)
    assert verdict(goal, known, control("reset"), control("bookmark")) is code
    assert verdict(goal, known, control("reset"), known, control("bookmark")) is None
    assert verdict(goal, control("reset"), control("bookmark")) is None, "it was never there"


def test_who_is_told_no_is_told_why() -> None:
    judge = Judge(Goal.RUNNING, server=SERVER, edit=None, same_cluster=True)
    (body,) = told(status(SERVER, Status.FAILED, causes=[cause("ImagePullBackOff"), {**cause(), "state": "recovered"}]))
    said = judge.hear(body)
    assert said is not None
    assert said.sentence == "default/weather is failed, not running: ImagePullBackOff: it is ImagePullBackOff"


def test_who_has_waited_too_long_is_told_how_it_is() -> None:
    judge = Judge(Goal.RUNNING, server=SERVER, edit=None, same_cluster=True)
    assert judge.out_of_time("5 s") == "default/weather is not running after 5 s; nothing is known of it"
    judge.hear(told(status(SERVER, Status.DEPLOYING, message="1 of 3"))[0])
    assert judge.out_of_time("5 s") == "default/weather is not running after 5 s; it is deploying: 1 of 3"
