"""What clients that take their answers slowly may cost in memory, however much they have asked for."""

from __future__ import annotations

import tracemalloc
from contextlib import AsyncExitStack

import pytest

from tests.component.conftest import Loopback
from tests.component.raw_http import raw_client
from tests.component.slow_reader import slow_reader
from tests.events import line, status
from tests.waiting import until

CLIENTS = 10
LINES = 500
LOG_BYTES = LINES * 10_000
"""What the log holds."""


@pytest.fixture
async def talkative(loopback: Loopback) -> Loopback:
    """A gateway over a log of long lines."""
    await loopback.tell(status("default/weather"), *(line("default/weather", f"{n} {'x' * 10_000}") for n in range(LINES)))
    return loopback


def traced() -> int:
    return tracemalloc.get_traced_memory()[0]


async def test_streams_that_begin_with_many_lines_hold_none_of_them_for_a_client_that_waits(talkative: Loopback) -> None:
    tracemalloc.start()
    try:
        before = traced()
        async with AsyncExitStack() as clients:
            for number in range(CLIENTS):
                # Each asks for lines of its own, so that none can share what is made for another.
                await clients.enter_async_context(slow_reader(talkative, f"/api/events?tail=500&grep={'x' * (number + 1)}"))
            await until(lambda: talkative.figure("mcp_operator_streams") == CLIENTS, "all are open", every=0.01)
            assert traced() - before < LOG_BYTES, "all of them together"
    finally:
        tracemalloc.stop()


async def test_pages_of_many_lines_hold_none_of_them_for_a_client_that_waits(talkative: Loopback) -> None:
    request = "GET /api/events?tail=500 HTTP/1.1\nHost: gateway\nAccept: application/json\n\n"
    tracemalloc.start()
    try:
        before = traced()
        async with AsyncExitStack() as clients:
            for _ in range(CLIENTS):
                client = await clients.enter_async_context(raw_client(talkative.address, receive_buffer=4096))
                client.send(request)
                assert (await client.head()).status == 200
            assert traced() - before < LOG_BYTES, "all of them together"
    finally:
        tracemalloc.stop()


async def test_a_page_of_many_lines_is_whole(talkative: Loopback) -> None:
    code, page = await talkative.get("/api/events?tail=500", headers={"Accept": "application/json"})

    assert code == 200
    assert [event["msg"].partition(" ")[0] for event in page["snapshot"][1:]] == [str(number) for number in range(LINES)]


async def test_a_stream_of_many_names_costs_little_for_each(loopback: Loopback) -> None:
    tracemalloc.start()
    try:
        before = traced()
        async with AsyncExitStack() as clients:
            for number in range(CLIENTS):
                names = ",".join(f"n{number}:s{each}" for each in range(100))
                client = await clients.enter_async_context(raw_client(loopback.address))
                client.get(f"/api/events?servers={names}", version="HTTP/1.0")
                await client.reader.readuntil(b"event: bookmark")
            assert traced() - before < CLIENTS * 200_000
    finally:
        tracemalloc.stop()
