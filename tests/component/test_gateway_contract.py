"""The description that a gateway serves, and whether the gateway keeps to it: routes, parameters, frames, answers, the page."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser

import pytest
from aiohttp import web
from jsonschema import Draft202012Validator

from local_stack.contract import Contract, ContractError
from local_stack.sse import Message
from mcp_operator.eventlog.log import EventId
from mcp_operator.gateway import framing
from mcp_operator.gateway.describing import document
from mcp_operator.gateway.rendering import DocumentPage
from mcp_operator.model.events import EventType, LogLevel
from mcp_operator.model.statuses import Status
from tests import events
from tests.component.conftest import Loopback, StartGateway, one_engine
from tests.contract import contract
from tests.e2e.subscribing import Subscriber as EndToEndSubscriber
from tests.streams import NOON, told
from tests.waiting import until

WEATHER = "default/weather"
DOCUMENT = document()


class TestDocument:
    @one_engine
    async def test_it_is_served_as_it_is_made(self, loopback: Loopback) -> None:
        async with loopback.session.get(f"{loopback.url}/openapi.json") as response:
            assert (response.status, response.content_type) == (200, "application/json")
            assert await response.json() == document()

    @one_engine
    @pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
    async def test_a_client_that_has_it_gets_it_only_once(self, loopback: Loopback, path: str) -> None:
        url = loopback.url + path
        async with loopback.session.get(url) as first:
            etag = first.headers["ETag"]
            assert first.headers["Cache-Control"] == "no-cache"
        for known in (etag, f'"other", W/{etag}', "*"):
            async with loopback.session.get(url, headers={"If-None-Match": known}) as again:
                assert (again.status, again.headers["ETag"], await again.read()) == (304, etag, b"")
        async with loopback.session.get(url, headers={"If-None-Match": '"other"'}) as changed:
            assert changed.status == 200

    @one_engine
    async def test_every_route_is_described_and_nothing_else(self, loopback: Loopback) -> None:
        application = loopback.gateway._api.app
        assert application is not None
        served = {(route.method.lower(), route.resource.canonical) for route in application.router.routes() if route.resource}
        described = {(method, path) for path, item in DOCUMENT["paths"].items() for method in item}
        assert {route for route in served if route[0] not in {"head", "options"}} == described

    @one_engine
    @pytest.mark.parametrize("path", DOCUMENT["paths"])
    async def test_parameters_are_those_that_the_gateway_takes(self, loopback: Loopback, path: str) -> None:
        await loopback.tell(events.status(WEATHER))
        described = [each for each in DOCUMENT["paths"][path]["get"].get("parameters", []) if each["in"] == "query"]

        code, problem = await loopback.get(f"{path.replace('{id}', 'weather')}?nonsense=1")

        names = {each["name"] for each in described}
        if path == "/":
            assert code == 200
            return
        assert code == 400
        expected = re.fullmatch("one of the parameters (.*), once|no parameters", problem["expected"])
        assert expected is not None, problem
        assert names == set((expected[1] or "").split(", ")) - {""}

    @pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
    async def test_examples_of_parameters_are_taken(self, loopback: Loopback, accept: str) -> None:
        await loopback.tell(events.status(WEATHER))
        for path, item in DOCUMENT["paths"].items():
            for parameter in item["get"].get("parameters", []):
                name, value = parameter["name"], parameter["example"]
                page_only = name in {"limit", "wait"} and accept == "text/event-stream" and path.endswith("/events")
                if parameter["in"] == "query" and not page_only:
                    query = {name: ",".join(value) if isinstance(value, list) else str(value)}
                    url = f"{loopback.url}{path.replace('{id}', 'weather')}"
                    if name == "wait":
                        query["wait"] = "0"
                    async with loopback.session.get(url, params=query, headers={"Accept": accept}) as response:
                        assert response.status == 200, (path, query, await response.text())


VALUES: list[tuple[str, str, bool]] = [
    # Parameter, value, whether it may have it.
    *(("namespace", value, True) for value in ("default", "a", "a-b")),
    *(("namespace", value, False) for value in ("A", "-a", "a_b", "a" * 64)),
    *(("servers", value, True) for value in ("weather", "default:weather", events.uid_of(WEATHER))),
    *(("servers", value, False) for value in ("default/weather", "a:b:c", ":b", "a:", "Weather")),
    *(("types", value, True) for value in EventType),
    *(("types", value, False) for value in ("logs", "Status")),
    *(("level", value, True) for value in LogLevel),
    *(("level", value, False) for value in ("loud", "WARN")),
    *(("grep", value, True) for value in ("a b", "\t", "ä", "x" * 256, "a,b")),
    *(("grep", value, False) for value in ("x" * 257, "a\nb", "\x7f", "\x9f")),
    *(("tail", value, True) for value in ("0", "10000")),
    *(("tail", value, False) for value in ("10001", "-1", "1.5", "x")),
    *(("named", value, True) for value in ("0", "1")),
    *(("named", value, False) for value in ("2", "true")),
    *(("snapshot", value, False) for value in ("2", "true")),
    *(("last_event_id", value, True) for value in ("a-0", "0a-12")),
    *(("last_event_id", value, False) for value in ("7", "a-07", "A-1", "a-")),
    *(("since", value, True) for value in ("30s", "5m", "1h30m", "1d", "earliest")),
    *(("since", value, True) for value in ("2026-11-23T08:00:00Z", "2026-11-23T08:00:00.5+01:00")),
    *(("since", value, False) for value in ("yesterday", "5", "5x", "-5m", "2026-11-23", "2026-11-23T08:00:00")),
    *(("limit", value, True) for value in ("1", "1000")),
    *(("limit", value, False) for value in ("0", "1001", "-1", "many")),
    *(("wait", value, True) for value in ("0", "0.1")),
    *(("wait", value, False) for value in ("31", "-1", "long")),
]


@one_engine
@pytest.mark.parametrize(("name", "value", "right"), VALUES, ids=[f"{name}={value[:40]!r}" for name, value, _ in VALUES])
async def test_values_that_are_described_are_the_values_that_are_taken(
    loopback: Loopback, name: str, value: str, right: bool
) -> None:
    (schema,) = (each["schema"] for each in DOCUMENT["paths"]["/api/events"]["get"]["parameters"] if each["name"] == name)
    kind = schema.get("type")
    number = re.fullmatch(r"-?\d+(\.\d+)?", value)
    given = [value] if kind == "array" else float(value) if kind in {"integer", "number"} and number else value
    described = Draft202012Validator({**schema, "components": DOCUMENT["components"]}).is_valid(given)

    url = f"{loopback.url}/api/events"
    async with loopback.session.get(url, params={name: value}, headers={"Accept": "application/json"}) as response:
        taken = response.status

    assert (described, taken) == (right, 200 if right else 400)


class TestPromises:
    async def test_a_client_can_hold_a_stream_to_what_the_gateway_serves(self, loopback: Loopback) -> None:
        async with loopback.session.get(f"{loopback.url}/openapi.json") as response:
            promised = Contract(await response.json())
        await loopback.tell(events.status(WEATHER), events.progress(WEATHER, 40), events.metrics(WEATHER))
        async with loopback.subscribe("/api/events") as subscriber:
            messages = await subscriber.until("bookmark")
            await loopback.tell(
                events.status(WEATHER, Status.DEGRADED),
                events.progress(WEATHER, 60),
                events.metrics(WEATHER),
                events.line(WEATHER),
                events.response(WEATHER),
                events.warning(WEATHER),
            )
            messages += await subscriber.take(6)
        for message in messages:
            promised.check_message(message)
        assert [message.json["type"] for message in messages] == [
            *("hello", "status", "progress", "metrics", "bookmark"),
            *("status", "progress", "metrics", "log", "response", "kubernetes"),
        ]

    async def test_a_stream_that_is_reset_and_ends_is_as_described(self, loopback: Loopback) -> None:
        (known,) = await loopback.tell(events.status(WEATHER))
        uid = events.uid_of(WEATHER)
        cursor = EventId("other", known.seq)
        async with loopback.subscribe(f"/api/servers/{uid}/events", cursor=cursor) as subscriber:
            await loopback.tell(events.status(WEATHER, Status.DELETED))
            names = [message.event for message in await subscriber.rest()]
        assert (names[0], names[1], names[-1]) == ("hello", "reset", "bye")

    async def test_what_was_dropped_is_as_described(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(capacity=3)
        (known,) = await loopback.tell(events.status(WEATHER))
        await loopback.tell(*(events.line(WEATHER, f"line {number}") for number in range(20)))
        async with loopback.subscribe("/api/events?types=log", cursor=known) as subscriber:
            names = [message.event for message in await subscriber.take(2)]
        assert names == ["hello", "dropped"]

    async def test_unnamed_events_are_as_described(self, loopback: Loopback) -> None:
        await loopback.tell(events.status(WEATHER))
        async with loopback.subscribe("/api/events?named=0&snapshot=1") as subscriber:
            names = [message.event for message in await subscriber.until("bookmark")]
        assert names == ["hello", "message", "bookmark"]


class TestChecking:
    """The checks that all tests lean on find what is wrong."""

    @pytest.mark.parametrize(
        ("frame", "wrong"),
        [
            ({"event": "log"}, "is named log"),
            ({"has_id_line": False}, "has no id line"),
            ({"id": "epoch-2"}, "has the id epoch-2 of something else"),
            ({"data": '{"type":"mood"}'}, "no type that is known"),
        ],
    )
    def test_a_frame_that_is_not_as_described_is_noticed(self, frame: dict[str, str | bool], wrong: str) -> None:
        (body,) = told(events.status(WEATHER))
        right = {"event": "status", "data": json.dumps(body), "id": body["id"], "has_id_line": True}
        contract().check_message(Message(**right))
        with pytest.raises(ContractError, match=wrong):
            contract().check_message(Message(**{**right, **frame}))

    def test_a_snapshot_with_an_id_line_is_noticed(self) -> None:
        (body,) = told(events.status(WEATHER), snapshot=True)
        with pytest.raises(ContractError, match="has an id line"):
            contract().check_message(Message(event="status", data=json.dumps(body), id=body["id"], has_id_line=True))

    def test_a_bookmark_without_a_name_is_noticed(self) -> None:
        body = {"type": "bookmark", "time": "2026-11-23T12:00:00.123Z", "cursor": "epoch-1"}
        with pytest.raises(ContractError, match="is without a name"):
            contract().check_message(Message(event="message", data=json.dumps(body), id="epoch-1", has_id_line=True))

    @pytest.mark.parametrize(
        ("path", "status", "content_type", "body"),
        [
            ("/api/servers", 200, "application/json", '{"items":[]}'),
            ("/api/servers", 200, "application/json", '{"items":[{}],"cursor":"epoch-1"}'),
            ("/api/servers", 200, "text/html", "{}"),
            ("/api/servers", 202, "application/json", "{}"),
            ("/api/servers", 404, "application/problem+json", '{"detail":"no"}'),
            ("/api/nothing", 200, "application/json", "{}"),
            ("/api/nothing", 404, "application/json", "{}"),
        ],
    )
    def test_an_answer_that_is_not_described_is_noticed(self, path: str, status: int, content_type: str, body: str) -> None:
        with pytest.raises(ContractError):
            contract().check_answer(method="GET", path=path, status=status, content_type=content_type, body=body.encode())

    async def test_a_subscriber_of_a_gateway_with_another_mind_fails(self, loopback: Loopback) -> None:
        async with strange_gateway() as url:
            loopback.url = url
            async with loopback.subscribe("/api/events") as subscriber:
                with pytest.raises(ContractError, match="mood"):
                    await subscriber.rest()

    async def test_so_does_one_on_a_real_cluster_whatever_it_waited_for(self) -> None:
        async with strange_gateway() as url:
            with pytest.raises(ContractError, match="mood"):
                async with EndToEndSubscriber(f"{url}/api/events") as subscriber:
                    await until(lambda: subscriber.ended, "the end of the stream", every=0.01)


@asynccontextmanager
async def strange_gateway() -> AsyncIterator[str]:
    """The URL of a gateway whose events have a field that isn't described; its streams end by themselves."""
    (body,) = told(events.status(WEATHER))
    hello = framing.hello_frame(time=NOON, retry_ms=1000, heartbeat_seconds=15, cursor=EventId("epoch", 0))
    event = f"event: status\ndata: {json.dumps({**body, 'mood': 'good'})}\nid: epoch-1\n\n".encode()

    async def stream(_: web.Request) -> web.Response:
        return web.Response(body=hello + event, content_type="text/event-stream")

    application = web.Application()
    application.router.add_get("/api/events", stream)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Page(HTMLParser):
    """What is on a page: where one can go, what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [value for name, value in attrs if name in {"href", "src"} and value]

    def handle_data(self, data: str) -> None:
        self.text += data


async def page(loopback: Loopback, **headers: str) -> Page:
    async with loopback.session.get(f"{loopback.url}/docs", headers=headers) as response:
        assert (response.status, response.content_type, response.charset) == (200, "text/html", "utf-8")
        return Page(await response.text())


class TestPage:
    async def test_it_needs_nothing_from_anywhere(self, loopback: Loopback) -> None:
        shown = await page(loopback)
        assert not shown.tags & {"script", "link", "img", "iframe", "object", "form"}
        assert not [name for name in shown.attributes if name.startswith("on") or name == "style"]
        assert {link for link in shown.links if not link.startswith("#")} == {"/openapi.json"}

    async def test_a_browser_is_told_to_load_nothing(self, loopback: Loopback) -> None:
        async with loopback.session.get(f"{loopback.url}/docs") as response:
            policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["style-src"].startswith("'sha256-")
        assert policy.keys() >= {"base-uri", "form-action", "frame-ancestors"}

    async def test_its_links_lead_somewhere(self, loopback: Loopback) -> None:
        shown = await page(loopback)
        assert len(set(shown.ids)) == len(shown.ids)
        assert {link[1:] for link in shown.links if link.startswith("#")} <= set(shown.ids)

    async def test_it_tells_all_that_the_document_tells(self, loopback: Loopback) -> None:
        shown = await page(loopback)
        text = " ".join(shown.text.split())
        for path, item in document()["paths"].items():
            assert f"GET {path}" in text
            for parameter in item["get"].get("parameters", []):
                assert f"{parameter['name']} ({parameter['in']})" in text
        for name, schema in document()["components"]["schemas"].items():
            for field, described in schema.get("properties", {}).items():
                assert field in text, name
                assert " ".join(described.get("description", "").replace("`", "").split()) in text, f"{name}.{field}"

    async def test_its_commands_are_for_the_address_that_it_was_read_at(self, loopback: Loopback) -> None:
        assert f"curl -N {loopback.url}/api/events\n" in (await page(loopback)).text
        assert "curl -N http://mcp.example:8443/api/events\n" in (await page(loopback, Host="mcp.example:8443")).text
        assert "curl -N http://[::1]:8080/api/events\n" in (await page(loopback, Host="[::1]:8080")).text

    def test_what_is_described_is_text_and_never_markup(self) -> None:
        nasty = "<script>alert('`x`')</script>"
        described = document()
        described["info"]["description"] = nasty
        described["paths"]["/api/servers"]["get"]["parameters"][0]["description"] = nasty
        described["components"]["schemas"]["Cause"]["properties"]["message"]["description"] = nasty
        described["components"]["schemas"]["Hello"]["examples"] = [{"message": nasty}]

        shown = Page(DocumentPage(described).html(nasty).decode())

        assert "script" not in shown.tags
        assert shown.text.count("alert(") > 10

    @one_engine
    @pytest.mark.parametrize(
        "host",
        ["x;reboot", "$(reboot)", "`reboot`", "<script>alert(1)</script>", '"onload="x', "a b", "user@host", "x/../..", "ä", ""],
    )
    async def test_nobody_can_smuggle_a_command_in_by_the_host(self, loopback: Loopback, host: str) -> None:
        async with loopback.session.get(f"{loopback.url}/docs", headers={"Host": host}) as response:
            body = await response.text()
        if response.status == 200:
            assert "http://127.0.0.1:8080/api/events" in body
        assert not host or f"http://{host}" not in body
