"""A subscriber that reads when the test says so, and else takes nothing: its own buffers are as small as they can be."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from local_stack.sse import Message, Parser
from tests.component.conftest import PATIENCE_SECONDS, Loopback
from tests.contract import kept

_RECEIVE_BUFFER_BYTES = 4096


class SlowReader:
    """One stream, asked for with HTTP/1.0: what comes behind the headers is the stream itself."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._parser = Parser()
        self._heard: list[Message] = []
        self.ended = False

    async def until(self, event: str) -> list[Message]:
        """All events up to the first of this type, which is the last of them."""
        messages = [await self.next()]
        while messages[-1].event != event:
            messages.append(await self.next())
        return messages

    async def take(self, count: int) -> list[Message]:
        return [await self.next() for _ in range(count)]

    async def next(self) -> Message:
        while not self._heard:
            assert await self._receive(), "the stream ended"
        return self._heard.pop(0)

    async def rest(self) -> list[Message]:
        """All events until the connection ends."""
        while await self._receive():
            pass
        return self._heard

    async def _receive(self) -> bool:
        async with asyncio.timeout(PATIENCE_SECONDS):
            piece = await asyncio.get_running_loop().sock_recv(self._connection, 65536)
        self._heard += kept(self._parser.feed(piece))
        return bool(piece)


@asynccontextmanager
async def slow_reader(loopback: Loopback, path: str, *, cursor: object = None) -> AsyncIterator[SlowReader]:
    """Open a stream; nothing of it is read before the test asks."""
    loop = asyncio.get_running_loop()
    resume = "" if cursor is None else f"Last-Event-ID: {cursor}\r\n"
    with socket.socket() as connection:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        await loop.sock_connect(connection, loopback.address)
        await loop.sock_sendall(connection, f"GET {path} HTTP/1.0\r\nHost: gateway\r\n{resume}\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            async with asyncio.timeout(PATIENCE_SECONDS):
                byte = await loop.sock_recv(connection, 1)
            assert byte, f"no answer behind {head!r}"
            head += byte
        assert b" 200 " in head.splitlines()[0], head
        yield SlowReader(connection)
