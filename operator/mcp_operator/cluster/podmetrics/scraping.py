"""Asks instances themselves about their requests, at the Prometheus endpoint that the spec names.

Whatever is behind that port may answer anything, or nothing, or for ever: an answer is bounded in time and size and read as it
comes, redirects aren't followed, and nothing is unpacked. `sampling` calls it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeVar

import aiohttp
import yarl

from mcp_operator.apiserver.kinds import MANAGER
from mcp_operator.cluster.podmetrics.exposition import Exposition
from mcp_operator.cluster.podmetrics.metrics import SamplingMetrics
from mcp_operator.cluster.podmetrics.readings import Missing, Reason, Scrape, Traffic
from mcp_operator.model.base import Object

T = TypeVar("T")

SCRAPE_SECONDS: Final = 5.0
"""For one instance: from the connection to the number."""
SERVER_SECONDS: Final = 10.0
"""For all instances of a server together."""
LONGEST_ANSWER: Final = 4 * 2**20
"""Bytes."""
_PIECE: Final = 16 * 2**10
"""Bytes that are looked at in one turn of the event loop; even if all of them are line breaks that takes two milliseconds."""
_AT_ONCE: Final = 64
_AT_ONCE_OF_SERVER: Final = 8
"""So that a server whose instances all hang leaves room for the others."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where each instance of a server serves its figures."""

    port: int
    path: str


class Scraper:
    """Reads Prometheus endpoints; an async context manager that owns the connections, and the one thread that parses."""

    def __init__(
        self, *, metrics: SamplingMetrics, scrape_seconds: float = SCRAPE_SECONDS, server_seconds: float = SERVER_SECONDS
    ) -> None:
        self._metrics = metrics
        self._scrape_seconds = scrape_seconds
        self._server_seconds = server_seconds
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._feeding = asyncio.Lock()
        """Held for a turn of the event loop by whoever looks at a piece: answers come in the same turn, and without a pause."""

    async def __aenter__(self) -> Self:
        self._parser = ThreadPoolExecutor(max_workers=1, thread_name_prefix="exposition")
        self._session = aiohttp.ClientSession(
            # A connection of its own for each request: the next one is seconds away, and nothing is left of an answer given up.
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": MANAGER, "Accept": "text/plain;version=0.0.4", "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()
        self._parser.shutdown(cancel_futures=True)

    async def scrape(self, pods: Sequence[Object], endpoint: Endpoint) -> Mapping[str, Scrape | Missing]:
        """What each of these pods says of its requests, or why that can't be told, by the pod's name."""
        deadline = asyncio.get_running_loop().time() + self._server_seconds
        of_server = asyncio.Semaphore(_AT_ONCE_OF_SERVER)
        async with asyncio.TaskGroup() as tasks:
            scrapes = {
                str(pod["metadata"]["name"]): tasks.create_task(self._scrape(pod, endpoint, of_server, deadline)) for pod in pods
            }
        return {name: scrape.result() for name, scrape in scrapes.items()}

    async def _scrape(self, pod: Object, endpoint: Endpoint, of_server: asyncio.Semaphore, deadline: float) -> Scrape | Missing:
        url = _url(pod, endpoint)
        if url is None:
            return not_running(pod)
        result: Scrape | Missing
        try:
            async with asyncio.timeout_at(deadline), of_server, self._at_once:
                with self._metrics.scrape_seconds.time():
                    result = await self._read_in_time(url)
        except TimeoutError:
            message = f"{_place(url)} was not read within the {self._server_seconds:g} s that all instances have together"
            result = Missing(Reason.SCRAPE_TIMED_OUT, message)
        self._metrics.scrapes.labels(result=result.reason.value if isinstance(result, Missing) else "read").inc()
        return result

    async def _read_in_time(self, url: yarl.URL) -> Scrape | Missing:
        try:
            async with asyncio.timeout(self._scrape_seconds):
                return await self._read(url)
        except TimeoutError:
            return Missing(Reason.SCRAPE_TIMED_OUT, f"{_place(url)} gave no whole answer within {self._scrape_seconds:g} s")
        except aiohttp.ClientConnectorError as error:
            problem = os.strerror(error.os_error.errno) if error.os_error.errno else "no connection"
            return Missing(Reason.SCRAPE_REFUSED, f"{_place(url)} can't be reached: {problem}")
        except (aiohttp.ClientError, OSError) as error:
            return Missing(Reason.SCRAPE_UNREADABLE, f"{_place(url)} gave no whole HTTP answer: {type(error).__name__}")

    async def _read(self, url: yarl.URL) -> Scrape | Missing:
        async with self._session.get(url, allow_redirects=False) as answer:
            unusable = _judge(answer, url)
            if unusable is not None:
                return unusable
            exposition, size, at = Exposition(), 0, time.monotonic()
            async for piece in answer.content.iter_chunked(_PIECE):
                size += len(piece)
                if size > LONGEST_ANSWER:
                    return _too_large(url)
                async with self._feeding:
                    exposition.feed(piece)
                    await asyncio.sleep(0)
        traffic = await asyncio.get_running_loop().run_in_executor(self._parser, exposition.traffic)
        if isinstance(traffic, Missing):
            return _placed(traffic, url)
        return Scrape(
            Traffic(
                requests=_placed(traffic.requests, url),
                errors=_placed(traffic.errors, url),
                in_flight=_placed(traffic.in_flight, url),
            ),
            at,
        )


def not_running(pod: Object) -> Missing:
    """Why there is nothing to read of this pod."""
    phase = pod.get("status", {}).get("phase") or "Pending"
    return Missing(Reason.NOT_RUNNING, f"The instance doesn't run: its phase is {phase:.32}")


def _url(pod: Object, endpoint: Endpoint) -> yarl.URL | None:
    """Where to ask; None while the pod has no address or doesn't run."""
    status = pod.get("status", {})
    try:
        address = ipaddress.ip_address(status.get("podIP") or "")
    except ValueError:
        return None
    if status.get("phase") != "Running":
        return None
    host = f"[{address}]" if address.version == 6 else str(address)
    return yarl.URL(f"http://{host}:{endpoint.port}{endpoint.path}", encoded=True)


def _place(url: yarl.URL) -> str:
    """The endpoint in a message, the same for all instances."""
    return f"Port {url.port}, {url.raw_path[:256]}"


def _placed(figure: T | Missing, url: yarl.URL) -> T | Missing:
    """The same, and where it is missing the message says at which endpoint."""
    return Missing(figure.reason, f"{_place(url)}: {figure.message}") if isinstance(figure, Missing) else figure


def _judge(answer: aiohttp.ClientResponse, url: yarl.URL) -> Missing | None:
    """Why an answer can't be used, as far as its head tells."""
    if 300 <= answer.status < 400:
        return Missing(Reason.SCRAPE_REDIRECTED, f"{_place(url)} redirects (HTTP {answer.status}), which is not followed")
    if answer.status != 200:
        return Missing(Reason.SCRAPE_STATUS, f"{_place(url)} answers HTTP {answer.status}")
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        return Missing(Reason.SCRAPE_UNREADABLE, f"{_place(url)} packs its answer, though it was asked not to")
    if (answer.content_length or 0) > LONGEST_ANSWER:
        return _too_large(url)
    return None


def _too_large(url: yarl.URL) -> Missing:
    return Missing(Reason.SCRAPE_TOO_LARGE, f"{_place(url)} answers more than {LONGEST_ANSWER // 2**20} MiB")
