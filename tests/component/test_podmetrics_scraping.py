"""Prometheus endpoints that misbehave: bounded in time and size, told with the reason, and read again the next time."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from mcp_operator.cluster.podmetrics.metrics import SamplingMetrics
from mcp_operator.cluster.podmetrics.readings import Missing
from mcp_operator.cluster.podmetrics.scraping import LONGEST_ANSWER, Endpoint, Scraper
from mcp_operator.cluster.podmetrics.series import REQUEST_COUNTERS
from tests.builders import having, pod, ready, scheduled, started
from tests.component.fake_api import until
from tests.component.measuring import Handler, Object, answering, pod_listening

MIB = 2**20
POD = "weather-7d4b9-0"
PATIENT = 60.0
"""Seconds that no test ever waits for."""
GOOD = answering("# TYPE mcp_requests_total counter\nmcp_requests_total 7\n")


def running_pod(address: str = "127.0.0.1", name: str = POD) -> Object:
    return pod(name, scheduled(), started(), ready(), having("status.podIP", address))


@asynccontextmanager
async def scraping(*, scrape_seconds: float = PATIENT, server_seconds: float = PATIENT) -> AsyncIterator[Scraper]:
    metrics = SamplingMetrics(CollectorRegistry())
    async with Scraper(metrics=metrics, scrape_seconds=scrape_seconds, server_seconds=server_seconds) as scraper:
        yield scraper


async def scrape(scraper: Scraper, port: int, *, path: str = "/metrics", body: Object | None = None) -> float | Missing:
    """The number of requests that a pod tells, or why there is none."""
    body = body or running_pod()
    (result,) = (await scraper.scrape([body], Endpoint(port, path))).values()
    requests = result if isinstance(result, Missing) else result.traffic.requests
    return requests if isinstance(requests, Missing) else requests.value


def reason(result: float | Missing) -> str:
    assert isinstance(result, Missing), f"{result} was taken for a figure"
    assert len(result.message) < 400
    assert result.message.isprintable()
    assert result.message.startswith(("Port ", "The instance "))
    return result.reason.value


async def endless(request: web.Request) -> web.StreamResponse:
    """100 MB of figures, without saying so before."""
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(100):
        line = b'other_requests_total{a="%d"} 1\n' % number
        await response.write(line * (MIB // len(line)))
    return response


async def announced(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(100 * MIB)})
    await response.prepare(request)
    await asyncio.Event().wait()
    return response


async def html(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<!doctype html><html>\n<body>mcp_requests_total 5</body></html>", content_type="text/html")


async def redirecting(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound(f"http://{request.host}/target")


async def bomb(_: web.Request) -> web.StreamResponse:
    packed = gzip.compress(b"mcp_requests_total 5\n" * 50_000)
    return web.Response(body=packed, headers={"Content-Encoding": "gzip"})


async def cut_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"mcp_requests_total 5\n")
    assert request.transport is not None
    request.transport.abort()
    return response


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (endless, "ScrapeTooLarge"),
        (announced, "ScrapeTooLarge"),
        (html, "ScrapeUnreadable"),
        (redirecting, "ScrapeRedirected"),
        (bomb, "ScrapeUnreadable"),
        (cut_off, "ScrapeUnreadable"),
        (answering(b"\xff\xfe" * 1000), "ScrapeUnreadable"),
        (answering("mcp_requests_total NaN\n"), "ScrapeUnreadable"),
        (answering("mcp_requests_total +Inf\n"), "ScrapeUnreadable"),
        (answering("mcp_requests_total 5\n", status=500), "ScrapeStatus"),
        (answering("mcp_requests_total 5\n", status=404), "ScrapeStatus"),
        (answering("mcp_requests_total 5\n", status=206), "ScrapeStatus"),
        (answering(b"", status=204), "ScrapeStatus"),
        (answering(b'mcp_requests_total{a="' + b"x" * MIB + b'"} 5\n'), "ScrapeTooLarge"),
        (answering(b"y" * MIB), "ScrapeUnreadable"),
        (answering(b"\n" * (LONGEST_ANSWER + 1)), "ScrapeTooLarge"),
        (answering(b""), "NoRequestCounter"),
        (answering("up 1\n"), "NoRequestCounter"),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", ""),
)
async def test_a_bad_answer_is_told_and_the_next_good_one_read(handler: Handler, expected: str) -> None:
    behaviour = handler

    async def behave(request: web.Request) -> web.StreamResponse:
        return await behaviour(request)

    async with scraping() as scraper, pod_listening(behave) as port:
        assert reason(await scrape(scraper, port)) == expected
        behaviour = GOOD
        assert await scrape(scraper, port) == 7


@pytest.mark.parametrize("body", [b"\n" * LONGEST_ANSWER, b"x 1\n" * (LONGEST_ANSWER // 4 - 10) + b"mcp_requests_total 5\n"])
async def test_an_answer_up_to_the_bound_is_read(body: bytes) -> None:
    async with scraping() as scraper, pod_listening(answering(body)) as port:
        result = await scrape(scraper, port)
    assert result == 5 or reason(result) == "NoRequestCounter"


async def test_a_packed_answer_is_not_unpacked() -> None:
    async with scraping() as scraper, pod_listening(bomb) as port:
        result = await scrape(scraper, port)
    assert isinstance(result, Missing)
    assert result.message == f"Port {port}, /metrics packs its answer, though it was asked not to"


async def test_of_an_endless_answer_no_more_is_taken_than_the_bound() -> None:
    sent, ended = 0, asyncio.Event()

    async def count(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
                sent += 65536
        finally:
            ended.set()

    async with scraping() as scraper, pod_listening(count) as port:
        assert reason(await scrape(scraper, port)) == "ScrapeTooLarge"
        async with asyncio.timeout(60):
            await ended.wait()  # the connection is closed, not left to fill
    assert sent < 40 * MIB, "but for what the kernel's buffers hold"


async def drip(request: web.Request) -> web.StreamResponse:
    """An answer that never ends and never stops either."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"#")
        await asyncio.sleep(0.01)


async def silence(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


@pytest.mark.parametrize("handler", [drip, silence])
async def test_a_pod_that_never_comes_to_an_end_is_given_up(handler: Handler) -> None:
    async with scraping(scrape_seconds=0.2) as scraper, pod_listening(handler) as port:
        result = await scrape(scraper, port)
    assert reason(result) == "ScrapeTimedOut"
    assert isinstance(result, Missing)
    assert result.message == f"Port {port}, /metrics gave no whole answer within 0.2 s"


async def test_the_instances_of_a_server_have_a_bound_together() -> None:
    pods = [running_pod(name=f"weather-7d4b9-{number}") for number in range(50)]
    async with scraping(server_seconds=0.3) as scraper, pod_listening(silence) as port:
        results = await scraper.scrape(pods, Endpoint(port, "/metrics"))
    assert [reason(result) for result in results.values() if isinstance(result, Missing)] == ["ScrapeTimedOut"] * 50


async def test_a_server_whose_instances_hang_leaves_room_for_the_others() -> None:
    hanging = 0
    released = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        nonlocal hanging
        hanging += 1
        await released.wait()
        return web.Response()

    async with scraping() as scraper, pod_listening(hang) as bad, pod_listening(GOOD) as good, asyncio.TaskGroup() as tasks:
        pods = [running_pod(name=f"weather-7d4b9-{number}") for number in range(200)]
        tasks.create_task(scraper.scrape(pods, Endpoint(bad, "/metrics")))
        await until(lambda: hanging == 8)
        assert await scrape(scraper, good) == 7
        assert hanging == 8, "so many instances of one server are asked at once"
        released.set()


async def test_a_redirect_is_not_followed() -> None:
    asked = []

    async def redirect(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        raise web.HTTPMovedPermanently(f"http://{request.host}/target")

    async with scraping() as scraper, pod_listening(redirect) as port:
        assert reason(await scrape(scraper, port)) == "ScrapeRedirected"
    assert asked == ["/metrics"]


async def test_what_is_asked_is_one_plain_get_of_the_path_as_written() -> None:
    requests: list[tuple[str, str, dict[str, str]]] = []

    async def look(request: web.Request) -> web.StreamResponse:
        requests.append((request.method, request.raw_path, {name.lower(): value for name, value in request.headers.items()}))
        return web.Response(text="mcp_requests_total 1\n", headers={"Set-Cookie": "a=b"})

    async with scraping() as scraper, pod_listening(look) as port:
        for _ in range(2):
            assert await scrape(scraper, port, path="//a%2Fb/../c;d=[e]") == 1
    (method, path, headers), again = requests
    assert (method, path) == ("GET", "//a%2Fb/../c;d=[e]")
    assert headers["accept-encoding"] == "identity"
    assert headers["accept"] == "text/plain;version=0.0.4"
    assert {"authorization", "cookie"} & {*headers, *again[2]} == set()


async def test_a_pod_with_an_ipv6_address_is_reached() -> None:
    async with scraping() as scraper, pod_listening(GOOD, host="::1") as port:
        assert await scrape(scraper, port, body=running_pod("::1")) == 7


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with scraping() as scraper:
            result = await scrape(scraper, port)
    assert reason(result) == "ScrapeRefused"
    assert isinstance(result, Missing)
    assert result.message == f"Port {port}, /metrics can't be reached: Connection refused"


@pytest.mark.parametrize(
    "answer", [b"", b"\x00\x01\x02\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000]
)
async def test_what_listens_speaks_no_http(answer: bytes) -> None:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    async with scraping() as scraper, await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        result = await scrape(scraper, server.sockets[0].getsockname()[1])
    assert reason(result) == "ScrapeUnreadable"


@pytest.mark.parametrize(
    "modify",
    [
        having("status.podIP", None),
        having("status.podIP", "evil.example"),
        having("status.podIP", "127.0.0.1:1/x?"),
        having("status.phase", "Pending"),
        having("status.phase", "Succeeded"),
        having("status", {}),
    ],
)
async def test_a_pod_that_does_not_run_is_not_asked(modify: Callable[[Object], None]) -> None:
    asked = []

    async def count(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        return web.Response()

    body = running_pod()
    modify(body)
    async with scraping() as scraper, pod_listening(count) as port:
        assert reason(await scrape(scraper, port, body=body)) == "NotRunning"
    assert asked == []


async def test_every_known_counter_is_asked_for() -> None:
    for series in REQUEST_COUNTERS:
        async with scraping() as scraper, pod_listening(answering(f'{series}{{a="b"}} 3\n')) as port:
            assert await scrape(scraper, port) == 3
