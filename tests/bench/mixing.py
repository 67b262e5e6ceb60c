"""Events as a busy cluster makes them: 100 servers of three instances whose logs are followed and whose metrics are sampled.

Of 100 events 85 are log lines of about 300 bytes, 10 metrics, 4 progress and 1 status.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from mcp_operator.model.events import (
    Event,
    EventType,
    InstanceMetrics,
    InstanceProgress,
    LogLevel,
    LogPayload,
    MetricsPayload,
    ResponseKind,
    ResponsePayload,
    RevisionProgress,
)
from mcp_operator.model.operations import InstanceStep
from mcp_operator.model.servers import ServerName
from tests.events import progress, status, uid_of, warning

SERVERS = 100
MIX = "85 % log lines of 300 bytes, 10 % metrics, 4 % progress, 1 % status"

_START = datetime(2026, 11, 23, 9, 0, 0, tzinfo=UTC)
_NAMES = tuple(ServerName("tools", f"server-{number:03}") for number in range(SERVERS))
_UIDS = tuple(uid_of(str(name)) for name in _NAMES)
_INSTANCES = tuple(tuple(f"{name.name}-7d4b9c6f5-{suffix}" for suffix in ("x2x7q", "k8d2m", "p5h9w")) for name in _NAMES)
_REVISION = "7d4b9c6f5"
_LINE = "tool call finished: name=search_documents duration=0.183s result=ok rows=42 cache=miss upstream=index-3 trace="


def log(number: int) -> Event:
    """The line number so-and-so of all."""
    server = number % SERVERS
    instance = _INSTANCES[server][number % 3]
    timestamp = (_START + timedelta(microseconds=number)).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    payload = LogPayload(
        level=LogLevel.INFO,
        msg=f"{_LINE}{number:0190x}",
        instance=instance,
        container="mcp",
        timestamp=timestamp,
    )
    return Event(_NAMES[server], _UIDS[server], f"{_UIDS[server]}/{instance}/mcp/{timestamp}", payload)


def metrics(number: int) -> Event:
    """A sample of one server's three instances."""
    server = number % SERVERS
    cpu, memory = 3.0 + number % 40, 90.5 + number % 20
    each = tuple(
        InstanceMetrics(
            name=name,
            cpu=cpu,
            cpu_millicores=cpu * 10,
            memory=memory,
            memory_bytes=int(memory * 2**20),
            memory_percent=memory / 2.56,
            requests=float(number),
            requests_per_second=cpu / 4,
            errors=float(number % 40),
            in_flight=float(number % 3),
            sampled_at=_START,
            window_seconds=15.2,
        )
        for name in _INSTANCES[server]
    )
    sampled_at = _START + timedelta(milliseconds=number)
    payload = MetricsPayload(
        cpu=3 * cpu,
        cpu_millicores=30 * cpu,
        memory=3 * memory,
        memory_bytes=3 * int(memory * 2**20),
        memory_percent=memory / 2.56,
        requests=3.0 * number,
        requests_per_second=3 * cpu / 4,
        errors=3.0 * (number % 40),
        in_flight=3.0 * (number % 3),
        requests_source=None,
        per_instance=each,
        unavailable=(),
        sampled_at=sampled_at,
    )
    return Event(_NAMES[server], _UIDS[server], f"{_UIDS[server]}/metrics/{sampled_at.isoformat()}", payload)


def step(number: int) -> Event:
    """An instance of a rollout of three has taken a step."""
    server = number % SERVERS
    steps = (InstanceStep.AVAILABLE, InstanceStep.STARTED, InstanceStep.CREATED)
    instances = tuple(InstanceProgress(name=name, step=each) for name, each in zip(_INSTANCES[server], steps, strict=True))
    revision = RevisionProgress(revision=_REVISION, current=True, instances=instances)
    return progress(str(_NAMES[server]), number % 100, desired=3, updated=3, ready=1, available=1, revisions=(revision,))


def change(number: int) -> Event:
    """Another status of a server."""
    server = str(_NAMES[number % SERVERS])
    return status(server, instances=number % 4, desired=3, key=f"{uid_of(server)}/status/{number:016x}", revision=_REVISION)


def answer(number: int) -> Event:
    """A step of a tool call that one server works on."""
    server = number % SERVERS
    call = f"{_UIDS[server][:8]}-{number // 10:08}"
    payload = ResponsePayload(call=call, seq=1 + number % 10, kind=ResponseKind.PROGRESS, message="42 of 100 documents searched")
    return Event(_NAMES[server], _UIDS[server], f"{call}/{payload.seq}", payload)


def warn(number: int) -> Event:
    """Kubernetes warned of an instance of one server."""
    server = number % SERVERS
    return warning(str(_NAMES[server]), count=1 + number // SERVERS, name=_INSTANCES[server][0])


OF_TYPE: Mapping[EventType, Callable[[int], Event]] = {
    EventType.STATUS: change,
    EventType.PROGRESS: step,
    EventType.METRICS: metrics,
    EventType.LOG: log,
    EventType.RESPONSE: answer,
    EventType.KUBERNETES: warn,
}


def mixed(count: int) -> Iterator[Event]:
    """So many events, one made at a time."""
    for number in range(count):
        match number % 100:
            case 0:
                # Each server in turn: the hundreds name it.
                yield change(number // 100)
            case 1 | 26 | 51 | 76:
                yield step(number // 25)
            case place if place % 10 == 5:
                yield metrics(number // 10)
            case _:
                yield log(number)
