"""Percent: steps taken of steps to take. It never falls, instances alone give at most 99, and 100 is the end."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_operator.model.base import Object
from mcp_operator.model.events import Event, ProgressPayload
from mcp_operator.model.operations import InstanceStep, Outcome
from mcp_operator.rollout.conditions import status_of
from mcp_operator.rollout.progressing import percent_of
from tests.builders import (
    START,
    Modifier,
    at,
    counting,
    deleting,
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
from tests.stories import Story

IMAGES = ("registry.example/weather:1.0", "registry.example/weather:2.0", "registry.example/weather:3.0")
REVISIONS = ("7d4b9", "5c6f8", "6b8d7")
pulled = having(
    "status.containerStatuses",
    [{"name": "mcp", "imageID": "sha256:0", "state": {"waiting": {"reason": "PodInitializing"}}, "lastState": {}}],
)
STEPS: dict[InstanceStep, tuple[Modifier, ...]] = {
    InstanceStep.CREATED: (),
    InstanceStep.SCHEDULED: (scheduled(),),
    InstanceStep.PULLED: (scheduled(), pulled),
    InstanceStep.STARTED: (scheduled(), started()),
    InstanceStep.READY: (scheduled(), started(), ready(at(100_000))),
    InstanceStep.AVAILABLE: (scheduled(), started(), ready(at(0))),
    InstanceStep.TERMINATING: (scheduled(), started(), deleting(at(1))),
}


def instance(revision: int, number: int, step: InstanceStep) -> Object:
    return pod(f"weather-{REVISIONS[revision]}-{number}", *STEPS[step])


def all_sets() -> tuple[Object, ...]:
    return tuple(replicaset(f"weather-{name}", templated(image=image)) for name, image in zip(REVISIONS, IMAGES, strict=True))


def child(version: int, image: int, wanted: int, *modifiers: Modifier) -> Object:
    min_ready = having("spec.minReadySeconds", 5)
    counts = counting(wanted=wanted)
    return deployment(
        "weather", generation(version), observed(version), counts, templated(image=IMAGES[image]), min_ready, *modifiers
    )


def progress(events: list[Event]) -> list[ProgressPayload]:
    return [event.payload for event in events if isinstance(event.payload, ProgressPayload)]


def test_each_step_of_each_instance_of_three_shows_as_a_percent_of_its_own() -> None:
    story = Story()
    old = {number: instance(0, number, InstanceStep.AVAILABLE) for number in range(3)}
    story.see(at=0, server=mcpserver(spec={"replicas": 3}), deployment=child(1, 0, 3), replica_sets=all_sets())
    done = counting(wanted=3, updated=3, ready=3, available=3)
    story.see(at=10, deployment=child(1, 0, 3, done), pods=tuple(old.values()))
    story.events.clear()
    assert story.state.operation is None
    story.see(at=11, server=mcpserver("weather", generation(2), spec={"replicas": 3}), deployment=child(2, 1, 3))
    new: dict[int, Object] = {}
    steps = [step for step in InstanceStep if step is not InstanceStep.TERMINATING]
    for number in range(3):
        for step in steps:
            new[number] = instance(1, number, step)
            story.see(at=12, pods=(*old.values(), *new.values()))
        old[number] = instance(0, number, InstanceStep.TERMINATING)
        story.see(at=12, pods=(*old.values(), *new.values()))
    assert len(set(story.percents)) == 1 + 3 * (len(steps) + 1)
    assert story.percents == sorted(story.percents)
    assert story.percents[-1] == 99


scene = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.sampled_from(list(InstanceStep))),
    max_size=7,
    unique_by=lambda each: (each[0], each[1]),
)
edits = st.tuples(st.integers(0, 2), st.integers(0, 4))
moments = st.lists(st.one_of(scene, edits, st.just("done"), st.just("restart")), min_size=1, max_size=14)


def play(story: Story, moments: list[object]) -> None:
    """Any sequence of edits, instances coming and going in any order, Deployments done, and restarts of the operator."""
    version, image, wanted = 1, 0, 3
    story.see(at=0, server=mcpserver(spec={"replicas": wanted}), deployment=child(1, 0, 3), replica_sets=all_sets())
    for clock, moment in enumerate(moments, start=1):
        if isinstance(moment, tuple):
            version, (image, wanted) = version + 1, moment
            edited = mcpserver("weather", generation(version), spec={"replicas": wanted})
            story.see(at=clock, server=edited, deployment=child(version, image, wanted))
        elif moment == "done":
            agreed = counting(wanted=wanted, updated=wanted, ready=wanted, available=wanted)
            pods = tuple(instance(image, number, InstanceStep.AVAILABLE) for number in range(wanted))
            story.see(at=clock + 50, deployment=child(version, image, wanted, agreed), pods=pods)
        elif moment == "restart":
            story.restart()
            story.see(at=clock)
        elif isinstance(moment, list):
            unsettled = child(version, image, wanted)
            story.see(at=clock, deployment=unsettled, pods=tuple(instance(*each) for each in moment))


@settings(max_examples=150, deadline=None)
@given(moments)
def test_percent_never_falls_within_an_operation_and_100_is_its_end_alone(moments: list[object]) -> None:
    story = Story()
    play(story, moments)
    operations: dict[str, list[ProgressPayload]] = {}
    for told in progress(story.events):
        operations.setdefault(told.operation, []).append(told)
    for history in operations.values():
        percents = [told.percent for told in history]
        assert all(earlier <= later for earlier, later in pairwise(percents))
        assert all(0 <= told.percent <= 99 for told in history if told.outcome is not Outcome.SUCCEEDED)
        assert all((told.percent == 100) == (told.outcome is Outcome.SUCCEEDED) for told in history)
        assert all(told.outcome is None for told in history[:-1]), "nothing is told of an operation after its end"


@settings(max_examples=150, deadline=None)
@given(moments)
def test_seeing_the_same_again_tells_and_writes_nothing(moments: list[object]) -> None:
    """Else each status that is written would be seen as a change, and written again."""
    story = Story()
    play(story, moments)
    before = status_of(story.state, selector="", endpoint=None)
    story.see(at=(story.observation.now - START).total_seconds())
    assert story.told == []
    assert status_of(story.state, selector="", endpoint=None) == before


@settings(max_examples=150, deadline=None)
@given(moments)
def test_at_most_one_operation_is_open_and_each_that_begins_ends_or_is_open(moments: list[object]) -> None:
    story = Story()
    play(story, moments)
    told = progress(story.events)
    ended = {each.operation for each in told if each.outcome is not None}
    still_open = {each.operation for each in told} - ended
    expected = {story.state.operation.id} if story.state.operation else set()
    assert still_open == expected


@given(st.integers(0, 99), st.integers(1, 600), st.integers(0, 600))
def test_less_work_left_is_never_a_smaller_percent(base_percent: int, base_work: int, work: int) -> None:
    here = percent_of(work, base_percent=base_percent, base_work=base_work)
    assert base_percent <= here <= 99
    assert percent_of(work + 1, base_percent=base_percent, base_work=base_work) <= here
    assert percent_of(base_work, base_percent=base_percent, base_work=base_work) == base_percent
    assert percent_of(0, base_percent=base_percent, base_work=base_work) == 99
