"""Event streams over HTTP: from a request to a `Stream`, and from its bytes to the connection.

What is wrong with a request is told by status and problem document before the first byte, what goes wrong later by a `bye` frame.
Statuses that clients take for final (204, 404) are given only when the whole cluster is known.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from http import HTTPStatus

from aiohttp import hdrs, web

from mcp_operator.eventlog.log import EventId, EventLog, Selection
from mcp_operator.gateway.framing import bye_frame, hello_frame
from mcp_operator.gateway.metrics import StreamMetrics
from mcp_operator.gateway.naming import current, selection_of, unknown_server
from mcp_operator.gateway.streaming import ByeReason, Stream, retry_ms
from mcp_operator.gateway.subscribing import (
    CLUSTER_STREAM_PARAMETERS,
    SERVER_STREAM_PARAMETERS,
    Subscription,
    require_event_stream,
    subscription,
)

logger = logging.getLogger(__name__)

WRITE_TIMEOUT_SECONDS = 30
"""A client that takes nothing for so long is let go. It has its cursor and may come back."""

_HEADERS = {
    hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
    hdrs.CACHE_CONTROL: "no-store, no-transform",
    "X-Accel-Buffering": "no",  # nginx holds answers back otherwise
}


class StreamHandlers:
    """The handlers of the event stream URLs, and the streams that are open."""

    def __init__(
        self,
        *,
        log: EventLog,
        synced: Callable[[], bool],
        metrics: StreamMetrics,
        default_namespace: str,
        heartbeat_seconds: float,
    ) -> None:
        self._log = log
        self._synced = synced
        self._metrics = metrics
        self._default_namespace = default_namespace
        self._heartbeat_seconds = heartbeat_seconds
        self._streams: set[Stream] = set()
        self._ending = False

    async def cluster_events(self, request: web.Request) -> web.StreamResponse:
        """GET /api/events: what happens to all servers."""
        require_event_stream(request.headers.get(hdrs.ACCEPT))
        wanted = subscription(request.query, request.headers, selection=Selection(), known=CLUSTER_STREAM_PARAMETERS)
        if not self._synced():
            return await self._decline(request)
        return await self._serve(request, wanted)

    async def server_events(self, request: web.Request) -> web.StreamResponse:
        """GET /api/servers/{id}/events: what happens to one server.

        By name the stream outlives the server: the next object of that name goes on with it, so with a cursor no answer is
        final. By UID it ends with the object.
        """
        require_event_stream(request.headers.get(hdrs.ACCEPT))
        server_id = request.match_info["id"]
        selection = selection_of(server_id, default_namespace=self._default_namespace)
        wanted = subscription(request.query, request.headers, selection=selection, known=SERVER_STREAM_PARAMETERS)
        if not self._synced():
            return await self._decline(request)
        server = current(await self._log.snapshot(selection))
        gone = server is None or server.deleted
        if gone and not wanted.resumes:
            raise unknown_server(server_id)
        if selection.uid is not None:
            if server is None:
                raise unknown_server(server_id)
            if server.deleted and server.status is not None and self._has_seen(wanted.cursor, server.status.id):
                return web.Response(status=HTTPStatus.NO_CONTENT, headers={hdrs.CACHE_CONTROL: "no-store"})
        return await self._serve(request, wanted)

    def end(self) -> None:
        """Let every stream say goodbye, those that are just opening as well. Their handlers end by themselves."""
        self._ending = True
        for stream in self._streams:
            stream.end()

    def _has_seen(self, cursor: EventId | None, event_id: EventId) -> bool:
        head = self._log.head
        return cursor is not None and cursor.epoch == head.epoch and event_id.seq <= cursor.seq <= head.seq

    async def _decline(self, request: web.Request) -> web.StreamResponse:
        """An answer that every client survives: a stream that ends at once and asks to come back, later than usual."""
        retry = retry_ms(least=5000, most=15000)
        now = datetime.now(UTC)
        hello = hello_frame(time=now, retry_ms=retry, heartbeat_seconds=self._heartbeat_seconds, cursor=None)
        response = web.StreamResponse(headers=_HEADERS)
        with suppress(ConnectionError):
            await response.prepare(request)
            await response.write(hello + bye_frame(time=now, retry_ms=retry, cursor=None, reason=ByeReason.STARTING))
        return response

    async def _serve(self, request: web.Request, wanted: Subscription) -> web.StreamResponse:
        # From before the snapshot: what is told because somebody listens comes after it, or is in it.
        with self._log.listening(wanted.selection, tail=wanted.tail):
            stream = Stream(self._log, wanted, heartbeat_seconds=self._heartbeat_seconds, metrics=self._metrics)
            cursor = await stream.open()
            response = web.StreamResponse(headers={**_HEADERS, "Event-Cursor": str(cursor)})
            self._streams.add(stream)
            if self._ending:
                stream.end()
            try:
                with self._metrics.open.track_inprogress():
                    await self._write_all(request, response, stream)
            finally:
                self._streams.remove(stream)
            return response

    async def _write_all(self, request: web.Request, response: web.StreamResponse, stream: Stream) -> None:
        try:
            await response.prepare(request)
            _limit_unacknowledged(request)
            async with aclosing(stream.chunks()) as chunks:
                async for chunk in chunks:
                    await _write(request, response, chunk)
        except ConnectionError:
            logger.debug("a subscriber of %.200r left", request.path)
        except Exception:
            logger.exception("the stream %.200r broke", request.path)
            frame = bye_frame(time=datetime.now(UTC), retry_ms=retry_ms(), cursor=None, reason=ByeReason.ERROR)
            with suppress(ConnectionError):
                await _write(request, response, frame)


async def _write(request: web.Request, response: web.StreamResponse, chunk: bytes) -> None:
    """Write, and wait while the client is slow.

    Raises:
        ConnectionError: the client is gone, or took nothing for too long.
    """
    try:
        async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
            await response.write(chunk)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionAbortedError("the client takes nothing") from None


def _limit_unacknowledged(request: web.Request) -> None:
    """Let the kernel end a connection whose other side is silent.

    A vanished client would else be noticed only when the send buffer is full: on a quiet stream after many minutes.
    """
    connection = request.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, WRITE_TIMEOUT_SECONDS * 1000)
