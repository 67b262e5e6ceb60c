"""Who started an operation, as far as the API server tells: what `rollout` finds out and events and records carry as `by`.

Kubernetes keeps the name under which a field was written last, not who wrote it. So all of this is a hint, never an identity.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from mcp_operator.model.base import Count, Model, Sentence, Word
from mcp_operator.model.schema import ListMap, int_or_string


class AuthorKind(StrEnum):
    """How a change was made, in one word."""

    APPLY = "apply"
    """`kubectl apply`, client-side or server-side."""
    CREATE = "create"
    """`kubectl create`."""
    EDIT = "edit"
    """`kubectl edit`."""
    PATCH = "patch"
    """`kubectl patch`."""
    SET = "set"
    """`kubectl set image` and the like."""
    SCALE = "scale"
    """`kubectl scale`, or another client of the scale subresource."""
    RESTART = "restart"
    """`mcp-operator restart` or `kubectl rollout restart`."""
    UNDO = "undo"
    """Back to the pod template of an earlier revision, by whatever means."""
    HPA = "hpa"
    """A HorizontalPodAutoscaler."""
    KEDA = "keda"
    """A HorizontalPodAutoscaler that KEDA made."""
    HELM = "helm"
    """Helm."""
    ARGO_CD = "argocd"
    """Argo CD."""
    FLUX = "flux"
    """Flux."""
    OTHER = "other"
    """Something else: see `manager`."""


class AutoscalerMetric(Model):
    """One metric of a HorizontalPodAutoscaler."""

    name: Word
    """cpu, memory, or the metric's own name."""
    current: Word | None
    """What it was when the autoscaler decided, in the target's unit; null if it wasn't told."""
    target: Word
    """What it should be: `50%` of what the instances request, or a quantity."""


class Autoscaler(Model):
    """A HorizontalPodAutoscaler, as it was when it decided."""

    name: Word
    """Its name."""
    owner: Word | None = None
    """What made it, such as `ScaledObject/weather` for KEDA; null if it stands for itself."""
    min: Count
    """The fewest instances that it may ask for."""
    max: Count
    """The most."""
    desired: Count | None = None
    """Instances that it asked for; null until it has told so."""
    metrics: Annotated[tuple[AutoscalerMetric, ...], ListMap("name")] = Field(default=(), max_length=16)
    """What it decides by."""
    limited: Word | None = None
    """`TooManyReplicas` or `TooFewReplicas` if its own limits kept it from what its metrics asked for."""
    message: Sentence | None = None
    """That as a sentence, in Kubernetes' words."""


class Author(Model):
    """Who or what made a change."""

    kind: AuthorKind
    """How the change was made, found from the field manager's name; `undo` from the pod template."""
    manager: Word | None = None
    """Name of the field manager that wrote what changed; null where the API names none."""
    operation: Literal["Apply", "Update"] | None = None
    """How the field manager wrote it."""
    from_: Annotated[int | str, int_or_string(maxLength=1024)] | None = Field(default=None, alias="from")
    """Of a scale the number of instances wanted before; of a rollout the image before, if it is another one now."""
    to: Annotated[int | str, int_or_string(maxLength=1024)] | None = None
    """The number of instances wanted, or the image."""
    hpa: Autoscaler | None = None
    """Of an autoscaler: what it decided by."""
