"""What a connection may cost before it has asked for anything and while it takes an answer: time, bytes, and places."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

import pytest

from mcp_operator.eventlog.log import Selection, Snapshot
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.gateway.listening import Connection
from tests.component.conftest import Loopback, StartStrict
from tests.component.raw_http import RawClient, raw_client
from tests.events import status
from tests.waiting import until

SOON = 0.3
"""Seconds that a test has to wait for an end, and that everything else may take as long as it wants beside."""


AWHILE = 1.5
"""The same where a request has to come in before it."""


class HeldLog(MemoryLog):
    """A log that answers when the test says so: a request that is being handled."""

    def __init__(self, *, capacity: int) -> None:
        super().__init__(capacity=capacity)
        self.asked = 0
        self.free = asyncio.Event()

    async def snapshot(self, selection: Selection, *, tail: int = 0) -> Snapshot:
        self.asked += 1
        await self.free.wait()
        return await super().snapshot(selection, tail=tail)


async def trickle(client: RawClient, begin: str) -> None:
    """Send a request that never ends, a byte at a time, until the other side has enough of it."""
    client.send(begin)
    with suppress(ConnectionError):
        while True:
            client.writer.write(b"a")
            await client.writer.drain()
            await asyncio.sleep(SOON / 10)


async def still_serves(loopback: Loopback) -> None:
    assert (await loopback.get("/"))[0] == 200


class TestTime:
    async def test_a_connection_that_asks_nothing_is_closed(self, start_strict: StartStrict) -> None:
        loopback = await start_strict(head_seconds=SOON)
        async with raw_client(loopback.address) as client:
            assert await client.closed() == b""

    async def test_also_on_the_health_port(self, start_strict: StartStrict) -> None:
        loopback = await start_strict(head_seconds=SOON)
        async with raw_client(("127.0.0.1", int(loopback.health_url.rpartition(":")[2]))) as client:
            assert await client.closed() == b""

    async def test_so_is_one_that_asks_a_byte_at_a_time(self, start_strict: StartStrict) -> None:
        loopback = await start_strict(head_seconds=SOON)
        async with raw_client(loopback.address) as client, asyncio.TaskGroup() as tasks:
            trickling = tasks.create_task(trickle(client, "GET / HTTP/1.1\nHost: "))
            assert await client.closed() == b""
            trickling.cancel()

    async def test_and_one_that_does_so_with_its_second_request(self, start_strict: StartStrict) -> None:
        loopback = await start_strict(head_seconds=AWHILE)
        async with raw_client(loopback.address) as client:
            client.get("/")
            assert (await client.answer()).status == 200
            async with asyncio.TaskGroup() as tasks:
                trickling = tasks.create_task(trickle(client, "GET / HTTP/1.1\nHost: "))
                assert await client.closed() == b""
                trickling.cancel()

    async def test_between_requests_it_may_rest_for_longer(self, start_strict: StartStrict) -> None:
        loopback = await start_strict(head_seconds=AWHILE, idle_seconds=60)
        async with raw_client(loopback.address) as resting:
            resting.get("/")
            await resting.answer()
            async with raw_client(loopback.address) as silent:
                await silent.closed()
            resting.get("/")
            assert (await resting.answer()).status == 200

    async def test_but_not_for_ever(self, start_strict: StartStrict) -> None:
        loopback = await start_strict(head_seconds=60, idle_seconds=SOON)
        async with raw_client(loopback.address) as client:
            client.get("/")
            await client.answer()
            assert await client.closed() == b""

    async def test_a_request_may_be_handled_for_longer_than_it_may_be_sent(self, start_strict: StartStrict) -> None:
        log = HeldLog(capacity=10)
        loopback = await start_strict(log=log, head_seconds=AWHILE, idle_seconds=AWHILE)
        async with raw_client(loopback.address) as client, raw_client(loopback.address) as silent:
            client.get("/api/servers")
            await until(lambda: log.asked, "the request is being handled", every=0.01)
            await silent.closed()
            log.free.set()
            assert (await client.answer()).status == 200

    async def test_a_stream_lives_by_rules_of_its_own(self, start_strict: StartStrict) -> None:
        limits = dict.fromkeys(("head_seconds", "idle_seconds", "answer_seconds", "body_seconds"), AWHILE)
        loopback = await start_strict(heartbeat_seconds=SOON / 3, **limits)
        async with loopback.subscribe("/api/events") as subscriber, raw_client(loopback.address) as silent:
            await silent.closed()
            await subscriber.comments(5)
            [event_id] = await loopback.tell(status("default/weather"))
            *_, last = await subscriber.until("status")

        assert last.id == str(event_id)

    async def test_an_answer_has_to_be_taken(self, start_strict: StartStrict) -> None:
        loopback = await start_strict(answer_seconds=SOON)
        await tell_much(loopback)
        async with raw_client(loopback.address) as client:
            client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # nothing public stops a reader before its limit
            client.get("/api/servers")
            await until(lambda: connections(loopback) == 1, "the connection is there", every=0.01)
            await until(lambda: connections(loopback) == 0, "the connection is over", every=0.01)
        await still_serves(loopback)

    async def test_and_not_bit_by_bit(self, start_strict: StartStrict) -> None:
        loopback = await start_strict(answer_seconds=SOON)
        await tell_much(loopback)
        received = 0
        async with raw_client(loopback.address, receive_buffer=4096) as client:
            client.get("/api/servers")
            length = int((await client.head()).header("content-length") or 0)
            with suppress(ConnectionError):
                while connections(loopback) and received < length:
                    received += len(await client.reader.read(4096))
                    await asyncio.sleep(SOON / 100)
            if received < length:
                received += len(await client.closed())

        assert 0 < received < length
        await still_serves(loopback)

    async def test_a_body_that_nobody_wants_is_not_read_for_ever(self, start_strict: StartStrict) -> None:
        loopback = await start_strict(body_seconds=SOON)
        async with raw_client(loopback.address) as client:
            client.get("/api/servers", "Content-Length: 1000000000000000")
            assert (await client.answer()).status == 200
            async with asyncio.TaskGroup() as tasks:
                flood = tasks.create_task(pour(client))
                await client.closed()
                flood.cancel()
        await still_serves(loopback)


async def tell_much(loopback: Loopback) -> None:
    """Make a list of 8 MB."""
    await loopback.tell(*(status(f"default/server-{number}", message="x" * 10_000) for number in range(800)))


async def pour(client: RawClient) -> None:
    with suppress(ConnectionError):
        while True:
            client.writer.write(b"x" * 65536)
            await client.writer.drain()
            await asyncio.sleep(0)


class TestSize:
    @pytest.mark.parametrize(
        ("head", "said"),
        [
            ("GET / HTTP/1.1\nHost: a\n" + f"X: {'x' * 900}\n" * 10, "4096 bytes together"),
            ("GET / HTTP/1.1\nHost: a\n" + "X: x\n" * 20 + "\n", "too many headers"),
            ("GET / HTTP/1.1\nHost: a\nX: " + "x" * 2000, "1024 bytes"),
            ("GET /" + "x" * 2000, "1024 bytes"),
        ],
    )
    async def test_a_request_that_grows_without_end_is_refused_at_its_bound(
        self, start_strict: StartStrict, head: str, said: str
    ) -> None:
        loopback = await start_strict(head_bytes=4096, line_bytes=1024, headers=16)
        async with raw_client(loopback.address) as client:
            for piece in head.splitlines(keepends=True):
                client.send(piece)
                await client.writer.drain()
            answer = await client.answer()
            assert (answer.status, answer.header("connection")) == (431, "close")
            assert said in answer.problem["detail"]
            await client.closed()

    async def test_each_request_of_a_connection_has_the_whole_bound(self, start_strict: StartStrict) -> None:
        loopback = await start_strict(head_bytes=2048)
        async with raw_client(loopback.address) as client:
            for _ in range(10):
                client.send("GET / HTTP/1.1\nHost: a\nX: " + "x" * 500)
                [connection] = await until(lambda: heard_of(loopback), "half the request has arrived", every=0.01)
                assert connection._head_bytes < 1000
                client.send("\n\n")
                assert (await client.answer()).status == 200


class TestPlaces:
    async def test_a_newcomer_takes_the_place_of_who_has_waited_longest_for_nothing(self, start_strict: StartStrict) -> None:
        loopback = await start_strict(connections=3)
        async with AsyncExitStack() as stack:
            crowd = []
            for number in range(3):
                crowd.append(await stack.enter_async_context(raw_client(loopback.address)))
                await until(lambda expected=number + 1: connections(loopback) == expected, "it is connected", every=0.01)  # type: ignore[misc]  # binds now
            newcomer = await stack.enter_async_context(raw_client(loopback.address))
            newcomer.get("/")

            assert (await newcomer.answer()).status == 200
            assert await crowd[0].closed() == b""
            crowd[2].get("/")
            assert (await crowd[2].answer()).status == 200

    async def test_if_all_are_busy_the_newcomer_goes_and_may_come_again(self, start_strict: StartStrict) -> None:
        log = HeldLog(capacity=10)
        loopback = await start_strict(log=log, connections=2)
        async with raw_client(loopback.address) as one, raw_client(loopback.address) as other:
            for client in (one, other):
                client.get("/api/servers")
            await until(lambda: log.asked == 2, "both are being handled", every=0.01)

            async with raw_client(loopback.address) as newcomer:
                assert await newcomer.closed() == b""
            log.free.set()
            assert [(await client.answer()).status for client in (one, other)] == [200, 200]

        await still_serves(loopback)

    async def test_a_crowd_that_only_holds_connections_keeps_nobody_out(self, start_strict: StartStrict) -> None:
        loopback = await start_strict(connections=20)
        async with AsyncExitStack() as stack:
            for _ in range(100):
                await stack.enter_async_context(raw_client(loopback.address))
            await still_serves(loopback)
            assert connections(loopback) <= 20


def connections(loopback: Loopback) -> int:
    server = loopback.gateway._api.server
    return 0 if server is None else len(server.connections)


def heard_of(loopback: Loopback) -> list[Connection]:
    """The connections that have sent a part of a request."""
    server = loopback.gateway._api.server
    assert server is not None
    return [each for each in server.connections if isinstance(each, Connection) and each.awaits_request and each._head_bytes]
