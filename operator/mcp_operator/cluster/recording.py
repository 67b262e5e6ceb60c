"""Kubernetes Events on the MCPServer for the big steps of its life, for `kubectl describe` and `kubectl events`.

They are a courtesy: whoever must not miss a step subscribes to the event streams. So they are written beside everything else,
bounded, and dropped when the API server can't take them. Names are made from what happened, so that telling the same step again,
after a restart for instance, meets the Event that is already there.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.errors import ApiError
from mcp_operator.apiserver.kinds import EVENT, MANAGER, MCP_SERVER, Kind
from mcp_operator.cluster.objects import name_of, uid_of
from mcp_operator.cluster.owning import Drift
from mcp_operator.model.base import Object
from mcp_operator.model.operations import OperationKind, Outcome
from mcp_operator.model.statuses import Status
from mcp_operator.rollout.state import State
from mcp_operator.rollout.wording import instances

logger = logging.getLogger(__name__)

_WAITING = 1000
"""Events not written yet; the next ones are dropped."""
_TRIES = 3
_MESSAGE_LIMIT = 1024
"""Kubernetes refuses longer ones."""
_NAMES = {OperationKind.ROLLOUT: "Rollout", OperationKind.SCALE: "Scaling"}
_OUTCOMES = {Outcome.SUCCEEDED: "Succeeded", Outcome.SUPERSEDED: "Superseded", Outcome.CANCELLED: "Cancelled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One big step in the life of a server."""

    reason: str
    """One CamelCase word."""
    message: str
    key: str
    """The same whenever the same step is told again."""
    warning: bool = False


def steps(previous: State | None, current: State) -> Iterator[Step]:
    """The big steps between two states, in their order."""
    before = previous.status if previous is not None else None
    if previous is None:
        yield Step(reason="Created", message="The operator has begun to follow this MCPServer", key="created")
    for ended in current.ended:
        name, outcome = _NAMES[ended.operation.kind], _OUTCOMES[ended.outcome]
        message = f"{name} to {instances(ended.desired)} {ended.outcome.value}"
        yield Step(reason=f"{name}{outcome}", message=message, key=f"{ended.operation.id}/{ended.outcome.value}")
    operation = current.operation
    if operation is not None and (previous is None or previous.operation is None or previous.operation.id != operation.id):
        wanted = current.target.desired if current.target is not None else current.counts.desired
        message = f"{_NAMES[operation.kind]} to {instances(wanted)} started"
        yield Step(reason=f"{_NAMES[operation.kind]}Started", message=message, key=f"{operation.id}/started")
    if current.status is before:
        return
    key = f"{current.status.value}/{current.fingerprint}"
    if current.status in {Status.FAILED, Status.DEGRADED}:
        message = f"{current.reason}: {current.message}"
        yield Step(reason=current.status.value.title(), message=message, key=key, warning=True)
    elif current.status is Status.STOPPED and before is not None:
        yield Step(reason="Stopped", message="No instance is wanted and none is left", key=key)
    elif before in {Status.FAILED, Status.DEGRADED} and current.status is Status.RUNNING:
        yield Step(reason="Recovered", message=f"{instances(current.counts.available)} available again", key=key)


class Recorder:
    """Writes steps as Kubernetes Events, one after the other.

    Args:
        instance: which of several operators reports, the pod's name for instance.
    """

    def __init__(self, api: Api, *, instance: str) -> None:
        self._api = api
        self._instance = instance
        self._waiting: asyncio.Queue[tuple[Object, Step]] = asyncio.Queue(_WAITING)

    def record(self, server: Object, previous: State | None, current: State) -> None:
        """Have the big steps between two states of a server written."""
        for step in steps(previous, current):
            self._put(server, step)

    def record_repair(self, server: Object, kind: Kind, drift: Drift) -> None:
        """Have it written that a child was put back to what the server's spec says."""
        message = f"{kind} {name_of(server)}: {drift}; put back, change the MCPServer instead"
        now = datetime.now(UTC).isoformat()
        self._put(server, Step(reason="DriftRepaired", message=message, key=f"repair/{now}", warning=True))

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            server, step = await self._waiting.get()
            await self._write(server, step)

    def _put(self, server: Object, step: Step) -> None:
        try:
            self._waiting.put_nowait((server, step))
        except asyncio.QueueFull:
            logger.warning("Too many Kubernetes Events are waiting: %s of %s is dropped.", step.reason, name_of(server))

    async def _write(self, server: Object, step: Step) -> None:
        event = self._event(server, step)
        for left in reversed(range(_TRIES)):
            try:
                await self._api.create(EVENT, event["metadata"]["namespace"], event)
            except ApiError as error:
                if error.conflict or error.in_going_namespace:
                    return
                if error.refused or error.gone or not left:
                    logger.warning("The Kubernetes Event %s of %s is not written: %s", step.reason, name_of(server), error)
                    return
                await asyncio.sleep(1)
            else:
                return

    def _event(self, server: Object, step: Step) -> Object:
        name, uid = name_of(server), uid_of(server)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        digest = hashlib.sha256(f"{uid}/{step.key}".encode()).hexdigest()[:16]
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.name,
            "metadata": {"namespace": name.namespace, "name": f"{name.name}.{digest}"},
            "involvedObject": {
                "apiVersion": MCP_SERVER.api_version,
                "kind": MCP_SERVER.name,
                "namespace": name.namespace,
                "name": name.name,
                "uid": uid,
            },
            "type": "Warning" if step.warning else "Normal",
            "reason": step.reason,
            "message": step.message[:_MESSAGE_LIMIT],
            "source": {"component": MANAGER},
            "reportingComponent": MANAGER,
            "reportingInstance": self._instance,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
