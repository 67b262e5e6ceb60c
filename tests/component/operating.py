"""The cluster side of the operator against the fake API server: the test plays people and Kubernetes' controllers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry

from mcp_operator.apiserver.kinds import DEPLOYMENT, SERVICE
from mcp_operator.cluster.running import Cluster
from mcp_operator.eventlog.log import EventId, Gap, Selection
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.model.servers import ServerName
from tests.builders import counting, having, labelled, mcpserver, observed, owned_by, pod, ready, replicaset, scheduled, started
from tests.component.fake_api import FakeApi, running, until
from tests.contract import event_of

Object: TypeAlias = dict[str, Any]


class Operator:
    """One operator process, as far as it deals with the cluster."""

    def __init__(self, api: FakeApi, cluster: Cluster, log: MemoryLog, registry: CollectorRegistry) -> None:
        self.cluster = cluster
        self._api = api
        self._log = log
        self._registry = registry

    async def told(self, type_: str | None = None, **payload: Any) -> list[Object]:
        """The events told so far, of one type and with these fields."""
        batch = await self._log.read(EventId(self._log.head.epoch, 0), Selection(), limit=10_000)
        assert not isinstance(batch, Gap)
        events = [event_of(record) for record in batch.records]
        return [
            event
            for event in events
            if type_ in {None, event["type"]} and all(event.get(name) == value for name, value in payload.items())
        ]

    async def tells(self, type_: str, **payload: Any) -> Object:
        """Wait for an event of this type with these fields; the newest such."""
        async with asyncio.timeout(60):
            while True:
                head = self._log.head
                if found := await self.told(type_, **payload):
                    return found[-1]
                await self._log.wait(head)

    async def rests(self, name: str = "weather") -> None:
        """Wait until it has heard of both children of a server and has nothing left to reconcile."""
        server, families, queue = ServerName("default", name), self.cluster._families, self.cluster._reconciler._queue
        await until(
            lambda: all(families.named(kind, server) for kind in (DEPLOYMENT, SERVICE)) and not queue._running and not queue._due
        )

    def count(self, name: str, **labels: str) -> float:
        return self._registry.get_sample_value(f"mcp_operator_{name}_total", labels) or 0


@asynccontextmanager
async def operating(api: FakeApi, *, namespaces: tuple[str, ...] = ()) -> AsyncIterator[Operator]:
    """An operator that has read the cluster, for the duration of the block."""
    log, registry = MemoryLog(capacity=10_000), CollectorRegistry()
    cluster = Cluster(log=log, namespaces=namespaces, instance="test", registry=registry, load=api.configuration)
    async with running(cluster.run()):
        await until(cluster.synced)
        yield Operator(api, cluster, log, registry)


def apply_server(api: FakeApi, name: str = "weather", **spec: Any) -> Object:
    """What `kubectl apply` of an MCPServer does; a UID of its own for each object."""
    held = api.objects["mcpservers"].get(("default", name))
    if held is None:
        body = mcpserver(name, spec=spec)
        del body["metadata"]["uid"]
        return api.put("mcpservers", body)
    body = api.get("mcpservers", name)
    body["spec"] |= spec
    return api.put("mcpservers", body)


def delete_server(api: FakeApi, name: str = "weather") -> None:
    """Delete an MCPServer and, as the garbage collector does, its children but not yet the pods."""
    api.remove("mcpservers", "default", name)
    for plural in ("deployments", "services", "replicasets"):
        for key in [key for key in api.objects[plural] if key[1].startswith(name)]:
            api.remove(plural, *key)


def begin(api: FakeApi, name: str = "weather") -> None:
    """Play the Deployment controller up to the moment at which it has seen what is wanted and has made no pod yet."""
    deployment = api.get("deployments", name)
    observed(deployment["metadata"]["generation"])(deployment)
    api.put("deployments", deployment)


async def settle(api: FakeApi, name: str = "weather", *, revision: str = "7d4b9") -> None:
    """Play the controllers until the Deployment, once it is there, has all its pods ready."""
    await until(lambda: ("default", name) in api.objects["deployments"])
    deployment = api.get("deployments", name)
    wanted = deployment["spec"]["replicas"]
    labels = labelled({**deployment["spec"]["selector"]["matchLabels"], "pod-template-hash": revision})
    replica_set = api.put(
        "replicasets",
        replicaset(
            f"{name}-{revision}",
            labels,
            owned_by(deployment),
            having("spec.template", deployment["spec"]["template"]),
            having("metadata.uid", f"{deployment['metadata']['uid']}-{revision}"),
        ),
    )
    for number in range(wanted):
        identity = having("metadata.uid", f"{replica_set['metadata']['uid']}-{number}")
        address = having("status.podIP", "127.0.0.1")
        body = pod(
            f"{name}-{revision}-{number}", labels, owned_by(replica_set), identity, scheduled(), started(), ready(), address
        )
        api.put("pods", body)
    for key in [key for key in api.objects["pods"] if key[1].startswith(f"{name}-")]:
        if not key[1].startswith(f"{name}-{revision}-") or int(key[1].rpartition("-")[2]) >= wanted:
            api.remove("pods", *key)
    deployment = api.get("deployments", name)
    for modify in (
        counting(wanted=wanted, updated=wanted, ready=wanted, available=wanted),
        observed(deployment["metadata"]["generation"]),
    ):
        modify(deployment)
    api.put("deployments", deployment)


def condition(api: FakeApi, kind: str, name: str = "weather") -> Mapping[str, Any]:
    """A condition of an MCPServer's status; empty while there is none."""
    status = api.get("mcpservers", name).get("status") or {}
    return next((each for each in status.get("conditions", ()) if each["type"] == kind), {})
