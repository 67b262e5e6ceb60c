"""Operations: the way from one wanted state of a server to the next.

A `rollout` is open while instances of a new pod template replace the old ones, a `scale` while the number of instances
changes. `rollout` (the room) opens and closes operations, the MCPServer's status carries the open one over restarts, and
`progress` events tell how far it is.
"""

from datetime import datetime
from enum import StrEnum

from mcp_operator.model.base import Model


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


class Operation(Model):
    """An open operation, as the MCPServer's status carries it, so that a restarted operator goes on with the same one."""

    id: str
    """`<workload UID>-<workload generation at the start>`: stable over restarts, never used twice."""
    kind: OperationKind
    percent: int
    """0 to 99 while open, the highest value told so far; 100 comes only with the end."""
    started_at: datetime
    template: str
    """Digest of the pod template that it leads to: another one supersedes it."""
    desired: int
    """Instances that it leads to."""
