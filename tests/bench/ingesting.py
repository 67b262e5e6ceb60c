"""How events get into a server that is measured: one POST each, as nchan takes them too, on a port of its own.

What the operator spends on learning of an event isn't compared with anything (its events come from the API server). To read a
request for each, and to append what it says, is what its peer does, so both are counted. `serving` listens with it.

    POST /publish/NAMESPACE     append an event of the server whose turn it is; the body has its number and time (`MARKER`)
    GET /cursor                 the log's head
    POST /stalls                longest time in milliseconds that the event loop was late since this was last asked; first: begin
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from mcp_operator.eventlog.log import EventLog
from mcp_operator.model.events import Event, Payload
from mcp_operator.model.labels import Labels
from mcp_operator.model.servers import ServerName
from tests.events import status, uid_of

MARKER = b"bench/"
"""With ten digits of an event's number, a slash and twenty of its time, the event's key: `native/publisher.h`."""
MARKER_BYTES = len(MARKER) + 10 + 1 + 20

_REVISION = "7d4b9c6f5"
_LABELS: Labels = (("app.kubernetes.io/part-of", "bench"), ("team", "search"))
_HEAD = re.compile(rb"(GET|POST) (/[^ ]*) HTTP/1\.1\r\n(?:[^\r\n]*\r\n)*?(?:Content-Length: (\d+)\r\n)?\r\n")
_END = b"\r\n\r\n"
_MOST_REQUEST_BYTES = 1024 * 1024
_STALL_SECONDS = 0.005
"""The loop is looked at so often: a stall is told at most so much too short."""


@dataclass(frozen=True, slots=True)
class _Told:
    """A server and what is said about it: the same each time but for the event's key."""

    name: ServerName
    uid: str
    payload: Payload


class Source:
    """Events of so many servers in a namespace, whose turn follows the event's number."""

    def __init__(self, namespace: str, servers: int) -> None:
        self._servers = [self._told(f"{namespace}/server-{number}") for number in range(servers)]

    def event(self, number: int, key: str, *, observed: float | None = None) -> Event:
        told = self._servers[number % len(self._servers)]
        return Event(told.name, told.uid, key, told.payload, labels=_LABELS, observed=observed)

    @staticmethod
    def _told(server: str) -> _Told:
        event = status(server, instances=2, desired=3, updated=3, available=2, revision=_REVISION)
        return _Told(ServerName.parse(server), uid_of(server), event.payload)


class Stalls:
    """How late the event loop was at most, found by a timer that looks at the clock."""

    def __init__(self) -> None:
        self._longest = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def longest(self) -> float:
        """In seconds, since it was last asked; 0 the first time, which begins it."""
        longest, self._longest = self._longest, 0.0
        if self._timer is None:
            self._next(asyncio.get_running_loop())
        return longest

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._longest = max(self._longest, loop.time() - self._due)
        self._next(loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + _STALL_SECONDS
        self._timer = loop.call_at(self._due, self._look)


@dataclass(frozen=True, slots=True)
class Posted:
    """One request, read to its end."""

    path: str
    body: bytes


def take_requests(data: bytes) -> tuple[Sequence[Posted], bytes]:
    """The requests that are complete, and the bytes behind them.

    Raises:
        ValueError: that is no request that is understood here.
    """
    requests = []
    begin = 0
    while (end := data.find(_END, begin)) >= 0:
        head = _HEAD.fullmatch(data, begin, end + len(_END))
        if head is None:
            raise ValueError(f"not understood: {data[begin : begin + 200]!r}")
        body = head.end()
        after = body + int(head[3] or 0)
        if after > len(data):
            break
        requests.append(Posted(head[2].decode(), data[body:after]))
        begin = after
    if len(data) - begin > _MOST_REQUEST_BYTES:
        raise ValueError(f"a request of more than {_MOST_REQUEST_BYTES} bytes")
    return requests, data[begin:]


class Ingest:
    """What publishers talk to; `serve` is the callback of `asyncio.start_server`'s connections."""

    def __init__(self, log: EventLog, *, servers: int) -> None:
        self._log = log
        self._servers = servers
        self._sources: dict[str, Source] = {}
        self.stalls = Stalls()

    async def answer(self, request: Posted) -> bytes:
        """Do what is asked, and say what came of it."""
        _, what, *rest = request.path.split("/")
        match what:
            case "publish":
                await self._log.append(self._event(rest[0], request.body))
                return b""
            case "cursor":
                return json.dumps({"cursor": str(self._log.head)}).encode()
            case "stalls":
                return json.dumps({"longest_ms": 1000 * self.stalls.longest()}).encode()
        raise ValueError(f"nothing is at {request.path}")

    def _event(self, namespace: str, body: bytes) -> Event:
        source = self._sources.get(namespace)
        if source is None:
            source = self._sources.setdefault(namespace, Source(namespace, self._servers))
        place = body.index(MARKER)
        key = body[place : place + MARKER_BYTES].decode()
        return source.event(int(key[6:16]), key, observed=asyncio.get_running_loop().time())


async def serve(answer: Callable[[Posted], Awaitable[bytes]], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One keep-alive connection: all requests that have come are done in one turn of the loop, and answered in one write."""
    rest = b""
    try:
        while data := await reader.read(_MOST_REQUEST_BYTES):
            requests, rest = take_requests(rest + data)
            answers = [await answer(each) for each in requests]
            writer.write(
                b"".join(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%b" % (len(each), each) for each in answers)
            )
            await writer.drain()
    except ConnectionError:
        return  # the publisher has gone
    finally:
        writer.close()
