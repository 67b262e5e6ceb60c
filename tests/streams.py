"""Events as a gateway sends them, for tests of what the commands show."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from mcp_operator.eventlog.encoding import encode
from mcp_operator.eventlog.log import EventId
from mcp_operator.model.events import Event
from tests.contract import contract

_USUAL: dict[str, dict[str, Any]] = {
    "hello": {"heartbeatSeconds": 15},
    "reset": {"reason": "expired"},
    "dropped": {"types": ["log"], "count": None, "after": "epoch-3", "before": "epoch-8"},
    "bye": {"reason": "shutdown"},
}

NOON = datetime(2026, 11, 23, 12, 0, 0, 123_000, tzinfo=UTC)


def told(*events: Event, snapshot: bool = False) -> list[dict[str, Any]]:
    """The JSON of events that were told one second after the other."""
    bodies = [
        json.loads(encode(event, event_id=EventId("epoch", number), time=NOON + timedelta(seconds=number - 1)))
        for number, event in enumerate(events, start=1)
    ]
    if snapshot:
        bodies = [{**body, "snapshot": True} for body in bodies]
    for body in bodies:
        contract().check_event(body)
    return bodies


def control(name: str, *, second: int = 0, **fields: Any) -> dict[str, Any]:
    """A control frame's JSON."""
    time = (NOON + timedelta(seconds=second)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    frame = {"type": name, "time": time, "cursor": "epoch-7", **_USUAL.get(name, {}), **fields}
    contract().check_event(frame)
    return frame


def cause(reason: str = "CrashLoopBackOff", **fields: Any) -> dict[str, Any]:
    """One cause of a status payload."""
    since = "2026-11-23T11:59:00Z"
    return {"id": reason, "reason": reason, "message": f"it is {reason}", "since": since, **fields}
