"""What real clusters held when something had gone wrong (`python -m tests.recorder --cases`), and what is told of it."""

from pathlib import Path

import pytest

from mcp_operator.rollout.evaluating import evaluate
from mcp_operator.rollout.telling import tell
from tests.failures import FAILURES
from tests.recorder.cases import CASES, LOST_NODE, Case, told

RECORDED = sorted(CASES.glob("*.yaml"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_the_objects_of_a_case_are_told_as_its_causes(path: Path) -> None:
    case = Case.read(path)
    state = evaluate(case.observation(), None)
    assert told(state) == {"status": case.status, "reason": case.reason, "causes": case.causes}


@pytest.mark.parametrize("name", FAILURES)
def test_a_case_is_told_as_its_failure_says(name: str) -> None:
    case, failure = Case.read(CASES / f"{name}.yaml"), FAILURES[name]
    by_reason = {cause["reason"]: cause for cause in case.causes}
    cause = by_reason[failure.reason]
    assert (cause["container"], cause["exitCode"], cause["signal"]) == (failure.container, failure.exit_code, failure.signal)
    assert cause["count"] == failure.count or failure.count is None
    assert failure.words in cause["message"]
    assert set(failure.spares) <= by_reason.keys()


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_the_warnings_of_a_case_are_its_causes_matter(path: Path) -> None:
    state = evaluate(Case.read(path).observation(), None)
    assert [event for event in tell(None, state) if event.type == "kubernetes"] == []


def test_every_failure_is_recorded() -> None:
    assert {path.stem for path in RECORDED} == {*FAILURES, LOST_NODE}
