"""Instances that are lost as a whole: evicted, or on a node that says nothing. And who can't even be made."""

import pytest

from tests.builders import (
    Modifier,
    Object,
    at,
    condition,
    counting,
    crashed,
    created,
    deleting,
    deployment,
    having,
    mcpserver,
    observed,
    pod,
    ready,
    replicaset,
    scheduled,
    started,
    unschedulable,
)
from tests.stories import Story

OLD, NEW = "weather-7d4b9", "weather-5c6f8"
FULL = 'Usage of EmptyDir volume "data" exceeds the limit "4Mi". '
WELL = (scheduled(), started(since=at(0)), ready(at(1)))


def evicted(name: str = f"{OLD}-full", *, when: float, reason: str = "Evicted", message: str = FULL) -> Object:
    """What is left of a pod that kubelet has evicted."""
    fields = {"phase": "Failed", "reason": reason, "message": message}
    modifiers = [having(f"status.{field}", value) for field, value in fields.items() if value]
    gone = condition("Ready", "False", "PodFailed", since=at(when))
    return pod(name, scheduled(since=at(0)), crashed(137, finished=at(when)), *modifiers, gone)


def running(*pods: Object, wanted: int = 1) -> Story:
    story = Story()
    done = deployment("weather", observed(1), counting(wanted=wanted, updated=wanted, ready=wanted, available=wanted))
    sets = (replicaset(OLD),)
    story.see(at=30, server=mcpserver(spec={"replicas": wanted}), deployment=done, replica_sets=sets, pods=pods)
    assert story.status == "running"
    return story


def test_an_eviction_is_told_until_the_next_instance_has_proved_itself() -> None:
    story = running(pod(f"{OLD}-full", *WELL))
    lost, successor = evicted(when=40), f"{OLD}-next"
    story.see(at=40, pods=(lost,))
    cause = story.causes["Evicted"]
    assert (cause.message, cause.instance, cause.revision, cause.container) == (FULL.strip(), f"{OLD}-full", "7d4b9", None)
    assert (story.status, story.state.reason) == ("degraded", "Evicted")
    story.see(at=41, pods=(lost, pod(successor, created(at(40)), scheduled(), started())))
    story.see(at=43, pods=(lost, pod(successor, created(at(40)), scheduled(), started(), ready(at(43)))))
    assert (story.status, list(story.causes)) == ("running", ["Evicted"])
    story.see(at=50)
    assert story.state.due is not None
    assert (story.state.due - story.observation.now).total_seconds() == 3
    story.see(at=53)
    assert story.causes == {}
    story.see(at=400, pods=(lost, pod(successor, created(at(40)), *WELL), pod(f"{OLD}-more", created(at(400)))))
    assert story.causes == {}, "what is left of the lost one says nothing about another"


def test_an_eviction_that_nothing_succeeds_is_over_after_ten_minutes() -> None:
    story = running(pod(f"{OLD}-full", *WELL))
    story.see(at=40, pods=(evicted(when=40),))
    story.see(at=639)
    assert list(story.causes) == ["Evicted"]
    assert story.state.due is not None
    story.see(at=641)
    assert story.causes == {}


@pytest.mark.parametrize(
    ("reason", "message", "told"),
    [
        ("UnexpectedAdmissionError", "no such device", ("UnexpectedAdmissionError", "no such device")),
        ("", "", ("PodFailed", "the pod has failed")),
        ("two words", "x", ("PodFailed", "x")),
    ],
)
def test_other_ends_of_a_whole_pod_have_kubernetes_word(reason: str, message: str, told: tuple[str, str]) -> None:
    story = running(pod(f"{OLD}-full", *WELL))
    story.see(at=40, pods=(evicted(when=40, reason=reason, message=message),))
    assert [(cause.reason, cause.message) for cause in story.causes.values()] == [told]


def disrupted(reason: str, message: str, *, when: float) -> Modifier:
    """Somebody else than its controller ends the pod, and says so."""
    return condition("DisruptionTarget", "True", reason, message, since=at(when))


DISRUPTIONS = [
    ("EvictionByEvictionAPI", "Eviction API: evicting"),
    ("PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod"),
    ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"),
]


@pytest.mark.parametrize(("reason", "said"), DISRUPTIONS)
def test_an_instance_that_is_taken_away_is_told_until_another_is_in_its_place(reason: str, said: str) -> None:
    leaving = pod(f"{OLD}-0", *WELL, deleting(at(40)), disrupted(reason, said, when=40))
    story = running(pod(f"{OLD}-0", *WELL))
    story.see(at=40, pods=(leaving,))
    assert (story.status, story.state.reason) == ("degraded", reason)
    assert story.causes[reason].message == f"the pod is taken away: {said}"
    story.see(at=41, pods=(leaving, pod(f"{OLD}-next", created(at(41)))))
    story.see(at=42, pods=(pod(f"{OLD}-next", created(at(41)), scheduled()),))
    assert (story.status, list(story.causes)) == ("degraded", [reason]), "it is gone, but nothing has taken its place"
    story.restart()
    story.see(at=43)
    assert list(story.causes) == [reason]
    story.see(at=44, pods=(pod(f"{OLD}-next", created(at(41)), scheduled(), started(), ready(at(44))),))
    assert (story.status, story.causes) == ("running", {})


def test_an_instance_that_its_controller_deletes_is_not_taken_away() -> None:
    story = running(pod(f"{OLD}-0", *WELL))
    story.see(at=40, pods=(pod(f"{OLD}-0", *WELL, deleting(at(40))), pod(f"{OLD}-next", created(at(40)))))
    assert (story.status, story.causes) == ("degraded", {})


def test_instances_on_a_node_that_is_no_more_are_one_cause_however_many_follow_each_other() -> None:
    story = running(pod(f"{OLD}-0", *WELL))
    for number in range(3):
        gone = evicted(f"{OLD}-{number}", when=40 + number, reason="", message="")
        disrupted("DeletionByPodGC", "PodGC: node no longer exists", when=40 + number)(gone)
        story.see(at=40 + number, pods=(gone,))
        story.see(at=40.5 + number, pods=(pod(f"{OLD}-{number + 1}", created(at(40.5 + number)), scheduled()),))
        assert list(story.causes) == ["DeletionByPodGC"]
        assert story.state.recovered == ()


def test_an_evicted_instance_of_a_superseded_revision_is_no_cause() -> None:
    story = running(pod(f"{OLD}-full", *WELL))
    story.see(at=40, pods=(pod(f"{OLD}-full", *WELL), evicted(f"{NEW}-old", when=40)))
    assert story.causes == {}


def unanswered() -> Modifier:
    """The node controller has marked the pod: containers stay as kubelet told them last."""

    def modify(target: Object) -> None:
        target["status"]["containerStatuses"][0]["ready"] = True
        condition("ContainersReady", "True", since=at(1))(target)
        condition("Ready", "False", since=at(50))(target)

    return modify


def test_instances_on_a_node_that_says_nothing_are_one_cause() -> None:
    names = [f"{OLD}-{number}" for number in range(2)]
    story = running(*(pod(name, *WELL) for name in names), wanted=2)
    story.see(at=50, pods=tuple(pod(name, *WELL, unanswered()) for name in names))
    cause = story.causes["NodeNotReady"]
    assert (cause.message, cause.count) == ("node local doesn't answer: how the instance is isn't known", 2)
    assert (story.status, story.state.reason) == ("degraded", "NodeNotReady")
    story.see(at=70, pods=tuple(pod(name, *WELL) for name in names))
    assert (story.status, story.causes) == ("running", {}), "kubelet speaks again, and it was never unready"


def test_an_instance_that_is_not_ready_for_a_reason_of_its_own_is_not_lost() -> None:
    story = running(pod(f"{OLD}-0", *WELL))
    gate = condition("Ready", "False", "ReadinessGatesNotReady", since=at(50))
    story.see(at=50, pods=(pod(f"{OLD}-0", *WELL, unanswered(), gate),))
    assert story.causes == {}


def test_three_instances_that_fail_for_two_causes_are_two_causes_each_with_its_count() -> None:
    story = Story()
    child = deployment("weather", observed(1))
    story.see(at=0, server=mcpserver(spec={"replicas": 3}), deployment=child, replica_sets=(replicaset(OLD),))
    crashing = pod(f"{OLD}-a", scheduled(), crashed(9))
    waiting = (pod(f"{OLD}-b", unschedulable()), pod(f"{OLD}-c", unschedulable()))
    story.see(at=1, pods=(crashing, *waiting))
    assert {reason: cause.count for reason, cause in story.causes.items()} == {"CrashLoopBackOff": 1, "Unschedulable": 2}


REFUSED = 'pods "weather-7d4b9-2w5qk" is forbidden: '


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("exceeded quota: small, requested: pods=1", "pods are forbidden: exceeded quota: small, requested: pods=1"),
        ("maximum memory usage per Container is 64Mi", "pods are forbidden: maximum memory usage per Container is 64Mi"),
        (
            "ValidatingAdmissionPolicy 'o' denied request: no",
            "pods are forbidden: ValidatingAdmissionPolicy 'o' denied request: no",
        ),
    ],
)
def test_whoever_refuses_pods_is_named(answer: str, told: str) -> None:
    refused = condition("ReplicaFailure", "True", "FailedCreate", REFUSED + answer)
    story = Story()
    child = deployment("weather", observed(1))
    story.see(at=0, server=mcpserver(), deployment=child, replica_sets=(replicaset(OLD, refused),))
    assert story.causes["FailedCreate"].message == told
    assert story.status == "deploying"
    story.see(at=10)
    assert story.status == "failed"


def test_a_replica_set_that_is_refused_is_a_cause() -> None:
    refused = condition("Progressing", "False", "ReplicaSetCreateError", "exceeded quota: count/replicasets.apps=0")
    story = Story()
    story.see(at=0, server=mcpserver(), deployment=deployment("weather", observed(1), refused))
    assert story.causes["ReplicaSetCreateError"].message == "exceeded quota: count/replicasets.apps=0"
    story.see(at=10)
    assert story.status == "failed"
