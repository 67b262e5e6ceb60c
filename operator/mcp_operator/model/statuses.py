"""What is said about a server: the one word of its status, its conditions, and its MCPServer's status subresource."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from mcp_operator.model.base import Model
from mcp_operator.model.causes import Cause
from mcp_operator.model.operations import Operation


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
    status: Literal["True", "False", "Unknown"]
    reason: str
    """One stable CamelCase word."""
    message: str
    observed_generation: int
    last_transition_time: datetime
    """When `status` last changed; a new reason or message alone leaves it."""


class MCPServerStatus(Model):
    """The status subresource of an MCPServer; nulls are left out of what is written."""

    observed_generation: int = Field(default=0, description="The generation of the spec that this status speaks of.")
    phase: Status = Field(description="The status in one word, as in the event streams.")
    reason: str = Field(description="Why the phase is what it is, in one word.")
    message: str = Field(description="Why the phase is what it is, in a sentence.")
    instances: str = Field(description='Ready of wanted instances, for people: "2/3".')
    replicas: int = Field(default=0, description="Instances that exist; what the scale subresource reports.")
    ready_replicas: int = Field(default=0, description="Instances that are ready.")
    updated_replicas: int = Field(default=0, description="Instances of the newest pod template.")
    available_replicas: int = Field(default=0, description="Instances that have been ready for minReadySeconds.")
    selector: str = Field(description="Label selector of the instances, for HorizontalPodAutoscalers.")
    operation: Operation | None = Field(default=None, description="The open rollout or scale, null when none is.")
    causes: tuple[Cause, ...] = Field(default=(), description="Troubles that are active now.")
    endpoint: str | None = Field(default=None, description="URL at which the server is reached inside the cluster.")
    conditions: tuple[Condition, ...] = Field(default=(), description="Accepted, Available, Reconciling, Stalled, Ready.")
