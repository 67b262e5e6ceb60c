"""What is known about one server: the result of an evaluation and the input of the next one."""

from dataclasses import dataclass, field
from datetime import datetime

from mcp_operator.model.authors import Author
from mcp_operator.model.base import Object
from mcp_operator.model.causes import Cause
from mcp_operator.model.events import RevisionProgress
from mcp_operator.model.labels import NO_LABELS, Labels
from mcp_operator.model.operations import EndedOperation, Operation, Outcome, Target
from mcp_operator.model.servers import ServerName
from mcp_operator.model.statuses import Condition, ConditionType, Status
from mcp_operator.rollout.noticing import Noticed
from mcp_operator.rollout.timing import Timing


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Instances of one server at one moment, counted from its pods; those that terminate count in `terminating` alone."""

    desired: int = 0
    replicas: int = 0
    """All that exist."""
    updated: int = 0
    """Of the newest pod template."""
    ready: int = 0
    available: int = 0
    """Ready for minReadySeconds."""
    terminating: int = 0

    @property
    def old(self) -> int:
        """Instances of older pod templates."""
        return self.replicas - self.updated


@dataclass(frozen=True, slots=True)
class Authored:
    """A generation of the MCPServer, or of the workload that it names, and who made it what it is."""

    version: tuple[str, int]
    """UID and generation."""
    spec: Object
    managers: tuple[tuple[str | None, ...], ...]
    """Of each entry of its managed fields: manager, operation, subresource and time."""
    count: Author | None
    """Who last changed how many instances are wanted; None where the API doesn't say."""
    template: Author | None
    """Who last changed the pods."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An operation that ended with this evaluation, with the percent that it reached."""

    operation: Operation
    outcome: Outcome
    desired: int
    """Instances that it led to."""


@dataclass(frozen=True, slots=True)
class ActiveCause:
    """A cause with what it takes to tell its end."""

    cause: Cause
    instances: frozenset[str] = frozenset()
    """Names of the pods that have or had it and have not recovered; empty for a cause of the server as a whole."""
    present: bool = True
    """Whether it shows now; a cause that no longer shows stays active until its instances have proved themselves."""
    blocking: bool = False
    """Whether it needs a person. Once it does it goes on to, for as long as it shows."""
    takes_instance: bool = False
    """It took an instance away: it stays active until as many as are wanted are available again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What is known about one server."""

    server: ServerName
    uid: str
    generation: int
    """Generation of the MCPServer that this state speaks of."""
    status: Status
    reason: str
    message: str
    counts: Counts
    conditions: tuple[Condition, ...]
    target: Target | None = None
    """What the Deployment was last told to become; None before there was one."""
    operation: Operation | None = None
    """The open one."""
    ended: tuple[Ended, ...] = ()
    """Operations that ended with this evaluation, in their order."""
    last_operations: tuple[EndedOperation, ...] = ()
    """Operations that ended with this evaluation or earlier, the newest first."""
    untold: tuple[str, ...] = ()
    """Starts and ends of operations that have to be persisted before they are told (see `transitions`): those of this evaluation,
    and those that the operator before a restart may not have come to tell."""
    causes: tuple[ActiveCause, ...] = ()
    recovered: tuple[Cause, ...] = ()
    """Causes that ended with this evaluation."""
    revision: str | None = None
    """pod-template-hash of the newest pod template; None before its ReplicaSet exists."""
    revisions: tuple[RevisionProgress, ...] = ()
    """Every instance with its step, the newest revision first."""
    timings: tuple[Timing, ...] = ()
    """When each instance took its steps; empty unless an operation is open or has just ended."""
    remaining_seconds: int | None = None
    """How long the open operation will still take; None where nothing tells."""
    deadline_seconds: int = 600
    """The progressDeadlineSeconds of the Deployment; of a StatefulSet those of the MCPServer."""
    work_left: int | None = None
    """Steps that the open operation has yet to take; None when none is open or it was restored."""
    paused: bool = False
    """Whether the Deployment is paused: the deadline's clock stands still."""
    due: datetime | None = None
    """When this state changes by time alone, if nothing happens before; None when only a new observation changes it."""
    authored: Authored | None = field(default=None, repr=False)
    """None if it was read from the MCPServer's status."""
    noticed: tuple[Noticed, ...] = ()
    """Warnings of Kubernetes that were told, now or before; empty if the state was read from the MCPServer's status."""
    labels: Labels = NO_LABELS
    """The MCPServer's; empty if it was read from the MCPServer's status."""
    fingerprint: str = field(default="", repr=False)
    """Digest of the versions of all objects it was made from: part of the keys of events."""
    restored: bool = False
    """Whether it was read from the MCPServer's status after a restart: what differs from it happened meanwhile."""

    @property
    def by(self) -> Author | None:
        """Who started the open operation, or the one that ended with this evaluation."""
        operation = self.operation or (self.ended[-1].operation if self.ended else None)
        return operation.by if operation else None

    def condition(self, kind: ConditionType) -> Condition | None:
        """The condition of this type."""
        return next((condition for condition in self.conditions if condition.type is kind), None)
