"""Instances that were taken away as a whole: evicted, drained, preempted, refused by kubelet, or on a node that is no more.

Kubernetes says so in the pod's status or in its condition DisruptionTarget; a pod that its own controller deletes, in a rollout
or a scale-down, has neither. `troubles` makes troubles of them, and `tracing` their end.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from mcp_operator.model.base import Object
from mcp_operator.rollout.instances import Instance, conditions_of, parse_time, read_lost
from mcp_operator.rollout.reading import Facts
from mcp_operator.rollout.wording import tidy, word_of

LOST_SECONDS = 600
"""For so long an instance that was taken away is looked for a successor; its object may be kept for days."""


@dataclass(frozen=True, slots=True)
class Loss:
    """An instance that was taken away, or is about to be."""

    instance: str
    revision: str
    reason: str
    """Kubernetes' word for it."""
    message: str


def losses(pods: Iterable[Object], facts: Facts) -> Iterator[Loss]:
    """Those of the current revision, as long as no instance made after them has proved itself by staying ready."""
    going = (each for each in facts.instances if each.terminating and _disruption(each))
    taken = (*read_lost(pods, now=facts.now), *going)
    settled = [
        parse_time(each.pod["metadata"]["creationTimestamp"])
        for each in facts.instances
        if taken and each.revision == facts.revision and each.ready_for(facts.settling_seconds, now=facts.now)
    ]
    for instance in taken:
        lost_at = _lost_at(instance)
        recent = lost_at is not None and facts.now - lost_at < timedelta(seconds=LOST_SECONDS)
        if instance.revision != facts.revision or lost_at is None or not recent or any(each >= lost_at for each in settled):
            continue
        status, disruption = instance.pod["status"], _disruption(instance)
        said = f"the pod is taken away: {disruption['message']}" if disruption.get("message") else "the pod has failed"
        reason = word_of(status.get("reason") or disruption.get("reason"), otherwise="PodFailed")
        yield Loss(instance.name, instance.revision, reason, tidy(status.get("message") or said))


def is_whole(facts: Facts) -> bool:
    """Whether as many instances as are wanted are there and ready."""
    return facts.counts.available >= facts.counts.desired


def _disruption(instance: Instance) -> Object:
    """The condition by which Kubernetes says that somebody else than its controller ends the pod; empty if none does."""
    condition = conditions_of(instance.pod).get("DisruptionTarget", {})
    return condition if condition.get("status") == "True" else {}


def _lost_at(instance: Instance) -> datetime | None:
    """When the pod failed, or was told to go, as its conditions tell."""
    times = [each["lastTransitionTime"] for each in conditions_of(instance.pod).values() if each.get("lastTransitionTime")]
    return parse_time(max(times)) if times else None
