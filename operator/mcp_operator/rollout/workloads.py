"""What a Deployment or a StatefulSet says about itself, in the same words. `reading` calls it.

The two differ in how new instances take the place of old ones. A Deployment makes new pods beside the old ones; a StatefulSet
ends the pod of one ordinal and makes it anew under the same name, one after the other, down to its partition, and with the
strategy OnDelete only when somebody has deleted the old pod.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mcp_operator.model.base import Object
from mcp_operator.model.workload_ref import WorkloadKind
from mcp_operator.rollout.instances import REVISION_LABEL, conditions_of, parse_time

DEFAULT_DEADLINE_SECONDS = 600
"""progressDeadlineSeconds where the API server hasn't filled it in."""

NO_DEADLINE_SECONDS = 2**31 - 1
"""A progressDeadlineSeconds that Kubernetes takes for none: then a Deployment's conditions don't speak of its rollouts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """What a Deployment or StatefulSet says about itself."""

    kind: WorkloadKind
    name: str
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
    paused: bool = False
    on_delete: bool = False
    """Whether an old instance is replaced only after somebody has deleted it."""
    partition: int = 0
    """Instances of the lowest ordinals that stay as they are in a rollout."""
    status: Mapping[str, Any]
    conditions: Mapping[str, Object]

    @property
    def observed(self) -> bool:
        """Whether its controller has acted on this generation, so that its status speaks of it."""
        return self.observed_generation >= self.generation

    @property
    def in_place(self) -> bool:
        """Whether an instance of an older revision stays, or holds up the others, until it is replaced under its own name."""
        return self.kind is WorkloadKind.STATEFUL_SET

    @property
    def deadline_exceeded_since(self) -> datetime | None:
        """Since when the Deployment controller has seen no progress for too long; None while it hasn't."""
        progressing = self.conditions.get("Progressing", {})
        if not self.observed or progressing.get("reason") != "ProgressDeadlineExceeded":
            return None
        return parse_time(progressing["lastTransitionTime"])

    @property
    def confirmed(self) -> bool:
        """Whether its conditions don't gainsay its counts. The Deployment controller may write that a rollout has come through
        one version later than the counts, and writes nothing of the kind while the Deployment is paused.
        """
        judges = self.kind is WorkloadKind.DEPLOYMENT and self.deadline_seconds != NO_DEADLINE_SECONDS
        return self.was_complete if judges else True

    @property
    def was_complete(self) -> bool:
        """Whether it says that its last rollout has come to an end, whatever became of the instances since."""
        if self.kind is WorkloadKind.DEPLOYMENT:
            return self.observed and self.conditions.get("Progressing", {}).get("reason") == "NewReplicaSetAvailable"
        return self.observed and self.status.get("currentRevision") == self.status.get("updateRevision")


def read_deployment(deployment: Object) -> Workload:
    """Read what a Deployment says about itself."""
    metadata, spec, status = deployment["metadata"], deployment["spec"], deployment.get("status") or {}
    replicas = spec.get("replicas", 1)
    return Workload(
        kind=WorkloadKind.DEPLOYMENT,
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        observed_generation=status.get("observedGeneration", 0),
        template=digest([metadata["uid"], bare(spec["template"])]),
        replicas=replicas,
        max_unavailable=_max_unavailable(spec.get("strategy") or {}, replicas),
        deadline_seconds=spec.get("progressDeadlineSeconds", DEFAULT_DEADLINE_SECONDS),
        min_ready_seconds=spec.get("minReadySeconds", 0),
        paused=bool(spec.get("paused")),
        status=status,
        conditions=conditions_of(deployment),
    )


def read_stateful_set(stateful_set: Object, *, deadline_seconds: int) -> Workload:
    """Read what a StatefulSet says about itself; Kubernetes keeps no deadline for it."""
    metadata, spec, status = stateful_set["metadata"], stateful_set["spec"], stateful_set.get("status") or {}
    replicas = spec.get("replicas", 1)
    strategy = spec.get("updateStrategy") or {}
    on_delete = strategy.get("type") == "OnDelete"
    limits = strategy.get("rollingUpdate") or {}
    may_miss = 0 if on_delete else max(_resolve(limits.get("maxUnavailable", 1), replicas, up=False), 1)
    return Workload(
        kind=WorkloadKind.STATEFUL_SET,
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        observed_generation=status.get("observedGeneration", 0),
        template=digest([metadata["uid"], bare(spec["template"])]),
        replicas=replicas,
        max_unavailable=min(may_miss, max(replicas - 1, 0)),  # with none left it isn't available
        deadline_seconds=deadline_seconds,
        min_ready_seconds=spec.get("minReadySeconds", 0),
        on_delete=on_delete,
        partition=0 if on_delete else limits.get("partition", 0),
        status=status,
        conditions=conditions_of(stateful_set),
    )


def revision_of_deployment(deployment: Object, replica_sets: Iterable[Object]) -> str | None:
    """The pod-template-hash of the Deployment's template; None as long as its ReplicaSet isn't seen.

    Found as the Deployment controller finds it (FindNewReplicaSet): the oldest ReplicaSet of the same template. The revision
    annotations lag behind the spec, and stand still while the Deployment is paused.
    """
    template = bare(deployment["spec"]["template"])
    same = [replica_set for replica_set in replica_sets if bare(replica_set["spec"]["template"]) == template]
    if not same:
        return None
    oldest = min(same, key=lambda each: (each["metadata"].get("creationTimestamp") or "", each["metadata"]["name"]))
    revision: str | None = oldest["metadata"].get("labels", {}).get(REVISION_LABEL)
    return revision


def bare(template: Object) -> dict[str, Any]:
    """A pod template without what the Deployment controller adds to a ReplicaSet's copy of it."""
    metadata = {field: value for field, value in template.get("metadata", {}).items() if field != "creationTimestamp"}
    labels = {label: value for label, value in metadata.get("labels", {}).items() if label != REVISION_LABEL}
    return {**template, "metadata": {**metadata, "labels": labels}}


def digest(value: object) -> str:
    """A short name for a value, the same for the same value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


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
