"""Workloads that somebody else owns: what is told of a Deployment or StatefulSet that a server observes."""

from collections.abc import Mapping
from typing import Any

import pytest

from mcp_operator.model.base import Object
from mcp_operator.model.operations import OperationKind, Outcome
from mcp_operator.model.statuses import ConditionType
from tests.builders import (
    Modifier,
    at,
    condition,
    counting,
    crashed,
    created,
    deleting,
    deployment,
    generation,
    having,
    kubernetes_event,
    observed,
    observer,
    pod,
    ready,
    replicaset,
    scheduled,
    started,
    stateful_pod,
    statefulset,
    uid,
    waiting,
)
from tests.stories import Story

OLD, NEW = "weather-7d4b9c", "weather-5c6f8d"
COMPLETE = condition("Progressing", "True", "NewReplicaSetAvailable")
AVAILABLE = (scheduled(), started(), ready(at(1)))


def a_deployment(wanted: int, *modifiers: Modifier) -> Object:
    """Somebody's Deployment whose status says that all is done."""
    counts = counting(wanted=wanted, updated=wanted, ready=wanted, available=wanted)
    return deployment("weather", having("metadata.ownerReferences", []), observed(1), counts, COMPLETE, *modifiers)


def instances(wanted: int, *modifiers: Modifier) -> tuple[Object, ...]:
    return tuple(pod(f"weather-7d4b9-{number}", *AVAILABLE, *modifiers) for number in range(wanted))


def stateful(wanted: int, *modifiers: Modifier, revision: str = OLD, was: str = "", **counts: int) -> Object:
    """A StatefulSet whose status says that all is done, or has these counts."""
    counted = counting(wanted=wanted, **{"updated": wanted, "ready": wanted, "available": wanted, **counts})
    revisions = (having("status.updateRevision", revision), having("status.currentRevision", was or revision))
    return statefulset("weather", counted, observed(1), *revisions, *modifiers)


def ordinals(*revisions: str, modifiers: tuple[Modifier, ...] = AVAILABLE) -> tuple[Object, ...]:
    """The pods of a StatefulSet by their ordinals."""
    return tuple(stateful_pod(f"weather-{ordinal}", revision, *modifiers) for ordinal, revision in enumerate(revisions))


def partitioned(partition: int) -> Modifier:
    return having("spec.updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}})


ON_DELETE = having("spec.updateStrategy", {"type": "OnDelete"})
NEW_TEMPLATE = having("spec.template.spec.containers", [{"name": "mcp", "image": "registry.example/weather:2.0"}])


def observing(workload: Object, pods: tuple[Object, ...], **spec: Any) -> Story:
    """A server that observes a workload which was there before."""
    story = Story()
    sets = (replicaset("weather-7d4b9"),) if workload["kind"] == "Deployment" else ()
    story.see(at=20, server=observer(of=workload, **spec), workload=workload, replica_sets=sets, pods=pods)
    return story


def condition_of(story: Story, kind: ConditionType) -> tuple[str, str]:
    found = story.state.condition(kind)
    assert found is not None
    return found.status, found.reason


def test_a_workload_that_runs_is_told_as_running_and_nothing_has_happened() -> None:
    story = observing(a_deployment(2), instances(2))
    assert story.told == ["status running"]
    assert (story.state.counts.desired, story.state.operation) == (2, None)
    accepted = story.state.condition(ConditionType.ACCEPTED)
    assert accepted is not None
    assert accepted.message == "the Deployment weather is observed, and never written to"


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_a_workload_that_lost_an_instance_before_it_was_observed_is_degraded_not_deploying(kind: str) -> None:
    broken = (scheduled(), waiting("CrashLoopBackOff", restarts=5), created(at(-4000)))
    if kind == "Deployment":
        lost = counting(wanted=1, updated=1)
        story = observing(a_deployment(1, lost), (pod("weather-7d4b9-0", *broken),))
    else:
        story = observing(stateful(1, ready=0, available=0), ordinals(OLD, modifiers=broken))
    assert (story.status, story.state.operation) == ("degraded", None)


def test_a_workload_in_mid_rollout_is_told_as_deploying() -> None:
    rolling = condition("Progressing", "True", "ReplicaSetUpdated")
    story = observing(a_deployment(1, counting(wanted=1, updated=1), rolling), (pod("weather-7d4b9-0", scheduled()),))
    assert story.status == "deploying"


def test_a_missing_target_is_pending_and_after_a_while_somebody_has_to_look() -> None:
    story = Story()
    story.see(at=0, server=observer())
    assert (story.status, story.state.reason) == ("pending", "TargetNotFound")
    assert story.state.message == "spec.workloadRef names the Deployment weather of this namespace, which doesn't exist"
    assert story.state.due is not None
    story.see(at=11)
    assert (story.status, list(story.causes)) == ("failed", ["TargetNotFound"])
    assert condition_of(story, ConditionType.STALLED) == ("True", "TargetNotFound")
    assert condition_of(story, ConditionType.AVAILABLE) == ("False", "TargetNotFound")
    story.see(at=12, workload=a_deployment(1), replica_sets=(replicaset("weather-7d4b9"),), pods=instances(1))
    assert (story.status, story.causes) == ("running", {})
    assert story.told == ["rollout 0%", "rollout 100% succeeded", "status running"]


def test_a_target_that_may_not_be_read_is_neither_missing_nor_stopped_and_says_what_is_needed() -> None:
    story = Story()
    said = "the operator may not list and watch statefulsets of namespace default"
    story.see(at=0, server=observer(), forbidden=said)
    assert (story.status, story.state.reason, story.state.message) == ("pending", "TargetForbidden", said)
    assert condition_of(story, ConditionType.AVAILABLE) == ("Unknown", "TargetForbidden")
    story.see(at=11)
    assert (story.status, list(story.causes)) == ("failed", ["TargetForbidden"])
    assert condition_of(story, ConditionType.STALLED) == ("True", "TargetForbidden")
    story.see(at=12, forbidden=None, workload=a_deployment(1), replica_sets=(replicaset("weather-7d4b9"),), pods=instances(1))
    assert (story.told, story.causes) == (["status running"], {}), "it ran all the time"


def test_a_permission_that_is_taken_away_in_mid_rollout_ends_nothing() -> None:
    story = observing(a_deployment(1), instances(1))
    story.see(at=21, workload=a_deployment(2, generation(2), observed(2), counting(wanted=2, updated=1)))
    operation = story.state.operation
    story.restart()
    story.see(at=22, forbidden="no", workload=None, replica_sets=(), pods=())
    assert (story.status, story.state.operation) == ("pending", operation)
    done = counting(wanted=2, updated=2, ready=2, available=2)
    story.see(
        at=30,
        forbidden=None,
        workload=a_deployment(2, generation(2), observed(2), done),
        replica_sets=(replicaset("weather-7d4b9"),),
        pods=instances(2),
    )
    assert story.told == ["scale 100% succeeded", "status running"]


def test_a_target_that_is_deleted_is_told_and_ends_what_was_going_on() -> None:
    story = observing(a_deployment(1), instances(1))
    story.see(at=21, workload=a_deployment(2, generation(2)))
    assert story.state.operation is not None
    story.see(at=22, workload=a_deployment(2, generation(2), deleting(at(22))))
    assert story.told == ["scale 0% cancelled", "status pending"]
    assert story.state.message.endswith("which is being deleted")
    story.see(at=23, workload=None, replica_sets=(), pods=())
    assert story.state.message.endswith("which doesn't exist")


def test_a_target_that_is_made_anew_is_a_new_operation() -> None:
    story = observing(a_deployment(1), instances(1))
    story.see(at=21, workload=None)
    again = a_deployment(1, uid("second"), counting(wanted=1), observed(0))
    story.see(at=22, workload=again, replica_sets=(), pods=())
    assert story.state.operation is not None
    assert (story.state.operation.kind, story.state.operation.id) == (OperationKind.ROLLOUT, "second-1")


def test_a_server_that_observes_is_deleted_at_once_and_its_workload_goes_on() -> None:
    story = observing(a_deployment(1), instances(1))
    story.see(at=21, server=None, workload=None, replica_sets=(), pods=())
    assert story.status == "deleted"
    assert story.state.message == "the server is gone; the Deployment weather, which it only observed, is left alone"


def test_of_a_server_that_observes_and_is_kept_by_a_finalizer_no_instance_is_said_to_go() -> None:
    workload = a_deployment(2)
    story = observing(workload, instances(2))
    story.see(at=21, server=observer("weather", deleting(at(21)), of=workload))
    assert story.status == "terminating"
    assert story.state.message == "the server is being deleted; the Deployment weather, which it only observed, is left alone"


def test_a_workload_of_none_is_stopped() -> None:
    story = observing(a_deployment(0), ())
    assert (story.status, story.state.reason) == ("stopped", "ScaledToZero")


def test_scaling_the_workload_itself_is_a_scale() -> None:
    story = observing(stateful(1), ordinals(OLD))
    story.see(at=21, workload=stateful(3, generation(2), observed(2), updated=1, ready=1, available=1))
    assert (story.status, story.told) == ("scaling", ["status scaling", "scale 0%"])
    story.see(at=22, workload=stateful(3, generation(2), observed(2)), pods=ordinals(OLD, OLD, OLD))
    assert story.told == ["scale 100% succeeded", "status running"]


DONE: Mapping[str, tuple[Object, tuple[Object, ...], bool]] = {
    "all are of the new revision": (stateful(3, revision=NEW), ordinals(NEW, NEW, NEW), True),
    "one is yet to be replaced": (stateful(3, revision=NEW, updated=2, total=3), ordinals(OLD, NEW, NEW), False),
    "below the partition the old one stays": (
        stateful(3, partitioned(1), revision=NEW, updated=2, total=3),
        ordinals(OLD, NEW, NEW),
        True,
    ),
    "above the partition one is yet to be replaced": (
        stateful(3, partitioned(1), revision=NEW, updated=1, total=3),
        ordinals(OLD, OLD, NEW),
        False,
    ),
    "a partition beyond the last keeps all": (
        stateful(2, partitioned(5), revision=NEW, updated=0, total=2),
        ordinals(OLD, OLD),
        True,
    ),
    "below the partition one isn't available": (
        stateful(2, partitioned(1), revision=NEW, updated=1, total=2, ready=1, available=1),
        (stateful_pod("weather-0", OLD, scheduled()), stateful_pod("weather-1", NEW, *AVAILABLE)),
        False,
    ),
    "the last one isn't available for long enough": (
        stateful(1, having("spec.minReadySeconds", 60), revision=NEW, available=0),
        ordinals(NEW),
        False,
    ),
    "one too many is left": (stateful(1, revision=NEW, updated=1, total=2), ordinals(NEW, OLD), False),
    "with OnDelete all were deleted by somebody": (stateful(2, ON_DELETE, revision=NEW), ordinals(NEW, NEW), True),
    "with OnDelete one is left": (stateful(2, ON_DELETE, revision=NEW, updated=1, total=2), ordinals(OLD, NEW), False),
    "the controller hasn't seen the change": (
        stateful(1, generation(2), having("status.observedGeneration", 1), revision=NEW),
        ordinals(NEW),
        False,
    ),
}


@pytest.mark.parametrize("case", DONE)
def test_when_the_rollout_of_a_stateful_set_is_done(case: str) -> None:
    workload, pods, done = DONE[case]
    story = Story()
    story.see(at=0, server=observer(of=workload))
    story.see(at=20, workload=workload, pods=pods)
    assert [(ended.outcome, ended.operation.percent) for ended in story.state.ended] == [(Outcome.SUCCEEDED, 100)] * done


def test_a_partition_counts_the_work_of_those_above_it_alone() -> None:
    story = observing(stateful(4, partitioned(2)), ordinals(OLD, OLD, OLD, OLD))
    new = (partitioned(2), NEW_TEMPLATE, generation(2), observed(2))
    story.see(at=21, workload=stateful(4, *new, revision=NEW, was=OLD, updated=0, total=4))
    assert story.percents[-1] == 0
    rolling = stateful(4, *new, revision=NEW, was=OLD, updated=1, total=4)
    story.see(at=22, workload=rolling, pods=(*ordinals(OLD, OLD, OLD), stateful_pod("weather-3", NEW, *AVAILABLE)))
    assert story.percents[-1] == 49
    story.see(at=23, workload=stateful(4, *new, revision=NEW, was=OLD, updated=2, total=4), pods=ordinals(OLD, OLD, NEW, NEW))
    assert story.told == ["rollout 100% succeeded", "status running"]


def test_lowering_the_partition_is_a_rollout_of_its_own() -> None:
    story = observing(stateful(2, partitioned(1), revision=NEW, was=OLD, updated=1, total=2), ordinals(OLD, NEW))
    assert story.status == "running"
    lowered = (partitioned(0), generation(2), observed(2))
    story.see(at=21, workload=stateful(2, *lowered, revision=NEW, was=OLD, updated=1, total=2))
    assert story.told == ["status deploying", "rollout 0%"]
    story.see(at=22, workload=stateful(2, *lowered, revision=NEW), pods=ordinals(NEW, NEW))
    assert story.told == ["rollout 100% succeeded", "status running"]


def test_on_delete_waits_for_somebody_without_a_deadline() -> None:
    spec = {"rollout": {"progressDeadlineSeconds": 5}}
    story = observing(stateful(2, ON_DELETE), ordinals(OLD, OLD), **spec)
    new = (ON_DELETE, NEW_TEMPLATE, generation(2), observed(2))
    story.see(at=21, workload=stateful(2, *new, revision=NEW, was=OLD, updated=0, total=2))
    assert (story.status, story.state.reason) == ("deploying", "OnDelete")
    assert story.state.message == "2 instances of older revisions to be deleted by hand: the update strategy is OnDelete"
    story.see(at=500)
    assert (story.status, story.state.reason, story.state.due) == ("deploying", "OnDelete", None)
    story.restart()
    story.see(at=501)
    assert (story.status, story.state.paused) == ("deploying", True)
    both = (stateful_pod("weather-0", NEW, scheduled()), stateful_pod("weather-1", NEW, *AVAILABLE))
    story.see(at=502, workload=stateful(2, *new, revision=NEW, was=OLD, ready=1, available=1), pods=both)
    assert (story.status, story.state.reason) == ("deploying", "RollingOut"), (
        "the last one was deleted: now it's Kubernetes' turn"
    )
    story.see(at=508)
    assert (story.status, story.state.reason) == ("failed", "ProgressDeadlineExceeded")


def test_a_stateful_set_has_the_deadline_of_the_server() -> None:
    story = observing(stateful(1), ordinals(OLD), rollout={"progressDeadlineSeconds": 30})
    stuck = stateful(2, generation(2), observed(2), updated=1, ready=1, available=1)
    story.see(at=21, workload=stuck)
    story.see(at=50)
    assert story.status == "scaling"
    story.see(at=52)
    assert (story.status, story.state.reason) == ("failed", "ProgressDeadlineExceeded")


def test_a_deployment_keeps_its_own_deadline() -> None:
    story = observing(a_deployment(1), instances(1), rollout={"progressDeadlineSeconds": 30})
    assert story.state.deadline_seconds == 600


def test_an_old_instance_of_a_stateful_set_that_is_in_trouble_holds_up_the_rest_and_is_told() -> None:
    story = observing(stateful(2), ordinals(OLD, OLD))
    broken = stateful_pod("weather-1", NEW, scheduled(), waiting("ImagePullBackOff", "not found"))
    new = (NEW_TEMPLATE, generation(2), observed(2))
    story.see(
        at=21,
        workload=stateful(2, *new, revision=NEW, was=OLD, updated=1, ready=1, available=1),
        pods=(*ordinals(OLD), broken),
    )
    assert story.causes["ImagePullBackOff"].revision == NEW
    undone = stateful(2, generation(3), observed(3), revision=OLD, updated=1, total=2, ready=1, available=1)
    story.see(at=22, workload=undone)
    assert "ImagePullBackOff" in story.causes, "the controller waits for it to become ready, which it never will"
    story.see(at=23, pods=(*ordinals(OLD), stateful_pod("weather-1", OLD, scheduled())))
    assert not story.causes, "the next instance of the same name is another"


def test_the_crash_of_an_instance_below_the_partition_is_told() -> None:
    story = observing(stateful(2, partitioned(1), revision=NEW, was=OLD, updated=1, total=2), ordinals(OLD, NEW))
    crash = stateful_pod("weather-0", OLD, scheduled(), crashed(7))
    short = stateful(2, partitioned(1), revision=NEW, was=OLD, updated=1, total=2, ready=1, available=1)
    story.see(at=30, workload=short, pods=(crash, stateful_pod("weather-1", NEW, *AVAILABLE)))
    assert (story.status, story.causes["CrashLoopBackOff"].instance) == ("degraded", "weather-0")


def test_refused_pods_of_a_stateful_set_are_known_by_its_warnings_alone() -> None:
    short = stateful(2, generation(2), observed(2), updated=1, ready=1, available=1)
    said = 'Create Pod weather-1 in StatefulSet weather failed error: pods "weather-1" is forbidden: exceeded quota: small'
    story = observing(stateful(1), ordinals(OLD))
    story.see(at=30, workload=short, warnings=(kubernetes_event("FailedCreate", said, about=short),))
    assert story.causes["FailedCreate"].message == "pods are forbidden: exceeded quota: small"
    story.see(at=41)
    assert story.status == "failed"
    later = stateful_pod("weather-1", OLD, created(at(45)))
    story.see(at=45, pods=(*ordinals(OLD), later))
    assert not story.causes, "it has been created after all"


def test_a_stateful_set_is_available_with_what_may_be_missing_but_never_without_any() -> None:
    rolling = stateful(2, ready=1, available=1)
    story = observing(rolling, (stateful_pod("weather-0", OLD, *AVAILABLE), stateful_pod("weather-1", OLD, scheduled())))
    assert condition_of(story, ConditionType.AVAILABLE)[0] == "True"
    story = observing(stateful(1, ready=0, available=0), (stateful_pod("weather-0", OLD, scheduled()),))
    assert condition_of(story, ConditionType.AVAILABLE)[0] == "False"
