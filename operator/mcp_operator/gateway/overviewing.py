"""GET /api/streams: the streams that are open: who listens, to what, and how far behind.

`serving` routes to it; the engine of the streams is asked through `OpenStreams`. With tens of thousands of streams the answer is
made and sent in slices, so that writing it down never holds up the streams themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import hdrs, web

from mcp_operator.eventlog.encoding import timestamp, to_json
from mcp_operator.eventlog.log import EventId, EventLog, Selection
from mcp_operator.gateway.querying import number_of, read_parameters

if TYPE_CHECKING:
    from mcp_operator.gateway.broadcasting import Broadcaster
    from mcp_operator.gateway.streaming import Stream

STREAMS_PARAMETERS = ("limit",)

_USUAL_LIMIT = 1_000
_LIMIT = 100_000

_SLICE = 64
"""Streams written down between two turns of others: about a millisecond's worth."""

_ANSWER_SECONDS = 60
"""A client that takes longer for the answer is let go."""


class StreamState(StrEnum):
    """How a stream stands to the log."""

    LIVE = "live"
    """It has got all that there is, and gets what is new as it happens."""
    CATCHING_UP = "catching-up"
    """It is being sent what was before: a snapshot, a replay, or what its client was too slow to take."""
    ENDING = "ending"
    """It ends as soon as its client has been told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamView:
    """One open stream as people see it. The query of its URL isn't in it: it may carry secrets."""

    client: str
    """Its identity, or its address while it has none."""
    path: str
    """Of its URL."""
    selection: Selection
    named: bool
    cursor: EventId
    """Everything that it wants up to here has been written to it."""
    state: StreamState
    opened: float
    """When, by the event loop's clock (seconds)."""


class OpenStreams(Protocol):
    """What is open, as the engine of the streams knows it."""

    def __len__(self) -> int:
        """How many streams are open."""

    def overview(self) -> Iterable[StreamView]:
        """The streams that are open when it is called, the oldest first.

        Each is looked at only when the iteration comes to it, which may be many turns of the event loop later; those that have
        ended by then are left out.
        """


class OverviewHandlers:
    """The handler of the streams' overview."""

    def __init__(self, *, streams: OpenStreams, log: EventLog) -> None:
        self._streams = streams
        self._log = log

    async def streams(self, request: web.Request) -> web.StreamResponse:
        """GET /api/streams: the oldest `limit` of the streams that are open, and how many there are.

        Raises:
            ProblemError: 400 for a parameter that it can't have.
        """
        parameters = read_parameters(request.query, STREAMS_PARAMETERS)
        limit = number_of(
            parameters, "limit", least=0, most=_LIMIT, default=_USUAL_LIMIT, meaning="how many streams to list, a number"
        )
        response = web.StreamResponse(headers={hdrs.CACHE_CONTROL: "no-store", hdrs.CONTENT_TYPE: "application/json"})
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await response.prepare(request)
                if request.method != hdrs.METH_HEAD:
                    await self._write(response, limit)
                await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # nobody waits for the answer any more
        return response

    async def _write(self, response: web.StreamResponse, limit: int) -> None:
        """Write the answer, giving the streams their turn between the slices.

        Raises:
            ConnectionError: the client is gone.
        """
        views = iter(islice(self._streams.overview(), limit))
        before = b'{"total":%d,"streams":[' % len(self._streams)
        while part := b",".join(self._slice(views)):
            await response.write(before + part)
            before = b","
            await asyncio.sleep(0)
        await response.write((b"" if before == b"," else before) + b"]}\n")

    def _slice(self, views: Iterator[StreamView]) -> Iterator[bytes]:
        clock, now, head = asyncio.get_running_loop().time(), datetime.now(UTC), self._log.head
        for view in islice(views, _SLICE):
            yield to_json(_stream(view, age=clock - view.opened, now=now, head=head))


def _stream(view: StreamView, *, age: float, now: datetime, head: EventId) -> dict[str, Any]:
    return {
        "client": view.client,
        "path": view.path,
        "named": view.named,
        "filters": _filters(view.selection),
        "state": view.state,
        "cursor": str(view.cursor),
        "behind": max(0, head.seq - view.cursor.seq),
        "openedAt": timestamp(now - timedelta(seconds=age)),
        "ageSeconds": round(age, 3),
    }


def _filters(selection: Selection) -> dict[str, Any]:
    """What the stream wants, each as its parameter is called; null: not filtered by it."""
    return {
        "types": sorted(selection.types),
        "servers": _sorted(selection.servers if selection.uid is None else {selection.uid}),
        "namespace": _sorted(selection.namespaces),
        "selector": selection.selector.text if selection.selector is not None else None,
        "level": selection.level,
        "grep": selection.grep,
    }


def _sorted(values: Iterable[object] | None) -> list[str] | None:
    return None if values is None else sorted(map(str, values))


class BroadcastStreams:
    """The streams of a broadcaster, as an `OpenStreams`."""

    def __init__(self, broadcaster: Broadcaster) -> None:
        self._broadcaster = broadcaster

    def __len__(self) -> int:
        return len(self._broadcaster.streams)

    def overview(self) -> Iterator[StreamView]:
        return (self._view(stream) for stream in list(self._broadcaster.streams) if not stream.ended)

    def _view(self, stream: Stream) -> StreamView:
        live = stream.feed is not None
        head = self._broadcaster.position
        state = StreamState.LIVE if live else StreamState.CATCHING_UP
        return StreamView(
            client=stream.client,
            path=stream.path,
            selection=stream.selection,
            named=stream.named,
            cursor=head if live else EventId(head.epoch, stream.position),
            state=state if stream.ending is None else StreamState.ENDING,
            opened=stream.opened,
        )
