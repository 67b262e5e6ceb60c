"""Operations: the way from one wanted state of a server to the next.

A `rollout` is open while instances of a new pod template replace the old ones, a `scale` while the number of instances
changes. `rollout` (the room) opens and closes operations, the MCPServer's status carries the open one over restarts, and
`progress` events tell how far it is.
"""

from datetime import datetime
from enum import StrEnum

from mcp_operator.model.authors import Author
from mcp_operator.model.base import Count, Model, Word


class OperationKind(StrEnum):
    """What changes: the pod template (rollout) or only the number of instances (scale)."""

    ROLLOUT = "rollout"
    SCALE = "scale"


class Outcome(StrEnum):
    """How an operation ended. An operation that fails stays open: an edit or a healed cause still leads out of it."""

    SUCCEEDED = "succeeded"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"


class InstanceStep(StrEnum):
    """The furthest step that one instance has reached, in the order in which Kubernetes takes them."""

    CREATED = "created"
    SCHEDULED = "scheduled"
    PULLED = "pulled"
    STARTED = "started"
    READY = "ready"
    AVAILABLE = "available"
    TERMINATING = "terminating"


class Target(Model):
    """What a server's workload was last told to become; another one starts, retargets or supersedes an operation."""

    template: Word
    """Digest of the workload's UID and pod template: a workload that is made anew starts all over."""
    desired: Count
    """Instances wanted."""


class Operation(Model):
    """An open operation, as the MCPServer's status carries it, so that a restarted operator goes on with the same one."""

    id: Word
    """`<workload UID>-<workload generation at the start>`: stable over restarts, never used twice."""
    kind: OperationKind
    """rollout (new pod template) or scale (only the number of instances)."""
    percent: int
    """0 to 99 while open, the highest value told so far; 100 comes only with the end."""
    started_at: datetime
    """When it began."""
    progressed_at: datetime
    """When an instance last took a step forward; the deadline counts from here."""
    base_percent: int = 0
    """The percent when the work was last measured out: at the start 0, later when a new count was absorbed."""
    base_work: Count
    """Steps that were left to take at that moment; they spread over the way from `base_percent` to 99."""
    by: Author | None = None
    """Who or what started it, or last changed how many instances a scale leads to; null where the API doesn't say."""
    before: Count = 0
    """Instances that were wanted when it began; of a rollout only as far as there were any."""


class EndedOperation(Model):
    """An operation that is over, as the MCPServer's status carries the newest ones, so that no restart forgets how they ended."""

    id: Word
    """As the operation had it."""
    outcome: Outcome
    """How it ended."""
    percent: int
    """How far it came; 100 if it succeeded."""
    ended_at: datetime
    """When its end was seen."""
    kind: OperationKind | None = None
    """rollout or scale; null in what an operator wrote that didn't keep it."""
    desired: Count = 0
    """Instances that it led to."""
