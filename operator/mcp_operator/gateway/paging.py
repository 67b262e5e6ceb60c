"""The JSON page: the events of a stream's URL as one answer that ends, for clients that ask now and then. `delivering` calls it.

    {"events": [event ...],              the very JSON that streams send, at most `limit`
     "next": "<epoch>-<seq>",            how far the log was looked through: the next page's `last_event_id`
     "reset": null or {"reason", "cursor"},
     "snapshot": null or [event ...],    without a cursor or after a reset, each with "snapshot": true
     "dropped": [{"types", "count", "after", "before"} ...],
     "more": false}                      whether the next page has something at once

It is made of the log's own bytes, and never has more events than fit into PAGE_BYTES and one; a snapshot is as long as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from aiohttp import hdrs, web

from mcp_operator.eventlog.encoding import to_json
from mcp_operator.eventlog.log import Batch, EventId, EventLog, Gap, Record
from mcp_operator.gateway.bodies import SNAPSHOT_MARK, EventArray, LongBody
from mcp_operator.gateway.listing import json_response
from mcp_operator.gateway.naming import told_by
from mcp_operator.gateway.problems import not_ready
from mcp_operator.gateway.resuming import settle
from mcp_operator.gateway.subscribing import Subscription
from mcp_operator.model.events import EventType

PAGE_BYTES = 4 * 1024 * 1024
"""A page of more JSON than this is full, however few events it has."""

_BATCH_EVENTS = 512
"""Events looked at between two turns of others."""

_PAUSE_SECONDS = 0.05
"""Least time between two looks at the log while a page waits: much that it doesn't want is looked at together."""

_RETRY_AFTER_SECONDS = 2

_MALFORMED = "malformed"


class Pages:
    """Answers requests for pages, and ends those that wait when the gateway stops."""

    def __init__(self, *, log: EventLog, synced: Callable[[], bool], turn: asyncio.Semaphore) -> None:
        """
        Args:
            turn: held while the log is read, as by the streams that are behind.
        """
        self._log = log
        self._turn = turn
        self._synced = synced
        self._waiting: set[asyncio.Timeout] = set()
        self._ending = False

    async def answer(self, wanted: Subscription, *, server_id: str | None = None) -> web.Response:
        """The page of a subscription; 204 where everything has been heard.

        Args:
            server_id: the `{id}` of the URL; None for the events of the cluster.

        Raises:
            ProblemError: 503 before the cluster is known, 404 for a server that there isn't.
        """
        if not self._synced():
            raise not_ready(retry_after_seconds=_RETRY_AFTER_SECONDS)
        settled = await settle(wanted, self._log, server_id=server_id)
        if settled is None:
            return web.Response(status=HTTPStatus.NO_CONTENT, headers={hdrs.CACHE_CONTROL: "no-store"})
        # From before the snapshot: what is told because somebody listens comes after it, or is in it.
        with self._log.listening(settled.selection, tail=settled.tail):
            if settled.cursor is None:
                return await self._anew(settled, _MALFORMED if settled.cursor_malformed else None)
            return await self._continued(settled, settled.cursor)

    def end(self) -> None:
        """Let pages wait no longer: each answers with what it has. Those that come later don't wait."""
        self._ending = True
        for patience in self._waiting:
            if not patience.expired():
                patience.reschedule(asyncio.get_running_loop().time())

    async def _anew(self, settled: Subscription, reason: str | None) -> web.Response:
        """A page that begins with a snapshot: the first one, or because history can't be continued for this reason."""
        snapshot = await self._log.snapshot(settled.selection, tail=settled.tail)
        cursor = snapshot.position
        reset = None if reason is None else {"reason": reason, "cursor": str(cursor)}
        events = EventArray(list(told_by(snapshot, settled.selection)), SNAPSHOT_MARK)
        return _response(events, reset=reset, served=cursor, page=_Page(cursor, settled))

    async def _continued(self, settled: Subscription, cursor: EventId) -> web.Response:
        page = _Page(cursor, settled)
        gap = await page.read_on(self._log, self._turn)
        if gap is None and page.empty and settled.wait_seconds and not self._ending:
            gap = await self._wait(page, settled.wait_seconds)
        if gap is not None and page.empty:
            return await self._anew(settled, gap.reason)
        return _response(b"null", reset=None, served=cursor, page=page)

    async def _wait(self, page: _Page, seconds: float) -> Gap | None:
        """Read on until something is there for the page, the time is over, or `end` is called."""
        patience = asyncio.timeout(seconds)
        try:
            async with patience:
                self._waiting.add(patience)
                return await self._read_until_filled(page)
        except TimeoutError:
            if not patience.expired():
                raise
            page.more = not page.empty and page.position.seq < self._log.head.seq
            return None
        finally:
            self._waiting.discard(patience)

    async def _read_until_filled(self, page: _Page) -> Gap | None:
        clock = asyncio.get_running_loop().time
        gap = None
        while gap is None and page.empty:
            earliest = clock() + _PAUSE_SECONDS
            await self._log.wait(page.position, page.selection)
            await asyncio.sleep(max(0, earliest - clock()))
            gap = await page.read_on(self._log, self._turn)
        return gap


class _Page:
    """What one page has so far."""

    def __init__(self, position: EventId, wanted: Subscription) -> None:
        self.selection = wanted.selection
        self.position = position
        """Everything wanted up to here is in the page, or in an earlier one."""
        self.records: list[Record] = []
        self.dropped: list[dict[str, object]] = []
        self.more = False
        self._room = wanted.limit
        self._room_bytes = PAGE_BYTES
        self._missed: dict[EventType, EventId] = {}
        """The newest missing event of each type that the page tells of."""
        self._ended = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing yet that would be worth an answer."""
        return not (self.records or self.dropped or self._ended)

    async def read_on(self, log: EventLog, turn: asyncio.Semaphore) -> Gap | None:
        """Take in what there is, up to the head of the log or until the page is full. A gap ends it as well."""
        while not (self.more or self._ended):
            async with turn:
                answer = await log.read(self.position, self.selection, limit=_BATCH_EVENTS)
            if isinstance(answer, Gap):
                self.more = not self.empty
                return answer
            after = self.position
            self._take(answer)
            if self.position == after or self.position.seq >= log.head.seq:
                break
        return None

    def _take(self, batch: Batch) -> None:
        self._declare(batch)
        for record in batch.records:
            if self._room == 0 or self._room_bytes < 0:
                self.more = True
                return
            self._room -= 1
            self._room_bytes -= len(record.data)
            self.records.append(record)
            self.position = record.id
        self.position = batch.position
        self._ended = batch.ended

    def _declare(self, batch: Batch) -> None:
        """Say that events are missing, unless the page says so already."""
        news = {type_: newest for type_, newest in batch.dropped.items() if newest != self._missed.get(type_)}
        if news:
            self._missed |= news
            newest = max(news.values(), key=lambda event_id: event_id.seq)
            before = EventId(newest.epoch, newest.seq + 1)
            self.dropped.append({"types": sorted(news), "count": None, "after": str(self.position), "before": str(before)})


def _response(snapshot: bytes | EventArray, *, reset: object, served: EventId, page: _Page) -> web.Response:
    body = LongBody(
        b'{"events":',
        EventArray(page.records),
        b',"next":%b,"reset":%b,"snapshot":' % (to_json(str(page.position)), to_json(reset)),
        snapshot,
        b',"dropped":%b,"more":%b}\n' % (to_json(page.dropped), to_json(page.more)),
    )
    response = json_response(body)
    response.headers["Event-Cursor"] = str(served)
    return response
