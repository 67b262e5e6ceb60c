"""The MCPServer's status subresource and its conditions, readable by kstatus and `kubectl wait`. Called by the evaluator, and by
`cluster` when it writes the status.

kstatus (sigs.k8s.io/cli-utils/pkg/kstatus) reads a custom resource so: a generation that isn't observed yet or Reconciling=True
is in progress, Stalled=True has failed, else Ready decides. So Reconciling and Stalled are never true together, and Ready is
true only where nothing is left to do.
"""

from datetime import datetime
from typing import Literal

from mcp_operator.model.statuses import Condition, ConditionType, MCPServerStatus, Status
from mcp_operator.model.workload_ref import WorkloadRef
from mcp_operator.rollout.deciding import Verdict
from mcp_operator.rollout.observation import Applied
from mcp_operator.rollout.reading import TARGET_FORBIDDEN, Facts
from mcp_operator.rollout.state import State
from mcp_operator.rollout.wording import instances, tidy, word_of

_IN_PROGRESS = frozenset({Status.PENDING, Status.DEPLOYING, Status.SCALING, Status.TERMINATING, Status.DELETED})


def status_of(state: State, *, selector: str, endpoint: str | None) -> MCPServerStatus:
    """The status subresource that tells this state; `restore` reads it back.

    Args:
        selector: label selector of the instances, as /scale serves it.
        endpoint: URL of the server inside the cluster.
    """
    counts = state.counts
    return MCPServerStatus(
        observed_generation=state.generation,
        phase=state.status,
        reason=state.reason,
        message=state.message,
        instances=f"{counts.ready}/{counts.desired}",
        replicas=counts.replicas,
        ready_replicas=counts.ready,
        updated_replicas=counts.updated,
        available_replicas=counts.available,
        selector=selector,
        target=state.target,
        operation=state.operation,
        last_operations=state.last_operations,
        untold=state.untold,
        causes=tuple(active.cause for active in state.causes),
        endpoint=endpoint,
        conditions=state.conditions,
    )


def conditions(
    facts: Facts, verdict: Verdict, applied: Applied | None, previous: State | None, *, observes: WorkloadRef | None = None
) -> tuple[Condition, ...]:
    """The conditions of a server; one whose status is as before keeps its time."""
    made = _Maker(facts, previous)
    accepted = _accepted(made, applied, observes=observes)
    stopped = verdict.status is Status.STOPPED
    available = _available(made, facts, stopped=stopped)
    stalled = verdict.status is Status.FAILED or (stopped and facts.refusal is not None)
    done = verdict.status is Status.RUNNING or (stopped and facts.observed)
    reconciling = not stalled and ((stopped and not done) or verdict.status in _IN_PROGRESS)
    ready = done and accepted.status == "True" and available.status == "True"
    if ready:
        reason = "Stopped" if stopped else "Ready"
    elif accepted.status != "True" and (done or stopped):
        reason = accepted.reason  # All is as it was wanted before; what is wanted now isn't accepted.
    else:
        reason = "NotObserved" if stopped else verdict.reason
    return (
        accepted,
        available,
        made(ConditionType.RECONCILING, reconciling, reason, verdict.message),
        made(ConditionType.STALLED, stalled, reason, verdict.message),
        made(ConditionType.READY, ready, reason, verdict.message),
    )


class _Maker:
    """Makes conditions that keep the time of their last transition."""

    def __init__(self, facts: Facts, previous: State | None) -> None:
        self._facts = facts
        self._previous = previous

    def __call__(
        self, kind: ConditionType, value: bool | None, reason: str, message: str, *, generation: int | None = None
    ) -> Condition:
        status: Literal["True", "False", "Unknown"] = "Unknown" if value is None else "True" if value else "False"
        before = self.before(kind)
        return Condition(
            type=kind,
            status=status,
            reason=reason,
            message=message,
            observed_generation=self._facts.generation if generation is None else generation,
            last_transition_time=before.last_transition_time if before and before.status == status else self._now,
        )

    def before(self, kind: ConditionType) -> Condition | None:
        return self._previous.condition(kind) if self._previous else None

    @property
    def _now(self) -> datetime:
        return self._facts.now.replace(microsecond=0)  # metav1.Time has whole seconds.


def _accepted(made: _Maker, applied: Applied | None, *, observes: WorkloadRef | None) -> Condition:
    """Whether the spec is usable, as far as the last generation that was tried tells."""
    kind = ConditionType.ACCEPTED
    if applied is None:
        return made.before(kind) or made(kind, None, "NotReconciled", "the spec is not applied yet")
    if applied.reason is not None:
        reason = word_of(applied.reason, otherwise="Refused")
        message = tidy(applied.message or "the Deployment can't be applied")
        return made(kind, False, reason, message, generation=applied.server_generation)
    done = f"the {observes} is observed, and never written to" if observes else "the spec is applied"
    return made(kind, True, "Accepted", done, generation=applied.server_generation)


def _available(made: _Maker, facts: Facts, *, stopped: bool) -> Condition:
    """Whether enough instances serve: as the Deployment controller has it, up to maxUnavailable may be missing."""
    kind, counts = ConditionType.AVAILABLE, facts.counts
    if stopped:
        return made(kind, True, "Stopped", "no instances are wanted")
    if facts.missing:
        return made(kind, False, "TargetNotFound", facts.missing)
    if facts.forbidden:
        return made(kind, None, TARGET_FORBIDDEN, facts.forbidden)
    message = f"{counts.available} of {instances(counts.desired)} available"
    enough = counts.available >= counts.desired - (facts.workload.max_unavailable if facts.workload else 0)
    return made(kind, enough, "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable", message)
