"""Events: one fact about one server at one time.

`rollout` makes them, `eventlog` orders them and gives them their id and time, `gateway` sends them. The envelope (`Event`) says
which server; the payload says what happened, and its class is the event's type.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, TypeAlias

from mcp_operator.model.base import Model
from mcp_operator.model.causes import Cause
from mcp_operator.model.operations import InstanceStep, OperationKind, Outcome
from mcp_operator.model.servers import ServerName
from mcp_operator.model.statuses import Condition, Status


class EventType(StrEnum):
    """The kinds of events, as the `event:` field and the JSON's `type` name them."""

    STATUS = "status"
    PROGRESS = "progress"


class StatusPayload(Model):
    """How a server is, whenever that changes."""

    type: ClassVar[EventType] = EventType.STATUS

    status: Status
    instances: int
    """Instances that are ready now."""
    desired: int
    updated: int
    available: int
    terminating: int
    reason: str
    message: str
    revision: str | None
    """The pod-template-hash of the newest pod template, null before its ReplicaSet exists."""
    operation: str | None
    """Id of the open operation."""
    causes: tuple[Cause, ...]
    """Active ones, and those that recovered with this very event."""
    conditions: tuple[Condition, ...]
    """Those that changed with this event."""


class InstanceProgress(Model):
    """One instance within an operation."""

    name: str
    step: InstanceStep


class RevisionProgress(Model):
    """The instances of one pod template within an operation."""

    revision: str
    """pod-template-hash."""
    current: bool
    """Whether it is the template that the operation leads to."""
    instances: tuple[InstanceProgress, ...]


class ProgressPayload(Model):
    """How far an operation is, whenever one of its instances takes a step, and how it ended."""

    type: ClassVar[EventType] = EventType.PROGRESS

    operation: str
    kind: OperationKind
    percent: int
    """0 to 100, never falling within an operation; 100 only with outcome `succeeded`."""
    outcome: Outcome | None
    """Null while the operation is open."""
    stalled_since: datetime | None
    """Since when nothing has moved although the operation can't end by itself; null while it can."""
    desired: int
    updated: int
    ready: int
    available: int
    old: int
    """Instances of older pod templates that are not terminating yet."""
    terminating: int
    deadline_seconds: int
    revisions: tuple[RevisionProgress, ...]


Payload: TypeAlias = StatusPayload | ProgressPayload


@dataclass(frozen=True, slots=True)
class Event:
    """A fact on its way into the log, which adds the id and the time."""

    server: ServerName
    uid: str
    """UID of the MCPServer object."""
    key: str
    """Stable over redelivery: a subscriber that has seen it can drop the event."""
    payload: Payload
    late: bool = False
    """It happened while the operator was away."""

    @property
    def type(self) -> EventType:
        return self.payload.type
