"""Causes: classified troubles of a server."""

from datetime import datetime
from enum import StrEnum

from mcp_operator.model.base import Count, Model, Sentence, Word


class CauseState(StrEnum):
    """A cause is told when it appears and when it is over."""

    ACTIVE = "active"
    RECOVERED = "recovered"


class Cause(Model):
    """One trouble with its reason, told once however many instances have it.

    The id is a digest of the cause's signature (reason, container, revision, the stable part of the message): counts,
    durations and pod names are left out, so that the same trouble in another pod is the same cause.
    """

    id: Word
    """The same for as long as the trouble is the same."""
    reason: Word
    """One stable CamelCase word: people write switch statements on it."""
    message: Sentence
    """A sentence that a person can act on; bounded, single-line, printable."""
    instance: Word | None = None
    """Name of one pod that has it: the oldest that still does."""
    container: Word | None = None
    """Name of the container that has it; null where it isn't a container's."""
    revision: Word | None = None
    """The pod-template-hash of the instances that have it; of a StatefulSet's the controller-revision-hash."""
    exit_code: int | None = None
    """Of a crash: what the container's process returned."""
    signal: int | None = None
    """Of a crash: the signal that ended the container's process."""
    count: Count = 1
    """Instances that have it now; of a recovered one: that had it last."""
    since: datetime
    """When it was first seen."""
    state: CauseState = CauseState.ACTIVE
    """Whether it lasts."""
