"""A subscriber for tests: it reads one event stream as any client would, and lets a test wait for what is told."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeAlias

import aiohttp

from local_stack.contract import ContractError
from local_stack.sse import Parser
from tests.contract import contract

EventJson: TypeAlias = dict[str, Any]

_CONNECT_SECONDS = 30

CONTROL_FRAMES = frozenset({"hello", "bookmark", "reset", "dropped", "bye"})


class Subscriber:
    """One open event stream. `events` holds what it told, in order, without control frames; `control` holds those.

    `until` goes through the events once: each call starts behind the event that the call before it returned, so that a test
    reads as the order in which things happened. A frame that the API's description doesn't allow fails the test.
    """

    def __init__(self, url: str, *, last_event_id: str | None = None) -> None:
        self._url = url
        self._headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        self._told = asyncio.Condition()
        self._seen = 0
        self.events: list[EventJson] = []
        self.control: list[EventJson] = []
        self.last_event_id = last_event_id
        self.ended = False
        self._failure: Exception | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60))
        self._reading = asyncio.create_task(self._read())
        try:
            await self.until_control("hello")
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._close()
        if error is None and isinstance(self._failure, ContractError):
            raise self._failure

    async def _close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._session.close()

    async def until(self, told: Callable[[EventJson], bool], *, within: float = 180) -> EventJson:
        """The next event of which `told` is true."""
        async with asyncio.timeout(within), self._told:
            while True:
                while self._seen < len(self.events):
                    event = self.events[self._seen]
                    self._seen += 1
                    if told(event):
                        return event
                await self._wait(lambda: self._seen < len(self.events))

    def up_to(self, last: EventJson) -> list[EventJson]:
        """The events so far, without those that were told after this one: how many these are is chance."""
        return self.events[: self.events.index(last) + 1]

    def rewind(self) -> None:
        """Have `until` begin with the first event again."""
        self._seen = 0

    async def until_status(self, status: str, *, within: float = 180, **fields: object) -> EventJson:
        """The next status event with this status and these fields."""
        expected = {"type": "status", "status": status, **fields}
        try:
            return await self.until(lambda event: expected.items() <= event.items(), within=within)
        except TimeoutError:
            told = [(e["status"], e["reason"], e["instances"], e["message"]) for e in self.events if e["type"] == "status"]
            raise AssertionError(f"{expected} was not told within {within} s, but {told}") from None

    async def until_control(self, name: str, *, within: float = 120) -> EventJson:
        """The newest control frame of this name, as soon as there is one."""
        async with asyncio.timeout(within), self._told:
            await self._wait(lambda: any(frame["type"] == name for frame in self.control))
            return next(frame for frame in reversed(self.control) if frame["type"] == name)

    async def _wait(self, condition: Callable[[], bool]) -> None:
        await self._told.wait_for(lambda: condition() or self.ended)
        if not condition():
            how = self._failure or "as a whole answer"
            raise AssertionError(f"the stream {self._url} ended: {how}; its last frames: {self.control[-2:]}, {self.events[-2:]}")

    async def _open(self) -> aiohttp.ClientResponse:
        """The answer. Whoever subscribes tries again while nobody answers: a Service refuses while it has no ready endpoint."""
        async with asyncio.timeout(_CONNECT_SECONDS):
            while True:
                try:
                    return await self._session.get(self._url, headers=self._headers)
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.1)

    async def _read(self) -> None:
        try:
            async with await self._open() as response:
                assert response.status == 200, f"{response.status}: {await response.text()}"
                parser = Parser()
                async for chunk in response.content.iter_any():
                    async with self._told:
                        for frame in parser.feed(chunk):
                            contract().check_message(frame)
                            body = frame.json
                            (self.control if body["type"] in CONTROL_FRAMES else self.events).append(body)
                            self.last_event_id = frame.id or self.last_event_id
                        self._told.notify_all()
        except (aiohttp.ClientError, TimeoutError, AssertionError) as error:
            self._failure = error
        finally:
            async with self._told:
                self.ended = True
                self._told.notify_all()
