"""Clients that mean no good, or are broken: whatever they send and whenever they leave, the gateway serves on, keeps nothing of
them, and has nothing to say about it in its log."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from local_stack.sse import Message, Parser
from tests.component.conftest import Loopback, StartGateway
from tests.component.fuzzing import attack
from tests.component.raw_http import raw_client
from tests.events import line, status
from tests.waiting import until


@pytest.fixture
async def loopback(own_garbage: None, start_gateway: StartGateway, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Loopback]:
    """A gateway that has to be as it was when the test is over."""
    loopback = await start_gateway(drain_seconds=0)
    await loopback.tell(status("default/weather"))
    tasks = len(asyncio.all_tasks())

    yield loopback

    async with raw_client(loopback.address) as client:
        client.get("/api/servers", "Connection: close")
        assert (await client.answer()).status == 200
    await until(lambda: connections(loopback) == 0, "no connection is left", every=0.01)
    await until(lambda: loopback.figure("mcp_operator_streams") == 0, "no stream is left", every=0.01)
    await until(lambda: len(asyncio.all_tasks()) <= tasks, "no task is left", every=0.01)
    gc.collect()  # a task that failed unnoticed is told when it goes
    said = [record for when in ("call", "teardown") for record in caplog.get_records(when)]
    assert not [record.getMessage() for record in said if record.levelno >= logging.WARNING]


def connections(loopback: Loopback) -> int:
    server = loopback.gateway._api.server
    return 0 if server is None else len(server.connections)


TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(200))
HTTP_2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

NO_REQUESTS: dict[str, bytes] = {
    "nothing": b"",
    "NUL": b"\x00",
    "many NUL": b"\x00" * 100_000,
    "NUL in the path": b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2": HTTP_2_PREFACE,
    "TLS": TLS_HELLO,
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "SMTP": b"EHLO example\r\n",
    "Redis": b"*1\r\n$4\r\nPING\r\n",
    "a response": b"HTTP/1.1 200 OK\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "an empty method": b" / HTTP/1.1\r\nHost: a\r\n\r\n",
    "no path": b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
    "a bare CR": b"GET / HTTP/1.1\rHost: a\r\r",
    "a folded header": b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "a bad URL": b"GET http://[::1/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "smuggling": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1",
    "lengths": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "a huge query": b"GET /api/events?" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "a huge header": b"GET /api/events HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
    "endless headers": b"GET /api/events HTTP/1.1\r\nHost: a\r\n" + b"X: x\r\n" * 100_000,
}
"""What is no request that can be read."""


class TestNoRequests:
    @pytest.mark.parametrize("sent", NO_REQUESTS.values(), ids=NO_REQUESTS)
    @pytest.mark.parametrize("whole", [True, False], ids=["in one go", "byte by byte"])
    async def test_they_get_a_refusal_at_most_and_the_end_of_the_connection(
        self, loopback: Loopback, sent: bytes, whole: bool
    ) -> None:
        async with raw_client(loopback.address) as client:
            for piece in [sent] if whole else [bytes((byte,)) for byte in sent[:300]]:
                if client.writer.is_closing():
                    break  # the other side had enough of it
                client.writer.write(piece)
                if not whole:
                    await asyncio.sleep(0)
            client.send_no_more()
            received = await client.closed()

        assert not received or received.split(b" ")[1] in {b"400", b"431"}


ODD_REQUESTS: dict[str, tuple[str, int]] = {
    "dots in the id": ("GET /api/servers/../events HTTP/1.1\nHost: a\n\n", 400),
    "encoded dots": ("GET /api/servers/%2e%2e/events HTTP/1.1\nHost: a\n\n", 400),
    "dots up": ("GET /api/servers/%2e%2e%2f%2e%2e HTTP/1.1\nHost: a\n\n", 400),
    "NUL in the id": ("GET /api/servers/%00/events HTTP/1.1\nHost: a\n\n", 400),
    "line ends in the id": ("GET /api/servers/a%0d%0aX:%20y/events HTTP/1.1\nHost: a\n\n", 400),
    "invalid UTF-8 in the id": ("GET /api/servers/%ff%fe/events HTTP/1.1\nHost: a\n\n", 400),
    "half an escape": ("GET /api/servers/%2/events HTTP/1.1\nHost: a\n\n", 400),
    "an escaped slash": ("GET /api%2fservers HTTP/1.1\nHost: a\n\n", 404),
    "double slashes": ("GET //api//servers HTTP/1.1\nHost: a\n\n", 404),
    "a slash more": ("GET /api/servers/ HTTP/1.1\nHost: a\n\n", 404),
    "an asterisk": ("OPTIONS * HTTP/1.1\nHost: a\n\n", 404),
    "a tunnel": ("CONNECT a:443 HTTP/1.1\nHost: a\n\n", 404),
    "a trace": ("TRACE /api/servers HTTP/1.1\nHost: a\nX: secret\n\n", 405),
    "an unknown parameter with every character": ("GET /api/servers?%00%0d%0a%ff=%22%3c HTTP/1.1\nHost: a\n\n", 400),
    "a host that is none": ("GET /api/servers HTTP/1.1\nHost: [\n\n", 200),
    "an upgrade": ("GET /api/servers HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: websocket\n\n", 200),
    "an upgrade to HTTP/2": ("GET /api/servers HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: h2c\nHTTP2-Settings: A\n\n", 200),
    "a body": ("GET /api/servers HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello", 200),
    "a chunked body": ("GET /api/servers HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n", 200),
    "a compressed body that is none": (
        "GET /api/servers HTTP/1.1\nHost: a\nContent-Encoding: gzip\nContent-Length: 5\n\nhello", 200
    ),
    "chunks that are none": ("GET /api/servers HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\nZZ\nhello", 400),
}  # fmt: skip
"""What can be read and is meant badly, or just odd."""


RUBBISH = "\x00" * 100_000


class TestOddRequests:
    @pytest.mark.parametrize(("sent", "code"), ODD_REQUESTS.values(), ids=ODD_REQUESTS)
    async def test_they_get_a_plain_answer(self, loopback: Loopback, sent: str, code: int) -> None:
        async with raw_client(loopback.address) as client:
            client.send(sent)
            answer = await client.answer()

        assert answer.status == code
        assert code == 200 or answer.problem["status"] == code
        assert b"secret" not in answer.body

    @pytest.mark.parametrize(
        ("headers", "body"),
        [
            (["Content-Length: 5"], "hello"),
            (["Transfer-Encoding: chunked"], "5\nhello\n0\n\n"),
            (["Transfer-Encoding: chunked"], "ZZ\n"),
            (["Content-Length: 1000000000"], "x" * 100_000),
            (["Connection: Upgrade", "Upgrade: websocket"], "\x81\x05hello" * 1000),
            (["Last-Event-ID: a", "Last-Event-ID: b"], ""),
            ([], "GET /api/servers HTTP/1.1\nHost: a\n\n" * 1000),
            ([], RUBBISH),
        ],
        ids=["a body", "chunks", "broken chunks", "endless body", "websocket", "two cursors", "more requests", "rubbish"],
    )
    async def test_a_stream_does_not_mind_what_comes_with_its_request_or_after_it(
        self, loopback: Loopback, headers: list[str], body: str
    ) -> None:
        async with raw_client(loopback.address) as client:
            client.get("/api/events", *headers)
            client.send(body)
            await client.writer.drain()
            head = await client.head()
            if head.status == 400:
                assert body in {"ZZ\n", RUBBISH}, "what comes with a request may break it"
                return
            parser = Parser()
            messages: list[Message] = []
            while not any(message.event == "bookmark" for message in messages):
                messages += parser.feed(await client.chunk())
            [event_id] = await loopback.tell(status("default/weather"))
            while messages[-1].event == "bookmark":
                messages += parser.feed(await client.chunk())

        assert head.status == 200
        assert messages[-1].id == str(event_id)


REQUEST = b"GET /api/events?types=status HTTP/1.1\r\nHost: gateway\r\nAccept: text/event-stream\r\n\r\n"


class TestLeaving:
    @pytest.mark.parametrize("politely", [True, False], ids=["closed", "cut"])
    async def test_at_every_byte_of_a_request(self, loopback: Loopback, politely: bool) -> None:
        for length in range(len(REQUEST) + 1):
            async with raw_client(loopback.address) as client:
                client.writer.write(REQUEST[:length])
                await client.writer.drain()
                if politely:
                    client.writer.close()

    @pytest.mark.parametrize("politely", [True, False], ids=["closed", "cut"])
    async def test_at_every_byte_of_the_first_that_comes_back(self, loopback: Loopback, politely: bool) -> None:
        for length in range(1, 700):
            async with raw_client(loopback.address) as client:
                client.writer.write(REQUEST)
                await client.reader.readexactly(length)
                if politely:
                    client.writer.close()

    async def test_with_half_a_connection(self, loopback: Loopback) -> None:
        for path in ("/", "/api/servers", "/api/events", "/nothing"):
            async with raw_client(loopback.address) as client:
                client.get(path)
                client.send_no_more()
                await until(lambda: connections(loopback) == 0, "the connection is over", every=0.01)

    async def test_while_a_crowd_of_its_like_comes_and_goes(self, loopback: Loopback) -> None:
        async with loopback.subscribe("/api/events") as steady:
            await steady.until("bookmark")
            told = []
            for _ in range(10):
                async with AsyncExitStack() as crowd:
                    for _ in range(30):
                        client = await crowd.enter_async_context(raw_client(loopback.address))
                        client.get("/api/events")
                    told += await loopback.tell(status("default/weather"))
            heard = await steady.take(len(told))

        assert [message.id for message in heard] == [str(event_id) for event_id in told]
        await loopback.session.close()


class TestReadingSlowly:
    async def test_a_byte_at_a_time_gets_every_byte_and_keeps_nobody_waiting(self, loopback: Loopback) -> None:
        async with raw_client(loopback.address) as slow, loopback.subscribe("/api/events") as quick:
            slow.send("GET /api/events HTTP/1.0\n\n")
            await slow.head()
            await quick.until("bookmark")
            told = [await loopback.tell(line("default/weather", "x" * 20)) for _ in range(20)]
            ids = [str(event_id) for [event_id] in told]
            assert [message.id for message in await quick.take(len(ids))] == ids

            parser = Parser()
            heard: list[str] = []
            while not heard or heard[-1] != ids[-1]:
                heard += [message.id for message in parser.feed(await slow.reader.readexactly(1)) if message.id]

        assert [event_id for event_id in heard if event_id in ids] == ids
        await loopback.session.close()


class TestFuzzing:
    @pytest.mark.parametrize("seed", range(4))
    async def test_broken_requests_drawn_at_random(self, loopback: Loopback, seed: int) -> None:
        async with loopback.subscribe("/api/events") as steady:
            await steady.until("bookmark")
            for number in range(20):
                async with asyncio.TaskGroup() as together:
                    for each in range(15):
                        source = random.Random(f"{seed} {number} {each}")  # noqa: S311 - to be repeated, not to be secret
                        together.create_task(attack(loopback.address, source))
            [event_id] = await loopback.tell(status("default/weather"))
            assert (await steady.next()).id == str(event_id)
        await loopback.session.close()
