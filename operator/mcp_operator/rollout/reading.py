"""From raw objects to the facts that the rules of a rollout speak of. Called by the evaluator, first of all."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mcp_operator.model.base import Object
from mcp_operator.model.operations import InstanceStep, Target
from mcp_operator.model.statuses import ConditionType
from mcp_operator.rollout.instances import REVISION_LABEL, Instance, conditions_of, parse_time, read_instances
from mcp_operator.rollout.observation import Applied, Observation
from mcp_operator.rollout.state import Counts, State

DEFAULT_DEADLINE_SECONDS = 600
"""progressDeadlineSeconds where the API server hasn't filled it in."""

_READY = frozenset({InstanceStep.READY, InstanceStep.AVAILABLE})


@dataclass(frozen=True, slots=True)
class Workload:
    """What the Deployment says about itself."""

    uid: str
    generation: int
    observed_generation: int
    template: str
    """As in Target."""
    replicas: int
    """spec.replicas."""
    max_unavailable: int
    """Instances that may be missing while it still counts as available."""
    deadline_seconds: int
    min_ready_seconds: int
    paused: bool
    status: Mapping[str, Any]
    conditions: Mapping[str, Object]

    @property
    def observed(self) -> bool:
        """Whether the Deployment controller has acted on this generation, so that its status speaks of it."""
        return self.observed_generation >= self.generation

    @property
    def deadline_exceeded_since(self) -> datetime | None:
        """Since when the Deployment controller has seen no progress for too long; None while it hasn't."""
        progressing = self.conditions.get("Progressing", {})
        if not self.observed or progressing.get("reason") != "ProgressDeadlineExceeded":
            return None
        return parse_time(progressing["lastTransitionTime"])


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
    wanted: int
    """Instances that the MCPServer asks for: 0 while it is suspended."""
    workload: Workload | None
    """The Deployment; None while there is none, or an old one is being deleted."""
    target: Target | None
    """What the Deployment is told to become; None as long as it doesn't carry the MCPServer's newest generation."""
    revision: str | None
    """pod-template-hash of the Deployment's template; None before its ReplicaSet exists."""
    instances: tuple[Instance, ...]
    """The oldest first."""
    counts: Counts
    refusal: Applied | None
    """Why the newest generation can't be applied; None when it was, or wasn't tried yet."""
    reconciled: bool
    """Whether the newest generation was applied, so that it will show in the Deployment."""

    @property
    def min_ready_seconds(self) -> int:
        return self.workload.min_ready_seconds if self.workload else 0

    @property
    def deadline_seconds(self) -> int:
        return self.workload.deadline_seconds if self.workload else DEFAULT_DEADLINE_SECONDS

    @property
    def paused(self) -> bool:
        return self.workload is not None and self.workload.paused

    @property
    def observed(self) -> bool:
        """Whether the Deployment's status speaks of the MCPServer's newest generation."""
        return self.target is not None and self.workload is not None and self.workload.observed


def read(observation: Observation, previous: State | None) -> Facts:
    """Read an observation; the previous state fills in what a restart or a late watch leaves open."""
    server, now = observation.server, observation.now
    generation = server["metadata"]["generation"] if server else previous.generation if previous else 0
    suspended = bool(server and server["spec"].get("suspend"))
    wanted = 0 if server is None or suspended else server["spec"].get("replicas", 1)
    deployment = observation.deployment
    workload = read_workload(deployment) if deployment and not deployment["metadata"].get("deletionTimestamp") else None
    instances = read_instances(observation.pods, min_ready_seconds=workload.min_ready_seconds if workload else 0, now=now)
    revision = _revision(deployment, observation.replica_sets, workload, previous)
    tried = observation.applied if _is_about(observation.applied, generation) else None
    return Facts(
        now=now,
        generation=generation,
        gone=server is None,
        going=server is None or bool(server["metadata"].get("deletionTimestamp")),
        suspended=suspended,
        wanted=wanted,
        workload=workload,
        target=Target(template=workload.template, desired=wanted)
        if workload and _carries(workload, generation, observation.applied, previous)
        else None,
        revision=revision,
        instances=instances,
        counts=_count(instances, revision, wanted),
        refusal=tried if tried and tried.reason else None,
        reconciled=tried is not None and not tried.reason,
    )


def read_workload(deployment: Object) -> Workload:
    """Read what a Deployment says about itself."""
    spec, status = deployment["spec"], deployment.get("status") or {}
    replicas = spec.get("replicas", 1)
    return Workload(
        uid=deployment["metadata"]["uid"],
        generation=deployment["metadata"]["generation"],
        observed_generation=status.get("observedGeneration", 0),
        template=digest([deployment["metadata"]["uid"], _bare(spec["template"])]),
        replicas=replicas,
        max_unavailable=_max_unavailable(spec.get("strategy") or {}, replicas),
        deadline_seconds=spec.get("progressDeadlineSeconds", DEFAULT_DEADLINE_SECONDS),
        min_ready_seconds=spec.get("minReadySeconds", 0),
        paused=bool(spec.get("paused")),
        status=status,
        conditions=conditions_of(deployment),
    )


def fingerprint(observation: Observation) -> str:
    """Digest of the versions of everything that was observed: the same again only if nothing has changed.

    The MCPServer counts with its generation and its labels alone: our own writes to its status change nothing that is told.
    """
    children = (observation.deployment, *observation.replica_sets, *observation.pods, *observation.warnings)
    versions = sorted(f"{child['metadata']['uid']}/{child['metadata'].get('resourceVersion', '')}" for child in children if child)
    applied = observation.applied
    generation = observation.server["metadata"]["generation"] if observation.server else None
    return digest([observation.uid, generation, versions, applied.reason if applied else None, observation.labels])


def is_done(workload: Workload | None, target: Target | None, counts: Counts) -> bool:
    """Whether the Deployment has become what it was told to.

    The rules are `kubectl rollout status`'s in their order (kubectl/pkg/polymorphichelpers/rollout_status.go), and one more:
    status.replicas equals the wanted count. On a scale-down kubectl is content while the old instances still count; kstatus
    waits for them, and so do we. The pods themselves must agree, because what is told beside "done" is counted from them, and
    a watch of Deployments may run ahead of that of pods. Without any instance wanted, done means that the last one is gone.
    """
    if workload is None or target is None or workload.template != target.template or not workload.observed:
        return False
    if workload.deadline_exceeded_since is not None:
        return False
    desired, status = target.desired, workload.status
    replicas, updated = status.get("replicas", 0), status.get("updatedReplicas", 0)
    if workload.replicas != desired or updated < desired or replicas > updated:
        return False
    if status.get("availableReplicas", 0) < updated or replicas != desired:
        return False
    pods_agree = counts.old == 0 and counts.updated == desired and counts.available == desired
    return pods_agree and (desired > 0 or counts.terminating == 0)


def _carries(workload: Workload, generation: int, applied: Applied | None, previous: State | None) -> bool:
    """Whether the Deployment that was read is the one of the MCPServer's newest generation."""
    if applied is not None:
        written = applied.reason is None or applied.deployment_generation is not None
        return written and _is_about(applied, generation) and workload.generation >= (applied.deployment_generation or 0)
    accepted = previous.condition(ConditionType.ACCEPTED) if previous else None
    return accepted is not None and accepted.status == "True" and accepted.observed_generation >= generation


def _is_about(applied: Applied | None, generation: int) -> bool:
    return applied is not None and applied.server_generation >= generation


def _revision(
    deployment: Object | None, replica_sets: Iterable[Object], workload: Workload | None, previous: State | None
) -> str | None:
    """The pod-template-hash of the Deployment's template.

    Found as the Deployment controller finds it (FindNewReplicaSet): the oldest ReplicaSet of the same template. The revision
    annotations lag behind the spec, and stand still while the Deployment is paused. A ReplicaSet's own watch may be behind or
    start over: as long as the template is the same, so is the revision.
    """
    if deployment is None or workload is None:
        return None
    template = _bare(deployment["spec"]["template"])
    same = [replica_set for replica_set in replica_sets if _bare(replica_set["spec"]["template"]) == template]
    if same:
        oldest = min(same, key=lambda each: (each["metadata"].get("creationTimestamp") or "", each["metadata"]["name"]))
        revision: str | None = oldest["metadata"].get("labels", {}).get(REVISION_LABEL)
        return revision
    unchanged = previous and previous.target and previous.target.template == workload.template
    return previous.revision if previous and unchanged else None


def _bare(template: Object) -> dict[str, Any]:
    """A pod template without what the Deployment controller adds to a ReplicaSet's copy of it."""
    metadata = {field: value for field, value in template.get("metadata", {}).items() if field != "creationTimestamp"}
    labels = {label: value for label, value in metadata.get("labels", {}).items() if label != REVISION_LABEL}
    return {**template, "metadata": {**metadata, "labels": labels}}


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


def _max_unavailable(strategy: Mapping[str, Any], replicas: int) -> int:
    """As the Deployment controller resolves it: percents are rounded down; when surge and this come to nothing, it is 1."""
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return 0
    limits = strategy.get("rollingUpdate") or {}
    unavailable = _resolve(limits.get("maxUnavailable", "25%"), replicas, up=False)
    surge = _resolve(limits.get("maxSurge", "25%"), replicas, up=True)
    return min(unavailable or (0 if surge else 1), replicas)


def _resolve(value: int | str, replicas: int, *, up: bool) -> int:
    """An int-or-string of Kubernetes: a number, or a percentage of the replicas."""
    if isinstance(value, int):
        return value
    hundredths = int(value.rstrip("%")) * replicas
    return -(-hundredths // 100) if up else hundredths // 100


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]
