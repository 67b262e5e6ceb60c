"""The forwarder: carries connections from ports of the machine's loopback into the node's network.

A component of the node, run as `python -m local_cluster.forwarding FD=ADDRESS:PORT...`. Whoever starts the cluster opened the
listening sockets; a socket stays in the network namespace where it was made, so this process accepts outside and dials inside.
"""

import asyncio
import socket
import sys
from collections.abc import Sequence

CHUNK = 64 * 1024
"""Bytes held for one direction of one connection."""

DIAL_SECONDS = 5.0


async def forward(listener: socket.socket, address: str, port: int) -> None:
    """Carry each connection that `listener` accepts to `address:port`, until cancelled."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                far_reader, far_writer = await asyncio.open_connection(address, port, limit=CHUNK)
        except (OSError, TimeoutError):
            writer.transport.abort()  # the client sees a broken connection, not an empty answer
            return
        async with asyncio.TaskGroup() as both_ways:
            both_ways.create_task(_pump(reader, far_writer))
            both_ways.create_task(_pump(far_reader, writer))

    async with await asyncio.start_server(carry, sock=listener, limit=CHUNK) as server:
        await server.serve_forever()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction; its end is passed on as a half-close, and its break breaks the other direction too."""
    try:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.transport.abort()


async def serve(forwards: Sequence[str]) -> None:
    """Serve every `FD=ADDRESS:PORT`, until cancelled."""
    async with asyncio.TaskGroup() as listeners:
        for each in forwards:
            fd, _, target = each.partition("=")
            address, _, port = target.rpartition(":")
            listeners.create_task(forward(socket.socket(fileno=int(fd)), address, int(port)))


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1:]))
