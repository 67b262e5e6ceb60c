"""How a stream's connection leaves aiohttp once its headers are out: `delivering` calls it for every stream.

aiohttp's request handler, parser and transport stay with a connection for as long as its response lasts, which for a stream is
10 KB each for hours. What a stream needs is a file descriptor. A plain TCP connection's descriptor is duplicated and aiohttp's
own closed: to aiohttp it looks as if the client had left. A TLS connection keeps its transport, under another protocol.

This leans on how aiohttp's `RequestHandler` treats a lost connection; tests/component/test_gateway_taking_over.py pins it to the
version in use. `Engine.AIOHTTP` leans on nothing.
"""

import asyncio
import select
from contextlib import suppress

from aiohttp import HttpVersion11, web

from mcp_operator.gateway.connections import LINGER_SECONDS, Connection, Owner, bound_kernel_memory
from mcp_operator.gateway.options import Engine
from mcp_operator.gateway.responses import ResponseConnection
from mcp_operator.gateway.sockets import Sockets
from mcp_operator.gateway.transports import TransportConnection


class Connections:
    """Makes connections out of requests. Belongs to one event loop."""

    def __init__(self, *, engine: Engine, stall_seconds: float) -> None:
        self._engine = Engine(engine)
        self._stall_seconds = stall_seconds
        self._sockets = Sockets() if hasattr(select, "epoll") and self._engine is Engine.SOCKET else None

    def take_over(self, request: web.Request, response: web.StreamResponse, *, owner: Owner) -> Connection:
        """The connection of a request whose response is prepared and has no byte of a body yet.

        The handler returns the response then, after `pump` if it is a `ResponseConnection`.

        Raises:
            ConnectionError: the client is gone, or doesn't even take the headers, or there is no file descriptor left: the
                connection is closed.
        """
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        plain = transport.get_extra_info("socket")
        bound_kernel_memory(plain, stall_seconds=self._stall_seconds)
        if self._engine is Engine.AIOHTTP:
            return ResponseConnection(request, response, owner=owner)
        chunked = request.version >= HttpVersion11
        if self._sockets is None or transport.get_extra_info("sslcontext") is not None:
            paused = request.protocol.writing_paused
            connection = TransportConnection(transport, paused=paused, chunked=chunked, owner=owner)
            request.protocol.transport = None  # or else it would be closed
            request.protocol.connection_lost(None)
            return connection
        if transport.get_write_buffer_size() > 0:
            transport.abort()
            raise ConnectionAbortedError("the client doesn't take the headers")
        try:
            descriptor = plain.dup().detach()
        except OSError as error:
            raise ConnectionAbortedError("no file descriptor is left for the stream") from error
        finally:
            transport.abort()
        return self._sockets.adopt(descriptor, chunked=chunked, owner=owner)

    async def close(self) -> None:
        """Let those whose stream has ended go, then close what is left."""
        if self._sockets is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    await self._sockets.closed()
            self._sockets.close_all()
