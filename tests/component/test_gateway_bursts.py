"""Requests that come at the same moment on very many connections: they are read a few at a time, and none suffers for it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.component.conftest import Loopback, StartStrict
from tests.component.raw_http import RawClient, raw_client

CONNECTIONS = 400
"""Some times as many as are read in one turn of the event loop."""

_TURNS_TO_READ = 2
"""Of the event loop: after so many the gateway has read what was sent, and not yet answered everybody."""


@asynccontextmanager
async def connected(loopback: Loopback, count: int) -> AsyncIterator[Sequence[RawClient]]:
    """So many connections that have asked for something before: the gateway waits for their next request."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(loopback.address)) for _ in range(count)]
        for client in clients:
            client.get("/api/servers")
        for client in clients:
            assert (await client.answer()).status == 200
        yield clients


async def send_together(clients: Sequence[RawClient], *pieces: str) -> None:
    """Each client sends these pieces, all of them at the same time; `{}` stands for the client's number."""
    for piece in pieces:
        for number, client in enumerate(clients):
            client.send(piece.format(number))
        for _ in range(_TURNS_TO_READ):
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    "pieces",
    [
        ["GET /api/servers/default:s{} HTTP/1.1\nHost: g\n\n"],
        ["GET /api/ser", "vers/default:s{} HTTP/1.1\nHo", "st: g\n", "\n"],
        [*"GET /api", "/servers/default:s{} HTTP/1.1\n", *"Host: g\n\n"],
    ],
    ids=["whole", "in pieces", "in many pieces"],
)
async def test_each_gets_its_own_answer(start_strict: StartStrict, pieces: Sequence[str]) -> None:
    loopback = await start_strict()
    async with connected(loopback, CONNECTIONS) as clients:
        await send_together(clients, *pieces)
        answers = [await client.answer() for client in clients]

    assert {answer.status for answer in answers} == {404}
    assert [f"default:s{number}:" in answer.problem["detail"] for number, answer in enumerate(answers)] == [True] * CONNECTIONS


async def test_two_requests_of_one_connection_are_answered_in_their_order(start_strict: StartStrict) -> None:
    loopback = await start_strict()
    first, second = ("GET /api/servers/default:{}-" + name + " HTTP/1.1\nHost: g\n\n" for name in ("first", "second"))
    async with connected(loopback, CONNECTIONS) as clients:
        await send_together(clients, first, second)
        for number, client in enumerate(clients):
            for name in ("first", "second"):
                assert f"default:{number}-{name}:" in (await client.answer()).problem["detail"]


async def test_a_head_that_is_too_long_is_refused_there_too(start_strict: StartStrict) -> None:
    loopback = await start_strict()
    header = "X-{}: " + "a" * 4000 + "\n"
    async with connected(loopback, CONNECTIONS) as clients:
        await send_together(clients, "GET /api/servers HTTP/1.1\nHost: g\n", *[header] * 10)
        answers = [await client.closed() for client in clients]

    # Nothing comes of an answer where the connection was closed before all had been read.
    assert {answer[:12] for answer in answers if answer} <= {b"HTTP/1.1 431"}


async def test_a_connection_whose_request_waits_is_not_taken_for_an_idle_one(start_strict: StartStrict) -> None:
    loopback = await start_strict(connections=CONNECTIONS)
    async with connected(loopback, CONNECTIONS) as clients, AsyncExitStack() as newcomers:
        for _ in range(20):
            newcomers.enter_context(socket.create_connection(loopback.address))
        await send_together(clients, "GET /api/servers HTTP/1.1\nHost: g\n\n")
        answers = [await client.answer() for client in clients]

    assert {answer.status for answer in answers} == {200}


async def test_who_leaves_before_its_turn_costs_nobody_anything(start_strict: StartStrict) -> None:
    loopback = await start_strict()
    async with connected(loopback, CONNECTIONS) as clients:
        await send_together(clients, "GET /api/servers HTTP/1.1\nHost: g\n\n")
        for client in clients[::2]:
            client.writer.transport.abort()
        answers = [await client.answer() for client in clients[1::2]]

    assert {answer.status for answer in answers} == {200}
