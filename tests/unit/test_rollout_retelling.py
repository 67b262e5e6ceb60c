"""A killed operator and its successor: each start and end of an operation is told by one of them, under one key."""

from collections.abc import Callable

import pytest

from mcp_operator.model.base import Object
from mcp_operator.model.events import Event, ProgressPayload
from tests.builders import (
    at,
    counting,
    deployment,
    generation,
    having,
    mcpserver,
    observed,
    pod,
    ready,
    replicaset,
    scheduled,
    started,
    templated,
)
from tests.stories import Story, in_words

REPLICA_SET = "weather-7d4b9"


def wanting(replicas: int, *, of_generation: int = 1, done: bool = True) -> Object:
    """The Deployment, with its controller at rest or just begun."""
    counts = (
        counting(wanted=replicas, updated=replicas, ready=replicas, available=replicas) if done else counting(wanted=replicas)
    )
    wanted = having("spec.replicas", replicas)
    return deployment("weather", generation(of_generation), observed(of_generation), wanted, counts)


def serving(number: int) -> tuple[Object, ...]:
    return tuple(pod(f"{REPLICA_SET}-{each}", scheduled(), started(), ready(at(1))) for each in range(number))


def created(story: Story) -> None:
    """The first rollout begins."""
    story.see(at=0, server=mcpserver(spec={"replicas": 1}))
    story.see(at=1, deployment=wanting(1, done=False), replica_sets=(replicaset(REPLICA_SET),))


def running(story: Story) -> None:
    """The first rollout ends."""
    created(story)
    story.see(at=2, deployment=wanting(1), pods=serving(1))


def scaling(story: Story) -> None:
    """A scale begins."""
    running(story)
    server = mcpserver("weather", generation(2), spec={"replicas": 2})
    story.see(at=3, server=server, deployment=wanting(2, of_generation=2, done=False))


def superseding(story: Story) -> None:
    """A rollout takes the place of a scale: one ends and another begins in one step."""
    scaling(story)
    new = templated(image="registry.example/weather:2.0")
    third = deployment("weather", generation(3), observed(3), counting(wanted=2), having("spec.replicas", 2), new)
    story.see(at=4, server=mcpserver("weather", generation(3), spec={"replicas": 2}), deployment=third)


def operations(events: tuple[Event, ...]) -> list[Event]:
    """Starts and ends of operations."""
    return [event for event in events if event.key.rpartition("/")[2] in ("started", "succeeded", "superseded", "cancelled")]


@pytest.mark.parametrize("happens", [created, running, scaling, superseding])
def test_what_a_killed_operator_did_not_come_to_tell_its_successor_tells_late_under_the_same_keys(
    happens: Callable[[Story], None],
) -> None:
    story = Story()
    happens(story)
    lost = operations(story.step)
    assert lost
    story.restart(told=False)
    story.see(at=10)
    again = operations(story.step)
    assert [event.key for event in again] == [event.key for event in lost]
    assert [in_words(event) for event in again] == [in_words(event) for event in lost]
    assert [event.payload.desired for event in again if isinstance(event.payload, ProgressPayload)] == [
        event.payload.desired for event in lost if isinstance(event.payload, ProgressPayload)
    ]
    assert all(event.late for event in again)


@pytest.mark.parametrize("happens", [created, running, scaling, superseding])
def test_what_was_told_before_a_restart_is_not_told_again(happens: Callable[[Story], None]) -> None:
    story = Story()
    happens(story)
    story.restart()
    story.see(at=10)
    assert operations(story.step) == []


def test_an_operation_that_began_and_ended_while_the_operator_was_away_is_told_from_its_start() -> None:
    story = Story()
    running(story)
    story.restart()
    server = mcpserver("weather", generation(2), spec={"replicas": 2})
    story.see(at=60, server=server, deployment=wanting(2, of_generation=2), pods=serving(2))
    assert story.told == ["scale 0%", "scale 100% succeeded", "status running"]
    assert all(event.late for event in story.step)


def test_an_operation_whose_start_was_not_told_and_that_ended_meanwhile_is_told_from_its_start() -> None:
    story = Story()
    scaling(story)
    story.restart(told=False)
    story.see(at=60, deployment=wanting(2, of_generation=2), pods=serving(2))
    assert [in_words(event).split("%")[1] for event in operations(story.step)] == ["", " succeeded"]


def test_an_operator_killed_twice_forgets_nothing_of_the_first_time() -> None:
    story = Story()
    scaling(story)
    lost = operations(story.step)
    story.restart(told=False)
    story.see(at=60, deployment=wanting(2, of_generation=2), pods=serving(2))
    lost += operations(story.step)[len(lost) :]
    story.restart(told=False)
    story.see(at=70)
    assert [event.key for event in operations(story.step)] == [event.key for event in lost]
    story.restart()
    story.see(at=80)
    assert operations(story.step) == []


def test_however_often_an_operator_is_killed_no_percent_below_a_persisted_one_is_told() -> None:
    story = Story()
    scaling(story)
    story.restart(told=False)
    story.see(at=20, pods=(*serving(1), pod(f"{REPLICA_SET}-1", scheduled(), started())))
    persisted = story.state.operation.percent if story.state.operation else 0
    assert persisted > 0
    story.restart(told=False)
    story.see(at=60, deployment=wanting(2, of_generation=2), pods=serving(2))
    story.restart(told=False)
    story.see(at=70)
    again = [event.payload.percent for event in operations(story.step) if isinstance(event.payload, ProgressPayload)]
    assert len(again) == 2, "the start, and the end"
    assert min(again) >= persisted
