"""The forwarder carries bytes both ways until each side has said its last, and a broken target looks broken."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from local_cluster.errors import ClusterError
from local_cluster.forwarding import serve
from local_cluster.launching import listener

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LARGE = bytes(range(256)) * 40_000
"""10 MB: many times what the forwarder holds."""


@asynccontextmanager
async def forwarded(handler: Handler) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection through a forwarder to a server that `handler` answers."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handler(reader, writer)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as target:
        port = target.sockets[0].getsockname()[1]
        async with forwarder(port) as front:
            reader, writer = await asyncio.open_connection("127.0.0.1", front)
            yield reader, writer
            writer.close()
            with suppress(ConnectionResetError):  # where the target broke off
                await writer.wait_closed()


@asynccontextmanager
async def forwarder(target: int) -> AsyncIterator[int]:
    """A forwarder to a port of this machine; gives its own."""
    with listener(0) as front:
        # As the node inherits it: a file descriptor of its own.
        serving = asyncio.create_task(serve([f"{socket.dup(front.fileno())}=127.0.0.1:{target}"]))
        yield front.getsockname()[1]
        serving.cancel()
        await asyncio.wait([serving])


async def test_an_answer_comes_after_the_question_has_ended() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read()  # up to the half-close
        writer.write(question[::-1])
        writer.write_eof()

    async with forwarded(answer) as (reader, writer):
        writer.write(b"who is there?")
        writer.write_eof()
        assert await reader.read() == b"?ereht si ohw"


async def test_nothing_is_lost_or_changed_on_the_way() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()

    async with forwarded(echo) as (reader, writer):

        async def send() -> None:
            writer.write(LARGE)
            await writer.drain()
            writer.write_eof()

        async with asyncio.TaskGroup() as both_ways:
            both_ways.create_task(send())
            received = both_ways.create_task(reader.read())
        assert received.result() == LARGE


async def test_a_target_that_is_gone_breaks_the_connection() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and doesn't listen
        async with forwarder(silent.getsockname()[1]) as front:
            reader, writer = await asyncio.open_connection("127.0.0.1", front)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
            with pytest.raises(ConnectionResetError):
                await writer.wait_closed()


async def test_a_target_that_breaks_off_breaks_the_connection() -> None:
    async def fall_over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"half an ans")
        await writer.drain()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with forwarded(fall_over) as (reader, writer):
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_a_client_that_breaks_off_is_noticed_by_the_target() -> None:
    ended = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            assert await reader.read(1) == b"x"
            await reader.read()
        except ConnectionResetError:
            pass
        ended.set()

    async with forwarded(wait) as (_, writer):
        writer.write(b"x")
        await writer.drain()
        writer.transport.abort()
        async with asyncio.timeout(60):
            await ended.wait()


def test_a_taken_port_is_named_with_what_to_do() -> None:
    with listener(0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ClusterError, match=rf"Port {port} of 127\.0\.0\.1 can't be opened \(Address already in use\)"):
            listener(port).__enter__()
