"""Chromium with its own EventSource, as a user's page has it: started once for all stories, driven over its DevTools protocol.

    async with chromium.page(url) as page:
        source = await page.event_source("/api/events")
        await source.until(lambda: source.closed, "the browser gives up")

Nothing in the browser is replaced: what is heard is what a page's listeners were called with.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.waiting import until

PATIENCE_SECONDS = 120
"""Longest wait for something that must come. A test that gets this far has failed."""

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    # A page of a test is never in front; its clock shall go on as if it were.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--remote-debugging-port=0",
)

_NAMES = (
    "message",
    "status",
    "progress",
    "metrics",
    "log",
    "response",
    "kubernetes",
    "hello",
    "bookmark",
    "reset",
    "dropped",
    "bye",
)

_LISTEN = """
(number, url, names, options) => {
  const source = new EventSource(url, options);
  const tell = (event) => hear(JSON.stringify(
    [number, event.type, event.lastEventId ?? "", event.data ?? null, source.readyState]));
  for (const name of [...names, "open", "error"]) source.addEventListener(name, tell);
  (window.sources ??= {})[number] = source;
}
"""

_CLOSED = 2


@dataclass(frozen=True, slots=True)
class Heard:
    """One event that a page's listener was called with."""

    type: str
    id: str
    """`lastEventId`: what the browser would resume with."""
    data: str

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class EventSource:
    """One of a page's event sources, and what it has heard."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        """Everything, snapshots and control frames included."""
        self.opened = 0
        """How often it was connected."""
        self.errors = 0
        """How often it lost a connection, or got none."""
        self.closed = False
        """It has given up and never connects again."""

    def take(self, type_: str, event_id: str, data: str | None, state: int) -> None:
        self.closed = state == _CLOSED
        match type_:
            case "open":
                self.opened += 1
            case "error":
                self.errors += 1
            case _:
                self.heard.append(Heard(type_, event_id, data or ""))

    def of(self, type_: str) -> list[Heard]:
        return [heard for heard in self.heard if heard.type == type_]

    async def until(self, condition: Callable[[], Any], expected: str, *, within: float = PATIENCE_SECONDS) -> None:
        """Wait until it is so, at most so many seconds."""
        try:
            await until(condition, expected, within=within, every=0.02)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self}") from None

    async def connects(self, times: int) -> None:
        """Wait until it has been connected so often in all."""
        await self.until(lambda: self.opened >= times, f"it is connected for the {times}th time")

    async def hears(self, type_: str) -> None:
        """Wait for a first event of this type."""
        await self.until(lambda: self.of(type_), f"it hears {type_}")

    def __str__(self) -> str:
        state = "has given up" if self.closed else "is at it"
        return f"opened {self.opened} times, {self.errors} errors, {state}, heard {len(self.heard)}, the last {self.heard[-1:]}"


class Page:
    """One page that the browser shows."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self._connection = connection
        self._sources: dict[int, EventSource] = {}
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._listening = asyncio.create_task(self._listen())

    async def event_source(self, url: str, **options: bool) -> EventSource:
        """`new EventSource(url, options)`; the URL may be relative to the page's."""
        number = next(self._numbers)
        source = self._sources[number] = EventSource()
        arguments = ", ".join(json.dumps(argument) for argument in (number, url, _NAMES, options))
        await self.run(f"({_LISTEN})({arguments})")
        return source

    async def run(self, script: str) -> Any:
        """The value of a script's last expression; a promise is awaited.

        Raises:
            AssertionError: it threw.
        """
        answer = await self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol."""
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        await self._connection.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await answer

    async def leave(self) -> None:
        """Hear nothing more."""
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)

    async def _listen(self) -> None:
        async for message in self._connection:
            told = json.loads(message.data)
            if "id" in told:
                answer = self._answers.pop(told["id"])
                if "error" in told:
                    answer.set_exception(AssertionError(told["error"]))
                else:
                    answer.set_result(told["result"])
            elif told["method"] == "Runtime.bindingCalled":
                number, *heard = json.loads(told["params"]["payload"])
                self._sources[number].take(*heard)


class Chromium:
    """A running browser."""

    def __init__(self, port: int) -> None:
        self._devtools = f"http://127.0.0.1:{port}"

    @asynccontextmanager
    async def page(self, url: str) -> AsyncIterator[Page]:
        """A page of this URL, for the duration of the block: its origin is what its event sources are judged by."""
        patience = aiohttp.ClientTimeout(total=None, sock_connect=PATIENCE_SECONDS, sock_read=PATIENCE_SECONDS)
        async with aiohttp.ClientSession(timeout=patience) as session:
            async with session.put(f"{self._devtools}/json/new?about:blank") as response:
                target = await response.json(content_type=None)
            try:
                async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as connection:
                    page = Page(connection)
                    try:
                        await _show(page, url)
                        yield page
                    finally:
                        await page.leave()
            finally:
                await session.get(f"{self._devtools}/json/close/{target['id']}")


async def _show(page: Page, url: str) -> None:
    # Tests sign their certificates themselves.
    await page.ask("Security.setIgnoreCertificateErrors", ignore=True)
    shown = await page.ask("Page.navigate", url=url)
    assert not shown.get("errorText"), f"{url}: {shown['errorText']}"
    await page.ask("Runtime.addBinding", name="hear")

    async def ready() -> bool:
        state = await page.run("[location.href.startsWith('http'), document.readyState]")
        return bool(state == [True, "complete"])

    await until(ready, f"{url} is shown", every=0.02)


@contextmanager
def chromium_running(folder: Path) -> Iterator[Chromium]:
    """A browser for the duration of the block, with an empty profile in this folder.

    Raises:
        AssertionError: it doesn't start; its last words say why.
    """
    words = folder / "chromium.log"
    with words.open("wb") as out:
        process = subprocess.Popen(
            ["chromium", *_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "HOME": str(folder)},
        )
    try:
        yield Chromium(_devtools_port(process, folder / "profile" / "DevToolsActivePort", words))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _devtools_port(process: subprocess.Popen[bytes], file: Path, words: Path) -> int:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if file.is_file() and "\n" in (said := file.read_text()):
            return int(said.splitlines()[0])
        time.sleep(0.05)
    raise AssertionError(f"Chromium has not started within {PATIENCE_SECONDS} s: {words.read_text(errors='replace')[-2000:]}")
