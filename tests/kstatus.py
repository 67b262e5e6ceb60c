"""The rules by which kstatus and kubectl read an object, for tests that ask: would Flux, Helm and a person agree with us?

kstatus: written from kubernetes-sigs/cli-utils, pkg/kstatus/status/{generic,core}.go: its checks for kinds that it doesn't know,
for Deployments and for StatefulSets, in its order. kubectl: from its pkg/polymorphichelpers/rollout_status.go.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Kstatus(StrEnum):
    IN_PROGRESS = "InProgress"
    FAILED = "Failed"
    CURRENT = "Current"
    TERMINATING = "Terminating"


def kstatus(obj: Mapping[str, Any]) -> Kstatus:
    """What kstatus computes for an object as the API server sends it."""
    metadata, status = obj["metadata"], obj.get("status", {})
    if metadata.get("deletionTimestamp"):
        return Kstatus.TERMINATING
    observed = status.get("observedGeneration")
    if observed is not None and observed != metadata.get("generation"):
        return Kstatus.IN_PROGRESS
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions", ())}
    if conditions.get("Reconciling") == "True":
        return Kstatus.IN_PROGRESS
    if conditions.get("Stalled") == "True":
        return Kstatus.FAILED
    if conditions.get("Ready", "True") != "True":
        return Kstatus.IN_PROGRESS
    return {"Deployment": _of_deployment, "StatefulSet": _of_stateful_set}.get(obj.get("kind", ""), _of_another_kind)(obj)


def rolled_out(workload: Mapping[str, Any]) -> bool:
    """Whether `kubectl rollout status` of this Deployment or StatefulSet would end well."""
    spec, status = workload["spec"], workload.get("status", {})
    wanted, updated = spec.get("replicas", 1), status.get("updatedReplicas", 0)
    if status.get("observedGeneration", 0) < workload["metadata"]["generation"]:
        return False
    if workload["kind"] == "Deployment":
        in_time = _progressing(workload).get("reason") != "ProgressDeadlineExceeded"
        return bool(in_time and updated >= wanted and status.get("replicas", 0) <= updated <= status.get("availableReplicas", 0))
    if spec["updateStrategy"]["type"] != "RollingUpdate" or status.get("readyReplicas", 0) < wanted:
        return False
    rolling = spec["updateStrategy"].get("rollingUpdate")
    if rolling is not None:
        return bool(updated >= wanted - rolling.get("partition", wanted))
    return bool(status.get("updateRevision") == status.get("currentRevision"))


def _of_another_kind(_: Mapping[str, Any]) -> Kstatus:
    return Kstatus.CURRENT


def _of_deployment(deployment: Mapping[str, Any]) -> Kstatus:
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    progressing = _progressing(deployment)
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Kstatus.FAILED
    all_, updated = status.get("replicas", 0), status.get("updatedReplicas", 0)
    if (
        all_ != wanted
        or updated < wanted
        or status.get("availableReplicas", 0) < updated
        or status.get("readyReplicas", 0) < wanted
    ):
        return Kstatus.IN_PROGRESS
    come_through = progressing.get("status") == "True" and progressing.get("reason") == "NewReplicaSetAvailable"
    has_deadline = deployment["spec"].get("progressDeadlineSeconds", _NO_DEADLINE) != _NO_DEADLINE
    available = any(each["type"] == "Available" and each["status"] == "True" for each in status.get("conditions", ()))
    return Kstatus.CURRENT if available and (come_through or not has_deadline) else Kstatus.IN_PROGRESS


def _of_stateful_set(stateful_set: Mapping[str, Any]) -> Kstatus:
    spec, status = stateful_set["spec"], stateful_set.get("status", {})
    strategy, wanted = spec.get("updateStrategy", {}), spec.get("replicas", 1)
    if strategy.get("type") == "OnDelete":
        return Kstatus.CURRENT
    if status.get("replicas", 0) != wanted or status.get("readyReplicas", 0) < wanted:
        return Kstatus.IN_PROGRESS
    partition = strategy.get("rollingUpdate", {}).get("partition")
    if partition is not None:
        return Kstatus.CURRENT if status.get("updatedReplicas", 0) >= wanted - partition else Kstatus.IN_PROGRESS
    is_one = status.get("currentReplicas", 0) >= wanted and status.get("currentRevision") == status.get("updateRevision")
    return Kstatus.CURRENT if is_one else Kstatus.IN_PROGRESS


_NO_DEADLINE = 2**31 - 1
"""What Kubernetes takes for none."""


def _progressing(deployment: Mapping[str, Any]) -> Mapping[str, Any]:
    conditions = deployment.get("status", {}).get("conditions", ())
    return next((each for each in conditions if each["type"] == "Progressing"), {})
