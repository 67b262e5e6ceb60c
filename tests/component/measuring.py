"""The sampler and all that it meets, on loopback: the test plays the servers, their pods, metrics.k8s.io and the listeners."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias

from aiohttp import web
from prometheus_client import CollectorRegistry

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.kinds import DEPLOYMENT, MCP_SERVER, POD, REPLICA_SET
from mcp_operator.cluster.grouping import Families
from mcp_operator.cluster.podmetrics.metrics import SamplingMetrics
from mcp_operator.cluster.podmetrics.sampling import Sampler
from mcp_operator.cluster.telling import Teller
from mcp_operator.cluster.watching import Change
from mcp_operator.eventlog.log import EventId, Gap, Selection
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.model.events import EventType
from mcp_operator.model.servers import ServerName
from tests.builders import deployment, having, mcpserver, pod, ready, replicaset, scheduled, started
from tests.component.fake_api import FakeApi, running
from tests.contract import event_of

Object: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_INSTANCES = re.compile(r"app\.kubernetes\.io/instance(?:=| in \()([a-z0-9,-]*[a-z0-9])")

METRICS = frozenset({EventType.METRICS})


class MeasuringApi(FakeApi):
    """An API server that serves metrics.k8s.io, as it does with metrics-server behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.usage: dict[str, tuple[str, str]] = {}
        """What metrics-server knows: cpu and memory of each pod."""
        self.measured_at = "2026-11-23T05:32:32Z"
        self.asked: list[web.Request] = []
        """Requests to metrics.k8s.io so far."""
        self.away: Handler | None = None
        """Answers in the place of metrics-server."""

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if not request.path.startswith("/apis/metrics.k8s.io/"):
            return await super()._answer(request)
        self.asked.append(request)
        if self.away is not None:
            return await self.away(request)
        items = [
            {
                "metadata": {"name": name, "namespace": "default"},
                "timestamp": self.measured_at,
                "window": "15.2s",
                "containers": [{"name": "mcp", "usage": {"cpu": cpu, "memory": memory}}],
            }
            for name, (cpu, memory) in self.usage.items()
        ]
        return web.json_response({"kind": "PodMetricsList", "metadata": {}, "items": items})


@asynccontextmanager
async def measuring() -> AsyncIterator[MeasuringApi]:
    """Such an API server for the duration of the block."""
    api = MeasuringApi()
    await api.up()
    try:
        yield api
    finally:
        await api.down()


class Stage:
    """A sampler that runs, and what it finds."""

    def __init__(self, api: MeasuringApi, connection: Api) -> None:
        self.api = api
        self.log = MemoryLog(capacity=10_000)
        self.registry = CollectorRegistry()
        self.families = Families()
        self.sampler = Sampler(
            self.families,
            api=connection,
            teller=Teller(self.families, log=self.log),
            metrics=SamplingMetrics(self.registry),
        )

    def apply(self, name: str = "weather", *, instances: int = 1, **metrics: Any) -> str:
        """A server with so many running pods, of which metrics.k8s.io knows; its UID.

        Args:
            metrics: fields of spec.metrics; else a sample is taken only once within a test.
        """
        server = mcpserver(name, spec={"metrics": {"intervalSeconds": 3600, **metrics}})
        self.families.take(MCP_SERVER, Change(old=None, new=server))
        self.families.take(DEPLOYMENT, Change(old=None, new=deployment(name)))
        self.families.take(REPLICA_SET, Change(old=None, new=replicaset(f"{name}-7d4b9")))
        for number in range(instances):
            self.run_pod(f"{name}-7d4b9-{number}", f"127.0.0.{number + 1}")
        uid: str = server["metadata"]["uid"]
        self.sampler.changed(uid)
        return uid

    def run_pod(self, name: str, address: str = "127.0.0.1", *, usage: tuple[str, str] = ("10m", "20Mi")) -> None:
        body = pod(name, scheduled(), started(), ready(), having("status.podIP", address))
        self.families.take(POD, Change(old=None, new=body))
        self.api.usage[name] = usage

    def remove_pod(self, name: str) -> None:
        """The pod is gone; metrics-server still knows it, as it does for a while."""
        body = pod(name, scheduled(), started(), ready())
        self.families.take(POD, Change(old=body, new=None))

    def delete(self, name: str = "weather") -> None:
        """The server is gone; its pods are still there."""
        server = mcpserver(name)
        self.families.take(MCP_SERVER, Change(old=server, new=None))
        self.sampler.changed(server["metadata"]["uid"])

    @contextmanager
    def listening(self, name: str | None = "weather", *, types: frozenset[EventType] = METRICS) -> Iterator[None]:
        """Somebody listens to a server, or (None) to all, while inside the block."""
        servers = frozenset({ServerName("default", name)}) if name is not None else None
        with self.log.listening(Selection(types=types, servers=servers)):
            yield

    async def told(self, name: str = "weather") -> list[Object]:
        """The samples of a server so far."""
        batch = await self.log.read(EventId(self.log.head.epoch, 0), Selection(types=METRICS), limit=10_000)
        assert not isinstance(batch, Gap)
        events = [event_of(record) for record in batch.records]
        return [event for event in events if event["server"] == f"default/{name}"]

    async def tells(self, name: str = "weather", *, samples: int = 1) -> Object:
        """Wait until so many samples of a server were told; the newest."""
        async with asyncio.timeout(60):
            while True:
                head = self.log.head
                if len(told := await self.told(name)) >= samples:
                    return told[-1]
                await self.log.wait(head)

    def asked(self, name: str | None = None) -> int:
        """How often metrics.k8s.io was asked, about one server or at all."""
        selectors = [request.query["labelSelector"] for request in self.api.asked]
        return sum(name is None or name in _INSTANCES.findall(selector)[0].split(",") for selector in selectors)

    def count(self, figure: str, **labels: str) -> float:
        """One of the operator's own figures about sampling."""
        return self.registry.get_sample_value(f"mcp_operator_metrics_{figure}", labels) or 0


@asynccontextmanager
async def staging() -> AsyncIterator[Stage]:
    """A stage for the duration of the block."""
    async with measuring() as api, Api(load=api.configuration) as connection:
        stage = Stage(api, connection)
        async with running(stage.sampler.run()):
            yield stage


@asynccontextmanager
async def pod_listening(handler: Handler, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """Something that answers HTTP on a port of every path, as a pod would; the port."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def answering(text: str | bytes, **options: Any) -> Handler:
    """A pod that answers this."""

    async def answer(_: web.Request) -> web.StreamResponse:
        body = text.encode() if isinstance(text, str) else text
        return web.Response(body=body, **{"content_type": "text/plain", **options})

    return answer


def by_address(handlers: Mapping[str, Handler]) -> Handler:
    """Pods that share a port: each answers at an address of its own."""

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        return await handlers[request.transport.get_extra_info("sockname")[0]](request)

    return answer
