"""The load generator in C: whatever a server does wrong, it counts or refuses; no wrong server comes to a figure."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, TypeAlias

import pytest

from tests.bench.loading import Delivered, Load, Opened, Pace, loading
from tests.bench.probing import ProbeError
from tests.bench.servers import Server, sendloop

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%b\r\n"
PLAIN = HEAD % b""
CHUNKED = HEAD % b"Transfer-Encoding: chunked\r\n"

Answer: TypeAlias = Callable[[int, asyncio.StreamWriter], Awaitable[None]]
"""What a subscriber is sent: from his place in the order of requests, 0 for the first."""


def event(number: int, *, named: bool = True) -> bytes:
    name = b"event: status\n" if named else b""
    return b'%bdata: {"key":"bench/%010d/%020d"}\nid: e-%d\n\n' % (name, number, 0, number)


def events(*numbers: int) -> bytes:
    return b"".join(map(event, numbers))


def chunked(data: bytes, *, size: int) -> bytes:
    parts = [data[place : place + size] for place in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


@asynccontextmanager
async def scripted(answer: Answer) -> AsyncIterator[Server]:
    """A server that does to each subscriber what the story says, and then leaves him alone."""
    requests = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        place, requests = requests, requests + 1
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(place, writer)
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the load generator has seen enough
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield Server(name="scripted", port=listening.sockets[0].getsockname()[1], path="/events", pid=os.getpid())


def says(*pieces: bytes) -> Answer:
    """The same to every subscriber, one write a piece."""

    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return answer


async def opened(answer: Answer, *, resets: int = 0, streams: int = 3, **options: Any) -> Opened:
    """What the load generator makes of it."""

    def load(server: Server) -> Opened:
        with loading(server, streams=streams, cpu=None, patience=options.pop("patience", 30), **options) as running:
            return running.opened(resets=resets)

    async with scripted(answer) as server:
        return await asyncio.to_thread(load, server)


# --- what is whole ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10_000])
async def test_events_are_read_from_chunks_of_any_size(size: int) -> None:
    whole = await opened(says(CHUNKED, chunked(b": hi\n\n" + events(1, 2, 3), size=size)), replay=3)
    assert (whole.streams, whole.deliveries) == (3, 9)


@pytest.mark.parametrize("cut", range(1, 60, 7))
async def test_events_are_read_wherever_a_write_ends(cut: int) -> None:
    data = PLAIN + events(1, 2)
    whole = await opened(says(data[:cut], data[cut:]), replay=2, streams=1)
    assert whole.deliveries == 2


async def test_a_snapshot_is_no_delivery() -> None:
    old = b'event: status\ndata: {"key":"bench/%010d/%020d","snapshot":true}\n\n' % (9, 0)
    whole = await opened(
        says(PLAIN + b"event: hello\ndata: {}\n\n" + old + b"event: bookmark\ndata: {}\nid: e-9\n\n"), ready_event="bookmark"
    )
    assert whole.deliveries == 0


async def test_those_who_are_sent_away_come_back_when_they_were_told_to() -> None:
    async def answer(place: int, writer: asyncio.StreamWriter) -> None:
        if place < 3:
            writer.write(PLAIN + b"event: bye\nretry: 1\ndata: {}\n\n")
            writer.close()
        else:
            writer.write(PLAIN + events(1))

    whole = await opened(answer, replay=1, come_back=True)
    assert (whole.sent_away, whole.deliveries) == (3, 3)


# --- what isn't -------------------------------------------------------------------------------------------------------------

_RESET = b"event: reset\ndata: {}\n\n"
_DROPPED = b"event: dropped\ndata: {}\n\n"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (events(1, 3), "3 gaps"),
        (events(2, 3), "3 gaps"),
        (events(1, 1, 2), "3 doubles"),
        (events(1) + _RESET + events(2), "3 resets"),
        (events(1) + _DROPPED + events(2), "3 drops"),
    ],
)
async def test_what_a_server_loses_or_doubles_is_counted(sent: bytes, said: str) -> None:
    with pytest.raises(ProbeError, match=f"not whole: {said}"):
        await opened(says(PLAIN + sent), replay=2)


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"], "was refused: HTTP/1.1 503"),
        ([CHUNKED, b"zz\r\n"], "broken chunked encoding"),
        ([CHUNKED, b"0\r\n\r\n"], "was ended by the server"),
    ],
)
async def test_a_server_that_fails_is_no_figure(pieces: Sequence[bytes], said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        await opened(says(*pieces), replay=2, streams=1)


async def test_events_that_do_not_come_are_not_waited_for_forever() -> None:
    with pytest.raises(ProbeError, match="0 of 1 streams were open in time"):
        await opened(says(PLAIN + events(1)), replay=2, streams=1, patience=1)


async def test_a_missing_option_is_told() -> None:
    with pytest.raises(ProbeError, match="--patience SECONDS"):
        await opened(says(PLAIN), streams=0)


# --- publishing -------------------------------------------------------------------------------------------------------------


def _delivered(load: Load, paces: int) -> Sequence[Delivered]:
    load.opened()
    return [load.delivered() for _ in range(paces)]


def test_every_subscriber_of_the_plain_loop_gets_every_event() -> None:
    paces = [Pace(1, 500, 5, 50), Pace(100, 0, 1, 3)]
    with sendloop() as server, loading(server, streams=20, paces=paces, cpu=None) as load:
        single, bursts = _delivered(load, len(paces))
    assert (single.deliveries, bursts.deliveries) == (20 * 50, 20 * 300)
    assert bursts.events_per_read > single.events_per_read
    assert bursts.server_cpu > 0


async def test_a_published_event_that_gets_lost_on_its_way_is_counted() -> None:
    """The server answers every POST, and keeps the third event for itself."""
    subscribers: list[asyncio.StreamWriter] = []

    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(PLAIN)
        subscribers.append(writer)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                found = re.search(rb"Content-Length: (\d+)", head)
                body = await reader.readexactly(int(found[1] if found else 0))
                number = int(body[body.index(b"bench/") + 6 :][:10])
                for subscriber in subscribers if number != 3 else []:
                    subscriber.write(event(number))
                writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    def load(server: Server) -> Sequence[Delivered]:
        with loading(server, streams=2, paces=[Pace(2, 0, 0, 4)], cpu=None) as running:
            return _delivered(running, 1)

    async with scripted(answer) as server, await asyncio.start_server(take, "127.0.0.1", 0) as publishing:
        port = publishing.sockets[0].getsockname()[1]
        with pytest.raises(ProbeError, match="not whole: 2 gaps"):
            await asyncio.to_thread(load, replace(server, publish_port=port))
