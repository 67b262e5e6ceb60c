"""What a person does in each story. A story begins with a server that runs, unless it is about how it comes to that."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from mcp_operator.model.operations import OperationKind
from mcp_operator.rollout.state import State
from tests.recorder.stage import Stage

NEVER_READY = [{"name": "NEVER_READY", "value": "1"}]


def env(**variables: str) -> list[Mapping[str, str]]:
    return [{"name": name, "value": value} for name, value in variables.items()]


def running(stage: Stage, **spec: Any) -> None:
    """Have a server run, and begin the table."""
    stage.apply(**spec)
    stage.until("running")
    stage.look(2)
    stage.begin()


def is_rolling(state: State) -> bool:
    return state.operation is not None and state.operation.kind is OperationKind.ROLLOUT


def create(stage: Stage) -> None:
    """A server of one instance is created."""
    stage.apply()
    stage.until("running")
    stage.look(2)


def scale_up(stage: Stage) -> None:
    """From one instance to three."""
    running(stage)
    stage.edit(replicas=3)
    stage.until("running")


def scale_down(stage: Stage) -> None:
    """From three instances to one."""
    running(stage, replicas=3)
    stage.edit(replicas=1)
    stage.until("running", then=lambda state: not state.counts.terminating)


def new_image(stage: Stage) -> None:
    """Three instances get a new image, one after the other."""
    running(stage, replicas=3)
    stage.edit(image=stage.sample_next)
    stage.until("running", then=lambda state: not state.counts.terminating)


def new_image_min_ready(stage: Stage) -> None:
    """A new image of a server whose instances have to be ready for three seconds before they count."""
    running(stage, replicas=2, rollout={"minReadySeconds": 3})
    stage.edit(image=stage.sample_next)
    stage.until("running", then=lambda state: not state.counts.terminating)


def recreate(stage: Stage) -> None:
    """A new image with the strategy Recreate: all old instances go before the first new one comes."""
    running(stage, replicas=2, rollout={"strategy": "Recreate"})
    stage.edit(image=stage.sample_next)
    stage.until("running")


def broken_image(stage: Stage) -> None:
    """An image that no registry has, and its repair."""
    running(stage)
    stage.edit(image="registry.invalid/nobody/has:this")
    stage.until("failed")
    stage.edit(image=stage.sample)
    stage.until("running", then=lambda state: not state.causes)


def crash_loop(stage: Stage) -> None:
    """A new template crashes at the start until it needs a person; the person takes the reason away."""
    running(stage)
    stage.edit(env=env(CRASH_AT_START="no weather today"))
    stage.until("failed")
    stage.edit(env=None)
    stage.until("running")


def crash_later(stage: Stage) -> None:
    """A server that ran crashes once in a while: it is degraded, runs again, and has recovered once it has proved itself."""
    stage.apply(env=env(CRASH_AFTER_SECONDS="12"))
    stage.until("running")
    stage.begin()
    stage.until("degraded")
    stage.until("running", then=lambda state: not state.causes)


def paused(stage: Stage) -> None:
    """Somebody pauses the Deployment in a rollout and lets it go on later."""
    running(stage, replicas=2)
    stage.edit(env=env(START_DELAY_SECONDS="2"))
    stage.until("deploying")
    stage.run("rollout", "pause", "deployment/weather")
    stage.until("deploying", then=lambda state: state.paused)
    stage.look(4)
    stage.run("rollout", "resume", "deployment/weather")
    stage.until("running")


def deadline(stage: Stage) -> None:
    """New instances never become ready; the deadline passes. A repair leads out of it."""
    running(stage, rollout={"progressDeadlineSeconds": 5})
    stage.edit(env=NEVER_READY)
    stage.until("failed")
    stage.edit(env=None)
    stage.until("running")


def stuck_scale(stage: Stage) -> None:
    """A scale that no node has room for: Kubernetes sets no deadline to it, the operator does. Then it is taken back."""
    memory = int(stage.run("get", "nodes", "--output=jsonpath={.items[0].status.allocatable.memory}").rstrip("Ki"))
    room_for_one = {"requests": {"memory": f"{memory * 6 // 10}Ki"}}
    running(stage, resources=room_for_one, rollout={"progressDeadlineSeconds": 5})
    stage.edit(replicas=2)
    stage.until("failed")
    stage.edit(replicas=1)
    stage.until("running")


def scaled_to_zero(stage: Stage) -> None:
    """To no instance and back."""
    running(stage, replicas=2)
    stage.edit(replicas=0)
    stage.until("stopped")
    stage.edit(replicas=2)
    stage.until("running")


def suspended(stage: Stage) -> None:
    """Suspended in the middle of a rollout, and resumed: the count is kept for the way back."""
    running(stage, replicas=2)
    stage.edit(env=env(START_DELAY_SECONDS="3"))
    stage.until("deploying", then=lambda state: state.operation is not None and state.operation.percent > 10)
    stage.edit(suspend=True)
    stage.until("stopped")
    stage.edit(suspend=False)
    stage.until("running")


def deleted(stage: Stage) -> None:
    """A server is deleted in the middle of a scale."""
    running(stage)
    stage.edit(replicas=2)
    stage.until("scaling")
    stage.run("delete", "mcpserver", "weather", "--wait=false")
    stage.until("deleted")


def superseded(stage: Stage) -> None:
    """A rollout that hangs is superseded by the next."""
    running(stage)
    stage.edit(env=NEVER_READY)
    stage.until("deploying", then=lambda state: state.operation is not None and state.operation.percent >= 50)
    stage.edit(env=None, image=stage.sample_next)
    stage.until("running")


def undone(stage: Stage) -> None:
    """A rollout that hangs is taken back to the template that still runs."""
    running(stage, replicas=2)
    stage.edit(env=NEVER_READY)
    stage.until("deploying", then=lambda state: state.operation is not None and state.operation.percent > 20)
    stage.edit(env=None)
    stage.until("running")


def absorbed_rescale(stage: Stage) -> None:
    """A new count in the middle of a rollout."""
    running(stage, replicas=2)
    stage.edit(image=stage.sample_next, env=env(START_DELAY_SECONDS="2"))
    stage.until("deploying", then=lambda state: state.operation is not None and state.operation.percent > 30)
    stage.edit(replicas=4)
    stage.until("running")


def retargeted_scale(stage: Stage) -> None:
    """From one to four instances, and to two while it goes on."""
    running(stage, env=env(START_DELAY_SECONDS="2"))
    stage.edit(replicas=4)
    stage.until("scaling", then=lambda state: state.counts.replicas == 4)
    stage.edit(replicas=2)
    stage.until("running", then=lambda state: not state.counts.terminating)


def scaled_by_hand(stage: Stage) -> None:
    """Somebody scales the Deployment itself; the operator puts it back."""
    running(stage)
    stage.run("scale", "deployment", "weather", "--replicas=3")
    stage.until("scaling", then=lambda state: state.counts.replicas == 3)
    stage.reconcile()
    stage.until("running", then=lambda state: not state.counts.terminating)


def pod_deleted(stage: Stage) -> None:
    """One of two instances is deleted by hand and replaced."""
    running(stage, replicas=2)
    victim = stage.run("get", "pods", "--output=jsonpath={.items[0].metadata.name}")
    stage.run("delete", "pod", victim, "--wait=false")
    stage.until("degraded")
    stage.until("running", then=lambda state: not state.counts.terminating)


def missing_configuration(stage: Stage) -> None:
    """A new template refers to a ConfigMap that isn't there; it is created afterwards."""
    running(stage)
    stage.edit(envFrom=[{"configMapRef": {"name": "settings"}}])
    stage.until("failed")
    stage.run("create", "configmap", "settings", "--from-literal=LOG_FORMAT=text")
    stage.until("running", then=lambda state: not state.causes)


def missing_volume(stage: Stage) -> None:
    """A new template mounts a ConfigMap that isn't there."""
    running(stage)
    volumes = [{"name": "models", "configMap": {"name": "models"}}]
    mounts = [{"name": "models", "mountPath": "/models"}]
    stage.edit(podTemplate={"spec": {"volumes": volumes, "containers": [{"name": "mcp", "volumeMounts": mounts}]}})
    stage.until("failed")


def runs_as_root(stage: Stage) -> None:
    """An image without a user, which the restricted default doesn't let run."""
    stage.apply(image="localhost/pause:1")
    stage.until("failed")


def no_such_command(stage: Stage) -> None:
    """A command that isn't in the image."""
    stage.apply(command=["/no/such/program"])
    stage.until("failed")


def failing_init(stage: Stage) -> None:
    """A container that runs before the server's fails."""
    fetch = {"name": "fetch", "image": stage.sample, "env": env(CRASH_AT_START="nothing to fetch")}
    stage.apply(podTemplate={"spec": {"initContainers": [fetch]}})
    stage.until("deploying", then=lambda state: bool(state.causes))


def no_room(stage: Stage) -> None:
    """No node has what a new instance asks for."""
    stage.apply(resources={"requests": {"cpu": "100"}})
    stage.until("deploying", then=lambda state: bool(state.causes))
    stage.edit(resources=None)
    stage.until("running")


def no_quota(stage: Stage) -> None:
    """A quota allows one instance, two are wanted; then the quota is raised."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": {"pods": "1"}}}
    stage.run("apply", "--filename=-", stdin=json.dumps(quota))
    running(stage)
    stage.edit(replicas=2)
    stage.until("failed")
    stage.run("delete", "resourcequota", "small")
    stage.edit(replicas=3)
    stage.until("running", then=lambda state: not state.causes)


STORIES: Mapping[str, Callable[[Stage], None]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        create,
        scale_up,
        scale_down,
        new_image,
        new_image_min_ready,
        recreate,
        broken_image,
        crash_loop,
        crash_later,
        paused,
        deadline,
        stuck_scale,
        scaled_to_zero,
        suspended,
        deleted,
        superseded,
        undone,
        absorbed_rescale,
        retargeted_scale,
        scaled_by_hand,
        pod_deleted,
        missing_configuration,
        missing_volume,
        runs_as_root,
        no_such_command,
        failing_init,
        no_room,
        no_quota,
    )
}
