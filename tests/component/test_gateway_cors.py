"""Which web pages may use the gateway from a browser: those of configured origins, with credentials, and no others."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from aiohttp import ClientResponse

from tests.component.conftest import Loopback, StartGateway, Subscriber, one_engine
from tests.component.raw_http import raw_client
from tests.events import status

DASHBOARD = "https://dashboard.example"
LAPTOP = "http://localhost:5173"


@pytest.fixture
async def loopback(start_gateway: StartGateway) -> Loopback:
    """A gateway that the pages of two origins may use."""
    return await start_gateway(http={"cors_origins": (DASHBOARD, LAPTOP)})


async def ask(
    loopback: Loopback, path: str, *, method: str = "GET", origin: str | None = DASHBOARD, **headers: str
) -> ClientResponse:
    """Ask as the page of an origin; what is asked for is told by headers with `_` for `-`."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()} | ({"Origin": origin} if origin else {})
    async with loopback.session.request(method, loopback.url + path, headers=sent) as response:
        if response.content_type != "text/event-stream":
            await response.read()
        return response


def cors(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items() if name.lower().startswith("access-control-")}


ALLOWED = {
    "access-control-allow-origin": DASHBOARD,
    "access-control-allow-credentials": "true",
    "access-control-expose-headers": "Event-Cursor, Mcp-Session-Id, WWW-Authenticate, Retry-After",
}


class TestAnswers:
    @pytest.mark.parametrize(
        ("method", "path", "accept", "code"),
        [
            ("GET", "/", "*/*", 200),
            ("GET", "/api/servers", "*/*", 200),
            ("GET", "/api/servers/weather", "*/*", 200),
            ("HEAD", "/api/servers/weather", "*/*", 200),
            ("GET", "/api/events", "text/event-stream", 200),
            ("GET", "/api/servers/weather/events", "*/*", 200),
            ("GET", "/api/servers/never-was", "*/*", 404),
            ("GET", "/nothing", "*/*", 404),
            ("GET", "/api/servers?types=status", "*/*", 400),
            ("POST", "/api/servers", "*/*", 405),
            ("GET", "/api/events", "image/png", 406),
        ],
    )
    async def test_a_configured_origin_may_read_every_answer(
        self, loopback: Loopback, method: str, path: str, accept: str, code: int
    ) -> None:
        await loopback.tell(status("default/weather"))

        response = await ask(loopback, path, method=method, Accept=accept)

        assert (response.status, cors(response.headers), response.headers.getall("Vary")) == (code, ALLOWED, ["Origin"])

    async def test_a_gateway_that_is_not_ready_says_so_to_pages_too(self, loopback: Loopback) -> None:
        loopback.synced = False

        unavailable = await ask(loopback, "/api/servers")
        declined = await ask(loopback, "/api/events")

        assert (unavailable.status, cors(unavailable.headers)) == (503, ALLOWED)
        assert (declined.status, cors(declined.headers)) == (200, ALLOWED)

    async def test_each_origin_hears_its_own_name(self, loopback: Loopback) -> None:
        response = await ask(loopback, "/api/servers", origin=LAPTOP)

        assert response.headers["Access-Control-Allow-Origin"] == LAPTOP

    @pytest.mark.parametrize(
        "origin",
        ["https://evil.example", "null", "*", "", "https://dashboard.example.evil.example", "https://dashboard.example/",
         "http://dashboard.example", "https://dashboard.example:443", "https://DASHBOARD.example",
         "https://dashboard.example, https://evil.example"],
    )  # fmt: skip
    async def test_no_other_origin_is_told_that_it_may(self, loopback: Loopback, origin: str) -> None:
        plain = await ask(loopback, "/api/servers", origin=origin)
        preflight = await ask(loopback, "/api/servers", method="OPTIONS", origin=origin, Access_Control_Request_Method="GET")

        for response in (plain, preflight):
            assert response.status in {200, 204}
            assert not cors(response.headers)
            assert response.headers["Vary"] == "Origin"

    async def test_two_origins_at_once_are_none(self, loopback: Loopback) -> None:
        async with raw_client(loopback.address) as client:
            client.get("/api/servers", f"Origin: {DASHBOARD}", "Origin: https://evil.example")
            answer = await client.answer()

        assert answer.header("access-control-allow-origin") is None

    async def test_a_cache_learns_that_answers_differ_also_from_one_without_origin(self, loopback: Loopback) -> None:
        response = await ask(loopback, "/api/servers", origin=None)

        assert (cors(response.headers), response.headers["Vary"]) == ({}, "Origin")

    async def test_without_configured_origins_there_is_nothing_of_it(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway()

        for method in ("GET", "OPTIONS"):
            response = await ask(loopback, "/api/servers", method=method, Access_Control_Request_Method="GET")
            assert not cors(response.headers)
            assert "Vary" not in response.headers

    async def test_a_page_reads_a_stream(self, loopback: Loopback) -> None:
        async with loopback.subscribe("/api/events", Origin=DASHBOARD) as subscriber:
            await subscriber.until("bookmark")
            [event_id] = await loopback.tell(status("default/weather"))
            event = await subscriber.next()

        assert (event.event, event.id) == ("status", str(event_id))
        assert cors(subscriber.response.headers) == ALLOWED
        assert isinstance(subscriber, Subscriber)


@one_engine
class TestPreflights:
    @pytest.mark.parametrize("path", ["/", "/api/servers", "/api/servers/weather", "/api/servers/weather/events", "/api/events"])
    async def test_every_url_answers_one_with_its_methods(self, loopback: Loopback, path: str) -> None:
        response = await ask(loopback, path, method="OPTIONS", Access_Control_Request_Method="GET")

        assert response.status == 204
        assert response.headers["Allow"] == response.headers["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS"
        assert response.headers["Access-Control-Max-Age"] == "600"
        assert response.headers["Access-Control-Allow-Origin"] == DASHBOARD
        assert response.headers["Access-Control-Allow-Credentials"] == "true"

    @pytest.mark.parametrize(
        ("asked", "mcp"),
        [
            ("", ""),
            ("authorization,last-event-id", ""),
            ("x-forwarded-for, cookie", ""),
            ("Mcp-Session-Id,mcp-protocol-version", "Mcp-Session-Id, mcp-protocol-version"),
            ("mcp-param-City", "mcp-param-City"),
            ("mcp-a, mcp-a", "mcp-a"),
            ("mcp-, mcp-x y, xmcp-a, mcp-ä, mcp-a:b, MCP", ""),
            ("mcp-" + "x" * 65, ""),
            (",".join(f"mcp-{n}" for n in range(100)), ", ".join(f"mcp-{n}" for n in range(32))),
        ],
    )
    async def test_a_page_may_send_what_a_client_needs_and_the_headers_of_mcp_that_it_asks_for(
        self, loopback: Loopback, asked: str, mcp: str
    ) -> None:
        response = await ask(
            loopback,
            "/api/events",
            method="OPTIONS",
            Access_Control_Request_Method="GET",
            Access_Control_Request_Headers=asked.encode().decode("latin-1"),
        )

        always = "Authorization, Last-Event-ID, Content-Type, Cache-Control, traceparent"
        assert response.headers["Access-Control-Allow-Headers"] == (f"{always}, {mcp}" if mcp else always)

    @pytest.mark.parametrize("origin", [None, DASHBOARD])
    async def test_options_that_is_none_says_what_the_url_can(self, loopback: Loopback, origin: str | None) -> None:
        response = await ask(loopback, "/api/servers", method="OPTIONS", origin=origin)

        assert (response.status, response.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")
        assert "Access-Control-Allow-Methods" not in response.headers
        assert "Content-Length" not in response.headers

    async def test_nothing_is_nowhere(self, loopback: Loopback) -> None:
        response = await ask(loopback, "/nothing", method="OPTIONS", Access_Control_Request_Method="GET")

        assert response.status == 404
