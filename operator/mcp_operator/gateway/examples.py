"""Examples for the API's description: a short story of one server, told by the same encoder and framing as every stream.

`describing` shows them. They are made at start, so they can't be other than what is sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from mcp_operator.eventlog.encoding import encode, timestamp
from mcp_operator.eventlog.log import EventId, Record, Subject
from mcp_operator.gateway import framing
from mcp_operator.gateway.charting import point
from mcp_operator.model.causes import Cause
from mcp_operator.model.events import (
    Event,
    EventType,
    InstanceMetrics,
    InstanceProgress,
    KubernetesPayload,
    LogLevel,
    LogPayload,
    MetricsPayload,
    Payload,
    ProgressPayload,
    ResponseKind,
    ResponsePayload,
    RevisionProgress,
    StatusPayload,
    Unavailable,
)
from mcp_operator.model.operations import InstanceStep, OperationKind, Outcome
from mcp_operator.model.records import Failure, InstanceRecord, NamedRecord, Phases
from mcp_operator.model.servers import ServerName
from mcp_operator.model.statuses import Condition, ConditionType, Status

_SERVER: Final = ServerName("default", "weather")
_UID: Final = "6b1f6a52-5d2c-4b1f-9a35-0c8d1f4f7a11"
_NOON: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
_EPOCH: Final = "a33cfacdbb"
_INSTANCE: Final = "weather-7d4b9c6f58-x2x7q"
_REVISION: Final = "7d4b9c6f58"
_OPERATION: Final = "0d2c7c1e-8f0f-4a55-9d0b-3f2a6f0f6c21-4"

_STORY: Final[Sequence[tuple[str, Payload]]] = (
    (
        "status/CrashLoopBackOff",
        StatusPayload(
            status=Status.DEPLOYING,
            generation=4,
            instances=1,
            desired=2,
            updated=1,
            available=1,
            terminating=0,
            reason="RolloutBlocked",
            message="A rollout is under way, but its new instances crash",
            revision=_REVISION,
            operation=_OPERATION,
            causes=(
                Cause(
                    id="5b0c1f8e",
                    reason="CrashLoopBackOff",
                    message="Container mcp exits with 1 soon after its start: KeyError: 'WEATHER_API_KEY'",
                    instance=_INSTANCE,
                    container="mcp",
                    revision=_REVISION,
                    exit_code=1,
                    since=_NOON,
                ),
            ),
            conditions=(
                Condition(
                    type=ConditionType.READY,
                    status="False",
                    reason="RolloutBlocked",
                    message="A rollout is under way, but its new instances crash",
                    observed_generation=4,
                    last_transition_time=_NOON,
                ),
            ),
        ),
    ),
    (
        "progress/40",
        ProgressPayload(
            operation=_OPERATION,
            kind=OperationKind.ROLLOUT,
            percent=40,
            outcome=None,
            stalled_since=None,
            remaining_seconds=9,
            desired=2,
            updated=1,
            ready=1,
            available=1,
            old=1,
            terminating=0,
            deadline_seconds=600,
            revisions=(
                RevisionProgress(
                    revision=_REVISION, current=True, instances=(InstanceProgress(name=_INSTANCE, step=InstanceStep.PULLED),)
                ),
            ),
        ),
    ),
    (
        "metrics/12:00:00",
        MetricsPayload(
            cpu=12.5,
            cpu_millicores=62.5,
            memory=48,
            memory_bytes=48 * 1024 * 1024,
            memory_percent=37.5,
            requests=None,
            requests_per_second=None,
            errors=None,
            in_flight=None,
            requests_source=None,
            per_instance=(
                InstanceMetrics(
                    name=_INSTANCE,
                    cpu=12.5,
                    cpu_millicores=62.5,
                    memory=48,
                    memory_bytes=48 * 1024 * 1024,
                    memory_percent=37.5,
                    requests=None,
                    requests_per_second=None,
                    errors=None,
                    in_flight=None,
                    sampled_at=_NOON - timedelta(seconds=4),
                    window_seconds=15.2,
                ),
            ),
            unavailable=(
                Unavailable(
                    fields=("requests", "requestsPerSecond", "errors", "inFlight"),
                    reason="NoPrometheusEndpoint",
                    message="spec.metrics.prometheus doesn't say where requests are counted",
                ),
            ),
            sampled_at=_NOON,
        ),
    ),
    (
        "log/mcp/1",
        LogPayload(
            level=LogLevel.WARN,
            msg="upstream timed out, trying again",
            instance=_INSTANCE,
            container="mcp",
            timestamp="2026-11-23T12:00:00.731237224Z",
            fields={"logger": "weather.upstream", "attempt": 2},
        ),
    ),
    (
        "call/1",
        ResponsePayload(call="c0ffee", seq=3, kind=ResponseKind.PROGRESS, message="2 of 5 cities read"),
    ),
    (
        "kubernetes/3f0c/1",
        KubernetesPayload(
            reason="FailedPreStopHook",
            message="PreStopHook failed: command '/drain' exited with 1",
            kind="Pod",
            name=_INSTANCE,
            count=1,
        ),
    ),
)


def _records() -> dict[EventType, Record]:
    """The story as the log would hold it: an event of each type, one second after the other."""
    records = {}
    for seq, (key, payload) in enumerate(_STORY, start=1):
        event = Event(_SERVER, _UID, f"{_UID}/{key}", payload)
        event_id = EventId(_EPOCH, seq)
        data = encode(event, event_id=event_id, time=_NOON + timedelta(seconds=seq))
        records[event.type] = Record(event_id, event.type, Subject(_SERVER, _UID), last_word=False, data=data)
    return records


_RECORDS: Final = _records()
_HEAD: Final = EventId(_EPOCH, len(_RECORDS))
_TIME: Final = _NOON + timedelta(seconds=len(_RECORDS))


def event(type_: EventType) -> dict[str, Any]:
    """An event of this type."""
    decoded: dict[str, Any] = json.loads(_RECORDS[type_].data)
    return decoded


def control_frames() -> Mapping[str, dict[str, Any]]:
    """A control frame of each kind."""
    frames = {
        "hello": framing.hello_frame(time=_TIME, retry_ms=2604, heartbeat_seconds=15, cursor=_HEAD),
        "bookmark": framing.bookmark_frame(time=_TIME, cursor=_HEAD),
        "reset": framing.reset_frame(time=_TIME, cursor=_HEAD, reason="expired", named=True),
        "dropped": framing.dropped_frame(
            time=_TIME, types=[EventType.LOG], count=17, after=EventId(_EPOCH, 1), before=_HEAD, named=True
        ),
        "bye": framing.bye_frame(time=_TIME, retry_ms=1820, cursor=_HEAD, reason="shutdown"),
    }
    return {name: json.loads(frame.split(b"data: ", 1)[1].split(b"\n", 1)[0]) for name, frame in frames.items()}


def stream() -> str:
    """The beginning of a stream: `hello`, a snapshot, a `bookmark`, an event, a heartbeat."""
    frames = (
        framing.hello_frame(time=_TIME, retry_ms=2604, heartbeat_seconds=15, cursor=EventId(_EPOCH, 3)),
        framing.snapshot_frame(_RECORDS[EventType.STATUS], named=True),
        framing.bookmark_frame(time=_TIME, cursor=EventId(_EPOCH, 3)),
        framing.event_frame(_RECORDS[EventType.LOG], named=True),
        framing.HEARTBEAT,
    )
    return b"".join(frames).decode()


def snapshot() -> dict[str, Any]:
    """What GET /api/servers/{id} answers."""
    events = {type_.value: event(type_) for type_ in (EventType.STATUS, EventType.PROGRESS, EventType.METRICS)}
    return {"server": str(_SERVER), "uid": _UID, **events}


def server_list() -> dict[str, Any]:
    """What GET /api/servers answers."""
    return {"items": [snapshot()], "cursor": str(_HEAD)}


def metrics_history() -> dict[str, Any]:
    """What GET /api/servers/{id}/metrics answers."""
    return {
        "server": str(_SERVER),
        "uid": _UID,
        "from": timestamp(_TIME - timedelta(minutes=15)),
        "to": timestamp(_TIME),
        "sliceSeconds": None,
        "points": [point([event(EventType.METRICS)])],
        "dropped": [],
        "cursor": str(_HEAD),
    }


def page() -> dict[str, Any]:
    """What GET /api/events answers to a client that accepts JSON and has a cursor."""
    log = event(EventType.LOG)
    return {"events": [log], "next": str(_HEAD), "reset": None, "snapshot": None, "dropped": [], "more": False}


def rollout_list() -> dict[str, Any]:
    """What GET /api/servers/{id}/rollouts answers."""
    record = NamedRecord(
        name="weather-3f2a9c1b04",
        id=_OPERATION,
        kind=OperationKind.ROLLOUT,
        server=str(_SERVER),
        uid=_UID,
        revision=_REVISION,
        before=2,
        desired=2,
        started_at=_NOON,
        ended_at=_NOON + timedelta(seconds=31),
        outcome=Outcome.SUCCEEDED,
        percent=100,
        instances=(
            InstanceRecord(
                name=_INSTANCE,
                created_at=_NOON,
                phases=Phases(scheduled=0, started=2, ready=20, available=0),
                seconds=22,
            ),
        ),
        failures=(
            Failure(
                id="5b0c1f8e",
                reason="CrashLoopBackOff",
                message="Container mcp exits with 1 soon after its start: KeyError: 'WEATHER_API_KEY'",
                instance=_INSTANCE,
                container="mcp",
                exit_code=1,
                since=_NOON + timedelta(seconds=3),
                until=_NOON + timedelta(seconds=31),
            ),
        ),
    )
    return {"items": [record.to_json_object()]}
