"""Records of operations: what each rollout and each scaling was, how long its parts took and how it ended.

`rollout.recording` makes them, `cluster.records` keeps one MCPServerRollout object of each, the gateway serves them as JSON.
"""

from datetime import datetime
from typing import Annotated, Final, TypeAlias

from pydantic import ConfigDict, Field

from mcp_operator.model.authors import Author
from mcp_operator.model.base import Count, Model, Word
from mcp_operator.model.operations import OperationKind, Outcome

KIND: Final = "MCPServerRollout"
PLURAL: Final = "mcpserverrollouts"

MOST_INSTANCES: Final = 20
"""Instances that a record tells of one by one: the slowest ones."""

MOST_FAILURES: Final = 8
MOST_MESSAGE: Final = 300
"""Characters of a failure's message."""

MOST_BYTES: Final = 15 * 1024
"""Of a record as JSON: with its metadata the object stays under 16 KiB."""

Seconds: TypeAlias = Annotated[float, Field(ge=0)]
_Name: TypeAlias = Annotated[str, Field(max_length=253)]


class _Kept(Model):
    """A part of a record. What a newer version has added to it is ignored."""

    model_config = ConfigDict(extra="ignore")


class Phases(_Kept):
    """Seconds that an instance took to each step, counted from the step before that is known; null: not reached, or not known.

    The times of Kubernetes are whole seconds, and so are their differences. Kubernetes keeps no time for `pulled`: it is known
    only where the operator has seen an instance with its image and without a running container; else `started` includes it.
    """

    scheduled: Seconds | None = None
    """From its creation until a node was found."""
    pulled: Seconds | None = None
    """Until its images were there."""
    started: Seconds | None = None
    """Until all its containers had been started."""
    ready: Seconds | None = None
    """Until it was ready for the first time."""
    available: Seconds | None = None
    """Until it had been ready for minReadySeconds."""


class InstanceRecord(_Kept):
    """One instance that an operation has brought."""

    name: _Name
    """Name of the pod."""
    created_at: datetime
    """When it was created."""
    phases: Phases
    """How long each of its steps took."""
    seconds: Seconds | None = None
    """From its creation until it was available; null if it never was."""
    gone: bool = False
    """Whether it went again before the operation ended."""


class Spread(_Kept):
    """How a figure is distributed."""

    min: Seconds
    """The least."""
    p50: Seconds
    """The median."""
    p90: Seconds
    """Nine in ten are at most this."""
    max: Seconds
    """The greatest."""


class Spreads(_Kept):
    """The distribution of each phase's seconds over several instances; null where none of them has a figure."""

    scheduled: Spread | None = None
    """As in `phases`."""
    pulled: Spread | None = None
    """As in `phases`."""
    started: Spread | None = None
    """As in `phases`."""
    ready: Spread | None = None
    """As in `phases`."""
    available: Spread | None = None
    """As in `phases`."""
    seconds: Spread | None = None
    """From the creation until the instance was available."""


class OtherInstances(_Kept):
    """The instances that a record doesn't tell of one by one."""

    count: Count
    """How many there are."""
    spreads: Spreads
    """How their seconds are distributed."""


class Failure(_Kept):
    """A cause that was active while the operation was open."""

    id: Word
    """As the cause has it."""
    reason: Word
    """One stable CamelCase word."""
    message: Annotated[str, Field(max_length=MOST_MESSAGE)]
    """The first 300 characters of the cause's sentence."""
    instance: _Name | None = None
    """Name of one pod that had it."""
    container: _Name | None = None
    """Name of the container that had it."""
    exit_code: int | None = None
    """Of a crash: what the container's process returned."""
    signal: int | None = None
    """Of a crash: the signal that ended the container's process."""
    count: Count = 1
    """The most instances that had it at once."""
    since: datetime
    """When it was first seen."""
    until: datetime | None = None
    """When it was over; null if it lasted when the operation ended, or lasts."""


class RolloutRecord(_Kept):
    """One operation, open or over."""

    id: Word
    """Id of the operation, as in its events."""
    kind: OperationKind
    """rollout (new pod template) or scale (only the number of instances)."""
    server: Word
    """namespace/name of the MCPServer."""
    uid: Word
    """UID of the MCPServer."""
    revision: Word | None = None
    """pod-template-hash of the instances that it brought (of a StatefulSet controller-revision-hash); null if there was none
    yet."""
    by: Author | None = None
    """Who or what began it; null where that isn't known."""
    before: Count = 0
    """Instances that were wanted when it began; of a rollout only as far as there were any."""
    desired: Count
    """Instances that it led to."""
    started_at: datetime
    """When it began."""
    ended_at: datetime | None = None
    """When its end was seen; null while it is open."""
    outcome: Outcome | None = None
    """How it ended; null while it is open."""
    percent: int = Field(ge=0, le=100)
    """How far it came; 100 if it succeeded."""
    instances: Annotated[tuple[InstanceRecord, ...], Field(max_length=MOST_INSTANCES)] = ()
    """The instances that it brought, at most 20: the slowest, those first that never became available."""
    others: OtherInstances | None = None
    """The rest of the instances that it brought; null if all are in `instances`."""
    failures: Annotated[tuple[Failure, ...], Field(max_length=MOST_FAILURES)] = ()
    """The causes that were active while it was open, the oldest first, at most 8."""
    failures_omitted: Count = 0
    """How many more causes there were."""
    paused: bool = False
    """Whether its way on was for a time in somebody's hands (paused, or waiting for deletions), who made it last."""


class NamedRecord(RolloutRecord):
    """A record with the name of the MCPServerRollout that holds it."""

    name: _Name
    """Name of the MCPServerRollout object, in the server's namespace: `<server>-<ten characters>`."""
