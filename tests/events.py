"""Events for tests of the log and the gateway: short stories of servers, told with the vocabulary of `model`."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mcp_operator.model.events import (
    Event,
    Follow,
    KubernetesPayload,
    LogLevel,
    LogPayload,
    MetricsPayload,
    ProgressPayload,
    ResponseKind,
    ResponsePayload,
    StatusPayload,
)
from mcp_operator.model.operations import OperationKind, Outcome
from mcp_operator.model.servers import ServerName
from mcp_operator.model.statuses import Status


def uid_of(server: str, life: int = 1) -> str:
    """The UID of the object that has this name ("namespace/name") in its first, second ... life."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{server}#{life}"))


def labelled(event: Event, **labels: str) -> Event:
    """The same when the server had these labels."""
    return replace(event, labels=tuple(sorted(labels.items())))


def status(server: str, said: Status = Status.RUNNING, *, life: int = 1, key: str = "", **fields: Any) -> Event:
    """One server's status changed."""
    uid = uid_of(server, life)
    payload = {
        "status": said,
        "generation": 1,
        "instances": 1,
        "desired": 1,
        "updated": 1,
        "available": 1,
        "terminating": 0,
        "reason": said.value.capitalize(),
        "message": f"The server is {said}",
        "revision": "7d4b9",
        "operation": None,
        "causes": (),
        "conditions": (),
        **fields,
    }
    return Event(ServerName.parse(server), uid, key or f"{uid}/{said}", StatusPayload.model_validate(payload))


def progress(server: str, percent: int, *, life: int = 1, outcome: Outcome | None = None, key: str = "", **fields: Any) -> Event:
    """One server's operation went on, or ended."""
    uid = uid_of(server, life)
    payload = {
        "operation": f"{uid}-1",
        "kind": OperationKind.ROLLOUT,
        "percent": percent,
        "outcome": outcome,
        "stalled_since": None,
        "remaining_seconds": None,
        "desired": 1,
        "updated": 1,
        "ready": 0,
        "available": 0,
        "old": 0,
        "terminating": 0,
        "deadline_seconds": 600,
        "revisions": (),
        **fields,
    }
    return Event(ServerName.parse(server), uid, key or f"{uid}/1/{percent}", ProgressPayload.model_validate(payload))


def line(
    server: str, msg: str = "ready", *, level: LogLevel = LogLevel.INFO, life: int = 1, key: str = "", **fields: Any
) -> Event:
    """One of one server's containers printed a line."""
    return _log(server, life, key or f"{uid_of(server, life)}/{msg:.60}", {"level": level, "msg": msg, **fields})


def follow(server: str, said: Follow = Follow.STARTED, *, life: int = 1, **fields: Any) -> Event:
    """The log of one server's container begins or ceases to be told."""
    payload = {"level": None, "msg": f"The log is followed: {said}", "timestamp": None, "follow": said, **fields}
    return _log(server, life, f"{uid_of(server, life)}/{said}", payload)


def _log(server: str, life: int, key: str, fields: dict[str, Any]) -> Event:
    payload = {"instance": "weather-7d4b9-0", "container": "mcp", "timestamp": "2026-11-23T12:00:00.000000001Z", **fields}
    return Event(ServerName.parse(server), uid_of(server, life), key, LogPayload.model_validate(payload))


def response(
    server: str,
    seq: int = 1,
    kind: ResponseKind = ResponseKind.PROGRESS,
    *,
    call: str = "call-1",
    life: int = 1,
    key: str = "",
    **fields: Any,
) -> Event:
    """One server took a step in answering a call."""
    uid = uid_of(server, life)
    payload = {"call": call, "seq": seq, "kind": kind, "message": None, **fields}
    return Event(ServerName.parse(server), uid, key or f"{uid}/{call}/{seq}", ResponsePayload.model_validate(payload))


def metrics(server: str, cpu: float | None = 12.5, *, life: int = 1, key: str = "", **fields: Any) -> Event:
    """One server was measured."""
    uid = uid_of(server, life)
    payload = {
        "cpu": cpu,
        "cpu_millicores": 125,
        "memory": 48,
        "memory_bytes": 48 * 1024 * 1024,
        "memory_percent": 37.5,
        "requests": None,
        "requests_per_second": None,
        "errors": None,
        "in_flight": None,
        "requests_source": None,
        "per_instance": (),
        "unavailable": (),
        "sampled_at": datetime(2026, 11, 23, 12, tzinfo=UTC),
        **fields,
    }
    return Event(ServerName.parse(server), uid, key or f"{uid}/metrics/{cpu}", MetricsPayload.model_validate(payload))


def warning(
    server: str, count: int = 1, *, reason: str = "FailedPreStopHook", life: int = 1, key: str = "", **fields: Any
) -> Event:
    """Kubernetes warned of one of one server's objects."""
    uid = uid_of(server, life)
    subject = {"kind": "Pod", "name": "weather-7d4b9-0"}
    payload = {"reason": reason, "message": "PreStopHook failed", **subject, "count": count, **fields}
    return Event(ServerName.parse(server), uid, key or f"{uid}/{reason}/{count}", KubernetesPayload.model_validate(payload))
