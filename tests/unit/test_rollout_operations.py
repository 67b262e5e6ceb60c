"""Operations: what starts one, what becomes of it when the target moves, how it ends, and that a restart goes on with it."""

import pytest

from mcp_operator.model.base import Object
from mcp_operator.model.operations import OperationKind, Outcome
from mcp_operator.model.statuses import Status
from mcp_operator.rollout.restoring import restore
from tests.builders import (
    Modifier,
    at,
    condition,
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
    uid,
)
from tests.stories import Story, applied

OLD, NEW = "weather-7d4b9", "weather-5c6f8"
NEXT_IMAGE = "registry.example/weather:2.0"


def serving(*names: str) -> tuple[Object, ...]:
    """Pods that are available."""
    return tuple(pod(name, scheduled(), started(), ready(at(1))) for name in names)


def settled(wanted: int, *modifiers: Modifier, version: int = 1) -> Object:
    """A Deployment whose status says that all is done."""
    count = counting(wanted=wanted, updated=wanted, ready=wanted, available=wanted)
    return deployment("weather", generation(version), observed(version), count, *modifiers)


def a_running_server(replicas: int = 1) -> Story:
    """A server that was created and is done."""
    story = Story()
    story.see(at=0, server=mcpserver(spec={"replicas": replicas}))
    story.see(at=1, deployment=deployment("weather", counting(wanted=replicas)), replica_sets=(replicaset(OLD),))
    pods = serving(*(f"{OLD}-{number}" for number in range(replicas)))
    story.see(at=2, deployment=settled(replicas), pods=pods)
    assert story.status == "running"
    assert story.state.operation is None
    return story


def edit(story: Story, *, at: float, version: int, child: Object, **spec: object) -> None:
    """The MCPServer is edited, the edit applied to its Deployment, and both are seen."""
    story.see(at=at, server=mcpserver("weather", generation(version), spec=spec), deployment=child)


def new_image(version: int, *modifiers: Modifier, wanted: int = 1) -> Object:
    """The Deployment right after another image was applied."""
    counts = counting(wanted=wanted, ready=wanted, available=wanted, total=wanted)
    image = templated(image=NEXT_IMAGE)
    return deployment("weather", generation(version), observed(version), counts, image, *modifiers)


def test_creating_a_server_is_a_rollout() -> None:
    story = Story()
    story.see(at=0, server=mcpserver())
    story.see(at=1, deployment=deployment("weather", observed(1)), replica_sets=(replicaset(OLD),))
    assert story.status == "deploying"
    story.see(at=2, deployment=settled(1), pods=serving(f"{OLD}-0"))
    assert story.told == ["rollout 100% succeeded", "status running"]


def test_a_rollout_that_was_over_before_it_was_seen_is_told_by_its_start_and_its_end() -> None:
    story = Story()
    story.see(at=0, server=mcpserver())
    story.see(at=1, deployment=settled(1), replica_sets=(replicaset(OLD),), pods=serving(f"{OLD}-0"))
    assert story.told == ["rollout 0%", "rollout 100% succeeded", "status running"]


def test_an_operation_is_named_after_the_workload_and_its_generation_at_the_start() -> None:
    story = a_running_server()
    child = new_image(2)
    edit(story, at=3, version=2, child=child)
    assert story.state.operation is not None
    assert story.state.operation.id == f"{child['metadata']['uid']}-2"


def test_a_new_count_is_a_scale_and_ends_when_the_deployment_and_its_pods_agree() -> None:
    story = a_running_server()
    edit(story, at=3, version=2, child=settled(1, counting(wanted=3, updated=1, ready=1, available=1), version=2), replicas=3)
    assert story.status == "scaling"
    three = serving(f"{OLD}-0", f"{OLD}-1", f"{OLD}-2")
    story.see(at=4, pods=three)
    assert story.told == ["status scaling", "scale 99%"], "the pods are there, but the Deployment doesn't say so"
    story.see(at=5, deployment=settled(3, version=2))
    assert story.told == ["scale 100% succeeded", "status running"]


def test_a_deployment_that_runs_ahead_of_its_pods_is_not_done() -> None:
    story = a_running_server()
    edit(story, at=3, version=2, child=settled(3, version=2), replicas=3)
    assert story.status == "scaling"
    assert story.state.counts.available == 1


def test_nothing_is_done_while_kubernetes_says_that_the_deadline_passed() -> None:
    story = a_running_server()
    edit(story, at=3, version=2, child=settled(1, exceeded(0), templated(image=NEXT_IMAGE), version=2), image=NEXT_IMAGE)
    story.see(at=4, replica_sets=(replicaset(OLD, templated(image=NEXT_IMAGE)),))
    assert story.state.counts.updated == 1
    assert story.status == "deploying"


def test_the_moment_at_which_a_ready_instance_is_available_is_due() -> None:
    story = a_running_server()
    slow = settled(1, having("spec.minReadySeconds", 30), counting(wanted=2, updated=1, ready=1, available=1), version=2)
    newcomer = pod(f"{OLD}-1", scheduled(), started(), ready(at(40)))
    edit(story, at=39, version=2, child=slow, replicas=2)
    story.see(at=41, pods=(*serving(f"{OLD}-0"), newcomer))
    assert story.state.counts.available == 1
    assert story.state.due is not None
    assert (story.state.due - story.observation.now).total_seconds() == 29
    story.see(at=70)
    assert story.state.counts.available == 2


def test_a_scale_down_waits_until_the_old_instances_no_longer_count() -> None:
    story = a_running_server(replicas=2)
    kubectl_is_done = counting(wanted=1, updated=1, ready=1, available=1, total=2)
    edit(story, at=3, version=2, child=settled(1, kubectl_is_done, version=2), replicas=1)
    story.see(at=4, pods=serving(f"{OLD}-0"))
    assert story.status == "scaling"
    story.see(at=5, deployment=settled(1, version=2))
    assert story.told == ["scale 100% succeeded", "status running"]


def test_a_new_template_supersedes_an_open_rollout() -> None:
    story = a_running_server()
    edit(story, at=3, version=2, child=new_image(2), image=NEXT_IMAGE)
    first = story.state.operation
    newer = templated(image="registry.example/weather:3.0")
    edit(story, at=4, version=3, child=new_image(3, newer), image="registry.example/weather:3.0")
    assert story.told == ["rollout 0% superseded", "status deploying", "rollout 0%"]
    assert story.state.ended[0].operation.id == first.id if first else False
    assert story.state.operation is not None
    assert story.state.operation.id.endswith("-3")


def test_a_new_template_supersedes_an_open_scale() -> None:
    story = a_running_server()
    edit(story, at=3, version=2, child=settled(1, counting(wanted=3, updated=1, available=1, ready=1), version=2), replicas=3)
    edit(story, at=4, version=3, child=new_image(3, wanted=3), image=NEXT_IMAGE, replicas=3)
    assert story.told == ["scale 0% superseded", "status deploying", "rollout 0%"]


def test_a_new_count_within_a_rollout_is_absorbed_and_keeps_its_percent() -> None:
    story = a_running_server()
    both = (replicaset(OLD), replicaset(NEW, templated(image=NEXT_IMAGE)))
    edit(story, at=3, version=2, child=new_image(2), image=NEXT_IMAGE)
    newcomer = pod(f"{NEW}-0", scheduled(), started())
    story.see(at=4, replica_sets=both, pods=(*serving(f"{OLD}-0"), newcomer))
    before = story.state.operation
    assert before is not None
    assert before.percent > 40
    edit(story, at=5, version=3, child=new_image(3, wanted=4), image=NEXT_IMAGE, replicas=4)
    after = story.state.operation
    assert after is not None
    assert (after.id, after.kind, after.percent) == (before.id, OperationKind.ROLLOUT, before.percent)
    assert story.state.ended == ()
    story.see(at=6, pods=(*serving(f"{OLD}-0"), newcomer, pod(f"{NEW}-1", scheduled(), started())))
    assert story.state.operation is not None
    assert before.percent < story.state.operation.percent < 80, "the rest is spread over the work that is left"


def test_a_new_count_within_a_scale_retargets_it() -> None:
    story = a_running_server()
    edit(story, at=3, version=2, child=settled(1, counting(wanted=3, updated=1, ready=1, available=1), version=2), replicas=3)
    first = story.state.operation
    edit(story, at=4, version=3, child=settled(1, version=3), replicas=1)
    assert first is not None
    assert story.told == ["scale 100% succeeded", "status running"]
    assert story.state.ended[0].operation.id == first.id


@pytest.mark.parametrize("spec", [{"image": NEXT_IMAGE, "replicas": 1}, {"replicas": 3}], ids=["rollout", "scale"])
def test_suspending_cancels_what_is_open(spec: dict[str, object]) -> None:
    story = a_running_server()
    wanted = 3 if spec["replicas"] == 3 else 1
    child = new_image(2, wanted=wanted) if "image" in spec else settled(1, counting(wanted=3, updated=1), version=2)
    edit(story, at=3, version=2, child=child, **spec)
    assert story.state.operation is not None
    cancelled = story.state.operation.id
    stopping = having("spec.replicas", 0)
    edit(story, at=4, version=3, child={**child, **deployment("weather", generation(3), stopping)}, suspend=True, **spec)
    assert (story.state.ended[0].operation.id, story.state.ended[0].outcome) == (cancelled, Outcome.CANCELLED)
    assert story.state.operation.kind is OperationKind.SCALE
    stopped = deployment("weather", generation(3), observed(3), stopping)
    story.see(at=5, deployment=stopped, pods=())
    assert story.told == ["scale 100% succeeded", "status stopped"]


def test_deleting_cancels_what_is_open() -> None:
    story = a_running_server()
    edit(story, at=3, version=2, child=new_image(2), image=NEXT_IMAGE)
    story.see(at=4, server=None)
    assert story.told == ["rollout 0% cancelled", "status terminating"]


def test_a_count_edited_while_another_controller_lags_is_not_done_by_the_old_status() -> None:
    """The Deployment's status may be of an older generation: of a count that is no longer wanted."""
    story = a_running_server()
    unobserved = settled(1, having("spec.replicas", 3), generation(2))
    edit(story, at=3, version=2, child=unobserved, replicas=3)
    assert (story.state.status, story.state.reason) == (Status.PENDING, "NotObserved")
    assert story.state.operation is not None


def test_a_deployment_older_than_what_the_apply_returned_tells_nothing_of_the_new_generation() -> None:
    story = a_running_server()
    server = mcpserver("weather", generation(2), spec={"replicas": 3})
    newer = settled(3, version=2)
    story.see(at=3, server=server, applied=applied(server, newer))
    assert (story.state.status, story.state.reason) == (Status.PENDING, "NotObserved")
    assert story.state.operation is None


def test_a_deployment_scaled_by_hand_is_a_scale_back_to_what_is_wanted() -> None:
    story = a_running_server()
    story.see(at=3, deployment=settled(1, counting(wanted=3, updated=3, ready=1, available=1), version=2))
    assert story.status == "scaling"
    assert story.state.counts.desired == 1


def test_a_deployment_that_was_deleted_and_made_anew_is_a_rollout() -> None:
    story = a_running_server()
    story.see(at=3, deployment=None, replica_sets=(), pods=())
    assert story.told == ["status pending"]
    server = story.observation.server
    assert server is not None
    again = deployment("weather", uid("another"))
    story.see(at=4, server=server, deployment=again)
    assert story.state.operation is not None
    assert story.state.operation.id == "another-1"


def test_a_template_edited_while_nothing_runs_is_no_operation() -> None:
    story = a_running_server()
    none = having("spec.replicas", 0)
    edit(story, at=3, version=2, child=deployment("weather", generation(2), observed(2), none), replicas=0)
    story.see(at=4, pods=())
    assert story.status == "stopped"
    changed = deployment("weather", generation(3), observed(3), none, templated(image=NEXT_IMAGE))
    edit(story, at=5, version=3, child=changed, replicas=0, image=NEXT_IMAGE)
    assert story.told == ["status stopped"], "the revision is another, nothing else"
    edit(story, at=6, version=4, child=new_image(4), replicas=1, image=NEXT_IMAGE)
    assert story.state.operation is not None
    assert story.state.operation.kind is OperationKind.SCALE


def test_a_server_that_was_running_when_first_seen_has_no_operation_to_tell() -> None:
    story = Story()
    story.see(at=0, server=mcpserver(), deployment=settled(1), replica_sets=(replicaset(OLD),), pods=serving(f"{OLD}-0"))
    assert story.told == ["status running"]


def test_a_paused_rollout_stands_still_with_its_reason() -> None:
    story = a_running_server()
    edit(story, at=3, version=2, child=new_image(2, having("spec.paused", True)), image=NEXT_IMAGE)
    assert (story.state.status, story.state.reason) == (Status.DEPLOYING, "Paused")
    edit(story, at=4, version=2, child=new_image(3), image=NEXT_IMAGE)
    assert story.state.reason == "RollingOut"


def stuck_scale(story: Story, *, at: float, **child: object) -> None:
    modifiers = [having(f"spec.{field}", value) for field, value in child.items()]
    counts = counting(wanted=2, updated=1, ready=1, available=1)
    edit(story, at=at, version=2, child=settled(1, counts, *modifiers, version=2), replicas=2)


def test_a_scale_that_makes_no_progress_fails_by_the_operators_own_clock() -> None:
    """Kubernetes never says ProgressDeadlineExceeded of a scale."""
    story = a_running_server()
    stuck_scale(story, at=10, progressDeadlineSeconds=60)
    assert story.state.due is not None
    assert (story.state.due - story.observation.now).total_seconds() == 60
    story.see(at=69)
    assert story.status == "scaling"
    story.see(at=70)
    assert (story.state.status, story.state.reason) == (Status.FAILED, "ProgressDeadlineExceeded")
    story.see(at=71, pods=(*serving(f"{OLD}-0"), pod(f"{OLD}-1", scheduled())))
    assert story.status == "scaling", "an instance took a step: the clock starts again"


def test_an_instance_that_comes_and_goes_does_not_wind_the_clock() -> None:
    story = a_running_server()
    stuck_scale(story, at=10, progressDeadlineSeconds=60)
    for second in range(11, 70, 2):
        story.see(at=second, pods=(*serving(f"{OLD}-0"), pod(f"{OLD}-1", scheduled())))
        story.see(at=second + 1, pods=serving(f"{OLD}-0"))
    assert story.status == "scaling"
    story.see(at=71)
    assert story.status == "failed", "60 s after the step that was taken for the first time"


def test_the_clock_of_a_paused_scale_stands_still() -> None:
    story = a_running_server()
    stuck_scale(story, at=10, progressDeadlineSeconds=60, paused=True)
    story.see(at=500)
    assert story.status == "scaling"
    stuck_scale(story, at=1000, progressDeadlineSeconds=60)
    assert story.status == "scaling"
    story.see(at=1060)
    assert story.status == "failed"


def test_a_rollout_that_was_paused_and_resumed_while_the_operator_was_away_has_its_whole_deadline() -> None:
    story = a_running_server()
    edit(story, at=10, version=2, child=new_image(2, having("spec.paused", True)), image=NEXT_IMAGE)
    story.restart()
    edit(story, at=5001, version=2, child=new_image(3), image=NEXT_IMAGE)
    assert story.status == "deploying"
    story.see(at=5601)
    assert story.status == "failed"


def exceeded(since: float) -> Modifier:
    return condition("Progressing", "False", "ProgressDeadlineExceeded", since=at(since))


def test_a_rollout_fails_when_kubernetes_says_that_its_deadline_passed() -> None:
    story = a_running_server()
    edit(story, at=3, version=2, child=new_image(2), image=NEXT_IMAGE)
    edit(story, at=400, version=2, child=new_image(2, exceeded(399)), image=NEXT_IMAGE)
    assert (story.state.status, story.state.reason) == (Status.FAILED, "ProgressDeadlineExceeded")
    stalled = [event.payload.stalled_since for event in story.step if event.type == "progress"]  # type: ignore[union-attr]  # a progress event has it
    assert stalled == [story.state.operation.progressed_at if story.state.operation else None]


def test_what_kubernetes_said_of_the_rollout_before_does_not_fail_the_next() -> None:
    """The Deployment controller leaves its word standing until a rollout back to an old template makes progress."""
    story = a_running_server()
    edit(story, at=3, version=2, child=new_image(2), image=NEXT_IMAGE)
    edit(story, at=400, version=2, child=new_image(2, exceeded(399)), image=NEXT_IMAGE)
    back = settled(1, exceeded(399), counting(wanted=1, updated=1, ready=1, available=1, total=2), version=3)
    edit(story, at=500, version=3, child=back)
    assert story.status == "deploying"
    story.see(at=1100)
    assert (story.state.status, story.state.reason) == (Status.FAILED, "ProgressDeadlineExceeded")


# --- after a restart --------------------------------------------------------------------------------------------------------


def test_a_restarted_operator_goes_on_with_the_same_operation_and_percent() -> None:
    story = a_running_server()
    both = (replicaset(OLD), replicaset(NEW, templated(image=NEXT_IMAGE)))
    edit(story, at=3, version=2, child=new_image(2), image=NEXT_IMAGE)
    story.see(at=4, replica_sets=both, pods=(*serving(f"{OLD}-0"), pod(f"{NEW}-0", scheduled(), started())))
    before = story.state.operation
    story.restart()
    story.see(at=60)
    assert story.state.operation == before
    assert [(word, event.late) for word, event in zip(story.told, story.step, strict=True)] == [
        ("status deploying", False),
        (f"rollout {before.percent if before else None}%", False),
    ]
    story.see(at=61, pods=(*serving(f"{OLD}-0"), pod(f"{NEW}-0")))
    assert story.state.operation == before, "an instance fell back, the percent doesn't"


def test_an_operation_without_instances_is_told_again_after_a_restart() -> None:
    story = Story()
    story.see(at=0, server=mcpserver(), deployment=deployment("weather", observed(1)))
    story.restart()
    story.see(at=9)
    assert story.told == ["status deploying", "rollout 0%"]


def test_what_happened_while_the_operator_was_away_is_told_once_and_late() -> None:
    story = a_running_server()
    edit(story, at=3, version=2, child=new_image(2), image=NEXT_IMAGE)
    story.restart()
    done = settled(1, templated(image=NEXT_IMAGE), version=2)
    new_sets = (replicaset(OLD), replicaset(NEW, templated(image=NEXT_IMAGE)))
    story.see(at=600, deployment=done, replica_sets=new_sets, pods=serving(f"{NEW}-0"))
    assert [(word, event.late) for word, event in zip(story.told, story.step, strict=True)] == [
        ("rollout 100% succeeded", True),
        ("status running", True),
    ]
    story.see(at=601)
    assert story.step == ()


def test_a_rollout_that_began_and_ended_while_the_operator_was_away_is_told_by_its_start_and_its_end() -> None:
    story = a_running_server()
    story.restart()
    done = settled(1, templated(image=NEXT_IMAGE), version=2)
    story.see(at=600, deployment=done, replica_sets=(replicaset(NEW, templated(image=NEXT_IMAGE)),), pods=serving(f"{NEW}-0"))
    assert [(word, event.late) for word, event in zip(story.told, story.step, strict=True)] == [
        ("rollout 0%", True),
        ("rollout 100% succeeded", True),
        ("status running", False),
    ]


def test_a_quiet_server_is_told_again_after_a_restart_but_not_as_late() -> None:
    story = a_running_server()
    story.restart()
    story.see(at=600)
    assert story.told == ["status running"]
    assert not story.step[0].late


def test_an_edit_made_while_the_operator_was_away_is_pending_until_it_is_applied() -> None:
    story = a_running_server()
    story.restart()
    story.see(at=600, server=mcpserver("weather", generation(2), spec={"replicas": 3}), applied=None)
    assert (story.state.status, story.state.reason) == (Status.PENDING, "NotReconciled")


def test_a_status_that_is_not_ours_is_no_state() -> None:
    assert restore(mcpserver()) is None
    assert restore(mcpserver("weather", having("status", {"phase": "Fine"}))) is None
