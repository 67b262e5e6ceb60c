"""What is known about a server after an event: the fold from which any log makes its snapshots."""

from __future__ import annotations

from dataclasses import replace

from mcp_operator.eventlog.log import Record, ServerSnapshot
from mcp_operator.model.events import (
    Event,
    KubernetesPayload,
    LogPayload,
    MetricsPayload,
    ProgressPayload,
    ResponsePayload,
    StatusPayload,
)
from mcp_operator.model.statuses import Status


def is_last_word(event: Event) -> bool:
    """Whether nothing comes after it for its server: it says `deleted`."""
    return isinstance(event.payload, StatusPayload) and event.payload.status is Status.DELETED


def fold(known: ServerSnapshot | None, event: Event, record: Record) -> ServerSnapshot:
    """What is known about a server once this event of it is in the log as `record`."""
    if known is None:
        known = ServerSnapshot(subject=record.subject, phase=None, status=None, progress=None)
    elif known.subject is not record.subject:
        known = replace(known, subject=record.subject)
    match event.payload:
        case StatusPayload(status=Status.DELETED):
            return replace(known, phase=Status.DELETED, status=record, progress=None)
        case StatusPayload(status=status):
            return replace(known, phase=status, status=record)
        case ProgressPayload(outcome=None):
            return replace(known, progress=record)
        case ProgressPayload():
            return replace(known, progress=None)
        case MetricsPayload():
            return replace(known, metrics=record)
        case LogPayload() | ResponsePayload() | KubernetesPayload():
            return known
