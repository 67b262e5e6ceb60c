"""What a real cluster's objects went through, as `python -m tests.recorder` recorded it, and what the evaluator tells of it."""

from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from mcp_operator.model.events import ProgressPayload, StatusPayload
from mcp_operator.model.operations import Outcome
from mcp_operator.model.statuses import Status
from mcp_operator.rollout.conditions import status_of
from mcp_operator.rollout.restoring import restore
from tests.recorder import observing, stories
from tests.recorder.tables import DIRECTORY, Replay, Table, merged, patch

TABLES = sorted(DIRECTORY.glob("*.yaml"))

of_each_story = pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)


def replayed(path: Path) -> Replay:
    table = Table.read(path)
    replay = Replay(table.began)
    for moment in table.moments:
        replay.take(moment)
    return replay


@of_each_story
def test_each_moment_tells_what_was_recorded(path: Path) -> None:
    table = Table.read(path)
    replay = Replay(table.began)
    for moment in table.moments:
        assert replay.take(moment) == moment.get("told", []), f"{table.story} after {moment['at']} s"


@of_each_story
def test_each_operation_of_a_recorded_story_rises_to_its_end(path: Path) -> None:
    operations: dict[str, list[ProgressPayload]] = defaultdict(list)
    for event in replayed(path).events:
        if isinstance(event.payload, ProgressPayload):
            operations[event.payload.operation].append(event.payload)
    for told in operations.values():
        assert all(earlier.percent <= later.percent for earlier, later in pairwise(told))
        assert [each.outcome for each in told[:-1]] == [None] * (len(told) - 1)
        assert (told[-1].percent == 100) == (told[-1].outcome is Outcome.SUCCEEDED)


@of_each_story
def test_a_restart_at_any_moment_goes_on_with_the_same_operation(path: Path) -> None:
    """A state that went through the MCPServer's status and back leads to the same operation, percent and causes."""
    table = Table.read(path)
    replay = Replay(table.began)
    for moment in table.moments:
        replay.take(moment)
        server = replay.observation(replay.began).server
        if server is None or replay.state is None:
            return
        status = status_of(replay.state, selector="", endpoint=None).to_json_object()
        restored = restore({**server, "status": status})
        assert restored is not None
        again = Replay(table.began)
        again.objects, again.applied, again.state = dict(replay.objects), replay.applied, restored
        again.take({"at": moment["at"]})
        assert again.state.operation == replay.state.operation
        assert [each.cause for each in again.state.causes] == [each.cause for each in replay.state.causes]


def test_every_story_is_recorded() -> None:
    assert {path.stem for path in TABLES} == set(stories.STORIES) | set(observing.STORIES)


def test_the_recorded_stories_reach_every_status() -> None:
    told = {
        event.payload.status for path in TABLES for event in replayed(path).events if isinstance(event.payload, StatusPayload)
    }
    assert told == set(Status)


def test_a_new_image_of_three_shows_the_steps_of_each_instance() -> None:
    percents = [
        event.payload.percent
        for event in replayed(DIRECTORY / "new-image.yaml").events
        if isinstance(event.payload, ProgressPayload)
    ]
    assert len(set(percents)) >= 3 * 5, f"created, started, ready of each, and each old one's end, at least: {percents}"


def test_a_merge_patch_leads_from_one_version_to_the_next() -> None:
    before = {"kind": "Pod", "spec": {"nodeName": "a"}, "status": {"phase": "Pending", "conditions": [1]}}
    after = {"kind": "Pod", "spec": {}, "status": {"phase": "Running", "conditions": [1, 2]}}
    changes = patch(before, after)
    assert changes == {"spec": {"nodeName": None}, "status": {"phase": "Running", "conditions": [1, 2]}}
    assert merged(before, changes) == after
