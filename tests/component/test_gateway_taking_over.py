"""Streams whose connections have left aiohttp: what is leant on of the version in use, seen from both sides of the connection."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import re
import socket
from asyncio.trsock import TransportSocket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web

from mcp_operator.gateway.options import Engine
from mcp_operator.gateway.transports import TransportConnection
from tests.component.conftest import Loopback, StartGateway
from tests.events import status
from tests.waiting import until

CHUNK = re.compile(rb"([0-9a-f]+)\r\n", re.ASCII)


@asynccontextmanager
async def connected(loopback: Loopback) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*loopback.address)
    try:
        async with asyncio.timeout(60):
            yield reader, writer
    finally:
        writer.close()


async def one_chunk(reader: asyncio.StreamReader) -> bytes:
    """The next chunk of a chunked body; empty: the last one."""
    size = CHUNK.fullmatch(await reader.readline())
    assert size is not None
    data = await reader.readexactly(int(size[1], 16))
    assert await reader.readexactly(2) == b"\r\n"
    return data


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def http_connections(loopback: Loopback) -> int:
    server = loopback.gateway._api.server
    assert isinstance(server, web.Server)
    return len(server.connections)


@pytest.fixture
async def socket_gateway(start_gateway: StartGateway) -> Loopback:
    """Whichever engine the fixture is at: this one."""
    return await start_gateway(engine=Engine.SOCKET)


@pytest.mark.usefixtures("own_garbage")
async def test_nothing_of_aiohttp_stays_with_an_open_stream(socket_gateway: Loopback, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    loopback, tasks, files = socket_gateway, len(asyncio.all_tasks()), open_files()
    async with connected(loopback) as (reader, writer):
        writer.write(b"GET /api/events HTTP/1.1\r\nHost: gateway\r\n\r\n")
        await reader.readuntil(b"event: bookmark")
        await until(lambda: http_connections(loopback) == 0, "aiohttp takes the client for gone", every=0.01)
        await until(lambda: len(asyncio.all_tasks()) == tasks, "no task is left", every=0.01)
        assert loopback.figure("mcp_operator_streams") == 1
    await until(lambda: loopback.figure("mcp_operator_streams") == 0, "the stream has ended with its client", every=0.01)
    await until(lambda: open_files() == files, "its file descriptor is closed", every=0.01)

    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [
        record.getMessage()
        for record in caplog.records
        if "GET '/api/events'" in record.getMessage() and ": 200 after" in record.getMessage()
    ]


@pytest.mark.usefixtures("own_garbage")
async def test_a_thousand_streams_leave_nothing_behind(socket_gateway: Loopback) -> None:
    loopback, files = socket_gateway, open_files()
    for _ in range(10):
        clients = await asyncio.gather(*(asyncio.open_connection(*loopback.address) for _ in range(100)))
        for _, writer in clients:
            writer.write(b"GET /api/events HTTP/1.1\r\nHost: gateway\r\n\r\n")
        await until(lambda: loopback.figure("mcp_operator_streams") == 100, "all are open", every=0.01)
        for _, writer in clients:
            writer.close()
        await until(lambda: loopback.figure("mcp_operator_streams") == 0, "all are gone", every=0.01)
    gc.collect()

    await until(lambda: open_files() == files, "every file descriptor is closed", every=0.01)
    assert not loopback.gateway._streams._broadcaster.streams
    assert not loopback.gateway._streams._broadcaster._expiring
    assert not list(loopback.gateway._streams._broadcaster._feeds)
    assert not loopback.log.demand.wanted(status("default/a").type, status("default/a").server, "u")


async def test_the_body_is_chunked_to_the_end(start_gateway: StartGateway) -> None:
    loopback = await start_gateway()
    async with asyncio.TaskGroup() as tasks, connected(loopback) as (reader, writer):
        writer.write(b"GET /api/events HTTP/1.1\r\nHost: gateway\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        opening = await one_chunk(reader)
        await loopback.tell(status("default/weather"))
        live = await one_chunk(reader)
        tasks.create_task(loopback.gateway.stop())
        bye = await one_chunk(reader)
        last = await one_chunk(reader)
        end = await reader.read()

    assert b"\r\nTransfer-Encoding: chunked\r\n" in head
    assert b"\r\nConnection: close\r\n" in head
    assert opening.startswith(b"event: hello\n")
    assert live.startswith(b"event: status\n")
    assert bye.startswith(b"event: bye\n")
    assert (last, end) == (b"", b"")


async def test_what_the_client_says_behind_its_request_changes_nothing(start_gateway: StartGateway) -> None:
    loopback = await start_gateway()
    async with connected(loopback) as (reader, writer):
        request = b"GET /api/events HTTP/1.1\r\nHost: gateway\r\n\r\n"
        writer.write(request + request)
        await reader.readuntil(b"event: bookmark")
        writer.write(request + b"\x00\xff nonsense \r\n\r\n" * 100)
        [event_id] = await loopback.tell(status("default/weather"))
        await reader.readuntil(b"id: %b\n" % str(event_id).encode())
        assert loopback.figure("mcp_operator_streams_opened_total", form="named") == 1
        assert loopback.figure("mcp_operator_streams") == 1


async def test_a_client_that_closes_its_side_has_left(start_gateway: StartGateway) -> None:
    loopback = await start_gateway()
    async with connected(loopback) as (reader, writer):
        writer.write(b"GET /api/events HTTP/1.1\r\nHost: gateway\r\n\r\n")
        await reader.readuntil(b"event: bookmark")
        writer.write_eof()
        await until(lambda: loopback.figure("mcp_operator_streams") == 0, "the stream has ended", every=0.01)


async def test_a_client_that_resets_has_left(start_gateway: StartGateway) -> None:
    loopback = await start_gateway()
    with socket.create_connection(loopback.address) as client:
        client.sendall(b"GET /api/events HTTP/1.1\r\nHost: gateway\r\n\r\n")
        await until(lambda: loopback.figure("mcp_operator_streams") == 1, "the stream is open", every=0.01)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    await until(lambda: loopback.figure("mcp_operator_streams") == 0, "the stream has ended", every=0.01)
    assert loopback.figure("mcp_operator_streams_ended_total", reason="left") == 1


async def test_kernel_memory_of_a_stream_is_bounded(socket_gateway: Loopback) -> None:
    loopback = socket_gateway
    async with loopback.subscribe("/api/events") as subscriber:
        await subscriber.until("bookmark")
        [stream] = loopback.gateway._streams._broadcaster.streams
        with socket.socket(fileno=os.dup(stream.connection._fd)) as connection:  # type: ignore[attr-defined]  # whichever it is
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * 64 * 1024
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= 2 * 4096
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 120_000
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_where_no_file_descriptor_is_left_the_client_is_cut_and_comes_back(
    socket_gateway: Loopback, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none_left(_: TransportSocket) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as full:
        full.setattr(TransportSocket, "dup", none_left)
        async with connected(socket_gateway) as (reader, writer):
            writer.write(b"GET /api/events HTTP/1.1\r\nHost: gateway\r\n\r\n")
            with suppress(ConnectionError):
                answer = await reader.read()
                assert answer.count(b"HTTP/1.1") <= 1, "one request has one answer"
    async with socket_gateway.subscribe("/api/events") as again:
        await again.until("bookmark")
        assert socket_gateway.figure("mcp_operator_streams") == 1
    assert "Traceback" not in caplog.text


async def test_without_epoll_a_transport_carries_the_stream(start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("select.epoll")
    loopback = await start_gateway(engine=Engine.SOCKET)
    async with loopback.subscribe("/api/events") as subscriber:
        await subscriber.until("bookmark")
        [stream] = loopback.gateway._streams._broadcaster.streams
        assert isinstance(stream.connection, TransportConnection)
        ids = await loopback.tell(*(status("default/weather", message=f"{n} {'x' * 50_000}") for n in range(40)))
        heard = await subscriber.take(40)
        await loopback.gateway.stop()
        [bye] = await subscriber.rest()

    assert [message.id for message in heard] == [str(event_id) for event_id in ids]
    assert bye.event == "bye"
