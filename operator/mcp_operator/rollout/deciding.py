"""The status of a server in one word, with the reason in another and in a sentence. The first rule that applies decides."""

from dataclasses import dataclass

from mcp_operator.model.causes import Cause
from mcp_operator.model.operations import OperationKind
from mcp_operator.model.statuses import Status
from mcp_operator.rollout.observation import Observation
from mcp_operator.rollout.progressing import Course
from mcp_operator.rollout.reading import TARGET_FORBIDDEN, Facts
from mcp_operator.rollout.tracing import Traced
from mcp_operator.rollout.wording import instances

_UNCONFIRMED = "the Deployment is paused; Kubernetes doesn't confirm what its instances are until it goes on"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a server is."""

    status: Status
    reason: str
    """One CamelCase word; that of a cause where one explains the status."""
    message: str


def decide(observation: Observation, facts: Facts, course: Course, traced: Traced) -> Verdict:
    """Find the first status whose rule applies, in the order of `Status`."""
    return (
        _leaving(observation, facts)
        or _ending(observation, facts)
        or _failing(facts, course, traced)
        or _pending(facts, traced)
        or _moving(facts, course, traced)
        or _resting(facts, traced)
    )


def _ending(observation: Observation, facts: Facts) -> Verdict | None:
    """Deleted, terminating, stopped: nothing is left, or nothing shall be."""
    # A Deployment or ReplicaSet that the garbage collector hasn't reached yet may still make a pod.
    left = bool(observation.workload or observation.replica_sets or observation.pods)
    if facts.gone and not left:
        return Verdict(Status.DELETED, "Deleted", "the server and its last instance are gone")
    if facts.going:
        return Verdict(Status.TERMINATING, "Terminating", f"the server is deleted; {instances(len(observation.pods))} left")
    if not facts.wanted and not facts.instances and not facts.missing and not facts.forbidden:
        if facts.suspended:
            return Verdict(Status.STOPPED, "Suspended", "the server is suspended")
        return Verdict(Status.STOPPED, "ScaledToZero", "no instances are wanted")
    return None


def _leaving(observation: Observation, facts: Facts) -> Verdict | None:
    """A server that goes and leaves the workload that it observed: no instance goes with it."""
    if observation.observes is None or not facts.going:
        return None
    left_alone = f"the {observation.observes}, which it only observed, is left alone"
    if facts.gone:
        return Verdict(Status.DELETED, "Deleted", f"the server is gone; {left_alone}")
    return Verdict(Status.TERMINATING, "Terminating", f"the server is being deleted; {left_alone}")


def _failing(facts: Facts, course: Course, traced: Traced) -> Verdict | None:
    """An operation that can't end by itself, be it that it can't even begin."""
    if course.operation is None and facts.refusal is None and not facts.missing and not facts.forbidden:
        return None
    cause = next((active.cause for active in traced.active if active.blocking), None)
    return Verdict(Status.FAILED, cause.reason, cause.message) if cause else None


def _pending(facts: Facts, traced: Traced) -> Verdict | None:
    if facts.missing:
        return Verdict(Status.PENDING, "TargetNotFound", facts.missing)
    if facts.forbidden:
        return Verdict(Status.PENDING, TARGET_FORBIDDEN, facts.forbidden)
    if facts.observed:
        return None
    if facts.target is None and not facts.reconciled:
        return _because(traced, Status.PENDING, "NotReconciled", f"generation {facts.generation} is not applied yet")
    return _because(traced, Status.PENDING, "NotObserved", f"the {facts.kind} controller has not acted on the change yet")


def _moving(facts: Facts, course: Course, traced: Traced) -> Verdict | None:
    if course.operation is None:
        return None
    counts = facts.counts
    scales = course.operation.kind is OperationKind.SCALE
    if counts.updated < counts.desired:
        message = f"{counts.updated} of {instances(counts.desired)} on the newest revision"
    elif counts.replicas > counts.desired or (not counts.desired and counts.terminating):
        message = f"{instances(counts.replicas - counts.desired + counts.terminating)} yet to go"
    elif counts.available < counts.desired:
        message = f"{counts.available} of {instances(counts.desired)} available"
    elif scales and facts.paused:
        return Verdict(Status.SCALING, "Paused", _UNCONFIRMED)
    else:
        message = f"the {facts.kind}'s status has yet to agree"
    if scales:
        return _because(traced, Status.SCALING, "Scaling", message)
    if facts.awaits_deletion:
        message = f"{instances(counts.old)} of older revisions to be deleted by hand: the update strategy is OnDelete"
        return _because(traced, Status.DEPLOYING, "OnDelete", message)
    if facts.paused:
        return Verdict(Status.DEPLOYING, "Paused", "the Deployment is paused")
    return _because(traced, Status.DEPLOYING, "RollingOut", message)


def _resting(facts: Facts, traced: Traced) -> Verdict:
    counts = facts.counts
    told = facts.workload.status.get("availableReplicas", 0) if facts.workload else 0
    available = min(counts.available, told)  # the workload's status may be the last to know of an instance that came back
    message = f"{available} of {instances(counts.desired)} available"
    if available < counts.desired:
        return _because(traced, Status.DEGRADED, "MinimumReplicasUnavailable", message)
    if facts.workload and not facts.workload.confirmed:
        if facts.paused:
            return Verdict(Status.PENDING, "Paused", _UNCONFIRMED)
        return Verdict(Status.PENDING, "NotObserved", f"the {facts.kind} controller has not confirmed the change yet")
    return Verdict(Status.RUNNING, "Running", message)


def _because(traced: Traced, status: Status, reason: str, message: str) -> Verdict:
    """The status with the first cause that shows as its reason, if one does."""
    cause: Cause | None = next((active.cause for active in traced.active if active.present), None)
    return Verdict(status, cause.reason, cause.message) if cause else Verdict(status, reason, message)
