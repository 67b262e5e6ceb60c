"""Causes: classified troubles of a server."""

from enum import StrEnum

from mcp_operator.model.base import Model


class CauseState(StrEnum):
    """A cause is told when it appears and when it is over."""

    ACTIVE = "active"
    RECOVERED = "recovered"


class Cause(Model):
    """One trouble with its reason, told once however many instances have it.

    The id is a digest of the cause's signature (reason, container, revision, the stable part of the message): counts,
    durations and pod names are left out, so that the same trouble in another pod is the same cause.
    """

    id: str
    reason: str
    """One stable CamelCase word: people write switch statements on it."""
    message: str
    """A sentence that a person can act on; bounded, single-line, printable."""
    instance: str | None = None
    """Name of one pod that has it: the oldest that still does."""
    container: str | None = None
    revision: str | None = None
    """The pod-template-hash of the instances that have it."""
    exit_code: int | None = None
    signal: int | None = None
    count: int = 1
    """Instances that have it now; of a recovered one: that had it last."""
    state: CauseState = CauseState.ACTIVE
