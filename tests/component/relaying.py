"""A bad network between a client and a server on loopback: connections are cut and refused when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Relay:
    """Carries bytes between clients and a server, while it is `up`."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        """Where new connections lead to."""
        self.up = True
        """Whether new connections are carried; else they are closed at once."""
        self.accepted = 0
        """Connections so far."""
        self.port = 0
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset all connections that are open."""
        for writer in self._open:
            writer.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        self.accepted += 1
        if not self.up:
            writer.transport.abort()
            return
        with suppress(OSError):
            onward_reader, onward_writer = await asyncio.open_connection(*self.target)
            self._open |= {writer, onward_writer}
            try:
                await asyncio.gather(_copy(reader, onward_writer), _copy(onward_reader, writer))
            finally:
                self._open -= {writer, onward_writer}
                onward_writer.transport.abort()
                writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def relaying(target: tuple[str, int]) -> AsyncIterator[Relay]:
    """A relay for the duration of the block."""
    relay = Relay(target)
    carried: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(relay.carry(reader, writer))
        carried.add(task)
        task.add_done_callback(carried.discard)
        task.add_done_callback(lambda _: writer.transport.abort())  # also where it was cancelled before it began

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        for task in carried:
            task.cancel()
        await asyncio.gather(*carried, return_exceptions=True)
