"""One event stream over any number of connections: what `watch` shows, without a gap or a repeat that isn't announced.

A connection that ends is made again from the last event that was seen, after the time that the gateway asked for, and longer each
time that fails, up to five seconds.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias

import aiohttp

from mcp_operator.terminal.errors import AwayError, TerminalError, UnknownServerError
from mcp_operator.terminal.parsing import Frame, FrameParser, TooLongError
from mcp_operator.terminal.reaching import Gateway
from mcp_operator.terminal.values import EventJson, number_of, text_of

logger = logging.getLogger(__name__)

_FIRST_DELAY_MS = 1000
_LONGEST_DELAY_SECONDS = 5.0
_HEARTBEAT_SECONDS = 15.0
_MISSED_HEARTBEATS = 2
_SPARE_SECONDS = 10.0
_MOST_DOUBLINGS = 10

_FAREWELLS: Mapping[str, str] = {
    "shutdown": "the gateway stops",
    "starting": "the operator is still reading the cluster",
    "error": "the gateway failed; its log says why",
}
"""Reasons of `bye` frames after which one comes back."""


@dataclass(frozen=True, slots=True)
class Told:
    """One event or control frame."""

    event: EventJson
    data: str
    """Its JSON as it was sent, on one line."""


@dataclass(frozen=True, slots=True)
class Away:
    """The stream is broken off; it will be tried again until it works. Told once."""

    reason: str


@dataclass(frozen=True, slots=True)
class Back:
    """The stream goes on."""


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no such server (yet). Told once."""


News: TypeAlias = Told | Away | Back | Missing


class Following:
    """Follows a stream.

    Args:
        path, query: of the stream's URL.
        wait_for_server: whether a server that doesn't exist is waited for; else it is an error.
    """

    def __init__(self, gateway: Gateway, path: str, query: Mapping[str, str], *, wait_for_server: bool) -> None:
        self._gateway = gateway
        self._path = path
        self._query = query
        self._wait_for_server = wait_for_server
        self._cursor = ""
        self._retry_ms = _FIRST_DELAY_MS
        self._heartbeat_seconds = _HEARTBEAT_SECONDS
        self._been_there = False
        self._ended: Away | Missing | None = None
        """How the last connection ended, until the stream goes on."""
        self._failures = 0
        self._farewell = ""
        self._over = False

    async def news(self) -> AsyncGenerator[Sequence[News], None]:
        """What happens, in the portions in which it arrives. Ends when the gateway has said all that there is to say.

        Raises:
            UnknownServerError: there is no such server.
            TerminalError: the first connection fails, or the gateway refuses.
        """
        while not self._over:
            try:
                async with aclosing(self._connection()) as portions:
                    async for portion in portions:
                        yield portion
                ended: Away | Missing = Away(self._farewell)
            except UnknownServerError:
                if not self._wait_for_server:
                    raise
                ended = Missing()
            except AwayError as error:
                if not self._been_there:
                    raise TerminalError(str(error)) from error
                ended = Away(str(error))
            if not self._over:
                logger.debug("%r", ended)
                yield self._news_of(ended)
                await asyncio.sleep(min(self._retry_ms / 1000 * 2**self._failures, _LONGEST_DELAY_SECONDS))

    async def _connection(self) -> AsyncGenerator[Sequence[News], None]:
        self._farewell = "the gateway has ended the stream"
        async with self._gateway.stream(self._path, self._query, last_event_id=self._cursor) as content:
            if content is None:
                self._over = True
                return
            async for portion in self._read(content):
                yield portion

    def _news_of(self, ended: Away | Missing) -> Sequence[News]:
        """What the end of a connection is worth: it is told once, however often it is tried again."""
        if type(ended) is type(self._ended):
            self._failures = min(self._failures + 1, _MOST_DOUBLINGS)
            return []
        self._ended, self._failures = ended, 0
        return [ended]

    async def _read(self, content: aiohttp.StreamReader) -> AsyncIterator[Sequence[News]]:
        parser = FrameParser(self._cursor)
        while True:
            try:
                async with asyncio.timeout(self._heartbeat_seconds * _MISSED_HEARTBEATS + _SPARE_SECONDS):
                    received = await content.readany()
            except TimeoutError:
                raise AwayError("the gateway is silent") from None
            if not received:
                return
            try:
                frames = parser.feed(received)
            except TooLongError:
                raise TerminalError(
                    "What answers is not the gateway of an mcp-operator: it sends an event without an end"
                ) from None
            portion = [news for frame in frames for news in self._take(frame)]
            self._cursor = parser.last_event_id
            self._retry_ms = parser.retry_ms if parser.retry_ms is not None else self._retry_ms
            yield portion

    def _take(self, frame: Frame) -> Sequence[News]:
        try:
            event = json.loads(frame.data)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            logger.debug("An event that is no JSON object: %.200s", frame.data)
            return []
        told = Told(event, frame.data.replace("\n", " "))
        match event.get("type"):
            case "bye":
                reason = text_of(event, "reason")
                self._farewell = _FAREWELLS.get(reason, reason)
                self._over = reason == "deleted"  # it was about one object, which is gone
            case "hello":
                self._been_there = True
                self._heartbeat_seconds = min(600.0, max(1.0, number_of(event, "heartbeatSeconds") or _HEARTBEAT_SECONDS))
                if event.get("cursor") is not None:  # else it says only that it isn't ready
                    was, self._ended = self._ended, None
                    return [Back(), told] if isinstance(was, Away) else [told]
            case _:
                pass
        return [told]
