"""curl: alone, in a shell loop that resumes, and killed."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mcp_operator.gateway.options import Engine
from tests.component.clients.curling import curl, following
from tests.component.clients.cutting import anywhere
from tests.component.clients.numbering import assert_exactly_once, happening, told
from tests.component.clients.troublemaking import Trouble, no_trouble, troublemaking
from tests.component.conftest import Loopback, StartGateway
from tests.events import line, status
from tests.waiting import until

LONG = 100_000
SERVER = "default/weather"


@pytest.mark.parametrize("options", [(), ("--http1.0",), ("--compressed",), ("--http2",)], ids=" ".join)
async def test_each_event_is_printed_when_it_happens(loopback: Loopback, options: tuple[str, ...]) -> None:
    async with curl(*options, "--include", f"{loopback.url}/api/events") as client:
        await client.prints("\nevent: bookmark\n")
        for number in range(20):
            (event_id,) = await loopback.tell(status(SERVER, message=f"{number}"))
            await client.prints_event(event_id)

        head = client.printed.partition(b"\r\n\r\n")[0].lower()
        assert b"content-encoding" not in head
        assert (b"transfer-encoding: chunked" in head) == (options != ("--http1.0",))


async def test_a_cursor_in_a_header(loopback: Loopback) -> None:
    first, second, third = await loopback.tell(*(status(SERVER, message=text) for text in "abc"))
    async with curl("--header", f"Last-Event-ID: {first}", f"{loopback.url}/api/events") as client:
        await client.prints_event(third)

        assert [message.id for message in client.of("status")] == [str(second), str(third)]
        assert not client.of("bookmark")


@pytest.mark.parametrize("start_gateway", [Engine.SOCKET], indirect=True)
async def test_a_stream_that_curl_ends_itself(start_gateway: StartGateway) -> None:
    """Both engines at once, because it takes its time."""
    gateways = [await start_gateway(engine=engine) for engine in Engine]
    async with AsyncExitStack() as stack:
        clients = []
        for gateway in gateways:
            await gateway.tell(status(SERVER))
            clients.append(await stack.enter_async_context(curl("--max-time", "3", f"{gateway.url}/api/events")))
        for client in clients:
            assert await client.ends() == 28  # curl's code for a time that is up

            assert [message.event for message in client.messages] == ["hello", "status", "bookmark"]
    await until(lambda: not any(each.figure("mcp_operator_streams") for each in gateways), "the gateways know that they are gone")


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
async def test_a_killed_curl_is_noticed(loopback: Loopback, version: str) -> None:
    async with curl(version, f"{loopback.url}/api/events") as client:
        await client.prints("\nevent: bookmark\n")
        assert loopback.figure("mcp_operator_streams") == 1
        client.process.kill()

        await until(lambda: loopback.figure("mcp_operator_streams") == 0, "the gateway knows that it is gone")


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
async def test_bytes_that_come_one_by_one(loopback: Loopback, version: str) -> None:
    async with (
        troublemaking(loopback.address, lambda _: Trouble(piece=1)) as network,
        curl(version, f"{network.url}/api/events") as client,
    ):
        await client.prints("\nevent: bookmark\n")
        ids = await loopback.tell(*(line(SERVER, "x" * number + "\r\n\u2028é💥\0") for number in range(0, 5000, 500)))
        await client.prints_event(ids[-1])

        assert told(message.json for message in client.messages) == [str(event_id) for event_id in ids]


async def test_the_end_of_a_stream_is_no_failure(loopback: Loopback) -> None:
    async with curl("--fail", f"{loopback.url}/api/events") as client:
        await client.prints("\nevent: bookmark\n")
        await loopback.gateway.stop()

        assert await client.ends() == 0
        assert client.messages[-1].event == "bye"


async def test_a_shell_loop_over_broken_connections(start_gateway: StartGateway, tmp_path: Path) -> None:
    gateway = await start_gateway(capacity=LONG)
    (start,) = await gateway.tell(status(SERVER))
    state = tmp_path / "cursor"
    state.write_text(str(start))
    async with troublemaking(gateway.address) as network, happening(gateway.log) as happenings:
        network.begin(anywhere(3, bytes_at_most=8_000))
        async with following(f"{network.url}/api/events", state) as client:
            await until(lambda: network.cuts >= 40, "40 connections are cut")
            network.begin(no_trouble)
            last = await happenings.end()
            await client.prints_last_line(last)

            heard = told(json.loads(line) for line in client.lines)
            assert_exactly_once(heard, happenings.since(str(start)))


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
async def test_a_shell_loop_whose_curl_is_killed(start_gateway: StartGateway, tmp_path: Path, version: str) -> None:
    gateway = await start_gateway(capacity=LONG)
    (start,) = await gateway.tell(status(SERVER))
    state = tmp_path / "cursor"
    state.write_text(str(start))
    async with happening(gateway.log) as happenings, following(f"{gateway.url}/api/events", state, version) as client:
        for _ in range(15):
            await client.prints_lines(len(client.lines) + 5)
            await until(client.kill_curl, "curl runs, and is killed", every=0.001)
        last = await happenings.end()
        await client.prints_last_line(last)

        assert_exactly_once(told(json.loads(line) for line in client.lines), happenings.since(str(start)))
