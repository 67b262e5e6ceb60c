"""The forwarder: carries connections from ports of the machine's loopback into the node's network.

A component of the node, run as `python -m local_cluster.forwarding FD=ADDRESS:PORT...`. Whoever starts the cluster opened the
listening sockets; a socket stays in the network namespace where it was made, so this process accepts outside and dials inside.
"""

import asyncio
import resource
import socket
import struct
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress

CHUNK = 64 * 1024
"""Bytes held for one direction of one connection."""

DIAL_SECONDS = 5.0


async def forward(listener: socket.socket, address: str, port: int) -> None:
    """Carry each connection that `listener` accepts to `address:port`, until cancelled."""
    listener.setblocking(False)
    async with asyncio.TaskGroup() as connections:
        while True:
            accepted, _ = await asyncio.get_running_loop().sock_accept(listener)
            connections.create_task(_carry(accepted, address, port))


async def _carry(accepted: socket.socket, address: str, port: int) -> None:
    try:
        reader, writer = await asyncio.open_connection(sock=accepted, limit=CHUNK)
    except OSError:
        accepted.close()
        return
    async with _closed_at_the_end(writer):
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                far_reader, far_writer = await asyncio.open_connection(address, port, limit=CHUNK)
        except (OSError, TimeoutError):
            _break(writer)
            return
        async with _closed_at_the_end(far_writer), asyncio.TaskGroup() as both_ways:
            both_ways.create_task(_pump(reader, far_writer))
            both_ways.create_task(_pump(far_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction; its end is passed on as a half-close, and its break breaks the other direction too."""
    try:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        _break(writer)


def _break(writer: asyncio.StreamWriter) -> None:
    """Reset the connection: its client must not take a broken target for the end of an answer."""
    if writer.transport.is_closing():
        return
    at_once = struct.pack("ii", 1, 0)  # linger for 0 seconds
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    writer.transport.abort()


@asynccontextmanager
async def _closed_at_the_end(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def serve(forwards: Sequence[str]) -> None:
    """Serve every `FD=ADDRESS:PORT`, until cancelled."""
    with ExitStack() as open_sockets:
        async with asyncio.TaskGroup() as listeners:
            for each in forwards:
                fd, _, target = each.partition("=")
                address, _, port = target.rpartition(":")
                listener = open_sockets.enter_context(socket.socket(fileno=int(fd)))
                listeners.create_task(forward(listener, address, int(port)))


if __name__ == "__main__":
    # Two descriptors for each connection: the usual soft limit would do for 500 streams.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(serve(sys.argv[1:]))
