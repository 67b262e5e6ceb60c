"""Who started a rollout or a scale, from managed fields as they were seen on Kubernetes 1.36."""

from typing import Any

import pytest

from mcp_operator.model.authors import Author, AuthorKind, Autoscaler, AutoscalerMetric
from mcp_operator.model.base import Object
from mcp_operator.model.events import StatusPayload
from tests.builders import (
    Modifier,
    at,
    autoscaler,
    condition,
    counting,
    created,
    deployment,
    generation,
    having,
    mcpserver,
    observed,
    observer,
    owned_by,
    pod,
    ready,
    replicaset,
    stateful_pod,
    statefulset,
    templated,
    uid,
    written_by,
)
from tests.stories import Story

IMAGE, NEXT = "registry.example/weather:1.0", "registry.example/weather:2.0"
APPLIED = written_by("kubectl-client-side-apply", "image", "replicas", time=at(0))
APPLIED_BUT_COUNT = written_by("kubectl-client-side-apply", "image", time=at(0))


def running(*authors: Modifier, **spec: Any) -> Story:
    """A server of one instance that runs, written by these."""
    story = Story()
    story.see(
        at=1,
        server=mcpserver("weather", generation(1), *(authors or (APPLIED,)), spec=spec),
        deployment=deployment("weather", generation(1), observed(1), counting(wanted=1, updated=1, ready=1, available=1)),
        replica_sets=(replicaset("weather-7d4b9", created(at(0))),),
        pods=(pod("weather-7d4b9-a", ready(at(1))),),
    )
    assert story.status == "running"
    return story


def edited(story: Story, *authors: Modifier, count: int = 1, image: str = IMAGE, **spec: Any) -> Author | None:
    """Change the server, have its Deployment follow, and return who is told to have done it."""
    wanted = 0 if spec.get("suspend") else count
    story.see(
        at=10,
        server=mcpserver("weather", generation(2), *authors, spec={"replicas": count, "image": image, **spec}),
        deployment=deployment(
            "weather",
            generation(2),
            having("spec.replicas", wanted),
            *([templated(image=image)] if image != IMAGE else []),
        ),
    )
    assert story.state.operation is not None
    [told] = {event.payload.by for event in story.step if isinstance(event.payload, StatusPayload)}
    assert told == story.state.operation.by
    return told


SCALES: list[tuple[str, tuple[Modifier, ...], AuthorKind, str, str]] = [
    (
        "kubectl scale",
        (written_by("kubectl", "replicas", subresource="scale"), APPLIED_BUT_COUNT),
        AuthorKind.SCALE,
        "kubectl",
        "Update",
    ),
    (
        "kubectl patch",
        (APPLIED_BUT_COUNT, written_by("kubectl-patch", "replicas", time=at(9))),
        AuthorKind.PATCH,
        "kubectl-patch",
        "Update",
    ),
    (
        "kubectl edit",
        (APPLIED_BUT_COUNT, written_by("kubectl-edit", "replicas", time=at(9))),
        AuthorKind.EDIT,
        "kubectl-edit",
        "Update",
    ),
    (
        "kubectl apply",
        (written_by("kubectl-client-side-apply", "image", "replicas", time=at(9)),),
        AuthorKind.APPLY,
        "kubectl-client-side-apply",
        "Update",
    ),
    (
        "kubectl apply --server-side",
        (APPLIED_BUT_COUNT, written_by("kubectl", "image", "replicas", time=at(9), operation="Apply")),
        AuthorKind.APPLY,
        "kubectl",
        "Apply",
    ),
    (
        "an autoscaler",
        (written_by("kube-controller-manager", "replicas", subresource="scale"), APPLIED_BUT_COUNT),
        AuthorKind.HPA,
        "kube-controller-manager",
        "Update",
    ),
    ("Helm", (written_by("helm", "image", "replicas", time=at(9)),), AuthorKind.HELM, "helm", "Update"),
    (
        "Argo CD",
        (written_by("argocd-controller", "image", "replicas", time=at(9), operation="Apply"),),
        AuthorKind.ARGO_CD,
        "argocd-controller",
        "Apply",
    ),
    (
        "Flux",
        (written_by("kustomize-controller", "image", "replicas", time=at(9), operation="Apply"),),
        AuthorKind.FLUX,
        "kustomize-controller",
        "Apply",
    ),
    ("another controller", (APPLIED_BUT_COUNT, written_by("tide", "replicas", time=at(9))), AuthorKind.OTHER, "tide", "Update"),
]


@pytest.mark.parametrize(("authors", "kind", "manager", "how"), [row[1:] for row in SCALES], ids=[row[0] for row in SCALES])
def test_a_scale_names_who_changed_the_count(authors: tuple[Modifier, ...], kind: AuthorKind, manager: str, how: str) -> None:
    told = edited(running(), *authors, count=3)

    assert told is not None
    assert (told.kind, told.manager, told.operation, told.from_, told.to) == (kind, manager, how, 1, 3)


ROLLOUTS: list[tuple[str, tuple[Modifier, ...], dict[str, Any], AuthorKind, str]] = [
    (
        "an image is applied",
        (written_by("kubectl-client-side-apply", "image", "replicas", time=at(9)),),
        {"image": NEXT},
        AuthorKind.APPLY,
        "kubectl-client-side-apply",
    ),
    (
        "an image is edited",
        (written_by("kubectl-client-side-apply", "replicas", time=at(0)), written_by("kubectl-edit", "image", time=at(9))),
        {"image": NEXT},
        AuthorKind.EDIT,
        "kubectl-edit",
    ),
    (
        "Helm upgrades",
        (written_by("helm", "image", "replicas", time=at(9)), written_by("kubectl-edit", "logs", time=at(9))),
        {"image": NEXT},
        AuthorKind.HELM,
        "helm",
    ),
]


@pytest.mark.parametrize(("authors", "spec", "kind", "manager"), [row[1:] for row in ROLLOUTS], ids=[row[0] for row in ROLLOUTS])
def test_a_rollout_names_who_changed_the_pods(
    authors: tuple[Modifier, ...], spec: dict[str, Any], kind: AuthorKind, manager: str
) -> None:
    told = edited(running(), *authors, **spec)

    assert told is not None
    assert (told.kind, told.manager, told.from_, told.to) == (kind, manager, IMAGE, NEXT)


UNKNOWN: list[tuple[str, tuple[Modifier, ...]]] = [
    ("whoever took a field away left no trace", (APPLIED,)),
    (
        "who owns the field has not written since",
        (APPLIED_BUT_COUNT, written_by("kubectl-client-side-apply", "replicas", time=at(0))),
    ),
    (
        "two wrote in the same second",
        (written_by("kubectl-edit", "replicas", time=at(9)), written_by("tide", "replicas", time=at(9))),
    ),
    ("the API server tells of nobody", (having("metadata.managedFields", []),)),
]


@pytest.mark.parametrize("authors", [row[1] for row in UNKNOWN], ids=[row[0] for row in UNKNOWN])
def test_nobody_is_named_where_the_api_server_does_not_say(authors: tuple[Modifier, ...]) -> None:
    assert edited(running(), *authors, count=3) is None


def test_suspending_is_the_act_of_who_set_it_and_leads_from_the_count_to_none() -> None:
    told = edited(running(), APPLIED, written_by("kubectl-patch", "suspend", time=at(9)), suspend=True)

    assert told is not None
    assert (told.kind, told.from_, told.to) == (AuthorKind.PATCH, 1, 0)


def test_a_change_of_count_does_not_take_the_rollout_from_who_began_it() -> None:
    story = running()
    edited(story, written_by("kubectl-edit", "image", time=at(9)), image=NEXT)

    authors = (written_by("kubectl-edit", "image", time=at(9)), written_by("kubectl", "replicas", subresource="scale"))
    story.see(
        at=12,
        server=mcpserver("weather", generation(3), *authors, spec={"image": NEXT, "replicas": 3}),
        deployment=deployment("weather", generation(3), having("spec.replicas", 3), templated(image=NEXT)),
    )

    assert story.state.operation is not None
    assert story.state.operation.by is not None
    assert story.state.operation.by.kind is AuthorKind.EDIT


def test_a_scale_that_gets_another_target_names_who_gave_it_the_last_one() -> None:
    story = running()
    edited(story, written_by("kubectl", "replicas", subresource="scale"), APPLIED_BUT_COUNT, count=3)

    authors = (written_by("kubectl-edit", "replicas", time=at(12)), APPLIED_BUT_COUNT)
    story.see(
        at=13,
        server=mcpserver("weather", generation(3), *authors, spec={"replicas": 5}),
        deployment=deployment("weather", generation(3), having("spec.replicas", 5)),
    )

    by = story.state.operation.by if story.state.operation else None
    assert by is not None
    assert (by.kind, by.from_, by.to) == (AuthorKind.EDIT, 1, 5)


def test_going_back_to_the_template_of_an_earlier_revision_is_an_undo_by_whatever_means() -> None:
    story = running()
    old = replicaset("weather-5c6f8", created(at(-60)), templated(image=NEXT))
    story.see(at=5, replica_sets=(*story.observation.replica_sets, old))

    told = edited(story, written_by("kubectl-edit", "image", time=at(9)), image=NEXT)

    assert told is not None
    assert (told.kind, told.manager) == (AuthorKind.UNDO, "kubectl-edit")


def test_a_deployment_scaled_by_hand_names_who_scaled_it() -> None:
    story = running()
    by_hand = written_by("kubectl", "replicas", subresource="scale")

    story.see(at=10, deployment=deployment("weather", generation(2), having("spec.replicas", 4), by_hand))

    by = story.state.operation.by if story.state.operation else None
    assert by is not None
    assert (by.kind, by.manager, by.from_, by.to) == (AuthorKind.SCALE, "kubectl", 1, 4)


def test_who_started_it_outlives_a_restart_of_the_operator() -> None:
    story = running()
    told = edited(story, written_by("kubectl", "replicas", subresource="scale"), APPLIED_BUT_COUNT, count=3)

    story.restart()
    story.see(at=20, server=story.observation.server)

    assert told is not None
    assert story.state.operation is not None
    assert story.state.operation.by == told


# --- autoscalers ------------------------------------------------------------------------------------------------------------

SCALED = (written_by("kube-controller-manager", "replicas", subresource="scale"), APPLIED_BUT_COUNT)


def decided(count: int, *modifiers: Modifier, cpu: int) -> Object:
    """The autoscaler once it has said why it wants so many."""
    current = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": cpu, "averageValue": "84m"}}}
    status = {"currentReplicas": 1, "desiredReplicas": count, "currentMetrics": [current], "lastScaleTime": at(10)}
    return autoscaler("weather", having("status", status), *modifiers, most=3)


def test_an_autoscaler_s_metric_is_told_once_it_says_by_what_it_decided() -> None:
    story = running()
    story.see(at=5, autoscalers=(decided(1, cpu=20),))

    first = edited(story, *SCALED, count=3)

    assert first is not None
    assert first.hpa == Autoscaler(
        name="weather", min=1, max=3, metrics=(AutoscalerMetric(name="cpu", current=None, target="50%"),)
    )

    limit = condition(
        "ScalingLimited", "True", "TooManyReplicas", "the desired replica count is more than the maximum replica count"
    )
    story.see(at=11, autoscalers=(decided(3, limit, cpu=140),))

    assert story.told == ["status pending"]
    by = story.state.operation.by if story.state.operation else None
    assert by is not None
    assert by.hpa is not None
    assert (by.hpa.desired, by.hpa.metrics[0].current, by.hpa.metrics[0].target) == (3, "140%", "50%")
    assert (by.hpa.limited, by.hpa.message) == (
        "TooManyReplicas",
        "the desired replica count is more than the maximum replica count",
    )


def test_what_an_autoscaler_sees_later_does_not_change_what_it_decided_by() -> None:
    story = running()
    edited(story, *SCALED, count=3)
    story.see(at=11, autoscalers=(decided(3, cpu=140),))

    story.see(at=26, autoscalers=(decided(3, cpu=60),))

    assert story.step == ()


def test_an_autoscaler_that_keda_made_is_keda() -> None:
    scaled_object = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "weather", "uid": "5c1d"}}
    story = running()
    story.see(at=5, autoscalers=(decided(3, owned_by(scaled_object), cpu=80),))

    told = edited(story, *SCALED, count=3)

    assert told is not None
    assert told.hpa is not None
    assert (told.kind, told.hpa.owner) == (AuthorKind.KEDA, "ScaledObject/weather")


EXTERNAL = [
    ({"type": "Pods", "pods": {"metric": {"name": "calls"}, "target": {"averageValue": "10"}}}, "calls", "10"),
    ({"type": "External", "external": {"metric": {"name": "queue"}, "target": {"value": "30"}}}, "queue", "30"),
    ({"type": "Object", "object": {"metric": {"name": "rate"}, "target": {"value": "2k"}}}, "rate", "2k"),
    (
        {
            "type": "ContainerResource",
            "containerResource": {"name": "memory", "container": "mcp", "target": {"averageUtilization": 70}},
        },
        "memory",
        "70%",
    ),
]


@pytest.mark.parametrize(("metric", "name", "target"), EXTERNAL, ids=[row[1] for row in EXTERNAL])
def test_every_kind_of_metric_is_told_with_its_target(metric: Object, name: str, target: str) -> None:
    story = running()
    story.see(at=5, autoscalers=(autoscaler("weather", having("spec.metrics", [metric])),))

    told = edited(story, *SCALED, count=3)

    assert told is not None
    assert told.hpa is not None
    assert told.hpa.metrics == (AutoscalerMetric(name=name, current=None, target=target),)


def test_a_scale_that_is_over_when_it_is_first_seen_still_names_who_asked_for_it() -> None:
    story = running()

    story.see(
        at=10,
        server=mcpserver(
            "weather",
            generation(2),
            written_by("kubectl", "replicas", subresource="scale"),
            APPLIED_BUT_COUNT,
            spec={"replicas": 2},
        ),
        deployment=deployment(
            "weather", generation(2), observed(2), counting(wanted=2, updated=2, ready=2, available=2), having("spec.replicas", 2)
        ),
        pods=(pod("weather-7d4b9-a", ready(at(1))), pod("weather-7d4b9-b", ready(at(9)))),
    )

    [told] = [event.payload for event in story.step if isinstance(event.payload, StatusPayload)]
    assert (told.operation, told.by.kind if told.by else None) == (None, AuthorKind.SCALE)


# --- workloads that a server observes ---------------------------------------------------------------------------------------

CREATED_BY_KUBECTL = written_by("kubectl-create", "replicas", "template", time=at(0))
RESTARTED = "spec.template.metadata.annotations"


def observing(workload: Object) -> Story:
    """A server that observes a workload of one instance, which runs."""
    is_deployment, template = workload["kind"] == "Deployment", having("spec.template", workload["spec"]["template"])
    story = Story()
    story.see(
        at=1,
        server=observer(of=workload),
        workload=workload,
        replica_sets=(replicaset("weather-7d4b9", created(at(0)), template),) if is_deployment else (),
        pods=(pod("weather-7d4b9-a", ready(at(1))) if is_deployment else stateful_pod("weather-0", "7d4b9", ready(at(1))),),
    )
    assert story.status == "running"
    return story


def somebody_s(kind: str, number: int, *modifiers: Modifier) -> Object:
    """Somebody else's Deployment or StatefulSet in its so many-th generation."""
    done = (generation(number), observed(number), counting(wanted=1, updated=1, ready=1, available=1))
    if kind == "Deployment":
        return deployment("weather", having("metadata.ownerReferences", []), *done, *modifiers)
    revisions = (having("status.updateRevision", "7d4b9"), having("status.currentRevision", "7d4b9"))
    return statefulset("weather", *done, *revisions, *modifiers)


def restarted(time: str) -> Modifier:
    return having(RESTARTED, {"kubectl.kubernetes.io/restartedAt": time})


CHANGES: list[tuple[str, tuple[Modifier, ...], tuple[Modifier, ...], AuthorKind, str]] = [
    ("set image", (), (templated(image=NEXT), written_by("kubectl-set", "template", time=at(9))), AuthorKind.SET, "kubectl-set"),
    (
        "rollout restart",
        (),
        (restarted(at(9)), written_by("kubectl-rollout", "template", time=at(9))),
        AuthorKind.RESTART,
        "kubectl-rollout",
    ),
    (
        "rollout undo of an image",
        (templated(image=NEXT),),
        (written_by("kubectl-rollout", "template", time=at(9)),),
        AuthorKind.UNDO,
        "kubectl-rollout",
    ),
    ("helm upgrade", (), (templated(image=NEXT), written_by("helm", "template", time=at(9))), AuthorKind.HELM, "helm"),
]


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
@pytest.mark.parametrize(("before", "after", "by", "manager"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_who_changed_the_pods_of_an_observed_workload_is_named(
    kind: str, before: tuple[Modifier, ...], after: tuple[Modifier, ...], by: AuthorKind, manager: str
) -> None:
    story = observing(somebody_s(kind, 1, CREATED_BY_KUBECTL, *before))

    story.see(at=10, workload=somebody_s(kind, 2, CREATED_BY_KUBECTL, *after))

    told = story.state.by
    assert told is not None
    assert (told.kind, told.manager) == (by, manager)


def test_an_undone_restart_left_no_owner_and_is_an_undo_all_the_same() -> None:
    story = observing(somebody_s("Deployment", 1, CREATED_BY_KUBECTL, restarted(at(-9))))
    earlier = replicaset("weather-5c6f8", created(at(-60)))
    story.see(at=5, replica_sets=(*story.observation.replica_sets, earlier))

    story.see(at=10, workload=somebody_s("Deployment", 2, CREATED_BY_KUBECTL))

    told = story.state.by
    assert told == Author(kind=AuthorKind.UNDO)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_who_scaled_an_observed_workload_is_named(kind: str) -> None:
    scaled = (having("spec.replicas", 3), written_by("kube-controller-manager", "replicas", subresource="scale"))
    story = observing(somebody_s(kind, 1, CREATED_BY_KUBECTL))
    story.see(at=5, autoscalers=(decided(1, cpu=20),))

    story.see(at=10, workload=somebody_s(kind, 2, *scaled))

    told = story.state.by
    assert told is not None
    assert (told.kind, told.from_, told.to, told.hpa.name if told.hpa else None) == (AuthorKind.HPA, 1, 3, "weather")


def test_who_wrote_a_workload_that_is_gone_did_not_make_the_next_one_of_its_name() -> None:
    story = observing(somebody_s("Deployment", 1, written_by("helm", "replicas", "template", time=at(0))))

    story.see(at=10, workload=somebody_s("Deployment", 1, uid("another"), CREATED_BY_KUBECTL), replica_sets=(), pods=())

    told = story.state.by
    assert told is not None
    assert (told.kind, told.manager) == (AuthorKind.CREATE, "kubectl-create")


# --- changes that nobody asked the MCPServer for ----------------------------------------------------------------------------


def test_a_deployment_whose_pods_are_changed_by_hand_names_who_changed_them() -> None:
    story = running()
    operator = written_by("mcp-operator", "replicas", "template", time=at(0), operation="Apply")

    by_hand = written_by("kubectl-set", "template", time=at(9))
    story.see(at=10, deployment=deployment("weather", generation(2), templated(image=NEXT), operator, by_hand))

    by = story.state.by
    assert by is not None
    assert (by.kind, by.manager, by.to) == (AuthorKind.SET, "kubectl-set", None)


def test_a_rollout_that_a_new_operator_begins_is_not_that_of_who_changed_the_server_before() -> None:
    story = running(written_by("helm", "image", "replicas", time=at(0)))
    edited(story, written_by("helm", "image", "replicas", time=at(9)), image=NEXT)

    operator = written_by("mcp-operator", "replicas", "template", time=at(20), operation="Apply")
    story.see(at=20, deployment=deployment("weather", generation(3), templated(image="registry.example/other:1.0"), operator))

    assert story.state.operation is not None
    assert story.state.operation.by is None


def test_who_changes_the_service_does_not_take_the_rollout_that_is_about_to_begin() -> None:
    story = running()
    alice = written_by("kubectl-edit", "image", time=at(9))
    story.see(at=9, server=mcpserver("weather", generation(2), alice, spec={"image": NEXT}))
    bob = written_by("kubectl-patch", "service", time=at(10))
    service = {"image": NEXT, "service": {"type": "NodePort"}}
    story.see(
        at=10,
        server=mcpserver("weather", generation(3), alice, bob, spec=service),
        deployment=deployment("weather", generation(2), templated(image=NEXT)),
    )

    by = story.state.by
    assert by is not None
    assert (by.kind, by.from_, by.to) == (AuthorKind.EDIT, IMAGE, NEXT)


def test_after_a_restart_no_image_is_told_that_may_be_the_old_one() -> None:
    story = running()
    story.restart()

    told = edited(story, written_by("kubectl-edit", "env", "image", time=at(9)), env=[{"name": "A", "value": "b"}], image=NEXT)

    assert told is not None
    assert (told.kind, told.from_, told.to) == (AuthorKind.EDIT, None, None)
