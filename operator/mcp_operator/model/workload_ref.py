"""`spec.workloadRef`: a workload of somebody else's that is observed instead of one that the operator makes.

Beside it every field is refused that would change a pod, because the operator never writes to such a workload. `spec` takes the
rules for the CustomResourceDefinition. The schema fills in defaults before it checks, so for a field that has one, "left out"
can only mean "has its default".
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from mcp_operator.model.base import SpecModel
from mcp_operator.model.schema import Rule


class WorkloadKind(StrEnum):
    """What keeps the instances of a server."""

    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"


_NAME: Final = Rule("!format.dns1123Subdomain().validate(self).hasValue()", "must be a DNS name in lower case")


class WorkloadRef(SpecModel):
    """A workload of the same namespace that something else owns."""

    kind: WorkloadKind
    """What it is: Deployment or StatefulSet."""
    name: Annotated[str, Field(min_length=1, max_length=253), _NAME]
    """Its name."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


_ABSENT: Final = (
    "imagePullPolicy",
    "imagePullSecrets",
    "command",
    "args",
    "env",
    "envFrom",
    "restartedAt",
    "resources",
    "serviceAccountName",
    "metadata",
    "podTemplate",
)
"""Fields without a default that would change a pod, or an object that isn't made."""

_INSTEAD: Final[Mapping[str, str]] = {
    "restartedAt": "restart the workload itself: kubectl rollout restart",
}

_DEFAULT: Final[Mapping[str, tuple[str, str]]] = {
    # Path: (the rule, what would be right)
    "replicas": ("self.replicas == 1", "leave it out and scale the workload itself: kubectl scale"),
    "suspend": ("!self.suspend", "leave it out and scale the workload itself to 0: kubectl scale"),
    "service": (
        "self.service.type == 'ClusterIP' && self.service.appProtocol == 'http' && !has(self.service.annotations)",
        "leave it out: an observed workload gets no Service",
    ),
    "rollout": (
        " && ".join(
            (
                "self.rollout.strategy == 'RollingUpdate'",
                "string(self.rollout.maxSurge) == '1'",
                "string(self.rollout.maxUnavailable) == '0'",
                "self.rollout.minReadySeconds == 0",
                "self.rollout.drainSeconds == 0",
            )
        ),
        "leave out all but progressDeadlineSeconds and historyLimit: how instances are replaced stands in the workload",
    ),
}


def rules() -> Iterator[Rule]:
    """What holds between `workloadRef` and the other fields of a spec."""
    yield Rule(
        "has(self.image) != has(self.workloadRef)",
        "must have either image, for a server that the operator runs, or workloadRef, for a workload that it only observes",
    )
    yield Rule(
        "has(self.workloadRef) == has(oldSelf.workloadRef)",
        "image and workloadRef can't take each other's place: delete the MCPServer and create another",
    )
    for field in _ABSENT:
        instead = _INSTEAD.get(field, "leave it out: the workload's pods are as its owner makes them")
        yield _beside(field, f"!has(self.{field})", instead)
    for field, (rule, instead) in _DEFAULT.items():
        yield _beside(field, rule, instead)


def _beside(field: str, rule: str, instead: str) -> Rule:
    return Rule(f"!has(self.workloadRef) || ({rule})", f"can't be set beside workloadRef; {instead}", path=f".{field}")
