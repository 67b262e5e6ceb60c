"""Streams over a transport that was used before: earlier answers that the client hasn't taken are in front of the stream."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mcp_operator.gateway.connections import QUEUED_BYTES
from mcp_operator.gateway.transports import TransportConnection
from tests.waiting import until

UNTIL_PAUSED = 64 * 1024
"""What asyncio lets a transport queue before it tells its protocol to pause."""


class Earlier(asyncio.Protocol):
    """Who had the transport before the stream."""

    def __init__(self) -> None:
        self.paused = False

    def pause_writing(self) -> None:
        self.paused = True


class Owner:
    """Whom the connection tells that there is room."""

    drained = False

    def on_drained(self) -> None:
        self.drained = True

    def on_lost(self, *, stalled: bool) -> None: ...


@asynccontextmanager
async def queued(size: int) -> AsyncIterator[tuple[asyncio.Transport, Earlier, socket.socket]]:
    """A transport that has so many bytes queued, its protocol, and the client, which has taken nothing yet."""
    ours, client = socket.socketpair()
    client.setblocking(False)
    with client:
        transport, earlier = await asyncio.get_running_loop().create_connection(Earlier, sock=ours)
        try:
            while transport.get_write_buffer_size() == 0:
                transport.write(b"a")  # the kernel takes it while it has room
            transport.write(b"a" * (size - transport.get_write_buffer_size()))
            yield transport, earlier, client
        finally:
            transport.abort()


@pytest.mark.parametrize(("size", "paused"), [(QUEUED_BYTES + 1, False), (UNTIL_PAUSED + 1, True)])
async def test_a_stream_waits_until_its_client_has_taken_what_was_answered_before(size: int, paused: bool) -> None:
    async with queued(size) as (transport, earlier, client):
        assert earlier.paused == paused
        owner = Owner()
        connection = TransportConnection(transport, paused=earlier.paused, chunked=True, owner=owner)
        assert not connection.ready
        assert not connection.send(b"event"), "there is no room for more than this"

        loop = asyncio.get_running_loop()
        taken = 0
        while not taken >= size + len(b"event") or transport.get_write_buffer_size():
            taken += len(await loop.sock_recv(client, 65536))
        await until(lambda: owner.drained, "there is room", every=0.01)
        assert connection.ready


async def test_a_stream_on_a_transport_with_room_begins_at_once() -> None:
    async with queued(1) as (transport, earlier, _):
        connection = TransportConnection(transport, paused=earlier.paused, chunked=True, owner=Owner())
        assert connection.ready
