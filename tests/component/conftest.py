"""A gateway on loopback over a log in memory: the test writes the log, subscribers are real HTTP clients."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from local_stack.sse import Message, Parser
from mcp_operator.eventlog.log import EventId, EventLog
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.gateway.listening import ConnectionLimits
from mcp_operator.gateway.options import Engine, HttpOptions, StreamOptions
from mcp_operator.gateway.rollouts import Records
from mcp_operator.gateway.serving import Gateway
from mcp_operator.model.events import Event
from tests.contract import contract, kept

PATIENCE_SECONDS = 60
"""Longest wait for something that must come. A test that gets this far has failed."""


class Subscriber:
    """A client of one event stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.parser = Parser()
        self.received = b""
        self._heard: list[Message] = []

    async def next(self) -> Message:
        """The next event of whatever type; fails at the end of the stream."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self._heard:
                assert await self._receive(), f"the stream ended after {self.received!r}"
        return self._heard.pop(0)

    async def take(self, count: int) -> list[Message]:
        return [await self.next() for _ in range(count)]

    async def until(self, event: str) -> list[Message]:
        """All events up to the first of this type, which is the last of them."""
        messages = [await self.next()]
        while messages[-1].event != event:
            messages.append(await self.next())
        return messages

    async def rest(self) -> list[Message]:
        """All events until the server ends the stream."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self._receive():
                pass
        return self._heard

    async def comments(self, count: int) -> None:
        """Wait for so many comment lines."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.parser.comments < count:
                assert await self._receive()

    async def _receive(self) -> bool:
        piece = await self.response.content.readany()
        self.received += piece
        self._heard += kept(self.parser.feed(piece))
        return bool(piece)


@dataclass
class Loopback:
    """A running gateway and what surrounds it."""

    log: EventLog
    gateway: Gateway
    session: aiohttp.ClientSession
    registry: CollectorRegistry
    url: str = ""
    health_url: str = ""
    synced: bool = True

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    async def tell(self, *events: Event) -> list[EventId]:
        return [await self.log.append(event) for event in events]

    @asynccontextmanager
    async def subscribe(self, path: str, *, cursor: object = None, **headers: str) -> AsyncIterator[Subscriber]:
        """Open a stream; `cursor` goes into Last-Event-ID."""
        if cursor is not None:
            headers["Last-Event-ID"] = str(cursor)
        async with self.session.get(self.url + path, headers=headers) as response:
            assert response.status == 200, await response.text()
            yield Subscriber(response)

    async def get(self, path: str, *, headers: Mapping[str, str] | None = None, method: str = "GET") -> tuple[int, Any]:
        """Status and JSON of an answer that isn't a stream; None for an empty one."""
        async with self.session.request(method, self.url + path, headers=headers) as response:
            body = await response.read()
            contract().check_answer(
                method=method, path=response.url.path, status=response.status, content_type=response.content_type, body=body
            )
            return response.status, json.loads(body) if body else None

    def figure(self, name: str, **labels: str) -> float:
        """One of the gateway's metrics, as Prometheus would see it."""
        return self.registry.get_sample_value(name, labels) or 0


StartGateway: TypeAlias = Callable[..., Awaitable[Loopback]]

one_engine = pytest.mark.parametrize("start_gateway", [Engine.SOCKET], indirect=True)
"""For stories that open no stream: what else the gateway answers never comes to where the engines differ."""


@pytest.fixture(params=list(Engine))
async def start_gateway(request: pytest.FixtureRequest) -> AsyncIterator[StartGateway]:
    """Start a gateway with a short log, a quick heartbeat ... as the story needs it; it is stopped after the test.

    Each story is told twice: with streams that leave aiohttp and with streams that stay with it.

    Fields of `StreamOptions` are given as they are, those of `HttpOptions` in `http`.
    """
    async with AsyncExitStack() as stack:

        async def start(
            *,
            log: EventLog | None = None,
            capacity: int = 1000,
            http: Mapping[str, Any] = MappingProxyType({}),
            records: Records | None = None,
            **streams: Any,
        ) -> Loopback:
            registry = CollectorRegistry()
            log = log or MemoryLog(capacity=capacity)
            gateway = Gateway(
                log=log,
                synced=lambda: started.synced,
                records=records,
                registry=registry,
                http=HttpOptions(**{"host": "127.0.0.1", "port": 0, "health_port": 0, **http}),
                streams=StreamOptions(**{"heartbeat_seconds": 60, "engine": request.param, **streams}),
            )
            session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)))
            started = Loopback(log=log, gateway=gateway, session=session, registry=registry)
            ports = await gateway.start()
            stack.push_async_callback(gateway.stop)
            started.url = f"http://127.0.0.1:{ports.gateway}"
            started.health_url = f"http://127.0.0.1:{ports.health}"
            return started

        yield start


StartStrict: TypeAlias = Callable[..., Awaitable[Loopback]]


@pytest.fixture
async def start_strict() -> AsyncIterator[StartStrict]:
    """Start a gateway with given limits of connections."""
    async with AsyncExitStack() as stack:

        async def start(*, log: MemoryLog | None = None, heartbeat_seconds: float = 60, **limits: Any) -> Loopback:
            registry = CollectorRegistry()
            log = log or MemoryLog(capacity=10_000)
            gateway = Gateway(
                log=log,
                synced=lambda: True,
                registry=registry,
                http=HttpOptions(host="127.0.0.1", port=0, health_port=0),
                streams=StreamOptions(heartbeat_seconds=heartbeat_seconds, drain_seconds=0),
                connections=ConnectionLimits(**limits),
            )
            session = await stack.enter_async_context(aiohttp.ClientSession())
            ports = await gateway.start()
            stack.push_async_callback(gateway.stop)
            url, health_url = (f"http://127.0.0.1:{port}" for port in (ports.gateway, ports.health))
            return Loopback(log=log, gateway=gateway, session=session, registry=registry, url=url, health_url=health_url)

        yield start


@pytest.fixture
def own_garbage() -> Iterator[None]:
    """A collection within the test looks through what the test has made, not through what thousands of tests before it left."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@pytest.fixture
async def loopback(start_gateway: StartGateway) -> Loopback:
    """A gateway with ordinary settings."""
    return await start_gateway()
