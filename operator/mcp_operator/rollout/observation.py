"""What `cluster` hands to the evaluator: everything that the API server holds about one server, at one moment."""

from dataclasses import dataclass, field
from datetime import datetime

from mcp_operator.model.base import Object
from mcp_operator.model.labels import NO_LABELS, Labels
from mcp_operator.model.servers import ServerName
from mcp_operator.model.workload_ref import WorkloadKind, WorkloadRef
from mcp_operator.rollout.estimating import Paces


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """What the last reconciliation of a server came to."""

    server_generation: int
    """Generation of the MCPServer that it was about."""
    deployment_generation: int | None
    """Generation of the Deployment that the apply returned; None when it wasn't applied. It may have been although the whole was
    refused, for another child's sake."""
    reason: str | None = None
    """Why it was refused, in one CamelCase word (InvalidPodTemplate, ForeignObject, DriftConflict, Forbidden ...); None
    when it was accepted."""
    message: str | None = None
    """The refusal in a sentence, with the path of the field that it is about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """All that the API server holds about one server at one moment.

    The children are those that the server owns: what belongs to another object of the same name is not among them. Of a server
    that observes a workload they are that workload's.
    """

    name: ServerName
    uid: str
    """UID of the MCPServer."""
    server: Object | None
    """The MCPServer; None once its object is gone."""
    labels: Labels = NO_LABELS
    """The MCPServer's; the last ones, once its object is gone."""
    observes: WorkloadRef | None = None
    """What the MCPServer names instead of an image; None where it has a Deployment of its own."""
    forbidden: str | None = None
    """What of the workload that it names the operator may not read, as a sentence; None where it may read all."""
    workload: Object | None = None
    """The server's own Deployment, or the workload that it names."""
    replica_sets: tuple[Object, ...] = ()
    pods: tuple[Object, ...] = ()
    warnings: tuple[Object, ...] = ()
    """Kubernetes Events (core/v1) of type Warning about any of these."""
    autoscalers: tuple[Object, ...] = ()
    """HorizontalPodAutoscalers (autoscaling/v2) that name the server as what they scale."""
    applied: Applied | None = None
    """None until this process has reconciled the server for the first time."""
    paces: Paces = field(default_factory=dict)
    """How fast the server's earlier operations went."""
    now: datetime
    """Aware, UTC."""

    @property
    def workload_kind(self) -> WorkloadKind:
        return self.observes.kind if self.observes else WorkloadKind.DEPLOYMENT
