"""What could be said falsely of a server in trouble, and isn't: stories in which two readings of the same objects are close."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_operator.model.base import Object
from mcp_operator.model.causes import Cause, CauseState
from mcp_operator.model.events import StatusPayload
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
    mcpserver,
    observed,
    observer,
    pod,
    ready,
    replicaset,
    scheduled,
    started,
    stateful_pod,
    statefulset,
    unschedulable,
    waiting,
)
from tests.stories import Story

OLD, NEW = "weather-7d4b9", "weather-5c6f8"
POD = f"{OLD}-x2x7q"
WELL = (scheduled(), started(since=at(0)), ready(at(1)))
LOOPS = (scheduled(), crashed(1), waiting("CrashLoopBackOff", restarts=5))


def deploying(*pods: Object, **seen: Any) -> Story:
    """A server that is being created, with these pods."""
    story = Story()
    wanted = deployment("weather", observed(1), counting(wanted=max(len(pods), 1)))
    server = mcpserver(spec={"replicas": max(len(pods), 1)})
    story.see(at=0, server=server, deployment=wanted, replica_sets=(replicaset(OLD),))
    story.see(at=2, pods=pods, **seen)
    return story


def recovered(story: Story) -> list[Cause]:
    """The causes that the last observation told as over."""
    told = [cause for event in story.step if isinstance(event.payload, StatusPayload) for cause in event.payload.causes]
    return [cause for cause in told if cause.state is CauseState.RECOVERED]


def hook_failed(about: Object, *, seen: float, container: str = "mcp") -> Object:
    field = having("involvedObject.fieldPath", f"spec.containers{{{container}}}")
    times = (having("firstTimestamp", at(seen)), having("lastTimestamp", at(seen)))
    return kubernetes_event("FailedPostStartHook", "PostStartHook failed", field, *times, about=about)


class TestHooks:
    def test_a_container_whose_hook_failed_has_not_crashed(self) -> None:
        running = pod(POD, scheduled(), started(since=at(0)))
        story = deploying(running, warnings=(hook_failed(running, seen=2),))
        assert story.causes["PostStartHookError"].message == "container mcp isn't ready: its postStart hook failed"
        assert "kubernetes FailedPostStartHook 1" not in story.told, "it isn't told twice"
        first = story.causes["PostStartHookError"].id
        ended = pod(POD, scheduled(), crashed(137, finished=at(32)), waiting("CrashLoopBackOff", restarts=1))
        story.see(at=33, pods=(ended,))
        cause = story.causes["PostStartHookError"]
        assert (list(story.causes), cause.id, cause.exit_code) == (["PostStartHookError"], first, 137)
        assert cause.message == "container mcp was ended by kubelet: its postStart hook failed"
        assert story.told == ["status deploying"], "now there is an exit code"

    def test_kubelets_own_word_is_enough(self) -> None:
        said = waiting("PostStartHookError", 'Exec lifecycle hook failed, message: "hunter2"', restarts=1)
        story = deploying(pod(POD, scheduled(), crashed(0, reason="Completed"), said))
        assert list(story.causes) == ["PostStartHookError"]
        assert "hunter2" not in story.causes["PostStartHookError"].message, "what the hook printed belongs to the log"

    @pytest.mark.parametrize("seen", [-100, 90])
    def test_a_hook_of_another_run_is_no_reason_for_this_end(self, seen: float) -> None:
        ended = pod(POD, scheduled(), crashed(3, finished=at(32)))
        assert list(deploying(ended, warnings=(hook_failed(ended, seen=seen),)).causes) == ["CrashLoopBackOff"]

    def test_another_containers_hook_is_not_this_ones(self) -> None:
        ended = pod(POD, scheduled(), crashed(3, finished=at(32)))
        assert list(deploying(ended, warnings=(hook_failed(ended, seen=2, container="proxy"),)).causes) == ["CrashLoopBackOff"]


def test_what_a_container_waits_for_after_a_crash_is_told_and_not_the_crash() -> None:
    story = deploying(pod(POD, scheduled(), crashed(1), waiting("CreateContainerError", "no space left on device", restarts=1)))
    assert {reason: cause.message for reason, cause in story.causes.items()} == {
        "CreateContainerError": "no space left on device"
    }


LIMITED: Modifier = having("spec.containers", [{"name": "mcp", "resources": {"limits": {"memory": "64Mi"}}}])
UNLIMITED: Modifier = having("spec.containers", [{"name": "mcp", "resources": {"limits": {"cpu": "1"}}}])
MEMORY = [
    (LIMITED, 137, "container mcp was killed: it used more memory than its limit"),
    (LIMITED, 1, "a process of container mcp was killed: it used more memory than its limit; then it exited with code 1"),
    (UNLIMITED, 137, "container mcp was killed: memory ran out, and it has no limit of its own"),
]


@pytest.mark.parametrize(("limits", "exit_code", "told"), MEMORY)
def test_whose_memory_ran_out_is_told_right(limits: Modifier, exit_code: int, told: str) -> None:
    story = deploying(pod(POD, limits, scheduled(), crashed(exit_code, reason="OOMKilled")))
    assert story.causes["OOMKilled"].message == told


def test_of_an_observed_workload_the_cure_goes_into_its_own_template() -> None:
    root = "container has runAsNonRoot and image will run as root"
    story = Story()
    workload = deployment("weather", having("metadata.ownerReferences", []), observed(1))
    story.see(at=0, server=observer(), workload=workload, replica_sets=(replicaset(OLD),))
    story.see(at=1, pods=(pod(POD, scheduled(), waiting("CreateContainerConfigError", root)),))
    message = story.causes["CreateContainerConfigError"].message
    assert "podTemplate" not in message, "beside workloadRef it would be refused"
    assert "spec.template: {spec: {securityContext: {runAsUser: 1000}}}" in message


class TestTwoContainers:
    def test_each_that_fails_is_a_cause_of_its_own(self) -> None:
        both = pod(POD, scheduled(), crashed(1), crashed(2, container="proxy"))
        story = deploying(both)
        told = {(active.cause.container, active.cause.exit_code) for active in story.state.causes}
        assert told == {("mcp", 1), ("proxy", 2)}

    def test_one_that_heals_leaves_the_others_cause(self) -> None:
        """The pod isn't ready as long as one container fails, so nothing of it has recovered yet."""
        story = deploying(pod(POD, scheduled(), crashed(1), crashed(2, container="proxy")))
        runs = started(since=at(3), restarts=1)
        story.see(at=60, pods=(pod(POD, scheduled(), crashed(1), crashed(2, container="proxy"), runs),))
        assert recovered(story) == []

    def test_a_sidecar_that_fails_is_named_and_the_server_is_not(self) -> None:
        story = deploying(pod(POD, scheduled(), started(since=at(0)), crashed(2, container="proxy")))
        assert [active.cause.container for active in story.state.causes] == ["proxy"]

    def test_a_sidecar_among_the_init_containers_that_starts_slowly_is_told_by_time_alone(self) -> None:
        probe = {"periodSeconds": 1, "failureThreshold": 300}
        sidecar = {"name": "proxy", "restartPolicy": "Always", "startupProbe": probe}
        running = {"name": "proxy", "image": "i", "ready": False, "started": False, "state": {"running": {"startedAt": at(0)}}}
        slow = pod(POD, scheduled(), having("spec.initContainers", [sidecar]), having("status.initContainerStatuses", [running]))
        story = deploying(slow)
        assert story.state.due is not None
        assert (story.state.due - story.observation.now).total_seconds() == 58
        story.see(at=60)
        assert story.causes["StartupProbeFailed"].container == "proxy"


def test_a_cause_has_not_recovered_while_another_instance_has_it() -> None:
    story = deploying(pod(f"{OLD}-a", *LOOPS), pod(f"{OLD}-b", *LOOPS))
    healed = (scheduled(), crashed(1), started(since=at(10), restarts=6), ready(at(10)))
    story.see(at=30, pods=(pod(f"{OLD}-a", *healed), pod(f"{OLD}-b", *LOOPS)))
    assert (recovered(story), story.causes["CrashLoopBackOff"].count) == ([], 1)
    assert story.causes["CrashLoopBackOff"].instance == f"{OLD}-b"


def test_an_instance_that_is_deleted_in_the_middle_of_its_trouble_leads_out_of_failed() -> None:
    story = deploying(pod(POD, *LOOPS))
    assert story.status == "failed"
    story.see(at=10, pods=(pod(POD, *LOOPS, deleting(at(40))), pod(f"{OLD}-next", created(at(10)))))
    assert (story.status, story.causes) == ("deploying", {})
    assert [cause.reason for cause in recovered(story)] == ["CrashLoopBackOff"]


def test_a_server_that_ends_without_an_error_is_told_with_the_code_that_it_gave() -> None:
    cause = deploying(pod(POD, scheduled(), crashed(0, reason="Completed"))).causes["CrashLoopBackOff"]
    assert (cause.message, cause.exit_code, cause.signal) == ("container mcp exited with code 0", 0, None)


def test_a_pod_that_has_come_to_its_end_is_no_instance_and_no_trouble() -> None:
    completed = pod(f"{OLD}-done", *WELL, having("status.phase", "Succeeded"), condition("Ready", "False", "PodCompleted"))
    done = deployment("weather", observed(1), counting(wanted=1, updated=1, ready=1, available=1))
    story = Story()
    story.see(at=30, server=mcpserver(), deployment=done, replica_sets=(replicaset(OLD),), pods=(pod(POD, *WELL), completed))
    assert (story.status, story.state.counts.replicas, story.causes) == ("running", 1, {})


def test_an_image_by_its_digest_is_told_by_its_digest() -> None:
    image = "registry.example/weather@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    back_off = waiting("ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: not found')

    def by_digest(target: Object) -> None:
        target["status"]["containerStatuses"][0]["image"] = image

    story = deploying(pod(POD, scheduled(), back_off, by_digest))
    assert story.causes["ImagePullBackOff"].message == f"image {image} can't be pulled: not found"


def test_a_quota_that_was_lifted_is_over_as_soon_as_kubernetes_has_noticed() -> None:
    refused = replicaset(OLD, condition("ReplicaFailure", "True", "FailedCreate", "exceeded quota: small"))
    story = deploying(replica_sets=(refused,))
    story.see(at=13)
    assert (story.status, story.state.reason) == ("failed", "FailedCreate")
    story.see(at=20, replica_sets=(replicaset(OLD),), pods=(pod(POD),))
    assert (story.status, story.causes) == ("deploying", {})
    assert [cause.reason for cause in recovered(story)] == ["FailedCreate"]


def test_what_an_older_revision_suffers_is_no_failure_of_the_rollout_that_replaces_it() -> None:
    old = (pod(f"{OLD}-a", unschedulable()), pod(f"{OLD}-b", *LOOPS))
    story = deploying(*old)
    edited = mcpserver("weather", generation(2), spec={"replicas": 2, "image": "registry.example/weather:2.0"})
    template = deployment("weather", generation(2), observed(2), counting(wanted=2, total=2))
    template["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example/weather:2.0"
    story.see(at=10, server=edited, deployment=template)
    assert story.causes == {}, "the ReplicaSet of the new one isn't seen yet"
    new_set = replicaset(NEW, having("spec.template", {**template["spec"]["template"]}))
    story.see(at=11, replica_sets=(replicaset(OLD), new_set), pods=(*old, pod(f"{NEW}-a", scheduled())))
    assert (story.status, story.causes) == ("deploying", {})


def test_a_refusal_that_was_over_long_ago_is_not_told_when_an_instance_is_replaced_later() -> None:
    """Its warning stays for an hour, and the instance that was made since is the one that is gone now."""
    workload = statefulset(
        "weather",
        observed(1),
        counting(wanted=2, updated=2, ready=2, available=2),
        having("status.updateRevision", OLD),
        having("status.currentRevision", OLD),
    )
    said = 'create Pod weather-1 in StatefulSet weather failed error: pods "weather-1" is forbidden: exceeded quota: small'
    refusal = kubernetes_event("FailedCreate", said, having("lastTimestamp", at(60)), about=workload)
    first, second = (stateful_pod(f"weather-{number}", OLD, created(at(number * 70)), *WELL) for number in range(2))
    story = Story()
    story.see(at=100, server=observer(of=workload), workload=workload, pods=(first, second), warnings=(refusal,))
    story.see(at=3000, pods=(first,))
    assert story.causes == {}


def test_a_scale_that_failed_is_over_with_the_count_that_was_asked_for() -> None:
    limit = {"progressDeadlineSeconds": 60}
    story = Story()

    def asked(replicas: int, version: int, second: float) -> None:
        wanted = deployment(
            "weather",
            generation(version),
            observed(version),
            counting(wanted=replicas, updated=2, ready=1, available=1),
            having("spec.progressDeadlineSeconds", 60),
        )
        server = mcpserver("weather", generation(version), spec={"replicas": replicas, "rollout": limit})
        story.see(at=second, server=server, deployment=wanted)

    pods = (pod(f"{OLD}-a", *WELL),)
    done = deployment("weather", observed(1), counting(wanted=1, updated=1, ready=1, available=1))
    server = mcpserver(spec={"rollout": limit})
    story.see(at=20, server=server, deployment=done, replica_sets=(replicaset(OLD),), pods=pods)
    asked(9, 2, 30)
    story.see(at=91)
    assert (story.status, story.state.reason) == ("failed", "ProgressDeadlineExceeded")
    asked(3, 3, 100)
    assert (story.status, story.causes) == ("scaling", {}), "less is wanted now, and that has its own time"
    story.see(at=161)
    assert (story.status, story.state.reason) == ("failed", "ProgressDeadlineExceeded")
