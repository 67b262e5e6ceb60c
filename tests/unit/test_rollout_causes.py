"""Causes: what is wrong, told the moment it shows, once, and again when it is over."""

from dataclasses import replace

import pytest

from mcp_operator.model.base import Object
from mcp_operator.model.causes import Cause, CauseState
from mcp_operator.model.events import StatusPayload
from mcp_operator.model.statuses import ConditionType, Status
from tests.builders import (
    Modifier,
    annotated,
    at,
    condition,
    counting,
    crashed,
    deployment,
    generation,
    having,
    kubernetes_event,
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
from tests.stories import Story, applied

OLD, NEW = "weather-7d4b9", "weather-5c6f8"
POD = f"{OLD}-x2x7q"
NOT_FOUND = 'rpc error: code = NotFound desc = failed to pull "registry.example/weather:1.0": not found'
TIMEOUT = 'failed to do request: Head "https://registry.example/v2/": dial tcp 192.0.2.1:443: i/o timeout'
AS_ROOT = 'container has runAsNonRoot and image will run as root (pod: "weather-7d4b9-x2x7q_default(0b7c)", container: mcp)'


def deploying(*pods: Object, **seen: object) -> Story:
    """A server that is being created, with these pods."""
    story = Story()
    story.see(at=0, server=mcpserver(), deployment=deployment("weather", observed(1)), replica_sets=(replicaset(OLD),))
    story.see(at=1, pods=pods, **seen)
    return story


def told_causes(story: Story) -> list[Cause]:
    """The causes in the status event of the last step."""
    return [cause for event in story.step if isinstance(event.payload, StatusPayload) for cause in event.payload.causes]


TROUBLES: list[tuple[str, tuple[Modifier, ...], str, str, Status]] = [
    ("image tried once", (waiting("ErrImagePull", NOT_FOUND),), "ImagePullBackOff", "can't be pulled: rpc", Status.DEPLOYING),
    (
        "image not found",
        (waiting("ImagePullBackOff", f'Back-off pulling image "x": ErrImagePull: {NOT_FOUND}'),),
        "ImagePullBackOff",
        "image registry.example/weather:1.0 can't be pulled: rpc error: code = NotFound",
        Status.FAILED,
    ),
    (
        "registry silent",
        (waiting("ImagePullBackOff", f'Back-off pulling image "x": ErrImagePull: {TIMEOUT}'),),
        "ImagePullBackOff",
        "i/o timeout",
        Status.DEPLOYING,
    ),
    ("bad reference", (waiting("InvalidImageName", "couldn't parse"),), "InvalidImageName", "couldn't parse", Status.FAILED),
    ("never pulled", (waiting("ErrImageNeverPull", "is not present"),), "ErrImageNeverPull", "not present", Status.FAILED),
    (
        "missing ConfigMap",
        (waiting("CreateContainerConfigError", 'configmap "settings" not found'),),
        "CreateContainerConfigError",
        'configmap "settings" not found',
        Status.FAILED,
    ),
    (
        "missing key",
        (waiting("CreateContainerConfigError", "couldn't find key TOKEN in Secret default/weather"),),
        "CreateContainerConfigError",
        "couldn't find key TOKEN",
        Status.FAILED,
    ),
    (
        "slow cache of kubelet",
        (waiting("CreateContainerConfigError", "failed to sync configmap cache: timed out waiting for the condition"),),
        "CreateContainerConfigError",
        "failed to sync",
        Status.DEPLOYING,
    ),
    (
        "image that runs as root",
        (waiting("CreateContainerConfigError", AS_ROOT),),
        "CreateContainerConfigError",
        "podTemplate: {spec: {securityContext: {runAsNonRoot: false}}}",
        Status.FAILED,
    ),
    (
        "command that isn't there",
        (crashed(128, reason="StartError", restarts=1),),
        "RunContainerError",
        "container mcp can't be run",
        Status.DEPLOYING,
    ),
    ("first crash", (crashed(1),), "CrashLoopBackOff", "container mcp exited with code 1", Status.DEPLOYING),
    (
        "third restart",
        (crashed(1), waiting("CrashLoopBackOff", "back-off 40s restarting failed container", restarts=3)),
        "CrashLoopBackOff",
        "container mcp exited with code 1",
        Status.FAILED,
    ),
    ("clean exit", (crashed(0, reason="Completed"),), "CrashLoopBackOff", "exited with code 0", Status.DEPLOYING),
    ("killed", (crashed(137),), "CrashLoopBackOff", "exited with code 137 (SIGKILL)", Status.DEPLOYING),
    ("out of memory", (crashed(137, reason="OOMKilled"),), "OOMKilled", "more memory than its limit", Status.DEPLOYING),
    ("no node", (unschedulable("0/1 nodes: Insufficient cpu."),), "Unschedulable", "Insufficient cpu", Status.DEPLOYING),
    (
        "missing claim",
        (unschedulable('persistentvolumeclaim "models" not found. not found'),),
        "Unschedulable",
        '"models" not found',
        Status.FAILED,
    ),
    ("any words", (waiting("odd words", "of a runtime"),), "ContainerWaiting", "of a runtime", Status.DEPLOYING),
    ("hook", (waiting("PostStartHookError", "hook failed"),), "PostStartHookError", "hook failed", Status.DEPLOYING),
]


@pytest.mark.parametrize(
    ("modifiers", "reason", "message", "status"), [row[1:] for row in TROUBLES], ids=[r[0] for r in TROUBLES]
)
def test_a_trouble_of_an_instance_is_told_with_its_reason(
    modifiers: tuple[Modifier, ...], reason: str, message: str, status: Status
) -> None:
    story = deploying(pod(POD, scheduled(), *modifiers))
    assert list(story.causes) == [reason]
    cause = story.causes[reason]
    assert message in cause.message
    assert (cause.instance, cause.revision, cause.state) == (POD, "7d4b9", CauseState.ACTIVE)
    assert POD not in cause.message
    assert story.status == status
    assert story.state.reason == reason
    assert told_causes(story) == [cause]


@pytest.mark.parametrize("waits_for", ["ContainerCreating", "PodInitializing"])
def test_a_container_that_is_being_made_is_no_trouble(waits_for: str) -> None:
    assert deploying(pod(POD, scheduled(), waiting(waits_for))).causes == {}


def test_a_crash_carries_exit_code_and_signal() -> None:
    cause = deploying(pod(POD, scheduled(), crashed(137))).causes["CrashLoopBackOff"]
    assert (cause.container, cause.exit_code, cause.signal) == ("mcp", 137, 9)


def test_an_init_container_that_fails_is_a_cause_and_one_that_ends_well_is_none() -> None:
    def init(exit_code: int) -> Modifier:
        ended = {"terminated": {"exitCode": exit_code, "reason": "Error"}}
        status = [{"name": "fetch-model", "state": ended, "lastState": {}, "restartCount": 0, "image": "fetch:1"}]
        return having("status.initContainerStatuses", status)

    assert deploying(pod(POD, scheduled(), init(0))).causes == {}
    cause = deploying(pod(POD, scheduled(), init(3))).causes["CrashLoopBackOff"]
    assert (cause.container, cause.exit_code) == ("fetch-model", 3)


def test_a_sidecar_that_ends_is_started_again_and_so_a_cause() -> None:
    sidecar = having("spec.initContainers", [{"name": "proxy", "restartPolicy": "Always"}])
    ended = {"terminated": {"exitCode": 0, "reason": "Completed"}}
    status = having("status.initContainerStatuses", [{"name": "proxy", "state": ended, "restartCount": 0, "image": "proxy:1"}])
    assert deploying(pod(POD, scheduled(), sidecar, status)).causes["CrashLoopBackOff"].container == "proxy"


def test_err_image_pull_and_its_back_off_are_one_cause() -> None:
    story = deploying(pod(POD, scheduled(), waiting("ErrImagePull", NOT_FOUND)))
    first = story.causes["ImagePullBackOff"]
    story.see(at=5, pods=(pod(POD, scheduled(), waiting("ImagePullBackOff", f'Back-off pulling image "x": {NOT_FOUND}')),))
    assert story.causes["ImagePullBackOff"].id == first.id
    assert story.status == "failed"
    story.see(at=9, pods=(pod(POD, scheduled(), waiting("ErrImagePull", NOT_FOUND)),))
    assert story.told == [], "once it needs a person, the next try alone changes nothing"


def test_a_loop_is_one_cause_however_often_it_restarts() -> None:
    story = deploying(pod(POD, scheduled(), crashed(1, restarts=0)))
    first = story.causes["CrashLoopBackOff"]
    told = len(story.events)
    for number in (1, 2):
        back_off = waiting("CrashLoopBackOff", f"back-off {number * 10}s restarting failed container", restarts=number - 1)
        story.see(at=5 * number, pods=(pod(POD, scheduled(), crashed(1), back_off),))
        story.see(at=5 * number + 2, pods=(pod(POD, scheduled(), crashed(1), started(restarts=number)),))
        story.see(at=5 * number + 3, pods=(pod(POD, scheduled(), crashed(1), started(), crashed(1, restarts=number)),))
    assert len(story.events) == told, "a run in between doesn't end the cause, a restart doesn't begin another"
    assert story.causes["CrashLoopBackOff"].id == first.id
    assert story.causes["CrashLoopBackOff"].since == first.since


def test_another_instance_with_the_same_trouble_is_counted_not_told() -> None:
    story = deploying(pod(POD, scheduled(), crashed(1)))
    other = pod(f"{OLD}-aaaaa", scheduled(), crashed(1))
    story.see(at=2, pods=(pod(POD, scheduled(), crashed(1)), other))
    assert story.causes["CrashLoopBackOff"].count == 2
    assert len(story.state.causes) == 1


def test_a_crash_is_over_when_the_instance_has_been_ready_for_ten_seconds() -> None:
    story = deploying(pod(POD, scheduled(), crashed(1)))
    cause = story.causes["CrashLoopBackOff"]
    well = pod(POD, scheduled(), crashed(1), started(restarts=1), ready(at(20)))
    story.see(at=20, pods=(well,))
    assert list(story.causes) == ["CrashLoopBackOff"]
    assert story.state.due is not None
    story.see(at=(story.state.due - story.observation.now).total_seconds() + 20)
    assert story.causes == {}
    assert told_causes(story) == [cause.model_copy(update={"state": CauseState.RECOVERED})]
    assert (story.observation.now - cause.since).total_seconds() == 29, "10 s after it became ready"


def test_min_ready_seconds_take_the_place_of_the_ten_seconds() -> None:
    slow = deployment("weather", observed(1), having("spec.minReadySeconds", 30))
    story = deploying(pod(POD, scheduled(), crashed(1)), deployment=slow)
    well = (pod(POD, scheduled(), crashed(1), started(restarts=1), ready(at(20))),)
    story.see(at=49, pods=well)
    assert list(story.causes) == ["CrashLoopBackOff"]
    story.see(at=50)
    assert story.causes == {}


def test_an_image_that_could_be_pulled_in_the_end_leads_out_of_failed_at_once_and_is_over_later() -> None:
    story = deploying(pod(POD, scheduled(), waiting("ImagePullBackOff", f'Back-off pulling image "x": {NOT_FOUND}')))
    assert story.status == "failed"
    story.see(at=30, pods=(pod(POD, scheduled(), started()),))
    assert story.status == "deploying"
    assert list(story.causes) == ["ImagePullBackOff"]
    story.see(at=41, pods=(pod(POD, scheduled(), started(), ready(at(31))),))
    assert story.causes == {}


def test_a_cause_is_over_when_its_instance_is_gone() -> None:
    story = deploying(pod(POD, scheduled(), crashed(1)))
    story.see(at=2, pods=(pod(f"{OLD}-aaaaa"),))
    assert [cause.state for cause in told_causes(story)] == [CauseState.RECOVERED]


def test_a_cause_is_over_when_its_revision_is_superseded() -> None:
    story = deploying(pod(POD, scheduled(), waiting("InvalidImageName", "couldn't parse")))
    assert story.status == "failed"
    repaired = deployment("weather", generation(2), observed(1), templated(image="registry.example/weather:2.0"))
    story.see(at=9, server=mcpserver("weather", generation(2)), deployment=repaired)
    assert [cause.state for cause in told_causes(story)] == [CauseState.RECOVERED]
    assert story.status == "pending"
    assert story.causes == {}


def test_old_instances_that_crash_do_not_fail_the_rollout_that_replaces_them() -> None:
    old = pod(POD, scheduled(), crashed(1), waiting("CrashLoopBackOff", restarts=9))
    story = deploying(old)
    assert story.status == "failed"
    repaired = deployment("weather", generation(2), observed(2), templated(image="registry.example/weather:2.0"))
    sets = (replicaset(OLD), replicaset(NEW, templated(image="registry.example/weather:2.0")))
    story.see(at=9, server=mcpserver("weather", generation(2)), deployment=repaired, replica_sets=sets)
    assert story.status == "deploying"


def test_a_crash_while_no_operation_is_open_degrades() -> None:
    story = deploying(pod(POD, scheduled(), started(), ready(at(1))))
    done = deployment("weather", observed(1), counting(wanted=1, updated=1, ready=1, available=1))
    story.see(at=2, deployment=done)
    assert story.status == "running"
    story.see(at=60, pods=(pod(POD, scheduled(), started(), crashed(1, restarts=9)),))
    assert (story.state.status, story.state.reason) == (Status.DEGRADED, "CrashLoopBackOff")


# --- troubles that stand in other objects than the pod ----------------------------------------------------------------------


def test_a_volume_that_cannot_be_mounted_is_told_from_kubernetes_warnings() -> None:
    waits = pod(POD, scheduled(), waiting("ContainerCreating"))
    message = 'MountVolume.SetUp failed for volume "models" : configmap "models" not found'
    story = deploying(waits, warnings=(kubernetes_event("FailedMount", message, about=waits),))
    assert story.causes["FailedMount"].message == message
    assert story.status == "failed", "a missing object needs a person"
    more = kubernetes_event("FailedMount", message, about=waits, count=7)
    story.see(at=3, warnings=(more,))
    assert story.told == [], "a count is no news"
    story.see(at=20, pods=(pod(POD, scheduled(), started(), ready(at(9))),))
    assert story.causes == {}


def test_pods_that_the_api_server_refuses_need_a_person_once_that_lasts() -> None:
    quota = 'pods "weather-7d4b9-9hx2c" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2'
    refused = replicaset(OLD, condition("ReplicaFailure", "True", "FailedCreate", quota))
    story = deploying(replica_sets=(refused,))
    assert (story.state.status, story.state.reason) == (Status.DEPLOYING, "FailedCreate")
    assert story.causes["FailedCreate"].message.startswith("pods are forbidden: exceeded quota")
    assert story.state.due is not None
    assert (story.state.due - story.observation.now).total_seconds() == 10
    story.see(at=11)
    assert story.status == "failed"
    story.see(at=12, replica_sets=(replicaset(OLD),))
    assert story.causes == {}
    assert story.status == "deploying"


def test_the_deadline_names_the_probe_that_fails() -> None:
    slow = pod(POD, scheduled(), started())
    warning = kubernetes_event("Unhealthy", "Startup probe failed: dial tcp 10.0.0.9:8080: connection refused", about=slow)
    exceeded = condition("Progressing", "False", "ProgressDeadlineExceeded", "has timed out progressing", since=at(1))
    story = deploying(slow, warnings=(warning,), deployment=deployment("weather", observed(1), exceeded))
    assert story.status == "failed"
    assert "no progress for 600 s" in story.state.message
    assert "Startup probe failed" in story.state.message


@pytest.mark.parametrize(
    ("reason", "at_once"), [("InvalidPodTemplate", True), ("ForeignObject", True), ("Forbidden", False), ("DriftConflict", False)]
)
def test_a_refusal_is_a_cause_and_fails_the_server_at_once_or_when_it_lasts(reason: str, at_once: bool) -> None:
    story = Story()
    server = mcpserver()
    story.see(at=0, server=server, applied=applied(server, None, reason=reason, message="spec.podTemplate.spec: no"))
    assert (story.state.status, story.state.reason) == (Status.FAILED if at_once else Status.PENDING, reason)
    story.see(at=10)
    assert story.status == "failed"
    assert story.state.message == "spec.podTemplate.spec: no"
    edited = mcpserver("weather", generation(2))
    story.see(at=11, server=edited, applied=story.observation.applied)
    assert story.status == "pending", "the refusal was about another generation"
    assert story.causes == {}
    accepted = story.state.condition(ConditionType.ACCEPTED)
    assert accepted is not None
    assert (accepted.status, accepted.reason, accepted.observed_generation) == ("False", reason, 1)


def test_a_service_that_is_refused_does_not_stop_the_rollout_of_the_deployment() -> None:
    story = deploying(pod(POD, scheduled()))
    server, child = story.observation.server, story.observation.workload
    assert server is not None
    assert child is not None
    half = applied(server, None, reason="ForeignObject", message="Service weather exists")
    story.see(at=2, applied=replace(half, deployment_generation=1), server=server)
    assert story.state.operation is not None
    assert story.status == "failed"


def test_a_refused_service_leaves_a_server_running_that_is_not_ready() -> None:
    story = deploying(pod(POD, scheduled(), started(), ready(at(1))))
    done = deployment("weather", observed(1), counting(wanted=1, updated=1, ready=1, available=1))
    server = mcpserver()
    half = replace(applied(server, done, reason="Forbidden", message="Service weather is refused"), deployment_generation=1)
    story.see(at=2, deployment=done, server=server, applied=half)
    assert story.status == "running"
    now_ready = story.state.condition(ConditionType.READY)
    assert now_ready is not None
    assert (now_ready.status, now_ready.reason) == ("False", "Forbidden")
    story.see(at=12)
    assert (story.status, story.state.reason) == ("failed", "Forbidden")


def test_a_server_that_shall_have_no_instances_has_no_trouble_with_them() -> None:
    story = deploying(pod(POD, scheduled(), started()))
    none = deployment("weather", generation(2), observed(2), having("spec.replicas", 0))
    story.see(at=2, server=mcpserver("weather", generation(2), spec={"replicas": 0}), deployment=none)
    story.see(at=3, pods=(pod(POD, scheduled(), crashed(143)),))
    assert story.causes == {}


def test_a_sandbox_that_was_made_in_the_end_is_no_trouble_any_more() -> None:
    waits = pod(POD, scheduled(), waiting("ContainerCreating"))
    warning = kubernetes_event("FailedCreatePodSandBox", "network is not ready", about=waits)
    assert list(deploying(waits, warnings=(warning,)).causes) == ["FailedCreatePodSandBox"]
    made = pod(POD, scheduled(), condition("PodReadyToStartContainers", "True"), waiting("ContainerCreating"))
    assert deploying(made, warnings=(warning,)).causes == {}


def test_an_instance_that_had_a_trouble_keeps_it_open_while_another_one_shows_it() -> None:
    first, second = f"{OLD}-aaaaa", f"{OLD}-bbbbb"
    refused = waiting("ErrImagePull", NOT_FOUND)
    story = deploying(pod(first, scheduled(), refused))
    story.see(at=2, pods=(pod(first, scheduled(), started()), pod(second, scheduled(), refused)))
    story.see(at=3, pods=(pod(first, scheduled(), started()),))
    assert story.causes["ImagePullBackOff"].instance == first
    story.see(at=20, pods=(pod(first, scheduled(), started(), ready(at(10))),))
    assert story.causes == {}


def test_a_failed_operation_is_failed_after_a_restart_too() -> None:
    story = deploying(pod(POD, scheduled(), waiting("ImagePullBackOff", f'Back-off pulling image "x": {NOT_FOUND}')))
    story.see(at=9, pods=(pod(POD, scheduled(), waiting("ErrImagePull", NOT_FOUND)),))
    assert story.status == "failed"
    story.restart()
    story.see(at=30)
    assert story.status == "failed"
    assert not any(event.late for event in story.step)


def test_text_from_a_pod_breaks_no_line_and_has_a_bound() -> None:
    nasty = "first\nevent: status\r\ndata: {}\x1b[31m\u2028\u202e " + "x" * 5000
    story = deploying(pod(POD, scheduled(), waiting("CreateContainerError", nasty)))
    message = story.causes["CreateContainerError"].message
    assert message.isprintable()
    assert len(message) == 1024
    assert message.startswith("first event: status data: {}")


def test_a_crashing_containers_last_words_stay_in_the_log() -> None:
    """Whoever may see the status need not be allowed to read the log."""
    secret = pod(POD, scheduled(), crashed(1))
    secret["status"]["containerStatuses"][0]["state"]["terminated"]["message"] = "password=hunter2"
    assert "hunter2" not in str(deploying(secret).events)


def test_a_cause_survives_a_restart_with_its_beginning() -> None:
    story = deploying(pod(POD, scheduled(), crashed(1)))
    before = story.causes["CrashLoopBackOff"]
    story.restart()
    story.see(at=30, pods=(pod(POD, scheduled(), crashed(1), started(restarts=1)),))
    assert story.causes["CrashLoopBackOff"].since == before.since
    assert not any(event.late for event in story.step)


def test_ids_of_causes_leave_out_instances_and_times() -> None:
    first = deploying(pod(POD, scheduled(), crashed(1)))
    second = deploying(pod(f"{OLD}-other", scheduled(), crashed(1, finished=at(99)), annotated({"any": "thing"})))
    assert first.causes["CrashLoopBackOff"].id == second.causes["CrashLoopBackOff"].id
