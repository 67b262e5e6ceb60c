"""Followed logs on a small stage: a fake API server with a kubelet behind it, the families, an event log, and listeners."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.kinds import DEPLOYMENT, MCP_SERVER, POD, REPLICA_SET
from mcp_operator.cluster.grouping import Families
from mcp_operator.cluster.podlogs.following import LogFollowing
from mcp_operator.cluster.podlogs.metrics import FollowingMetrics
from mcp_operator.cluster.telling import Teller
from mcp_operator.cluster.watching import Change
from mcp_operator.eventlog.log import EventId, Gap, Selection
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.model.events import EventType
from mcp_operator.model.servers import ServerName
from tests.builders import deployment, having, mcpserver, pod, replicaset
from tests.component.fake_api import FakeApi, running, serving
from tests.component.fake_kubelet import INSTANCE, Kubelet
from tests.contract import event_of

EventJson: TypeAlias = dict[str, Any]


class Stage:
    """Where a server's logs are followed. The API server knows of a pod what `see` has told it last."""

    def __init__(self, api: FakeApi, client: Api, *, linger: float, most: int) -> None:
        self.api = api
        self.kubelet = Kubelet()
        self.log = MemoryLog(capacity=100_000)
        self.families = Families()
        self.registry = CollectorRegistry()
        self.following = LogFollowing(
            self.families,
            api=client,
            teller=Teller(self.families, log=self.log),
            metrics=FollowingMetrics(self.registry),
            linger=linger,
            most=most,
        )
        api.pod_log = self.kubelet.answer
        self._pods: dict[str, Any] = {}

    def apply(self, name: str = "weather", **spec: Any) -> None:
        """A server exists, with its Deployment and ReplicaSet."""
        for kind, body in (
            (MCP_SERVER, mcpserver(name, spec=spec)),
            (DEPLOYMENT, deployment(name)),
            (REPLICA_SET, replicaset(f"{name}-7d4b9")),
        ):
            self._take(kind, Change(old=None, new=body))

    def delete(self, name: str = "weather") -> None:
        """The MCPServer is deleted; its pods aren't gone yet."""
        self._take(MCP_SERVER, Change(old=mcpserver(name), new=None))

    def see(self, instance: str = INSTANCE) -> None:
        """The API server learns how a pod's containers are."""
        statuses = self.kubelet.statuses(instance)
        containers = [{"name": status["name"]} for status in statuses]
        body = pod(instance, having("spec.containers", containers), having("status.containerStatuses", statuses))
        self._take(POD, Change(old=self._pods.get(instance), new=body))
        self._pods[instance] = body

    def forget(self, instance: str = INSTANCE) -> None:
        """The API server learns that a pod is gone."""
        self._take(POD, Change(old=self._pods.pop(instance), new=None))

    def listening(self, name: str = "weather", *, tail: int = 0) -> AbstractContextManager[None]:
        """Somebody listens to a server's log while inside the block."""
        logs = Selection(types=frozenset({EventType.LOG}), servers=frozenset({ServerName("default", name)}))
        return self.log.listening(logs, tail=tail)

    @property
    def lingering(self) -> bool:
        """Whether logs are followed though nobody listens any more."""
        return any(server.ends is not None for server in self.following._servers.values())

    async def events(self) -> list[EventJson]:
        """All log events so far."""
        batch = await self.log.read(EventId(self.log.head.epoch, 0), Selection(), limit=100_000)
        assert not isinstance(batch, Gap)
        return [event_of(record) for record in batch.records]

    async def told(self, container: str = "mcp", *, instance: str = INSTANCE) -> list[str]:
        """What was told of a container: its lines, and `<started>`, `<ended>`, with `, dropped` where lines are missing."""
        return [
            _in_words(event) for event in await self.events() if event["container"] == container and event["instance"] == instance
        ]

    async def tells(self, *expected: str, container: str = "mcp", instance: str = INSTANCE) -> None:
        """Wait until just this was told of a container; fails as soon as something else is."""
        async with asyncio.timeout(60):
            while True:
                head = self.log.head
                told = await self.told(container, instance=instance)
                assert told == list(expected)[: len(told)], f"told {told}, expected {expected}"
                if len(told) == len(expected):
                    return
                await self.log.wait(head)

    def figure(self, name: str) -> float:
        """One of the metrics."""
        return self.registry.get_sample_value(f"mcp_operator_log_{name}") or 0

    def asked(self, **query: str | None) -> Sequence[dict[str, str]]:
        """Requests for logs with these parameters; None: without it."""
        return [asked for asked in self.kubelet.asked if all(asked.get(name) == value for name, value in query.items())]

    def _take(self, kind: Any, change: Change) -> None:
        for uid in self.families.take(kind, change):
            self.following.changed(uid)


@asynccontextmanager
async def stage(*, linger: float = 300, most: int = 500, **spec: Any) -> AsyncIterator[Stage]:
    """A stage with the server `weather`, whose logs are followed as soon as `Stage.listening`."""
    async with serving() as api, Api(load=api.configuration) as client:
        made = Stage(api, client, linger=linger, most=most)
        made.apply(**spec)
        async with running(made.following.run()):
            yield made


def _in_words(event: EventJson) -> str:
    if event["follow"] is None:
        return str(event["msg"])
    return f"<{event['follow']}{', dropped' if event['dropped'] else ''}>"
