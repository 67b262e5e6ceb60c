"""Stories of workloads that somebody else owns and that a server observes: what StatefulSets do, and what becomes of targets."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from mcp_operator.model.operations import OperationKind
from mcp_operator.rollout.state import State
from tests.recorder.stage import Stage

Manifest = dict[str, Any]


def deployment(stage: Stage, replicas: int = 1) -> Manifest:
    """Somebody's Deployment of the sample server."""
    return _manifest("Deployment", stage, replicas, {})


def stateful_set(stage: Stage, replicas: int = 1, **spec: Any) -> Manifest:
    """Somebody's StatefulSet of the sample server."""
    return _manifest("StatefulSet", stage, replicas, {"serviceName": "weather", **spec})


def _manifest(kind: str, stage: Stage, replicas: int, spec: Mapping[str, Any]) -> Manifest:
    container = {
        "name": "server",
        "image": stage.sample,
        "env": [{"name": "START_DELAY_SECONDS", "value": "1"}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    labels = {"app": "weather"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    body = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "weather"}, "spec": body}


def running(stage: Stage, workload: Manifest, **spec: Any) -> None:
    """Have a workload run, a server observe it, and begin the table."""
    stage.observe(workload, **spec)
    stage.until("running")
    stage.look(2)
    stage.begin()


def scales(state: State) -> bool:
    return state.operation is not None and state.operation.kind is OperationKind.SCALE


def settled(state: State) -> bool:
    return state.operation is None and not state.counts.terminating


def set_image(stage: Stage, image: str) -> None:
    stage.run("set", "image", "statefulset/weather", f"server={image}")


def patch(stage: Stage, spec: Mapping[str, Any]) -> None:
    stage.run("patch", "statefulset", "weather", "--type=merge", f"--patch={json.dumps({'spec': spec})}")


def delete_pod(stage: Stage, name: str) -> None:
    stage.run("delete", "pod", name, "--wait=false")


def stateful_create(stage: Stage) -> None:
    """A StatefulSet of two instances is created, one after the other."""
    stage.observe(stateful_set(stage, 2))
    stage.until("running")


def stateful_update(stage: Stage) -> None:
    """Three instances of a StatefulSet get a new image, from the last ordinal to the first; then the rollout is undone."""
    running(stage, stateful_set(stage, 3))
    set_image(stage, stage.sample_next)
    stage.until("deploying")
    stage.until("running", then=settled)
    stage.run("rollout", "undo", "statefulset/weather")
    stage.until("deploying")
    stage.until("running", then=settled)


def stateful_partition(stage: Stage) -> None:
    """A new image for the last of three instances alone; then for the others, too."""
    rolling = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}, "ordinals": {"start": 5}}
    running(stage, stateful_set(stage, 3, **rolling))
    set_image(stage, stage.sample_next)
    stage.until("deploying")
    stage.until("running", then=lambda state: settled(state) and state.counts.updated == 1)
    patch(stage, {"updateStrategy": {"rollingUpdate": {"partition": 0}}})
    stage.until("deploying")
    stage.until("running", then=lambda state: settled(state) and state.counts.updated == 3)


def stateful_on_delete(stage: Stage) -> None:
    """With the strategy OnDelete nothing moves until somebody deletes the pods."""
    running(stage, stateful_set(stage, 2, updateStrategy={"type": "OnDelete"}), rollout={"progressDeadlineSeconds": 3})
    set_image(stage, stage.sample_next)
    stage.until("deploying", then=lambda state: state.paused)
    stage.look(5)
    for name in ("weather-0", "weather-1"):
        delete_pod(stage, name)
        stage.look(4)
    stage.until("running", then=settled)


def stateful_scale(stage: Stage) -> None:
    """From one instance to three, one after the other, and to none."""
    running(stage, stateful_set(stage))
    stage.run("scale", "statefulset", "weather", "--replicas=3")
    stage.until("scaling", then=scales)
    stage.until("running")
    stage.run("scale", "statefulset", "weather", "--replicas=0")
    stage.until("stopped", then=settled)


def stateful_parallel(stage: Stage) -> None:
    """Three instances of a StatefulSet that makes all at once; one is deleted by hand and comes back under its name."""
    stage.observe(stateful_set(stage, 3, podManagementPolicy="Parallel"))
    stage.until("running")
    delete_pod(stage, "weather-1")
    stage.until("degraded")
    stage.until("running", then=settled)


def stateful_stuck(stage: Stage) -> None:
    """A broken image stops the update at the last ordinal; taking it back doesn't help until that pod is deleted."""
    running(stage, stateful_set(stage, 2))
    set_image(stage, "registry.invalid/nobody/has:this")
    stage.until("failed")
    set_image(stage, stage.sample)
    stage.look(3)
    delete_pod(stage, "weather-1")
    stage.until("running", then=lambda state: settled(state) and not state.causes)


def stateful_deadline(stage: Stage) -> None:
    """A new instance of a StatefulSet never becomes ready: Kubernetes keeps no deadline for it, the server's spec does."""
    running(stage, stateful_set(stage, 2), rollout={"progressDeadlineSeconds": 5})
    stage.run("set", "env", "statefulset/weather", "NEVER_READY=1")
    stage.until("failed")


def stateful_no_quota(stage: Stage) -> None:
    """A quota allows one instance, two are wanted; only the StatefulSet's warnings say so. Then the quota is gone."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": {"pods": "1"}}}
    stage.run("apply", "--filename=-", stdin=json.dumps(quota))
    running(stage, stateful_set(stage))
    stage.run("scale", "statefulset", "weather", "--replicas=2")
    stage.until("failed")
    stage.run("delete", "resourcequota", "small")
    stage.until("running", then=lambda state: not state.causes)


def observed_again(stage: Stage) -> None:
    """The Deployment that a server observes is deleted, and later another one takes its name."""
    running(stage, deployment(stage, 2))
    stage.run("delete", "deployment", "weather", "--wait=false")
    stage.until("pending")
    stage.until("failed", then=lambda state: not state.counts.replicas)
    stage.run("apply", "--filename=-", stdin=json.dumps(deployment(stage)))
    stage.until("running", then=settled)


STORIES: Mapping[str, Callable[[Stage], None]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        stateful_create,
        stateful_update,
        stateful_partition,
        stateful_on_delete,
        stateful_scale,
        stateful_parallel,
        stateful_stuck,
        stateful_deadline,
        stateful_no_quota,
        observed_again,
    )
}
