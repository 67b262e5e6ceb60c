"""Pods as instances of a server: which revision each is of, and how far it has come."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mcp_operator.model.base import Object
from mcp_operator.model.events import InstanceProgress, RevisionProgress
from mcp_operator.model.operations import InstanceStep

REVISION_LABEL = "pod-template-hash"
"""Label by which the Deployment controller tells the pods of one template from those of another."""

STATEFUL_REVISION_LABEL = "controller-revision-hash"
"""The StatefulSet controller's."""

NEVER_RAN = frozenset({"StartError", "ContainerCannotRun"})
"""Reasons of a container's end that mean that its process couldn't be started at all."""

_INACTIVE = frozenset({"Failed", "Succeeded"})
"""Phases of pods that no controller counts any more: evicted ones, for instance, stay as objects until they are collected."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One pod, as far as a rollout is concerned."""

    name: str
    revision: str
    step: InstanceStep
    ready_since: datetime | None
    """Since when it is ready without a break; None when it isn't, or terminates."""
    pod: Object

    @property
    def terminating(self) -> bool:
        return self.step is InstanceStep.TERMINATING

    @property
    def uid(self) -> str:
        uid: str = self.pod["metadata"]["uid"]
        return uid

    def ready_for(self, seconds: int, *, now: datetime) -> bool:
        """Whether it has been ready for so long without a break."""
        return self.ready_since is not None and self.ready_since + timedelta(seconds=seconds) <= now


def read_instances(pods: Iterable[Object], *, min_ready_seconds: int, now: datetime) -> tuple[Instance, ...]:
    """The instances that these pods are, the oldest first."""
    active = (pod for pod in pods if _terminating(pod) or pod.get("status", {}).get("phase") not in _INACTIVE)
    in_order = sorted(active, key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]))
    return tuple(_read(pod, min_ready_seconds=min_ready_seconds, now=now) for pod in in_order)


def read_lost(pods: Iterable[Object], *, now: datetime) -> tuple[Instance, ...]:
    """The instances that ended as a whole, evicted ones for instance, while their objects are kept; the oldest first."""
    lost = (pod for pod in pods if not _terminating(pod) and pod.get("status", {}).get("phase") == "Failed")
    in_order = sorted(lost, key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]))
    return tuple(_read(pod, min_ready_seconds=0, now=now) for pod in in_order)


def by_revision(instances: Iterable[Instance], current: str | None) -> tuple[RevisionProgress, ...]:
    """Every instance with its step, grouped by revision: the current one first, then the others, the newest first."""
    groups: dict[str, list[InstanceProgress]] = {}
    for instance in instances:
        # Taken out and put back: the group of the newest instance comes last.
        group = groups.pop(instance.revision, [])
        groups[instance.revision] = [*group, InstanceProgress(name=instance.name, step=instance.step)]
    newest_first = [name for name in reversed(groups) if name != current]
    names = newest_first if current is None else [current, *newest_first]
    return tuple(
        RevisionProgress(revision=name, current=name == current, instances=tuple(groups.get(name, ()))) for name in names
    )


def conditions_of(target: Object) -> Mapping[str, Object]:
    """The conditions of a Kubernetes object by their type."""
    return {condition["type"]: condition for condition in target.get("status", {}).get("conditions") or ()}


def spec_of(pod: Object, container: str) -> Object:
    """What a pod says a container of this name shall be; empty where it says nothing."""
    spec = pod.get("spec", {})
    containers: Iterable[Object] = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
    return next((each for each in containers if each["name"] == container), {})


def parse_time(text: str) -> datetime:
    """Read a time as Kubernetes writes it (RFC 3339, with `Z`)."""
    return datetime.fromisoformat(text)


def _read(pod: Object, *, min_ready_seconds: int, now: datetime) -> Instance:
    ready, labels = conditions_of(pod).get("Ready", {}), pod["metadata"].get("labels") or {}
    ready_since = None
    if ready.get("status") == "True" and not _terminating(pod):
        ready_since = parse_time(ready["lastTransitionTime"]) if ready.get("lastTransitionTime") else now
    return Instance(
        name=pod["metadata"]["name"],
        revision=labels.get(STATEFUL_REVISION_LABEL) or labels.get(REVISION_LABEL, ""),
        step=_step(pod, ready_since, min_ready_seconds=min_ready_seconds, now=now),
        ready_since=ready_since,
        pod=pod,
    )


def _step(pod: Object, ready_since: datetime | None, *, min_ready_seconds: int, now: datetime) -> InstanceStep:
    if _terminating(pod):
        return InstanceStep.TERMINATING
    if ready_since is not None:
        # As the Deployment controller has it: without minReadySeconds, ready is available, whatever the clocks say.
        available = min_ready_seconds == 0 or ready_since + timedelta(seconds=min_ready_seconds) <= now
        return InstanceStep.AVAILABLE if available else InstanceStep.READY
    containers = pod.get("status", {}).get("containerStatuses") or ()
    if containers and all(_has_started(container) for container in containers):
        return InstanceStep.STARTED
    if any(container.get("imageID") for container in containers):
        return InstanceStep.PULLED
    return InstanceStep.SCHEDULED if pod.get("spec", {}).get("nodeName") else InstanceStep.CREATED


def _has_started(container: Mapping[str, Any]) -> bool:
    """Whether it runs or has ever run: a container that crashes and waits for its restart has not gone back a step."""
    state, last = container.get("state", {}), container.get("lastState", {})
    ended = state.get("terminated") or last.get("terminated")
    return "running" in state or (ended is not None and ended.get("reason") not in NEVER_RAN)


def _terminating(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))
