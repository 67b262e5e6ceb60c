"""Forwarded connections against an API server that is played here: bytes go both ways, and each trouble has its words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.errors import ApiError
from mcp_operator.apiserver.forwarding import ForwardingConnector, PodPort
from tests.component.conftest import Loopback
from tests.events import line, status
from tests.waiting import until

PORT = 8080
FIRST = (b"\x00" + PORT.to_bytes(2, "little"), b"\x01" + PORT.to_bytes(2, "little"))


class Node:
    """What stands behind the `portforward` subresource: an API server with a kubelet."""

    def __init__(self, behave: Callable[[web.WebSocketResponse], Awaitable[None]]) -> None:
        self._behave = behave
        self.refuse_with: int | None = None
        self.asked: list[str] = []
        self.open = 0
        self.connector: ForwardingConnector

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(str(request.rel_url))
        if self.refuse_with is not None:
            return web.Response(status=self.refuse_with)
        websocket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await websocket.prepare(request)
        self.open += 1
        try:
            await self._behave(websocket)
        finally:
            self.open -= 1
        return websocket


def to_a_server(address: tuple[str, int]) -> Callable[[web.WebSocketResponse], Awaitable[None]]:
    """A pod in which this server listens."""

    async def behave(websocket: web.WebSocketResponse) -> None:
        for first in FIRST:
            await websocket.send_bytes(first)
        reader, writer = await asyncio.open_connection(*address)

        async def downward() -> None:
            while piece := await reader.read(7):  # small pieces: nothing depends on how bytes are cut
                await websocket.send_bytes(b"\x00" + piece)
            await websocket.close()

        down = asyncio.create_task(downward())
        try:
            async for message in websocket:
                assert message.data[0] == 0
                writer.write(message.data[1:])
                await writer.drain()
        finally:
            writer.transport.abort()
            down.cancel()
            await asyncio.gather(down, return_exceptions=True)

    return behave


async def closed_port(websocket: web.WebSocketResponse) -> None:
    """A pod in which nothing listens."""
    for first in FIRST:
        await websocket.send_bytes(first)
    await websocket.send_bytes(b"\x01connection refused")
    await websocket.close()


async def other_protocol(websocket: web.WebSocketResponse) -> None:
    await websocket.send_bytes(b"\x00hello")
    await websocket.send_bytes(b"\x01hello")
    await websocket.close()


@asynccontextmanager
async def forwarded(
    behave: Callable[[web.WebSocketResponse], Awaitable[None]],
) -> AsyncIterator[tuple[Node, aiohttp.ClientSession]]:
    """A session whose every connection is forwarded to a pod."""
    node = Node(behave)
    app = web.Application()
    app.router.add_get("/{path:.*}", node.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()

    async def load() -> Configuration:
        return Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")

    async def find() -> PodPort:
        return PodPort("mcp-operator-system", "mcp-operator-x", PORT)

    try:
        async with Api(load=load) as api:
            node.connector = ForwardingConnector(api, find)
            try:
                async with aiohttp.ClientSession(connector=node.connector, connector_owner=False) as session:
                    yield node, session
            finally:
                await node.connector.stop()
    finally:
        await runner.cleanup()


async def test_requests_and_streams_go_through(loopback: Loopback) -> None:
    await loopback.tell(status("default/weather"), line("default/weather", "x" * 50_000))
    async with forwarded(to_a_server(loopback.address)) as (node, session):
        async with session.get("http://gateway/api/servers") as response:
            assert [item["server"] for item in (await response.json())["items"]] == ["default/weather"]
        async with session.get("http://gateway/api/servers/default:weather/events?tail=1") as stream:
            received = b""
            while b"event: bookmark" not in received:
                received += await stream.content.readany()
            assert b"x" * 50_000 in received
        path = "/api/v1/namespaces/mcp-operator-system/pods/mcp-operator-x/portforward?ports=8080"
        assert set(node.asked) == {path}
    await until(lambda: node.open == 0, "no connection stays")


async def test_a_closed_port_is_told_in_the_words_of_the_node() -> None:
    async with forwarded(closed_port) as (node, session):
        with pytest.raises(aiohttp.ClientError):
            await session.get("http://gateway/")
        assert node.connector.trouble == "connection refused"


@pytest.mark.parametrize(
    ("status_code", "said"),
    [
        (403, "takes the verbs get and create on pods/portforward in the namespace mcp-operator-system"),
        (404, "no WebSocket here"),
    ],
)
async def test_a_refusal_says_what_it_takes(status_code: int, said: str) -> None:
    async with forwarded(closed_port) as (node, session):
        node.refuse_with = status_code
        with pytest.raises(ApiError, match=said) as refused:
            await session.get("http://gateway/")
        assert refused.value.status == status_code


async def test_what_speaks_something_else_is_refused() -> None:
    async with forwarded(other_protocol) as (_, session):
        with pytest.raises(ApiError, match=r"not v4\.channel\.k8s\.io"):
            await session.get("http://gateway/")
