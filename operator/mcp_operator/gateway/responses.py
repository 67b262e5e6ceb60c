"""Streams' connections through aiohttp's own response, whose request handler stays: dearer, and nothing of aiohttp is bent."""

import asyncio
from collections import deque

from aiohttp import web

from mcp_operator.gateway.connections import QUEUED_BYTES, Owner


class ResponseConnection:
    """A `Connection` that queues for the request's handler, which writes (`pump`)."""

    chunked = False
    """aiohttp makes the chunks."""

    def __init__(self, request: web.Request, response: web.StreamResponse, *, owner: Owner) -> None:
        self.owner = owner
        self._request = request
        self._response = response
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._congested = False
        self._finishing = False
        self._more = asyncio.Event()

    @property
    def ready(self) -> bool:
        return not self._congested

    def send(self, data: bytes) -> bool:
        self._queue.append(data)
        self._queued += len(data)
        self._congested = self._queued > QUEUED_BYTES
        self._more.set()
        return self.ready

    def finish(self) -> None:
        self._finishing = True
        self._more.set()

    def abort(self) -> None:
        self._finishing = True
        self._queue.clear()
        self._more.set()
        if self._request.transport is not None:
            self._request.transport.abort()

    async def pump(self) -> None:
        """Write what is sent until it is finished, or the client is gone, which cancels the handler or fails the write."""
        try:
            while True:
                while self._queue:
                    await self._write(self._queue.popleft())
                if self._finishing:
                    return
                self._more.clear()
                await self._more.wait()
        except ConnectionError:
            pass
        finally:
            if not self._finishing:
                self._finishing = True
                self.owner.on_lost(stalled=False)  # aiohttp tells no more than that it is over

    async def _write(self, data: bytes) -> None:
        await self._response.write(data)
        self._queued -= len(data)
        if self._congested and not self._queue:
            self._congested = False
            if not self._finishing:
                self.owner.on_drained()
