"""Events: one fact about one server at one time.

`rollout` makes those of status, progress and kubernetes, `cluster` those of metrics and logs; `eventlog` orders them and gives
them their id and time, `gateway` sends them. The envelope (`Event`) says which server; the payload says what happened, and its
class is the event's type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, TypeAlias

from mcp_operator.model.authors import Author
from mcp_operator.model.base import Model
from mcp_operator.model.causes import Cause
from mcp_operator.model.labels import NO_LABELS, Labels
from mcp_operator.model.operations import InstanceStep, OperationKind, Outcome
from mcp_operator.model.servers import ServerName
from mcp_operator.model.statuses import Condition, Status


class EventType(StrEnum):
    """The kinds of events, as the `event:` field and the JSON's `type` name them."""

    STATUS = "status"
    PROGRESS = "progress"
    METRICS = "metrics"
    LOG = "log"
    RESPONSE = "response"
    KUBERNETES = "kubernetes"


class StatusPayload(Model):
    """How a server is, whenever that changes."""

    type: ClassVar[EventType] = EventType.STATUS

    status: Status
    """The status in one word."""
    generation: int
    """metadata.generation of the MCPServer that this speaks of: an edit that gave it a larger one is not in here yet."""
    instances: int
    """Instances that are ready now."""
    desired: int
    """Instances wanted."""
    updated: int
    """Instances of the newest pod template."""
    available: int
    """Instances that have been ready for minReadySeconds."""
    terminating: int
    """Instances on their way out."""
    reason: str
    """Why the status is what it is: one stable CamelCase word, such as that of a cause."""
    message: str
    """The same as a sentence for people."""
    revision: str | None
    """The newest pod template, as its pods are labelled with it: pod-template-hash, of a StatefulSet controller-revision-hash;
    null before it has one."""
    operation: str | None
    """Id of the open operation."""
    by: Author | None = None
    """Who or what started the open operation, or the one that ended with this event; null where the API doesn't say."""
    causes: tuple[Cause, ...]
    """Active ones, and those that recovered with this very event."""
    conditions: tuple[Condition, ...]
    """Those that changed with this event."""


class InstanceProgress(Model):
    """One instance within an operation."""

    name: str
    """Name of the pod."""
    step: InstanceStep
    """The furthest step that it has reached."""


class RevisionProgress(Model):
    """The instances of one pod template within an operation."""

    revision: str
    """pod-template-hash, of a StatefulSet controller-revision-hash."""
    current: bool
    """Whether it is the template that the operation leads to."""
    instances: tuple[InstanceProgress, ...]
    """Its pods, each with its step."""


class ProgressPayload(Model):
    """How far an operation is, whenever one of its instances takes a step, and how it ended."""

    type: ClassVar[EventType] = EventType.PROGRESS

    operation: str
    """Id of the operation, the same in all its events and in `operation` of status events."""
    kind: OperationKind
    """What changes: the pod template (`rollout`) or only the number of instances (`scale`)."""
    percent: int
    """0 to 100, never falling within an operation; 100 only with outcome `succeeded`."""
    outcome: Outcome | None
    """Null while the operation is open."""
    stalled_since: datetime | None
    """Since when nothing has moved although the operation can't end by itself; null while it can."""
    remaining_seconds: int | None
    """How long the operation will probably still take, judged by the server's earlier ones of the same kind that succeeded; null
    without any, while a cause is active, and once it has ended. It is no reason for an event of its own."""
    desired: int
    """Instances wanted."""
    updated: int
    """Instances of the newest pod template."""
    ready: int
    """Instances that are ready."""
    available: int
    """Instances that have been ready for minReadySeconds."""
    old: int
    """Instances of older pod templates that are not terminating yet."""
    terminating: int
    """Instances on their way out."""
    deadline_seconds: int
    """After so many seconds without a step forward the operation counts as failed."""
    revisions: tuple[RevisionProgress, ...]
    """The instances by pod template, each with the step that it has reached."""


class RequestsSource(StrEnum):
    """Where the number of requests was read."""

    POD = "pod"
    """The Prometheus endpoint that spec.metrics.prometheus names."""


class Unavailable(Model):
    """Figures that couldn't be read, and why: of one instance, or of the server where they concern no single one."""

    fields: tuple[str, ...]
    """Names of the payload's fields that are null for this reason, or sums that lack this instance's part."""
    reason: str
    """One stable CamelCase word."""
    message: str
    """What is missing, as a sentence for people."""
    instance: str | None = None
    """Name of the pod that it concerns; null where it is no single one."""


class InstanceMetrics(Model):
    """The figures of one instance, as in the event itself."""

    name: str
    """Name of the pod."""
    cpu: float | None
    """Percent of its CPU limit, of one core without one."""
    cpu_millicores: float | None
    """Thousandths of a core."""
    memory: float | None
    """Working set in MiB."""
    memory_bytes: int | None
    """Working set in bytes."""
    memory_percent: float | None
    """Percent of its memory limit; null without one."""
    requests: float | None
    """Requests served since it started."""
    requests_per_second: float | None
    """Requests served per second since the sample before; null in the first one."""
    errors: float | None
    """Requests that failed since it started."""
    in_flight: float | None
    """Requests that it works on now."""
    sampled_at: datetime | None
    """When its CPU and memory were measured: the end of the window that the CPU is an average of; null if they can't be told."""
    window_seconds: float | None
    """How long that window was."""


class MetricsPayload(Model):
    """What a server uses and how much it is used, sampled at spec.metrics.intervalSeconds while somebody listens.

    A figure of the server is that of its instances together. Null means that it can't be told, and `unavailable` says why.
    """

    type: ClassVar[EventType] = EventType.METRICS

    cpu: float | None
    """Percent of the CPU limits; an instance without a limit counts as if it had one of a whole core."""
    cpu_millicores: float | None
    """Thousandths of a core."""
    memory: float | None
    """Working set in MiB."""
    memory_bytes: int | None
    """Working set in bytes."""
    memory_percent: float | None
    """Percent of the memory limits; null if an instance has none."""
    requests: float | None
    """Requests served since the instances started."""
    requests_per_second: float | None
    """Requests served per second since the sample before; null in the first one."""
    errors: float | None
    """Requests that failed since the instances started."""
    in_flight: float | None
    """Requests that are worked on now."""
    requests_source: RequestsSource | None
    """Where the figures about requests were read: `pod`, from the instances; null without `requests`."""
    per_instance: tuple[InstanceMetrics, ...]
    """The same figures of each instance."""
    unavailable: tuple[Unavailable, ...]
    """Which figures are null or lack a part, and why."""
    sampled_at: datetime
    """When it was read; `perInstance` says when metrics.k8s.io had measured CPU and memory, up to a minute before."""


class LogLevel(StrEnum):
    """How grave a log line is; OpenTelemetry's names of severities, in rising order."""

    TRACE = "trace"
    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    FATAL = "fatal"

    @property
    def rank(self) -> int:
        """0 for the least grave."""
        return tuple(LogLevel).index(self)


class Follow(StrEnum):
    """A container's log begins or ends to be followed."""

    STARTED = "started"
    ENDED = "ended"


class LogPayload(Model):
    """One line that a container has printed, or (`follow`) that its lines begin or cease to be told."""

    type: ClassVar[EventType] = EventType.LOG

    level: LogLevel | None
    """Null where no line is told."""
    msg: str
    """The line without line break, timestamp and, where it is JSON, without its other fields; of a `follow` event a sentence."""
    instance: str
    """Name of the pod."""
    container: str
    """Name of the container."""
    timestamp: str | None
    """When the container's runtime took the line in: RFC 3339, UTC, nanoseconds, as `kubectl logs --timestamps` shows it."""
    fields: Mapping[str, Any] | None = None
    """The other fields of a line that is a JSON object."""
    truncated: bool = False
    """Whether the line was too long and was cut."""
    continues: str | None = None
    """Of a line that belongs to an earlier one, such as those of a stack trace: the `key` of that one, whose level it has."""
    previous: bool = False
    """Whether it is one of the last lines of a container that crashed, told because of `cause`; the same line may have been told
    before, when it was printed."""
    cause: str | None = None
    """Id of the cause that a `previous` line explains."""
    follow: Follow | None = None
    """Instead of a line: from here on the container's lines are told (`started`), or no longer (`ended`)."""
    dropped: bool = False
    """Of a `follow` event: whether lines before it are missing, in unknown number."""


class ResponseKind(StrEnum):
    """What a response event tells of its call."""

    ACCEPTED = "accepted"
    PROGRESS = "progress"
    LOG = "log"
    PARTIAL = "partial"
    TASK = "task"
    INPUT_REQUIRED = "input_required"
    RETRYING = "retrying"
    RESULT = "result"
    ERROR = "error"
    CANCELLED = "cancelled"


class ResponsePayload(Model):
    """A step of a running tool call: what its server has answered so far, and how it ended."""

    type: ClassVar[EventType] = EventType.RESPONSE

    call: str
    """Id of the call."""
    seq: int
    """1 for the call's first event; rises by one with each."""
    kind: ResponseKind
    """What this event tells of the call."""
    message: str | None = None
    """For people."""


class KubernetesPayload(Model):
    """A warning of Kubernetes itself about an object of the server, of a trouble that no cause stands for.

    Told when it appears; how often it has been seen since is told at most once a minute.
    """

    type: ClassVar[EventType] = EventType.KUBERNETES

    reason: str
    """Kubernetes' one CamelCase word."""
    message: str
    """Kubernetes' sentence; bounded, single-line, printable."""
    kind: str
    """Kind of the object that it is about: Pod, ReplicaSet, Deployment ..."""
    name: str
    """Name of that object, in the server's namespace."""
    count: int
    """How often Kubernetes has seen it so far."""


Payload: TypeAlias = StatusPayload | ProgressPayload | MetricsPayload | LogPayload | ResponsePayload | KubernetesPayload


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
    labels: Labels = NO_LABELS
    """Labels of the MCPServer object: what streams choose by, not told."""
    observed: float | None = None
    """When the operator learned of it, by the event loop's clock (seconds); not told."""

    @property
    def type(self) -> EventType:
        return self.payload.type
