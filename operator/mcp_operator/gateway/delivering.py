"""Event streams over HTTP: from a request to a `Stream` that the broadcaster serves.

What is wrong with a request is told by status and problem document before the first byte, what goes wrong later by a `bye` frame.
Statuses that clients take for final (204, 404) are given only when the whole cluster is known.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus

from aiohttp import hdrs, web
from yarl import URL

from mcp_operator.eventlog.log import EventId, EventLog, Selection
from mcp_operator.gateway.admitting import Admission, Admitted, Refusal
from mcp_operator.gateway.broadcasting import Broadcaster
from mcp_operator.gateway.connections import Connection
from mcp_operator.gateway.framing import bye_frame, hello_frame, retry_ms
from mcp_operator.gateway.identity import client_of
from mcp_operator.gateway.metrics import StreamMetrics
from mcp_operator.gateway.naming import selection_of
from mcp_operator.gateway.negotiating import Form, negotiate
from mcp_operator.gateway.opening import open_at
from mcp_operator.gateway.options import StreamOptions
from mcp_operator.gateway.overviewing import BroadcastStreams, OpenStreams
from mcp_operator.gateway.paging import Pages
from mcp_operator.gateway.problems import overloaded
from mcp_operator.gateway.responses import ResponseConnection
from mcp_operator.gateway.resuming import settle
from mcp_operator.gateway.reusing import Reused
from mcp_operator.gateway.streaming import EndReason, Stream
from mcp_operator.gateway.subscribing import (
    CLUSTER_STREAM_PARAMETERS,
    SERVER_STREAM_PARAMETERS,
    Subscription,
    subscription,
)
from mcp_operator.gateway.taking_over import Connections

logger = logging.getLogger(__name__)

_GRACE_SECONDS = 2
"""How long clients may take to take a `bye` when the gateway stops."""

_YOUNGEST = 0.8
"""The share of the greatest age at which streams begin to end, so that those of one moment don't come back in one moment."""

_HEADERS = {
    hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
    hdrs.CACHE_CONTROL: "no-store, no-transform",
    "X-Accel-Buffering": "no",  # nginx holds answers back otherwise
}


class StreamHandlers:
    """The handlers of the events URLs, and all that serves their streams. Belongs to one event loop."""

    def __init__(
        self,
        *,
        log: EventLog,
        synced: Callable[[], bool],
        metrics: StreamMetrics,
        options: StreamOptions,
        admission: Admission,
        default_namespace: str,
    ) -> None:
        self._log = log
        self._synced = synced
        self._options = options
        self._admission = admission
        self._metrics = metrics
        self._default_namespace = default_namespace
        self._reused = Reused(log)
        self._broadcaster = Broadcaster(log, self._reused, options=options, metrics=metrics)
        self._pages = Pages(log=log, synced=synced, turn=self._broadcaster.turn)
        self._connections = Connections(engine=options.engine, stall_seconds=options.stall_seconds)
        self._broadcasting: asyncio.Task[None] | None = None
        self._openings = _Openings()
        self._ending = False
        """Whether streams end, and none begins."""
        self._stopped = False
        """Whether nothing serves streams any more."""

    @property
    def open_streams(self) -> OpenStreams:
        """The streams that are open, for people."""
        return BroadcastStreams(self._broadcaster)

    async def cluster_events(self, request: web.Request) -> web.StreamResponse:
        """GET /api/events: what happens to all servers."""
        return await self._answer(request, Selection(), known=CLUSTER_STREAM_PARAMETERS)

    async def server_events(self, request: web.Request) -> web.StreamResponse:
        """GET /api/servers/{id}/events: what happens to one server.

        By name the stream outlives the server: the next object of that name goes on with it, so with a cursor no answer is
        final. By UID it ends with the object.
        """
        server_id = request.match_info["id"]
        selection = selection_of(server_id, default_namespace=self._default_namespace)
        return await self._answer(request, selection, known=SERVER_STREAM_PARAMETERS, server_id=server_id)

    def start(self) -> None:
        """Begin to serve streams; `stop` ends it."""
        self._broadcasting = asyncio.create_task(self._broadcaster.run(), name="broadcaster")

    async def stop(self) -> None:
        """End every stream with `bye`, spread over some time, then what serves them."""
        self._ending = True
        self._pages.end()
        await self._broadcaster.drain(self._options.drain_seconds, grace_seconds=_GRACE_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
                await self._openings.over()
        await self._broadcaster.drain(0, grace_seconds=_GRACE_SECONDS)
        self._stopped = True
        await self._connections.close()
        if self._broadcasting is not None:
            self._broadcasting.cancel()
            with suppress(asyncio.CancelledError):
                await self._broadcasting

    async def _answer(
        self, request: web.Request, selection: Selection, *, known: tuple[str, ...], server_id: str | None = None
    ) -> web.StreamResponse:
        form, wanted = _wanted(
            request.rel_url.raw_query_string,
            tuple(request.headers.getall(hdrs.ACCEPT, ())),
            request.headers.get("Last-Event-ID", ""),
            selection=selection,
            known=known,
            default_namespace=self._default_namespace,
        )
        if form is Form.PAGE:
            return await self._page(request, wanted, server_id=server_id)
        if not self._synced():
            return await self._decline(request, EndReason.STARTING)
        if self._ending:
            return await self._decline(request, EndReason.SHUTDOWN)
        if request.method == hdrs.METH_HEAD:
            settled = await settle(wanted, self._log, server_id=server_id)
            return _heard_all() if settled is None else web.Response(headers=_headers(settled.cursor or self._log.head))
        return await self._stream(request, wanted, server_id=server_id)

    async def _stream(self, request: web.Request, wanted: Subscription, *, server_id: str | None) -> web.StreamResponse:
        """A stream, if there is a place for one."""
        admitted = await self._admission.admit(client_of(request))
        if isinstance(admitted, Refusal):
            retry = retry_ms(least=admitted.least_retry_ms, most=admitted.most_retry_ms)
            return await self._decline(request, admitted.reason, retry=retry)
        with ExitStack() as held, self._openings:
            held.callback(admitted.release)
            async with self._broadcaster.turn:
                settled = await settle(wanted, self._log, server_id=server_id)
                if settled is None:
                    return _heard_all()
                response, connection = await self._serve(request, settled, admitted, held)
        if isinstance(connection, ResponseConnection):
            await connection.pump()
        return response

    async def _page(self, request: web.Request, wanted: Subscription, *, server_id: str | None) -> web.Response:
        """A page takes a stream's place as long as it is asked for: it may wait as one does."""
        admitted = await self._admission.admit(client_of(request))
        if isinstance(admitted, Refusal):
            raise overloaded(admitted)
        if request.method == hdrs.METH_HEAD:
            wanted = replace(wanted, wait_seconds=0)
        try:
            return await self._pages.answer(wanted, server_id=server_id)
        finally:
            admitted.release()

    async def _serve(
        self, request: web.Request, settled: Subscription, admitted: Admitted, held: ExitStack
    ) -> tuple[web.StreamResponse, Connection | None]:
        """Begin a stream. What is held for it is its own from then on."""
        # From before the snapshot: what is told because somebody listens comes after it, or is in it.
        listening = self._log.listening(settled.selection, tail=settled.tail)
        held.enter_context(listening)
        opening = await open_at(self._reused, settled, self._metrics)
        response = web.StreamResponse(headers=_headers(opening.position))
        now = asyncio.get_running_loop().time()
        stream = Stream(
            self._broadcaster,
            settled,
            client=client_of(request),
            path=request.path,
            position=opening.position.seq,
            told=None if opening.anew else opening.position.seq,
            opened=now,
            held=(listening, admitted),
        )
        if self._options.max_age_seconds:
            stream.expires = int(now + self._options.max_age_seconds * random.uniform(_YOUNGEST, 1)) + 1  # noqa: S311 - no secret
        try:
            await response.prepare(request)
            stream.connection = connection = self._connections.take_over(request, response, owner=stream)
        except ConnectionError:
            logger.debug("a subscriber of %.200r left before its stream began", request.path)
            return response, None
        if self._stopped:
            connection.abort()
            return response, None
        held.pop_all()
        self._broadcaster.open(stream, opening)
        if self._ending:
            self._broadcaster.end(stream, EndReason.SHUTDOWN)
        return response, connection

    async def _decline(self, request: web.Request, reason: str, *, retry: int | None = None) -> web.StreamResponse:
        """An answer that every client survives: a stream that ends at once and asks to come back, later than usual."""
        retry = retry or retry_ms(least=5000, most=15000)
        now = datetime.now(UTC)
        hello = hello_frame(time=now, retry_ms=retry, heartbeat_seconds=self._options.heartbeat_seconds, cursor=None)
        response = web.StreamResponse(headers=_HEADERS)
        with suppress(ConnectionError):
            await response.prepare(request)
            if request.method != hdrs.METH_HEAD:
                await response.write(hello + bye_frame(time=now, retry_ms=retry, cursor=None, reason=reason))
        return response


@lru_cache(256)
def _wanted(
    query: str,
    accept: tuple[str, ...],
    last_event_id: str,
    *,
    selection: Selection,
    known: tuple[str, ...],
    default_namespace: str,
) -> tuple[Form, Subscription]:
    """What a request asks for. Those that come back at the same moment mostly ask for the same.

    Raises:
        ProblemError: it can't be had.
    """
    form = negotiate(accept)
    wanted = subscription(
        URL.build(path="/", query_string=query, encoded=True).query,
        {"Last-Event-ID": last_event_id},
        selection=selection,
        known=known,
        default_namespace=default_namespace,
        form=form,
    )
    return form, wanted


class _Openings:
    """Counts the streams that are just beginning, so that a stop doesn't overlook them."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()

    def __enter__(self) -> None:
        self._count += 1

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()

    async def over(self) -> None:
        """Wait until none is."""
        while self._count:
            self._none.clear()
            await self._none.wait()


def _headers(position: EventId) -> dict[str, str]:
    return {**_HEADERS, "Event-Cursor": str(position)}


def _heard_all() -> web.Response:
    return web.Response(status=HTTPStatus.NO_CONTENT, headers={hdrs.CACHE_CONTROL: "no-store"})
