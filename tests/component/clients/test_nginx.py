"""Debian's nginx between clients and the gateway: it buffers, compresses, times out, is reloaded, and loses its upstream."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mcp_operator.gateway.options import Engine
from tests.component.clients.browsing import Chromium
from tests.component.clients.curling import Curl, curl, following
from tests.component.clients.cutting import anywhere
from tests.component.clients.hearing import assert_hears_everything, events, has_heard
from tests.component.clients.numbering import assert_exactly_once, happening, told
from tests.component.clients.proxying import nginx
from tests.component.clients.troublemaking import no_trouble, troublemaking
from tests.component.conftest import Loopback, StartGateway
from tests.events import status

LONG = 100_000
SERVER = "default/weather"

BUFFERING = "proxy_buffering on;"
IMPATIENT = BUFFERING + "proxy_read_timeout 10s;"

UPSTREAMS = {
    "/http1.0/": "",
    "/http1.1/": "proxy_http_version 1.1;",
    "/keepalive/": 'proxy_http_version 1.1; proxy_set_header Connection "";',
}
"""How nginx may speak to the gateway; the first is what it does unless told otherwise."""


@pytest.mark.parametrize("start_gateway", [Engine.SOCKET], indirect=True)
async def test_heartbeats_keep_an_idle_stream_open(start_gateway: StartGateway, tmp_path: Path) -> None:
    """Both engines at once, because it takes its time; the fifth heartbeat comes after more than two time-outs."""
    async with AsyncExitStack() as stack:

        async def behind_nginx(name: str, gateway: Loopback) -> list[Curl]:
            folder = tmp_path / name
            folder.mkdir()
            locations = {path: IMPATIENT + words for path, words in UPSTREAMS.items()}
            proxy = await stack.enter_async_context(nginx(folder, gateway.address, locations))
            return [await stack.enter_async_context(curl(f"{proxy.url}{path}api/events")) for path in UPSTREAMS]

        gateways = [await start_gateway(heartbeat_seconds=5, engine=engine) for engine in Engine]
        clients = [client for gateway in gateways for client in await behind_nginx(gateway.url[-5:], gateway)]
        unheard = await behind_nginx("silent", await start_gateway(heartbeat_seconds=600))

        for client in unheard:
            assert await client.ends() != 0  # so long does nginx wait for a byte
        for client in clients:
            await client.prints_heartbeats(5)
            assert [message.event for message in client.messages] == ["hello", "bookmark"]
        for gateway in gateways:
            await gateway.tell(status(SERVER))
        for client in clients:
            await client.prints("\nevent: status\n")


@pytest.mark.parametrize("path", UPSTREAMS)
async def test_a_buffering_compressing_proxy_lets_each_event_through_at_once(
    loopback: Loopback, tmp_path: Path, path: str
) -> None:
    async with (
        nginx(tmp_path, loopback.address, {path: BUFFERING + UPSTREAMS[path]}) as proxy,
        curl("--include", "--compressed", f"{proxy.url}{path}api/events") as client,
    ):
        await client.prints("\nevent: bookmark\n")
        assert b"\r\nContent-Encoding: gzip\r\n" in client.printed  # by nginx, against the gateway's advice
        for number in range(10):
            (event_id,) = await loopback.tell(status(SERVER, message=f"{number}"))
            await client.prints_event(event_id)


async def test_a_browser_behind_a_proxy_on_a_bad_network(start_gateway: StartGateway, chromium: Chromium, tmp_path: Path) -> None:
    gateway = await start_gateway(capacity=LONG)
    async with (
        troublemaking(gateway.address) as network,
        nginx(tmp_path, network.address, {"/": BUFFERING + UPSTREAMS["/keepalive/"]}) as proxy,
        chromium.page(proxy.url) as page,
        happening(gateway.log) as happenings,
    ):
        source = await page.event_source("/api/events")
        await source.hears("bookmark")
        network.begin(anywhere(4, bytes_at_most=5_000, heads=False), heads=False)
        await source.until(lambda: network.cuts >= 30, "30 connections are cut")
        network.begin(no_trouble, heads=False)
        await assert_hears_everything(source, happenings)


async def test_a_proxy_that_is_reloaded(start_gateway: StartGateway, chromium: Chromium, tmp_path: Path) -> None:
    gateway = await start_gateway(capacity=LONG)
    async with (
        troublemaking(gateway.address) as network,
        nginx(tmp_path, network.address, {"/": BUFFERING + UPSTREAMS["/http1.0/"]}) as proxy,
        chromium.page(proxy.url) as page,
        happening(gateway.log) as happenings,
    ):
        source = await page.event_source("/api/events")
        for times in (1, 2, 3):
            await source.connects(times)
            proxy.reload()
        await source.connects(4)
        await assert_hears_everything(source, happenings)


async def test_a_proxy_whose_upstream_is_away(start_gateway: StartGateway, chromium: Chromium, tmp_path: Path) -> None:
    """A browser takes the proxy's 502 for final, as the standard says; a loop around curl doesn't."""
    gateway = await start_gateway(capacity=LONG)
    (start,) = await gateway.tell(status(SERVER))
    state = tmp_path / "cursor"
    state.write_text(str(start))
    async with (
        troublemaking(gateway.address) as network,
        nginx(tmp_path, network.address, {"/": BUFFERING + UPSTREAMS["/keepalive/"]}) as proxy,
        chromium.page(proxy.url) as page,
        following(f"{proxy.url}/api/events", state, "--fail") as client,
        happening(gateway.log) as happenings,
    ):
        source = await page.event_source("/api/events")
        await source.until(lambda: source.of("bookmark") and len(client.lines) > 10, "both are served")
        network.up = False
        network.cut()
        await source.until(lambda: source.closed, "the browser has given up")
        network.up = True

        last = await happenings.end()
        await client.prints_last_line(last)
        assert_exactly_once(told(json.loads(line) for line in client.lines), happenings.since(str(start)))
        heard = events(source)
        assert_exactly_once(heard, happenings.since(source.of("bookmark")[0].id)[: len(heard)])


async def test_one_connection_carries_many_streams_over_http_2(loopback: Loopback, chromium: Chromium, tmp_path: Path) -> None:
    """Over HTTP/1.1 a browser has six connections to a host, for all its pages."""
    async with (
        nginx(tmp_path, loopback.address, {"/": BUFFERING + UPSTREAMS["/keepalive/"]}, tls=True) as proxy,
        chromium.page(proxy.url) as page,
        curl("--http2", "--cacert", str(proxy.certificate), "--include", f"{proxy.url}/api/events") as client,
    ):
        sources = [await page.event_source("/api/events") for _ in range(12)]
        for source in sources:
            await source.hears("bookmark")
        await client.prints("\nevent: bookmark\n")

        (event_id,) = await loopback.tell(status(SERVER))
        for source in sources:
            await has_heard(source, str(event_id))
        await client.prints_event(event_id)
        assert client.printed.startswith(b"HTTP/2 200")
