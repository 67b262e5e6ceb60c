"""Records of operations: what each brought, how long its parts took, what went wrong, within their bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mcp_operator.model.base import Object
from mcp_operator.model.causes import Cause
from mcp_operator.model.operations import Outcome
from mcp_operator.model.records import MOST_BYTES, MOST_FAILURES, MOST_INSTANCES, MOST_MESSAGE, NamedRecord, Phases, RolloutRecord
from mcp_operator.rollout.instances import read_instances
from mcp_operator.rollout.recording import Draft, Noted, continued, note, record_of
from mcp_operator.rollout.state import ActiveCause
from mcp_operator.rollout.timing import Times, phases_of, read_timings, times_from
from tests.builders import (
    START,
    Modifier,
    at,
    counting,
    crashed,
    created,
    deleting,
    deployment,
    generation,
    mcpserver,
    observed,
    pod,
    ready,
    replicaset,
    scheduled,
    started,
    templated,
    unschedulable,
    waiting,
)
from tests.stories import Story

NEW_IMAGE = "registry.example/weather:2.0"


class Recorded(Story):
    """A story whose records are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.drafts: dict[str, Draft] = {}

    def see(self, *, at: float, **seen: Any) -> Any:
        before = self._state
        state = super().see(at=at, **seen)
        for draft in note(self.drafts, before, state, now=self.observation.now):
            self.drafts[draft.operation.id] = draft
        return state

    @property
    def records(self) -> list[RolloutRecord]:
        """All records, the oldest first."""
        return [record_of(draft) for draft in self.drafts.values()]

    def restart(self, *, told: bool = True) -> None:
        super().restart(told=told)
        self.drafts = {}


def workload(number: int, *, wanted: int, updated: int = 0, image: str = "", total: int | None = None) -> Object:
    """The Deployment in its n-th generation."""
    counts = counting(wanted=wanted, updated=updated, ready=updated, available=updated, total=total)
    image_of = templated(image=image) if image else templated()
    return deployment("weather", counts, image_of, generation(number), observed(number))


def of_revision(revision: str, image: str = "") -> Object:
    return replicaset(f"weather-{revision}", templated(image=image) if image else templated(), created(at(0)))


def instance(name: str, began: float, *, steps: int = 4) -> Object:
    """A pod that takes a second to each of its steps, up to the one of this number."""
    done = (scheduled(since=at(began + 1)), started(since=at(began + 2)), ready(at(began + 3)))
    return pod(f"weather-{name}", created(at(began)), *done[: steps - 1])


def rolled() -> Recorded:
    """A server of one instance that has got a new image."""
    story = Recorded()
    story.see(at=0, server=mcpserver(), deployment=workload(1, wanted=1), replica_sets=(of_revision("7d4b9"),))
    story.see(at=4, pods=(instance("7d4b9-old", 0),), deployment=workload(1, wanted=1, updated=1))
    assert story.status == "running"
    edited = mcpserver("weather", generation(2), spec={"image": NEW_IMAGE})
    both = (of_revision("7d4b9"), of_revision("8c5a1", NEW_IMAGE))
    story.see(
        at=100,
        server=edited,
        deployment=workload(2, wanted=1, updated=0, image=NEW_IMAGE, total=1),
        replica_sets=both,
    )
    story.see(at=102, pods=(instance("7d4b9-old", 0), instance("8c5a1-new", 100, steps=2)))
    return story


def finish(story: Recorded, *, at_: float = 106) -> None:
    going = pod("weather-7d4b9-old", created(at(0)), scheduled(), started(), deleting(at(at_ + 30)))
    story.see(
        at=at_,
        pods=(going, instance("8c5a1-new", 100)),
        deployment=workload(2, wanted=1, updated=1, image=NEW_IMAGE),
    )


@pytest.mark.parametrize("restarts", [False, True], ids=["one operator", "restarted after it"])
def test_a_rollout_that_somebody_paused_is_recorded_as_such(restarts: bool) -> None:
    story = rolled()
    paused = workload(2, wanted=1, updated=0, image=NEW_IMAGE, total=1)
    paused["spec"]["paused"] = True
    story.see(at=103, deployment=paused)
    story.see(at=900, deployment=workload(2, wanted=1, updated=0, image=NEW_IMAGE, total=1))
    record = story.records[-1]
    assert record.paused
    if restarts:
        story.restart()
    finish(story, at_=906)
    draft = story.drafts[record.id]
    assert record_of(continued(draft, record) if restarts else draft).paused
    assert [each.paused for each in story.records if each.id != record.id] == [False] * (not restarts)


def test_a_rollout_is_recorded_from_its_start_to_its_end() -> None:
    story = rolled()
    open_record = story.records[-1]
    assert (open_record.kind, open_record.outcome, open_record.ended_at) == ("rollout", None, None)
    assert (open_record.started_at, open_record.before, open_record.desired) == (START + timedelta(seconds=100), 1, 1)
    assert open_record.id == story.state.operation.id  # type: ignore[union-attr]  # the story has an open one
    finish(story)
    first, second = story.records
    assert (second.outcome, second.percent, second.ended_at) == ("succeeded", 100, START + timedelta(seconds=106))
    assert second.revision == "8c5a1"
    (told,) = second.instances
    assert (told.name, told.seconds, told.gone) == ("weather-8c5a1-new", 3, False)
    assert told.phases == Phases(scheduled=1, started=1, ready=1, available=0)
    assert (first.before, first.desired, [each.name for each in first.instances]) == (0, 1, ["weather-7d4b9-old"])
    assert second.by is None


def test_an_instance_that_was_seen_before_its_deployment_belongs_to_the_operation() -> None:
    story = Recorded()
    story.see(at=0, server=mcpserver(), applied=None)
    story.see(at=1, pods=(instance("7d4b9-first", 0, steps=1),))
    story.see(at=1, server=mcpserver(), deployment=workload(1, wanted=1), replica_sets=(of_revision("7d4b9"),))
    (record,) = story.records
    assert [each.name for each in record.instances] == ["weather-7d4b9-first"]


def test_a_scaling_tells_only_of_the_instances_that_it_brought() -> None:
    story = Recorded()
    old = instance("7d4b9-old", 0)
    story.see(at=0, server=mcpserver(), deployment=workload(1, wanted=1), replica_sets=(of_revision("7d4b9"),))
    story.see(at=4, pods=(old,), deployment=workload(1, wanted=1, updated=1))
    larger = mcpserver("weather", generation(2), spec={"replicas": 2})
    story.see(at=50, server=larger, deployment=workload(2, wanted=2, updated=1))
    story.see(at=54, pods=(old, instance("7d4b9-more", 50)), deployment=workload(2, wanted=2, updated=2))
    record = story.records[-1]
    assert (record.kind, record.before, record.desired, record.outcome) == ("scale", 1, 2, "succeeded")
    assert [each.name for each in record.instances] == ["weather-7d4b9-more"]


def test_a_rollout_that_another_one_supersedes_keeps_its_own_revision() -> None:
    story = rolled()
    again = mcpserver("weather", generation(3), spec={"image": "registry.example/weather:3.0"})
    third = of_revision("9e9e9", "registry.example/weather:3.0")
    story.see(
        at=110,
        server=again,
        deployment=workload(3, wanted=1, image="registry.example/weather:3.0", total=2),
        replica_sets=(*story.observation.replica_sets, third),
    )
    _, second, last = story.records
    assert (second.outcome, second.revision, second.ended_at) == ("superseded", "8c5a1", START + timedelta(seconds=110))
    assert [each.name for each in second.instances] == ["weather-8c5a1-new"]
    assert (last.outcome, last.revision) == (None, "9e9e9")
    assert [each.id for each in story.state.last_operations] == [second.id, story.records[0].id]


def test_a_way_back_in_mid_rollout_began_from_the_instances_that_there_were() -> None:
    story = rolled()
    back = mcpserver("weather", generation(3))
    story.see(at=110, server=back, deployment=workload(3, wanted=1, updated=1, total=1), pods=(instance("7d4b9-old", 0),))
    record = story.records[-1]
    assert (record.kind, record.revision, record.outcome, record.before) == ("rollout", "7d4b9", "succeeded", 1)
    assert record.instances == ()


def test_an_instance_that_went_again_is_still_told_of() -> None:
    story = rolled()
    story.see(at=103, pods=(instance("7d4b9-old", 0), instance("8c5a1-other", 102, steps=1)))
    told = {each.name: each.gone for each in story.records[-1].instances}
    assert told == {"weather-8c5a1-new": True, "weather-8c5a1-other": False}


def test_causes_within_the_operation_are_its_failures() -> None:
    story = rolled()
    crashing = pod("weather-8c5a1-new", created(at(100)), scheduled(), crashed(3), waiting("CrashLoopBackOff", restarts=1))
    story.see(at=104, pods=(instance("7d4b9-old", 0), crashing))
    (failure,) = story.records[-1].failures
    assert (failure.reason, failure.exit_code, failure.until) == ("CrashLoopBackOff", 3, None)
    assert failure.since == START + timedelta(seconds=104)
    healed = pod(
        "weather-8c5a1-new", created(at(100)), scheduled(), crashed(3), started(since=at(110), restarts=1), ready(at(111))
    )
    story.see(at=112, pods=(instance("7d4b9-old", 0), healed))
    story.see(at=122, pods=(instance("7d4b9-old", 0), healed))
    (failure,) = story.records[-1].failures
    assert failure.until == START + timedelta(seconds=122)


def test_trouble_of_the_old_revision_from_before_is_no_failure_of_the_cure() -> None:
    story = Recorded()
    broken = pod("weather-7d4b9-old", created(at(0)), scheduled(), crashed(1), waiting("CrashLoopBackOff", restarts=2))
    story.see(at=0, server=mcpserver(), deployment=workload(1, wanted=1), replica_sets=(of_revision("7d4b9"),))
    story.see(at=9, pods=(broken,))
    assert "CrashLoopBackOff" in story.causes
    cured = mcpserver("weather", generation(2), spec={"image": NEW_IMAGE})
    story.see(
        at=60,
        server=cured,
        deployment=workload(2, wanted=1, image=NEW_IMAGE, total=1),
        replica_sets=(of_revision("7d4b9"), of_revision("8c5a1", NEW_IMAGE)),
    )
    first, second = story.records
    assert [failure.reason for failure in first.failures] == ["CrashLoopBackOff"]
    assert second.failures == ()

    lasting = Cause(id="1", reason="CrashLoopBackOff", message="It crashes", revision="7d4b9", since=START)
    lasts = replace(story.state, causes=(ActiveCause(lasting),))
    (draft,) = note({}, None, replace(lasts, ended=()), now=story.observation.now)
    assert record_of(draft).failures == ()


def test_a_restarted_operator_goes_on_with_the_same_record() -> None:
    story = rolled()
    before = story.records[-1]
    story.restart()
    story.see(at=103, pods=(instance("7d4b9-old", 0), instance("8c5a1-late", 103, steps=1)), applied=None)
    (draft,) = story.drafts.values()
    assert set(draft.instances) == {"weather-8c5a1-late"}, "the old instance isn't taken for a new one"
    record = record_of(continued(draft, before))
    assert (record.id, record.started_at, record.before) == (before.id, before.started_at, before.before)
    assert {each.name: each.gone for each in record.instances} == {"weather-8c5a1-new": True, "weather-8c5a1-late": False}
    (known,) = (each for each in record.instances if each.gone)
    assert known.phases == before.instances[0].phases


def test_what_a_record_told_of_an_instance_outlasts_the_next_container() -> None:
    story = rolled()
    story.see(at=104, pods=(instance("7d4b9-old", 0), instance("8c5a1-new", 100)))
    again = pod("weather-8c5a1-new", created(at(100)), scheduled(since=at(101)), started(since=at(130), restarts=2))
    story.see(at=131, pods=(instance("7d4b9-old", 0), again))
    (told,) = story.records[-1].instances
    assert (told.phases.started, told.phases.ready) == (1, 1)


ON_A_NODE = scheduled(since=at(2))
RAN = started(since=at(5))
NEVER_RAN = crashed(128, reason="StartError")

PHASES: Mapping[str, tuple[Sequence[Modifier], float, Mapping[str, float]]] = {
    # What the pod tells, the second at which it is read, what is made of it.
    "created": ((), 30, {}),
    "unschedulable": ((unschedulable(),), 30, {}),
    "scheduled": ((ON_A_NODE,), 30, {"scheduled": 2}),
    "pulled, as the operator saw": ((ON_A_NODE, NEVER_RAN), 30, {"scheduled": 2, "pulled": 28}),
    "started": ((ON_A_NODE, RAN), 30, {"scheduled": 2, "started": 3}),
    "ready, not yet available": ((ON_A_NODE, RAN, ready(at(9))), 30, {"scheduled": 2, "started": 3, "ready": 4}),
    "available": ((ON_A_NODE, RAN, ready(at(9))), 39, {"scheduled": 2, "started": 3, "ready": 4, "available": 30}),
    "two containers, one not started": ((ON_A_NODE, RAN, waiting("PodInitializing", container="proxy")), 30, {"scheduled": 2}),
    "nothing but ready": ((ready(at(9)),), 30, {"ready": 9}),
}


@pytest.mark.parametrize(("modifiers", "read_at", "phases"), PHASES.values(), ids=PHASES)
def test_phases_are_read_from_the_pods_own_times(
    modifiers: Sequence[Modifier], read_at: float, phases: Mapping[str, float]
) -> None:
    now = START + timedelta(seconds=read_at)
    (read,) = read_instances([pod("weather-7d4b9-x", *modifiers)], min_ready_seconds=30, now=now)
    (timing,) = read_timings([read], min_ready_seconds=30, now=now)
    assert phases_of(timing.times) == Phases(**phases)
    assert times_from(timing.times.created, phases_of(timing.times)) == timing.times


def test_the_end_of_a_pull_is_known_only_where_it_was_seen() -> None:
    def pulled(began: float, name: str) -> Object:
        return pod(f"weather-8c5a1-{name}", created(at(began)), scheduled(since=at(began)), NEVER_RAN)

    story = rolled()
    story.see(at=104, pods=(pulled(100, "new"), pulled(101, "late")))
    story.see(at=106)
    told = {each.name: each.phases.pulled for each in story.records[-1].instances}
    assert told == {"weather-8c5a1-new": 3, "weather-8c5a1-late": None}


def test_times_that_contradict_each_other_make_no_negative_phase() -> None:
    times = Times(created=START, scheduled=START + timedelta(seconds=5), started=START + timedelta(seconds=3))
    assert phases_of(times) == Phases(scheduled=5, started=0)


def draft_of(count: int, **fields: Any) -> Draft:
    """A draft of a rollout with so many instances, the n-th of which took n seconds."""
    story = rolled()
    base = story.drafts[list(story.drafts)[-1]]
    pods = [instance(f"8c5a1-{number:04}", 100) for number in range(count)]
    instances = {}
    for number, each in enumerate(pods):
        (read,) = read_instances([each], min_ready_seconds=0, now=START + timedelta(hours=1))
        (timing,) = read_timings([read], min_ready_seconds=number, now=START + timedelta(hours=1))
        instances[each["metadata"]["name"]] = Noted(timing.times)
    return Draft(server=base.server, uid=base.uid, operation=base.operation, desired=count, instances=instances, **fields)


@pytest.mark.parametrize("count", [0, 1, 20])
def test_few_instances_are_all_told_one_by_one(count: int) -> None:
    record = record_of(draft_of(count))
    assert (len(record.instances), record.others) == (count, None)


def test_of_many_instances_the_slowest_are_told_and_the_rest_is_summed_up() -> None:
    record = record_of(draft_of(120))
    assert [each.phases.available for each in record.instances] == list(range(119, 99, -1))
    assert record.others is not None
    assert record.others.count == 100
    spread = record.others.spreads.available
    assert spread is not None
    assert (spread.min, spread.p50, spread.p90, spread.max) == (0, 49, 89, 99)
    assert record.others.spreads.pulled is None
    assert len(record.model_dump_json(by_alias=True)) < MOST_BYTES


def test_a_record_keeps_its_bounds_whatever_happens() -> None:
    story = rolled()
    crashing = pod("weather-8c5a1-new", created(at(100)), scheduled(), waiting("ErrImagePull", "é" * 3000))
    story.see(at=104, pods=(crashing,))
    draft = list(story.drafts.values())[-1]
    (failure,) = draft.failures.values()
    assert len(failure.message) == MOST_MESSAGE
    long = {f"weather-8c5a1-{'x' * 230}{number}": noted for number in range(500) for noted in draft.instances.values()}
    many = {str(number): failure.model_copy(update={"id": str(number)}) for number in range(30)}
    record = record_of(replace(draft, instances=long, failures=many))
    assert len(record.model_dump_json(by_alias=True).encode()) <= MOST_BYTES
    assert len(record.instances) <= MOST_INSTANCES
    assert record.others is not None
    assert len(record.instances) + record.others.count == 500
    assert (len(record.failures), record.failures_omitted) == (MOST_FAILURES, 30 - MOST_FAILURES)


def test_a_record_is_read_from_its_object_whatever_a_newer_version_added() -> None:
    record = record_of(draft_of(2))
    read = NamedRecord.model_validate({**record.to_json_object(), "mood": "good", "name": "weather-1"})
    assert (read.name, read.instances) == ("weather-1", record.instances)


def test_an_operation_that_is_called_off_ends_as_cancelled() -> None:
    story = rolled()
    going = mcpserver("weather", generation(2), deleting(at(110)), spec={"image": NEW_IMAGE})
    story.see(at=110, server=going)
    assert story.records[-1].outcome is Outcome.CANCELLED
