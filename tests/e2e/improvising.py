"""Random stories of one server each: what people do to it, one thing after the other, by a seed that makes the same story again.

`plan` says what happens and is pure; `Actor` does it on a real cluster. A story begins with a workload that is made, has things
done to it that may overlap, and ends with one that runs, or is deleted. Servers that the operator runs are dealt with through
their MCPServer, Deployments and StatefulSets that it observes with kubectl alone.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any, TypeVar

from tests.e2e.acting import User
from tests.e2e.agreeing import Listener, Watch
from tests.e2e.installation import Installation
from tests.waiting import until

T = TypeVar("T")

KINDS = ("MCPServer", "Deployment", "StatefulSet")
IMAGES = ("localhost/greeter:1", "localhost/greeter:2")
"""What the servers that the operator runs are made of: a listener that is there at once, so that many fit on a small machine."""
_BROKEN = "registry.invalid/nobody/has:this"
_NOBODY = {"spec": {"securityContext": {"runAsUser": 65532}}}
"""The images name no user, and a server may not run as root."""
_MOST = 3
"""Instances."""
_STEPS = (2, 4)
"""Of a story, without its beginning."""
_OVERLAP = 0.35
"""How often nobody waits for a step to end before the next."""
_DELETED = 0.2
"""How often an MCPServer is deleted in the end."""


@dataclass(frozen=True)
class Step:
    """One thing that somebody does."""

    action: str
    replicas: int = 0
    """Instances wanted from then on."""
    waits: bool = True
    """Whether the next step waits until this one has ended."""

    def __str__(self) -> str:
        count = f" {self.replicas}" if self.action in ("create", "scale") else ""
        return f"{self.action}{count}{'' if self.waits else ' &'}"


@dataclass(frozen=True)
class Plan:
    """A story before it happens."""

    kind: str
    steps: Sequence[Step]

    def __str__(self) -> str:
        return f"{self.kind}: {', '.join(map(str, self.steps))}"


def plan(seed: str, number: int) -> Plan:
    """The story of this number; the same for the same seed."""
    random = Random(f"{seed}/{number}")  # noqa: S311 - it makes up stories and protects nothing
    kind = KINDS[number % len(KINDS)]
    replicas = random.randint(1, 2)
    steps = [Step("create", replicas, random.random() >= _OVERLAP)]
    changes = 0
    for _ in range(random.randint(*_STEPS)):
        action = random.choice(_choices(kind, changes))
        if action == "scale":
            replicas = random.choice([count for count in range(1, _MOST + 1) if count != replicas])
        changes = 0 if action == "break" else changes + (action in ("change", "restart", "pause"))  # not back to what is broken
        steps.append(Step(action, replicas, random.random() >= _OVERLAP))
        if action == "break":
            steps.append(Step("undo" if kind != "MCPServer" else "change", replicas))
        elif action == "suspend":
            steps.append(Step("resume", replicas))
    if kind == "MCPServer" and random.random() < _DELETED:
        steps.append(Step("delete"))
    else:
        steps[-1] = replace(steps[-1], waits=True)
    return Plan(kind, tuple(steps))


def _choices(kind: str, changes: int) -> Sequence[str]:
    """What may happen next; `undo` needs something that it can undo."""
    choices = ["scale", "change", "change", "break", "restart", "lose"]
    if kind == "MCPServer":
        choices.append("suspend")
    elif changes:
        choices.append("undo")
    return choices if kind == "StatefulSet" else [*choices, "pause"]


class Actor:
    """Does what a plan says, as a person with kubectl, and waits for what the operator and the workload say."""

    def __init__(
        self,
        plan: Plan,
        name: str,
        *,
        user: User,
        hands: Executor,
        installed: Installation,
        listener: Listener,
        watch: Watch,
    ) -> None:
        self._plan = plan
        self._name = name
        self._user = user
        self._hands = hands
        self._installed = installed
        self._listener = listener
        self._watch = watch
        self._changes = 0
        self._image = IMAGES[0]
        self._replicas = 0

    @property
    def _selector(self) -> str:
        return f"app.kubernetes.io/instance={self._name}" if self._plan.kind == "MCPServer" else f"app={self._name}"

    @property
    def workload(self) -> str:
        """What kubectl's commands call the workload."""
        return f"{self._listener.kind.lower()}/{self._name}"

    async def act(self) -> None:
        """Go through the plan.

        Raises:
            AssertionError: a step doesn't end.
        """
        for step in self._plan.steps:
            await getattr(self, f"_{step.action}")(step)
            self._replicas = step.replicas
            if step.waits and step.action not in ("delete", "break"):
                await self.settled("stopped" if step.action == "suspend" else "running")

    async def settled(self, status: str) -> None:
        """Wait until all that was done so far has come to this."""
        kind = "mcpserver" if self._plan.kind == "MCPServer" else self._listener.kind
        generation = (await self.by_hand(self._user.get, kind, self._name))["metadata"]["generation"]
        if self._plan.kind == "MCPServer":
            await self._listener.until(
                lambda told: told["status"] == status and told["generation"] >= generation, f"{status} in generation {generation}"
            )
            return
        await until(lambda: self._agreed(generation), f"kubectl and kstatus agree on {self.workload}", within=150, every=0.02)
        await self._listener.until(lambda told: told["status"] == status, status)

    def _agreed(self, generation: int) -> bool:
        newest = self._watch.newest(self._listener.kind, self._name)
        return newest is not None and newest.agreed and newest.generation >= generation

    async def by_hand(self, do: Callable[..., T], *args: Any, **options: Any) -> T:
        """What blocks until kubectl has done it, as soon as one of the hands is free."""
        return await asyncio.get_running_loop().run_in_executor(self._hands, partial(do, *args, **options))

    async def _kubectl(self, *args: str, input: str | None = None) -> None:
        await self.by_hand(self._user.run, *args, input=input)

    async def _edit(self, **spec: Any) -> None:
        await self.by_hand(self._user.patch_server, self._name, spec)

    async def _create(self, step: Step) -> None:
        if self._plan.kind == "MCPServer":
            spec = {"image": self._image, "replicas": step.replicas, "podTemplate": _NOBODY}
            await self.by_hand(self._user.apply_server, self._name, **spec)
            return
        reference = {"kind": self._plan.kind, "name": self._name}
        await self.by_hand(self._user.apply, _workload(self._plan.kind, self._name, step.replicas))
        await self.by_hand(self._user.apply_server, self._name, workloadRef=reference)

    async def _scale(self, step: Step) -> None:
        target = f"mcpserver/{self._name}" if self._plan.kind == "MCPServer" else self.workload
        await self._kubectl("scale", target, f"--replicas={step.replicas}")

    async def _change(self, _: Step) -> None:
        self._changes += 1
        if self._plan.kind == "MCPServer":
            self._image = IMAGES[IMAGES.index(self._image) - 1]
            await self._edit(image=self._image)
        else:
            await self._kubectl("set", "env", self.workload, f"CHANGE={self._changes}")

    async def _break(self, step: Step) -> None:
        if self._plan.kind == "MCPServer":
            await self._edit(image=_BROKEN)
        else:
            await self._kubectl("set", "image", self.workload, f"server={_BROKEN}")
        if step.waits:
            await self._listener.until(lambda told: bool(told["causes"]), "in trouble")

    async def _undo(self, _: Step) -> None:
        await self._kubectl("rollout", "undo", self.workload)
        if self._plan.kind == "StatefulSet":
            # It doesn't replace a pod that never got ready, whatever its template has become.
            last = f"{self._name}-{self._replicas - 1}"
            await self._kubectl("delete", "pod", last, "--wait=false", "--ignore-not-found")

    async def _restart(self, _: Step) -> None:
        if self._plan.kind != "MCPServer":
            await self._kubectl("rollout", "restart", self.workload)
            return
        argv = (sys.executable, "-m", "mcp_operator", "restart", f"{self._user.namespace}/{self._name}")
        environment = {**os.environ, "KUBECONFIG": str(self._installed.cluster.kubeconfig), "PYTHONPATH": "operator"}
        restarting = await asyncio.create_subprocess_exec(*argv, env=environment, stdout=asyncio.subprocess.DEVNULL)
        assert await restarting.wait() == 0, "mcp-operator restart failed"

    async def _pause(self, step: Step) -> None:
        """Pause the Deployment, change it, and let it go on."""
        await self._kubectl("rollout", "pause", self.workload)
        self._changes += 1
        if self._plan.kind == "MCPServer":
            await self._edit(env=[{"name": "CHANGE", "value": str(self._changes)}])
        else:
            await self._kubectl("set", "env", self.workload, f"CHANGE={self._changes}")
        if step.waits:
            await self._listener.until(lambda told: told["reason"] == "Paused" or told["status"] == "failed", "paused")
        await self._kubectl("rollout", "resume", self.workload)

    async def _lose(self, step: Step) -> None:
        """Delete a pod, as one who drains its node does."""
        pods = await self.by_hand(self._user.list, "pods", selector=self._selector)
        if not pods:
            return
        name, uid = pods[0]["metadata"]["name"], pods[0]["metadata"]["uid"]
        await self._kubectl("delete", "pod", name, "--wait=false", "--ignore-not-found")

        async def gone() -> bool:
            pod = await self.by_hand(self._user.find, "pod", name)
            return pod is None or pod["metadata"]["uid"] != uid

        if step.waits:
            await until(gone, f"{name} is gone", within=150)

    async def _suspend(self, _: Step) -> None:
        await self._edit(suspend=True)

    async def _resume(self, _: Step) -> None:
        await self._edit(suspend=False)

    async def _delete(self, _: Step) -> None:
        await self.by_hand(self._user.delete, "mcpserver", self._name)
        await self._listener.until(lambda told: told["status"] == "deleted", "deleted")


def _workload(kind: str, name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "server", "image": "localhost/pause:1", "imagePullPolicy": "Never"}
    pod = {"containers": [container], "terminationGracePeriodSeconds": 1}
    spec: dict[str, Any] = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    if kind == "StatefulSet":
        spec["serviceName"] = name
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
