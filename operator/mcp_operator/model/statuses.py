"""What is said about a server: the one word of its status, its conditions, and its MCPServer's status subresource."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from mcp_operator.model.base import Count, Model, Sentence, Word
from mcp_operator.model.causes import Cause
from mcp_operator.model.operations import EndedOperation, Operation, Target
from mcp_operator.model.schema import ListMap

LAST_OPERATIONS = 4
"""More never end between two writes of a status."""

MOST_UNTOLD = 2 * LAST_OPERATIONS + 1
"""The starts and ends of those, and the start of the open one."""


class Status(StrEnum):
    """The status of a server: the first of these that applies, in this order."""

    DELETED = "deleted"
    TERMINATING = "terminating"
    STOPPED = "stopped"
    FAILED = "failed"
    PENDING = "pending"
    DEPLOYING = "deploying"
    SCALING = "scaling"
    DEGRADED = "degraded"
    RUNNING = "running"


class ConditionType(StrEnum):
    """Conditions of an MCPServer, readable by kstatus (Reconciling, Stalled) and by `kubectl wait`."""

    ACCEPTED = "Accepted"
    AVAILABLE = "Available"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    READY = "Ready"


class Condition(Model):
    """One metav1.Condition."""

    type: ConditionType
    """What is true or not; Reconciling and Stalled are true while something is out of the ordinary."""
    status: Literal["True", "False", "Unknown"]
    """Whether it is so."""
    reason: Word
    """One stable CamelCase word."""
    message: Sentence
    """Why, in a sentence."""
    observed_generation: Count
    """The generation of the spec that it speaks of."""
    last_transition_time: datetime
    """When `status` last changed; a new reason or message alone leaves it."""


class MCPServerStatus(Model):
    """How the server is; nulls are left out of what is written."""

    observed_generation: Count = Field(default=0, description="The generation of the spec that this status speaks of.")
    phase: Status = Field(description="The status in one word, as in the event streams.")
    reason: Word = Field(description="Why the phase is what it is, in one word.")
    message: Sentence = Field(description="Why the phase is what it is, in a sentence.")
    instances: Word = Field(description='Ready of wanted instances, for people: "2/3".')
    replicas: Count = Field(default=0, description="Instances that exist; what the scale subresource reports.")
    ready_replicas: Count = Field(default=0, description="Instances that are ready.")
    updated_replicas: Count = Field(default=0, description="Instances of the newest pod template.")
    available_replicas: Count = Field(default=0, description="Instances that have been ready for minReadySeconds.")
    selector: Word = Field(description="Label selector of the instances, for HorizontalPodAutoscalers.")
    target: Target | None = Field(default=None, description="What the workload was last told to become.")
    operation: Operation | None = Field(default=None, description="The open rollout or scale, null when none is.")
    last_operations: Annotated[tuple[EndedOperation, ...], ListMap("id")] = Field(
        default=(), max_length=LAST_OPERATIONS, description="The rollouts and scalings that ended last, the newest first."
    )
    untold: tuple[Word, ...] = Field(
        default=(),
        max_length=MOST_UNTOLD,
        description=(
            "Starts and ends of operations that are about to be told in the streams, as their events' keys name them; an "
            "operator that was killed in that moment tells them after it has started again."
        ),
    )
    causes: Annotated[tuple[Cause, ...], ListMap("id")] = Field(
        default=(), max_length=100, description="Troubles that are active now."
    )
    endpoint: Sentence | None = Field(default=None, description="URL at which the server is reached inside the cluster.")
    conditions: Annotated[tuple[Condition, ...], ListMap("type")] = Field(
        default=(), max_length=16, description="Accepted, Available, Reconciling, Stalled, Ready."
    )
