"""What HTTP promises besides the events: HEAD, connections that serve several requests, old clients, and errors that say what is
wrong in the same form everywhere."""

from __future__ import annotations

import asyncio

import pytest

from local_stack.sse import Parser
from mcp_operator.model.statuses import Status
from tests.component.conftest import Loopback, StartGateway
from tests.component.raw_http import raw_client
from tests.events import status, uid_of
from tests.waiting import until

JSON_URLS = ["/", "/api/servers", "/api/servers/weather"]
STREAM_URLS = ["/api/events", "/api/servers/weather/events"]


class TestHead:
    @pytest.mark.parametrize("path", [*JSON_URLS, "/api/servers/never-was", "/nothing", "/api/servers?tail=1"])
    async def test_it_answers_what_get_answers_but_for_the_body(self, loopback: Loopback, path: str) -> None:
        await loopback.tell(status("default/weather"))
        async with raw_client(loopback.address) as client:
            client.get(path)
            got = await client.answer()
            client.get(path, method="HEAD")
            headed = await client.answer(to="HEAD")
            client.get("/api/servers")
            assert (await client.answer()).status == 200, "the connection goes on"

        assert (headed.status, headed.body) == (got.status, b"")
        assert without_date(headed.headers) == without_date(got.headers)

    @pytest.mark.parametrize("path", STREAM_URLS)
    async def test_of_a_stream_it_opens_none(self, loopback: Loopback, path: str) -> None:
        await loopback.tell(status("default/weather"))
        async with raw_client(loopback.address) as client:
            for _ in range(2):
                client.get(path, method="HEAD")
                await client.answer(to="HEAD")
            client.get(path, method="HEAD")
            headed = await client.answer(to="HEAD")
            assert loopback.figure("mcp_operator_streams") == 0
            client.get(path)
            got = await client.head()

        assert (headed.status, headed.header("content-length"), headed.header("connection")) == (200, None, None)
        for name in ("content-type", "cache-control", "x-accel-buffering", "event-cursor"):
            assert headed.header(name) == got.header(name)
            assert got.header(name)

    @pytest.mark.parametrize(
        ("path", "code"),
        [("/api/servers/never-was/events", 404), ("/api/events?types=logs", 400), ("/api/servers/Weather/events", 400)],
    )
    async def test_of_a_stream_that_can_not_be_it_says_so(self, loopback: Loopback, path: str, code: int) -> None:
        async with raw_client(loopback.address) as client:
            client.get(path, method="HEAD")
            assert (await client.answer(to="HEAD")).status == code

    async def test_of_a_stream_that_can_not_begin_yet_it_has_no_body_either(self, loopback: Loopback) -> None:
        loopback.synced = False
        async with raw_client(loopback.address) as client:
            client.get("/api/events", method="HEAD")
            assert (await client.answer(to="HEAD")).status == 200
            client.get("/api/servers")
            assert (await client.answer()).status == 503, "the connection goes on"

    async def test_of_a_stream_with_nothing_more_to_tell_it_is_as_final(self, loopback: Loopback) -> None:
        uid = uid_of("default/weather")
        *_, last = await loopback.tell(status("default/weather"), status("default/weather", Status.DELETED))
        async with raw_client(loopback.address) as client:
            client.get(f"/api/servers/{uid}/events", f"Last-Event-ID: {last}", method="HEAD")
            assert (await client.answer(to="HEAD")).status == 204


class TestConnections:
    async def test_one_serves_many_requests(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"))
        async with raw_client(loopback.address) as client:
            for path, code in [*((path, 200) for path in JSON_URLS), ("/nothing", 404), ("/api/servers?x=1", 400), ("/", 200)]:
                client.get(path)
                answer = await client.answer()
                assert (answer.status, answer.header("connection")) == (code, None)

    async def test_requests_sent_in_one_go_are_answered_in_their_order(self, loopback: Loopback) -> None:
        await loopback.tell(*(status(f"default/server-{number}") for number in range(100)))
        async with raw_client(loopback.address) as client:
            for number in range(100):
                client.get(f"/api/servers/server-{number}")
            for number in range(100):
                assert f'"server":"default/server-{number}"'.encode() in (await client.answer()).body

    async def test_the_client_may_end_it(self, loopback: Loopback) -> None:
        async with raw_client(loopback.address) as client:
            client.get("/", "Connection: close")
            answer = await client.answer()
            assert (answer.status, answer.header("connection")) == (200, "close")
            assert await client.closed() == b""

    @pytest.mark.parametrize("path", STREAM_URLS)
    async def test_a_streams_end_is_its_connections(self, loopback: Loopback, path: str) -> None:
        await loopback.tell(status("default/weather"))
        loopback.synced = False
        async with raw_client(loopback.address) as client:
            client.get(path)
            answer = await client.answer()
            assert (answer.status, answer.header("connection")) == (200, "close")
            assert await client.closed() == b""

    async def test_a_request_behind_a_stream_is_never_answered(self, loopback: Loopback) -> None:
        async with raw_client(loopback.address) as client:
            client.get("/api/events")
            client.get("/api/servers")
            head = await client.head()
            await until(lambda: loopback.figure("mcp_operator_streams") == 1, "the stream is open", every=0.01)
            await loopback.tell(status("default/weather"))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(loopback.gateway.stop())
                rest = await client.closed()

        assert head.header("connection") == "close"
        assert b"event: bye" in rest
        assert b"HTTP/1" not in rest


class TestOldClients:
    async def test_http_1_0_gets_one_answer(self, loopback: Loopback) -> None:
        async with raw_client(loopback.address) as client:
            client.send("GET /api/servers HTTP/1.0\n\n")
            answer = await client.answer()
            assert (answer.status, answer.version) == (200, "HTTP/1.0")
            assert answer.header("transfer-encoding") is None
            assert await client.closed() == b""

    async def test_http_1_0_may_ask_to_keep_the_connection(self, loopback: Loopback) -> None:
        async with raw_client(loopback.address) as client:
            for _ in range(3):
                client.get("/api/servers", "Connection: keep-alive", version="HTTP/1.0")
                answer = await client.answer()
                assert (answer.status, answer.header("connection")) == (200, "keep-alive")

    @pytest.mark.parametrize("header", ["Connection: close", "Connection: keep-alive"])
    async def test_a_stream_to_http_1_0_is_plain_bytes_and_ends_with_the_connection(
        self, start_gateway: StartGateway, header: str
    ) -> None:
        loopback = await start_gateway(drain_seconds=0)
        await loopback.tell(status("default/weather"))
        async with raw_client(loopback.address) as client:
            client.get("/api/events", header, version="HTTP/1.0")
            head = await client.head()
            await until(lambda: loopback.figure("mcp_operator_streams") == 1, "the stream is open", every=0.01)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(loopback.gateway.stop())
                messages = Parser().feed(await client.closed())

        assert head.header("transfer-encoding") is head.header("content-length") is None
        assert head.header("connection") == "close"
        assert [message.event for message in messages] == ["hello", "status", "bookmark", "bye"]

    async def test_a_stream_to_http_1_1_is_chunked(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"))
        async with raw_client(loopback.address) as client:
            client.get("/api/events")
            head = await client.head()
            parser = Parser()
            while not any(message.event == "bookmark" for message in parser.feed(await client.chunk())):
                pass

        assert head.header("transfer-encoding") == "chunked"


class TestProblems:
    @pytest.mark.parametrize(
        ("request_", "code", "said"),
        [
            ("GET /nothing HTTP/1.1\nHost: a\n\n", 404, "/nothing"),
            (f"GET /{'n' * 5000} HTTP/1.1\nHost: a\n\n", 404, "…"),
            ("POST /api/servers HTTP/1.1\nHost: a\nContent-Length: 0\n\n", 405, "only GET, HEAD, OPTIONS"),
            ("BREW /api/servers HTTP/1.1\nHost: a\n\n", 400, "HTTP/1.1"),
            ("PROPFIND /api/servers HTTP/1.1\nHost: a\n\n", 405, "PROPFIND"),
            ("nonsense\n\n", 400, "HTTP/1.1"),
            ("GET / HTTP/1.1\n\n", 400, "HTTP/1.1"),
            ("GET / HTTP/1.1\nHost: a\nHost: b\n\n", 400, "HTTP/1.1"),
            ("GET / HTTP/1.1\nHost: a\nno colon\n\n", 400, "HTTP/1.1"),
            ("GET / HTTP/3.0\nHost: a\n\n", 400, "HTTP/1.1"),
            ("GET / HTTP/1.1\nHost: a\nTransfer-Encoding: rot13\n\n", 400, "HTTP/1.1"),
            ("GET / HTTP/1.1\nHost: a\nContent-Length: -1\n\n", 400, "HTTP/1.1"),
            ("GET / HTTP/1.1\nHost: a\nContent-Length: 1\nContent-Length: 2\n\n", 400, "HTTP/1.1"),
            (f"GET /?q={'q' * 9000} HTTP/1.1\nHost: a\n\n", 431, "8192 bytes"),
            (f"GET / HTTP/1.1\nHost: a\nX: {'x' * 9000}\n\n", 431, "8192 bytes"),
            ("GET / HTTP/1.1\nHost: a\n" + "X: x\n" * 100 + "\n", 431, "too many headers"),
            ("GET / HTTP/1.1\nHost: a\nExpect: miracles\n\n", 417, "100-continue"),
        ],
    )  # fmt: skip
    async def test_every_error_is_a_problem_document(
        self, loopback: Loopback, caplog: pytest.LogCaptureFixture, request_: str, code: int, said: str
    ) -> None:
        async with raw_client(loopback.address) as client:
            client.send(request_)
            answer = await client.answer()

        assert (answer.status, answer.problem["status"]) == (code, code)
        assert said in answer.problem["detail"]
        assert answer.header("cache-control") == "no-store"
        assert not caplog.records

    async def test_what_is_not_possible_says_what_is(self, loopback: Loopback) -> None:
        async with raw_client(loopback.address) as client:
            client.get("/api/events", method="DELETE")
            answer = await client.answer()

        assert (answer.status, answer.header("allow")) == (405, "GET, HEAD, OPTIONS")

    async def test_who_expects_100_continue_gets_it(self, loopback: Loopback) -> None:
        async with raw_client(loopback.address) as client:
            client.get("/", "Expect: 100-continue")
            assert [(await client.answer()).status for _ in "12"] == [100, 200]

    async def test_a_url_may_be_absolute(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"))
        async with raw_client(loopback.address) as client:
            client.get("http://gateway.example/api/servers/weather")
            assert b"default/weather" in (await client.answer()).body

    async def test_what_a_server_is_made_with_is_not_told(self, loopback: Loopback) -> None:
        async with raw_client(loopback.address) as client:
            client.get("/")
            assert (await client.answer()).header("server") == "mcp-operator"


def without_date(headers: object) -> list[tuple[str, str]]:
    assert isinstance(headers, list)
    return [(name, value) for name, value in headers if name != "date"]
