"""From raw objects to the facts that the rules of a rollout speak of. Called by the evaluator, first of all."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from mcp_operator.model.base import Object
from mcp_operator.model.operations import InstanceStep, Target
from mcp_operator.model.statuses import ConditionType
from mcp_operator.model.workload_ref import WorkloadKind
from mcp_operator.rollout.instances import Instance, read_instances
from mcp_operator.rollout.observation import Applied, Observation
from mcp_operator.rollout.state import Counts, State
from mcp_operator.rollout.wording import tidy
from mcp_operator.rollout.workloads import (
    DEFAULT_DEADLINE_SECONDS,
    Workload,
    digest,
    read_deployment,
    read_stateful_set,
    revision_of_deployment,
)

TARGET_FORBIDDEN = "TargetForbidden"
"""The reason of a server whose workload the operator may not read."""

SETTLING_SECONDS = 10
"""How long an instance has to be ready before its trouble counts as over, where the server has no minReadySeconds."""

_READY = frozenset({InstanceStep.READY, InstanceStep.AVAILABLE})


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known about one server at one moment, read but not judged."""

    now: datetime
    generation: int
    """The MCPServer's."""
    gone: bool
    """Its object doesn't exist any more."""
    going: bool
    """Its object doesn't exist any more, or is being deleted."""
    suspended: bool
    missing: str | None
    """The workload that the MCPServer names, if there is none, and what became of it, as a sentence."""
    forbidden: str | None
    """What the operator may not read of that workload, so that nothing is known of it, as a sentence."""
    wanted: int
    """Instances that the MCPServer asks for: 0 while it is suspended; of an observed workload those that it asks for itself."""
    workload: Workload | None
    """None while there is none, or an old one is being deleted."""
    target: Target | None
    """What the workload is told to become; None as long as it doesn't carry the MCPServer's newest generation."""
    revision: str | None
    """The revision of the workload's template, as its pods are labelled with it; None before it has one."""
    instances: tuple[Instance, ...]
    """The oldest first."""
    unsettled: tuple[Instance, ...]
    """Those of the current revision that have yet to prove themselves by staying ready for a while.

    Of a StatefulSet those of older revisions, too: they stay below its partition, and one in trouble holds up all that follow.
    """
    counts: Counts
    refusal: Applied | None
    """Why the newest generation can't be applied; None when it was, or wasn't tried yet."""
    reconciled: bool
    """Whether the newest generation was applied, so that it will show in the workload."""

    @property
    def min_ready_seconds(self) -> int:
        return self.workload.min_ready_seconds if self.workload else 0

    @property
    def settling_seconds(self) -> int:
        """How long an instance of this server has to be ready before its trouble counts as over."""
        return _settling_seconds(self.workload)

    @property
    def deadline_seconds(self) -> int:
        return self.workload.deadline_seconds if self.workload else DEFAULT_DEADLINE_SECONDS

    @property
    def kind(self) -> WorkloadKind:
        """What the workload is, or will be."""
        return self.workload.kind if self.workload else WorkloadKind.DEPLOYMENT

    @property
    def kept(self) -> int:
        """Instances of older revisions that stay for good: those below a StatefulSet's partition."""
        return min(self.workload.partition, self.wanted, self.counts.old) if self.workload else 0

    @property
    def awaits_deletion(self) -> bool:
        """Whether old instances are left that only somebody's deletion lets go (OnDelete)."""
        return self.workload is not None and self.workload.on_delete and self.counts.old > 0

    @property
    def paused(self) -> bool:
        """Whether the way on is in somebody's hands, so that no deadline counts: paused, or waiting for deletions."""
        return self.workload is not None and (self.workload.paused or self.awaits_deletion)

    @property
    def observed(self) -> bool:
        """Whether the workload's status speaks of the MCPServer's newest generation."""
        return self.target is not None and self.workload is not None and self.workload.observed


def read(observation: Observation, previous: State | None) -> Facts:
    """Read an observation; the previous state fills in what a restart or a late watch leaves open."""
    server, now = observation.server, observation.now
    generation = server["metadata"]["generation"] if server else previous.generation if previous else 0
    spec: Object = server["spec"] if server else {}
    suspended = bool(spec.get("suspend"))
    deadline = (spec.get("rollout") or {}).get("progressDeadlineSeconds", DEFAULT_DEADLINE_SECONDS)
    workload = read_workload(observation, deadline_seconds=deadline)
    if observation.observes is not None:
        wanted = workload.replicas if workload else 0
    else:
        wanted = 0 if server is None or suspended else spec.get("replicas", 1)
    instances = read_instances(observation.pods, min_ready_seconds=workload.min_ready_seconds if workload else 0, now=now)
    revision = _revision(observation, workload, previous)
    tried = observation.applied if _is_about(observation.applied, generation) else None
    return Facts(
        now=now,
        generation=generation,
        gone=server is None,
        going=server is None or bool(server["metadata"].get("deletionTimestamp")),
        suspended=suspended,
        missing=_missing(observation, workload),
        forbidden=tidy(observation.forbidden) if observation.forbidden else None,
        wanted=wanted,
        workload=workload,
        target=Target(template=workload.template, desired=wanted)
        if workload and (observation.observes or _carries(workload, generation, observation.applied, previous))
        else None,
        revision=revision,
        instances=instances,
        unsettled=tuple(_unsettled(instances, workload, revision, now)),
        counts=_count(instances, revision, wanted),
        refusal=tried if tried and tried.reason else None,
        reconciled=tried is not None and not tried.reason,
    )


def read_workload(observation: Observation, *, deadline_seconds: int) -> Workload | None:
    """Read what the workload says about itself; None while there is none, or an old one is being deleted."""
    workload = observation.workload
    if workload is None or workload["metadata"].get("deletionTimestamp"):
        return None
    if observation.workload_kind is WorkloadKind.STATEFUL_SET:
        return read_stateful_set(workload, deadline_seconds=deadline_seconds)
    return read_deployment(workload)


def fingerprint(observation: Observation) -> str:
    """Digest of the versions of everything that was observed: the same again only if nothing has changed.

    The MCPServer counts with its generation and its labels alone: our own writes to its status change nothing that is told.
    """
    children = (observation.workload, *observation.replica_sets, *observation.pods, *observation.warnings)
    versions = sorted(f"{child['metadata']['uid']}/{child['metadata'].get('resourceVersion', '')}" for child in children if child)
    applied = observation.applied
    generation = observation.server["metadata"]["generation"] if observation.server else None
    return digest([observation.uid, generation, versions, applied.reason if applied else None, observation.labels])


def is_done(workload: Workload | None, target: Target | None, counts: Counts) -> bool:
    """Whether the workload has become what it was told to.

    The rules are `kubectl rollout status`'s in their order (kubectl/pkg/polymorphichelpers/rollout_status.go), and two more of
    kstatus: status.replicas equals the wanted count (on a scale-down kubectl is content while the old instances still count),
    and the condition Progressing says NewReplicaSetAvailable (which it never does of a paused Deployment). The pods themselves
    must agree, because what is told beside "done" is counted from them, and a watch of Deployments may run ahead of that of
    pods. Without any instance wanted, done means that the last one is gone, paused or not.

    Of a StatefulSet the instances below its partition may be of any revision; of one with the strategy OnDelete (which kubectl
    doesn't judge and kstatus calls done at once) all have to be of the newest.
    """
    if workload is None or target is None or workload.template != target.template or not workload.observed:
        return False
    if workload.deadline_exceeded_since is not None:
        return False
    desired, status = target.desired, workload.status
    replicas, updated = status.get("replicas", 0), status.get("updatedReplicas", 0)
    kept = min(workload.partition, desired)
    if workload.replicas != desired or updated < desired - kept or replicas > max(updated, desired):
        return False
    if status.get("availableReplicas", 0) < max(updated, desired) or replicas != desired:
        return False
    pods_agree = counts.old <= kept and counts.replicas == desired and counts.available == desired
    return pods_agree and (workload.confirmed if desired > 0 else counts.terminating == 0)


def _carries(workload: Workload, generation: int, applied: Applied | None, previous: State | None) -> bool:
    """Whether the Deployment that was read is the one of the MCPServer's newest generation."""
    if applied is not None:
        written = applied.reason is None or applied.deployment_generation is not None
        return written and _is_about(applied, generation) and workload.generation >= (applied.deployment_generation or 0)
    accepted = previous.condition(ConditionType.ACCEPTED) if previous else None
    return accepted is not None and accepted.status == "True" and accepted.observed_generation >= generation


def _is_about(applied: Applied | None, generation: int) -> bool:
    return applied is not None and applied.server_generation >= generation


def _missing(observation: Observation, workload: Workload | None) -> str | None:
    if observation.observes is None or observation.server is None or observation.forbidden or workload is not None:
        return None
    what = f"spec.workloadRef names the {observation.observes} of this namespace, which"
    return f"{what} is being deleted" if observation.workload else f"{what} doesn't exist"


def _revision(observation: Observation, workload: Workload | None, previous: State | None) -> str | None:
    """The revision of the workload's template.

    The watch of ReplicaSets may be behind or start over, and a StatefulSet names its revision only once its controller has acted:
    as long as the template is the same, so is the revision.
    """
    if observation.workload is None or workload is None:
        return None
    named: str | None
    if workload.kind is WorkloadKind.DEPLOYMENT:
        named = revision_of_deployment(observation.workload, observation.replica_sets)
    else:
        named = workload.status.get("updateRevision") if workload.observed else None
    unchanged = previous and previous.target and previous.target.template == workload.template
    return named or (previous.revision if previous and unchanged else None)


def _settling_seconds(workload: Workload | None) -> int:
    return (workload.min_ready_seconds if workload else 0) or SETTLING_SECONDS


def _unsettled(
    instances: Iterable[Instance], workload: Workload | None, revision: str | None, now: datetime
) -> Iterable[Instance]:
    in_place, settling = workload is not None and workload.in_place, _settling_seconds(workload)
    for instance in instances:
        concerned = (in_place or instance.revision == revision) and not instance.terminating
        if concerned and not instance.ready_for(settling, now=now):
            yield instance


def _count(instances: tuple[Instance, ...], revision: str | None, wanted: int) -> Counts:
    alive = [instance for instance in instances if not instance.terminating]
    return Counts(
        desired=wanted,
        replicas=len(alive),
        updated=sum(instance.revision == revision for instance in alive),
        ready=sum(instance.step in _READY for instance in alive),
        available=sum(instance.step is InstanceStep.AVAILABLE for instance in alive),
        terminating=sum(instance.terminating for instance in instances),
    )
