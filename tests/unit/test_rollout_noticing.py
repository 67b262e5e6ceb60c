"""Warnings of Kubernetes that no cause stands for: told as they are, once and then once a minute, and never too many."""

import pytest

from mcp_operator.model.base import Object
from mcp_operator.model.events import Event, KubernetesPayload
from mcp_operator.rollout.noticing import MOST_A_MINUTE
from tests.builders import (
    Modifier,
    at,
    condition,
    counting,
    deleting,
    deployment,
    having,
    kubernetes_event,
    mcpserver,
    observed,
    pod,
    ready,
    replicaset,
    scheduled,
    started,
    uid,
)
from tests.stories import Story

REVISION = "weather-7d4b9"
POD = pod(f"{REVISION}-x2x7q", scheduled(), condition("PodReadyToStartContainers", "True"), started(), ready(at(1)))
HOOK = "FailedPreStopHook"


def running() -> Story:
    story = Story()
    done = deployment("weather", observed(1), counting(wanted=1, updated=1, ready=1, available=1))
    story.see(at=2, server=mcpserver(), deployment=done, replica_sets=(replicaset(REVISION),), pods=(POD,))
    assert story.status == "running"
    return story


def warning(reason: str = HOOK, *modifiers: Modifier, about: Object = POD, seen: float = 20, count: int = 1) -> Object:
    return kubernetes_event(reason, f"{reason} of it", having("lastTimestamp", at(seen)), *modifiers, about=about, count=count)


def warned(story: Story) -> list[Event]:
    """What the last observation told of warnings."""
    return [event for event in story.step if isinstance(event.payload, KubernetesPayload)]


def test_a_warning_is_told_as_kubernetes_says_it() -> None:
    story = running()
    told = warning(count=2)
    story.see(at=20, warnings=(told,))
    (event,) = warned(story)
    assert event.payload == KubernetesPayload(
        reason=HOOK, message="FailedPreStopHook of it", kind="Pod", name=POD["metadata"]["name"], count=2
    )
    assert event.key == f"{story.state.uid}/kubernetes/{told['metadata']['uid']}/2"
    assert not event.late
    assert story.told == ["kubernetes FailedPreStopHook 2"], "it changes no status"


def test_its_count_is_told_again_a_minute_later_at_the_earliest() -> None:
    story = running()
    for second, count in ((20, 1), (21, 2), (50, 9)):
        story.see(at=second, warnings=(warning(count=count),))
    assert [event for event in story.events if isinstance(event.payload, KubernetesPayload)][1:] == []
    assert story.state.due is not None
    assert (story.state.due - story.observation.now).total_seconds() == 30
    story.see(at=80)
    assert story.told == ["kubernetes FailedPreStopHook 9"]
    story.see(at=200)
    assert story.told == [], "the same count is no news"


def test_a_flood_of_warnings_is_told_bit_by_bit() -> None:
    story = running()
    flood = tuple(warning(HOOK, uid(f"event-{number}"), seen=20) for number in range(50))
    story.see(at=20, warnings=flood)
    assert len(warned(story)) == MOST_A_MINUTE
    story.see(at=30)
    assert story.told == []
    story.see(at=80)
    assert len(warned(story)) == MOST_A_MINUTE
    story.see(at=140)
    assert len(warned(story)) == 50 - 2 * MOST_A_MINUTE
    told = [event.key for event in story.events if isinstance(event.payload, KubernetesPayload)]
    assert len(set(told)) == len(told) == 50


@pytest.mark.parametrize(
    "reason",
    [
        *(
            "FailedScheduling",
            "FailedCreate",
            "BackOff",
            "Failed",
            "InspectFailed",
            "ErrImageNeverPull",
            "Evicted",
            "NodeNotReady",
        ),
        "FailedPostStartHook",
    ],
)
def test_what_a_cause_stands_for_is_not_told_twice(reason: str) -> None:
    story = running()
    story.see(at=20, warnings=(warning(reason),))
    assert warned(story) == []


def test_a_volume_is_a_causes_matter_only_until_the_containers_are_made() -> None:
    story = running()
    waits = pod(f"{REVISION}-waits", scheduled())
    story.see(at=20, pods=(POD, waits), warnings=(warning("FailedMount", about=waits),))
    assert warned(story) == []
    story.see(at=21, pods=(POD,), warnings=(warning("FailedMount"),))
    assert story.told[-1:] == ["kubernetes FailedMount 1"], "a Secret that a running instance has mounted is gone"


def test_a_probe_that_fails_while_an_instance_starts_or_ends_is_no_news() -> None:
    story = running()
    starts = pod(f"{REVISION}-starts", scheduled(), started())
    ends = pod(f"{REVISION}-ends", scheduled(), started(), ready(at(1)), deleting(at(19)))
    told = tuple(warning("Unhealthy", uid(each["metadata"]["name"]), about=each) for each in (starts, ends))
    story.see(at=20, pods=(POD, starts, ends), warnings=told)
    assert warned(story) == []


@pytest.mark.parametrize(("seen", "told"), [(0, []), (20, ["kubernetes Unhealthy 1"])])
def test_a_probe_that_fails_of_an_instance_that_is_ready_is_told(seen: float, told: list[str]) -> None:
    story = running()
    story.see(at=20, warnings=(warning("Unhealthy", seen=seen),))
    assert story.told == told


def test_after_a_restart_it_is_told_again_under_the_same_key_as_something_late() -> None:
    story = running()
    story.see(at=20, warnings=(warning(),))
    (first,) = warned(story)
    story.restart()
    story.see(at=30)
    (again,) = warned(story)
    assert (again.key, again.late) == (first.key, True)


def test_text_of_a_warning_breaks_no_line_and_has_a_bound() -> None:
    story = running()
    nasty = kubernetes_event("no word", "one\ntwo\x1b[31m" + "x" * 5000, about=POD)
    story.see(at=20, warnings=(nasty,))
    (event,) = warned(story)
    assert isinstance(event.payload, KubernetesPayload)
    assert event.payload.reason == "Warning"
    assert event.payload.message.startswith("one two")
    assert event.payload.message.isprintable()
    assert len(event.payload.message) == 1024


@pytest.mark.parametrize(
    "times",
    [("2026-11-23T09:00:20Z", "2026-11-23T09:00:20.500000Z"), ("2026-11-23T09:00:20.500000Z", "2026-11-23T09:00:21Z")],
    ids=["a whole second is first", "a fraction is first"],
)
def test_warnings_are_told_in_the_order_of_their_times_however_fine_these_are(times: tuple[str, str]) -> None:
    story = running()
    first, then = (having("metadata.uid", f"event-{time}") for time in times)
    seen = [
        warning("First", first, having("lastTimestamp", times[0])),
        warning("Then", then, having("lastTimestamp", None), having("eventTime", times[1])),
    ]
    story.see(at=30, warnings=tuple(reversed(seen)))
    assert story.told == ["kubernetes First 1", "kubernetes Then 1"]


def test_a_warning_without_a_time_is_told_too() -> None:
    story = running()
    story.see(at=20, warnings=(warning("Late"), warning("Timeless", uid("event-0"), having("lastTimestamp", None))))
    assert story.told == ["kubernetes Timeless 1", "kubernetes Late 1"]
