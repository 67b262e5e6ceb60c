"""How connections come in, and what they may cost before they have asked for anything.

aiohttp reads requests with patience for everybody: a connection may trickle in its first request for an hour, and an answer may
be taken a byte a second. Here each connection has its bounds: of time and size until a request is complete, of time for an answer
that isn't a stream, and of connections in total. A stream's connection is bound by the stream's own rules once it has begun.
`serving` opens both ports through a `Listener`. What this leans on in aiohttp is pinned by tests.
"""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web
from aiohttp.web_request import BaseRequest

from mcp_operator.gateway.problems import ProblemError, from_aiohttp, unreadable
from mcp_operator.gateway.taking_turns import Turns

logger = logging.getLogger(__name__)

_HANDSHAKE_SECONDS = 10
_FAREWELL_SECONDS = 5
"""For a TLS client to answer that the connection is closed, before it is cut."""
_BACKLOG = 4096
"""Connections that the kernel holds until they are accepted: after a restart all subscribers come back at once."""
_ACCEPTED_AT_ONCE = 16
"""Connections accepted between two turns of the streams that are open."""
_READ_AT_ONCE = 16
"""Connections whose requests are read between two turns of the streams that are open."""
_TURNS_TO_BEGIN = 3
"""Of the event loop: asyncio makes a transport of what it has accepted, tells the protocol, whose task begins to wait."""
_TLS_READ_BYTES = 16 * 1024
"""A TLS record. asyncio gives each TLS connection a buffer of 256 KiB for what it reads; a subscriber sends next to nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Bounds of connections that carry no stream."""

    head_seconds: float = 15
    """From a connection's begin, or a later request's first byte, until the request's head is complete."""
    head_bytes: int = 32 * 1024
    """Request line and headers together."""
    line_bytes: int = 8 * 1024
    """The request line, and each header."""
    headers: int = 64
    idle_seconds: float = 75
    """Between two requests: longer than proxies keep unused connections (nginx 60 s), so that they don't use one that is just
    being closed."""
    answer_seconds: float = 60
    """For taking an answer."""
    body_seconds: float = 5
    """For the rest of a request's body that nobody wants, before the connection is closed."""
    connections: int = 10_000
    """When there are more, the one that has waited longest for a request goes; if all are busy, the newcomer."""


class Connection(web.RequestHandler):
    """aiohttp's side of one connection, with bounds, and with problem documents for requests that it can't read."""

    __slots__ = ("_head_bytes", "_head_timer", "_held", "_limits", "_on_made", "_turns")

    def __init__(
        self,
        server: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        limits: ConnectionLimits,
        turns: Turns,
        on_made: Callable[[Connection], None],
    ) -> None:
        """
        Args:
            turns: in which requests are read, together with the other connections.
            on_made: called when the connection can be used, after the TLS handshake; a failed handshake isn't told.
        """
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=limits.idle_seconds,
            access_log=None,  # type: ignore[arg-type]  # None means none, as web.AppRunner documents
            max_line_size=limits.line_bytes,
            max_field_size=limits.line_bytes,
            max_headers=limits.headers,
            auto_decompress=False,  # no handler reads a body; a false claim of compression would be an error in the log
            lingering_time=limits.body_seconds,
        )
        self._limits = limits
        self._turns = turns
        self._on_made = on_made
        self._held = b""
        """What has come of a request whose turn has not."""
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    @property
    def awaits_request(self) -> bool:
        """Whether nothing is asked at the moment: the last request, if any, is answered, and no other is complete."""
        return self._waiter is not None and not self._waiter.done() and not self._held

    def hear_no_more(self) -> None:
        """Ignore what the client sends from now on: this answer is the connection's last.

        aiohttp would keep what comes, and stop reading when it has enough of it. Then it wouldn't notice that the client leaves.
        """
        self._messages.clear()
        self.close()
        self._resume_reading_for_buffer()
        self.resume_reading(resume_parser=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._on_made(self)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            unacknowledged_ms = round(self._limits.answer_seconds * 1000)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unacknowledged_ms)
        self._head_timer = self._loop.call_later(self._limits.head_seconds, self._give_up_waiting)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_head_timer()
        self._held = b""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if data and (self._held or (self.awaits_request and not self._turns.take())):
            if len(self._held) + len(data) <= self._limits.head_bytes:
                if not self._held:
                    self._turns.wait(self._receive_held)
                self._held += data
                return
            data = self._held + data  # too much to be held
            self._held = b""
        self._receive(data)

    def _receive_held(self) -> None:
        data, self._held = self._held, b""
        if data:
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        super().data_received(data)
        # With the last of a TLS handshake a part of the first request may come, before aiohttp waits for it.
        if self._request_count > 0 and not self.awaits_request:
            self._stop_head_timer()
            self._head_bytes = 0
            return
        if data and self._head_timer is None:
            self._head_timer = self._loop.call_later(self._limits.head_seconds, self._give_up_waiting)
        self._head_bytes += len(data)
        if self._head_bytes > self._limits.head_bytes:
            self._refuse_head()

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to a request that can't be read. What is wrong with it is the client's affair: nothing is logged but for
        debugging."""
        if status != HTTPStatus.BAD_REQUEST or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        logger.debug("a request from %s can't be read: %.200r", request.remote, exc)
        response = unreadable(exc).response()
        response.headers["Connection"] = "close"
        response.force_close()
        return response

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer, but not for ever."""
        if isinstance(resp, web.HTTPException) and resp.status >= HTTPStatus.BAD_REQUEST:
            resp = from_aiohttp(request, resp).response()  # a refused `Expect` comes past every middleware
        transport = self.transport
        try:
            async with asyncio.timeout(self._limits.answer_seconds):
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:
            if transport is not None:
                transport.abort()
            return resp, True

    def _give_up_waiting(self) -> None:
        self._head_timer = None
        if self.awaits_request:
            self.force_close()

    def _refuse_head(self) -> None:
        problem = ProblemError(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"The request's headers are longer than {self._limits.head_bytes} bytes together",
        )
        if self.transport is not None:
            self.transport.write(problem.raw_response())
        self.force_close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class _Refused(asyncio.Protocol):
    """Closes a connection without a word: every client takes that for a network that failed, and tries again."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker: what a server gets is one
        transport.abort()


class Listener(web.BaseSite):
    """One port of one application, for `web.AppRunner`."""

    def __init__(
        self, runner: web.AppRunner, *, host: str, port: int, limits: ConnectionLimits, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(runner, ssl_context=tls, backlog=_ACCEPTED_AT_ONCE)
        self._application_runner = runner
        self._host = host
        self._wanted_port = port
        self._limits = limits
        self._turns = Turns(asyncio.get_running_loop(), at_once=_READ_AT_ONCE)
        self._handshaking: dict[Connection, float] = {}
        """Connections that are accepted and not made, oldest first, and when their handshakes are over in any case."""
        self._stopped = False
        self.refused = 0
        """Connections closed because there were too many, idle ones and newcomers."""

    @property
    def name(self) -> str:
        return f"{'http' if self._ssl_context is None else 'https'}://{self._host}:{self._wanted_port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address can't be listened on.
        """
        await super().start()
        loop = asyncio.get_running_loop()
        server = self._application_runner.server
        if server is None:
            raise RuntimeError("the application is not set up yet")
        if self._ssl_context is not None:
            asyncio.sslproto.SSLProtocol.max_size = _TLS_READ_BYTES
        self._server = await loop.create_server(
            lambda: self._accept(server, loop),
            self._host,
            self._wanted_port,
            ssl=self._ssl_context,
            ssl_handshake_timeout=None if self._ssl_context is None else _HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=None if self._ssl_context is None else _FAREWELL_SECONDS,
            backlog=self._backlog,  # asyncio also accepts as many at once
        )
        for listening in self._server.sockets:
            with listening.dup() as same:
                same.listen(_BACKLOG)

    async def stop(self) -> None:
        """Accept no more, then close the port.

        Between the kernel's accept and a connection that waits for a request are some turns of the loop. asyncio drops one that
        finds the port closed meanwhile without closing it; for one that isn't waiting yet aiohttp would use up all its grace.
        """
        if isinstance(self._server, asyncio.Server):
            for listening in self._server.sockets:
                self._server.get_loop().remove_reader(listening.fileno())
            for _ in range(_TURNS_TO_BEGIN):
                await asyncio.sleep(0)
        self._stopped = True
        await super().stop()

    def _accept(self, server: web.Server, loop: asyncio.AbstractEventLoop) -> asyncio.Protocol:
        now = loop.time()
        while self._handshaking and next(iter(self._handshaking.values())) < now:
            del self._handshaking[next(iter(self._handshaking))]
        if len(server.connections) + len(self._handshaking) >= self._limits.connections:
            self.refused += 1
            if not _close_idle(server):
                return _Refused()
        connection = Connection(server, loop=loop, limits=self._limits, turns=self._turns, on_made=self._made)
        self._handshaking[connection] = now + _HANDSHAKE_SECONDS
        return connection

    def _made(self, connection: Connection) -> None:
        self._handshaking.pop(connection, None)
        if self._stopped:
            connection.force_close()  # a TLS handshake may end after the port was closed


def _close_idle(server: web.Server) -> bool:
    """Close the oldest connection that waits for a request."""
    for connection in server.connections:
        if isinstance(connection, Connection) and connection.awaits_request:
            connection.force_close()
            return True
    return False
