"""The rules by which kstatus reads any object with standard conditions, for tests that ask: would Flux and Helm agree with us?

Written from kubernetes-sigs/cli-utils, pkg/kstatus/status/{generic,core}.go: its checks for kinds that it doesn't know, in its
order.
"""

from enum import StrEnum
from typing import Any


class Kstatus(StrEnum):
    IN_PROGRESS = "InProgress"
    FAILED = "Failed"
    CURRENT = "Current"
    TERMINATING = "Terminating"


def kstatus(obj: dict[str, Any]) -> Kstatus:
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
    return Kstatus.CURRENT
