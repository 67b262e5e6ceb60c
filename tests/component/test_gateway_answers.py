"""What the gateway answers besides streams: lists, snapshots, problems, its own health; and how it starts and stops."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from mcp_operator.eventlog.log import Batch, EventId, Gap, Selection, Snapshot
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.gateway.options import HttpOptions, StreamOptions
from mcp_operator.gateway.serving import Gateway
from mcp_operator.model.events import EventType
from mcp_operator.model.statuses import Status
from tests.component.conftest import Loopback, StartGateway, Subscriber, one_engine
from tests.events import line, metrics, progress, status, uid_of
from tests.waiting import until


@one_engine
class TestServers:
    async def test_the_list_has_a_snapshot_of_each_server_and_a_cursor(self, loopback: Loopback) -> None:
        *_, last = await loopback.tell(
            status("team/weather", Status.DEPLOYING),
            progress("team/weather", 40),
            status("default/maps"),
            metrics("team/weather", 3.5),
            metrics("team/weather", 12.5),
            line("team/weather"),
            status("default/gone"),
            status("default/gone", Status.DELETED),
        )

        code, listed = await loopback.get("/api/servers")

        assert code == 200
        assert listed.keys() == {"items", "cursor"}
        assert listed["cursor"] == str(last)
        maps, weather = listed["items"]
        assert maps.keys() == {"server", "uid", "status", "progress", "metrics"}
        assert (maps["server"], maps["uid"]) == ("default/maps", uid_of("default/maps"))
        assert (maps["progress"], maps["metrics"]) == (None, None)
        assert (maps["status"]["type"], maps["status"]["status"]) == ("status", "running")
        assert (weather["server"], weather["status"]["status"]) == ("team/weather", "deploying")
        assert weather["progress"]["percent"] == 40
        assert (weather["metrics"]["type"], weather["metrics"]["cpu"]) == ("metrics", 12.5)

    async def test_a_cluster_without_servers_has_an_empty_list(self, loopback: Loopback) -> None:
        assert await loopback.get("/api/servers") == (200, {"items": [], "cursor": str(loopback.log.head)})

    async def test_the_list_can_be_of_some_namespaces(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/a"), status("team/b"), status("other/c"))

        _, listed = await loopback.get("/api/servers?namespace=team,other")

        assert [item["server"] for item in listed["items"]] == ["other/c", "team/b"]

    @pytest.mark.parametrize(
        ("server_id", "server"),
        [
            ("default:weather", "default/weather"),
            ("default%3Aweather", "default/weather"),
            ("weather", "default/weather"),
            ("team:weather", "team/weather"),
            (uid_of("team/weather"), "team/weather"),
        ],
    )
    async def test_a_server_is_named_in_three_ways(self, loopback: Loopback, server_id: str, server: str) -> None:
        await loopback.tell(status("default/weather"), status("team/weather"))

        code, snapshot = await loopback.get(f"/api/servers/{server_id}")

        assert (code, snapshot["server"], snapshot["status"]["status"]) == (200, server, "running")

    async def test_a_name_means_the_object_that_has_it_now(self, loopback: Loopback) -> None:
        """Deleted and created again at once: the new object is heard of before the old one is gone."""
        await loopback.tell(status("default/weather"))
        for event in (
            status("default/weather", Status.PENDING, life=2),
            status("default/weather", Status.TERMINATING),
            status("default/weather", Status.DELETED),
        ):
            await loopback.tell(event)
            assert (await loopback.get("/api/servers/weather"))[1]["uid"] == uid_of("default/weather", life=2)

    async def test_a_server_on_its_way_out_is_still_there(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather", Status.TERMINATING))

        assert (await loopback.get("/api/servers/weather"))[1]["status"]["status"] == "terminating"

    async def test_a_gone_server_is_not_found(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"), status("default/weather", Status.DELETED))

        for server_id in ("weather", uid_of("default/weather"), "never-was"):
            code, problem = await loopback.get(f"/api/servers/{server_id}")
            assert (code, problem["value"]) == (404, server_id)

    async def test_the_index_names_the_urls(self, loopback: Loopback) -> None:
        code, index = await loopback.get("/")

        assert code == 200
        assert index["events"] == "/api/events"


BAD_REQUESTS: list[tuple[str, int, dict[str, Any]]] = [
    (
        "/api/events?types=status,logs",
        400,
        {"parameter": "types", "value": "status,logs", "expected": "status, progress, metrics, log"},
    ),
    ("/api/events?level=warning", 400, {"parameter": "level", "value": "warning", "expected": "trace, debug, info, warn, error"}),
    ("/api/events?level=warn,error", 400, {"parameter": "level", "value": "warn,error"}),
    ("/api/servers/weather/events?level=INFO", 400, {"parameter": "level", "value": "INFO"}),
    (f"/api/events?grep={'x' * 257}", 400, {"parameter": "grep", "value": "x" * 200 + "…", "expected": "256 characters"}),
    ("/api/events?tail=-1", 400, {"parameter": "tail", "value": "-1", "expected": "from 0 to 10000"}),
    ("/api/events?tail=10001", 400, {"parameter": "tail", "value": "10001", "expected": "from 0 to 10000"}),
    ("/api/events?tail=ten", 400, {"parameter": "tail", "value": "ten"}),
    ("/api/events?tail=%D9%A1", 400, {"parameter": "tail", "value": "\N{ARABIC-INDIC DIGIT ONE}"}),
    ("/api/events?tail=1&tail=2", 400, {"parameter": "tail", "value": "1,2", "expected": "once"}),
    ("/api/servers?tail=10", 400, {"parameter": "tail", "expected": "namespace"}),
    ("/api/events?named=no", 400, {"parameter": "named", "value": "no", "expected": "0 or 1"}),
    ("/api/events?snapshot=true", 400, {"parameter": "snapshot", "value": "true", "expected": "0 or 1"}),
    ("/api/events?namespace=Team", 400, {"parameter": "namespace", "value": "Team", "expected": "namespaces"}),
    ("/api/events?namespace=a,,b", 400, {"parameter": "namespace", "value": "a,,b"}),
    ("/api/events?since=yesterday", 400, {"parameter": "since", "value": "yesterday", "expected": "RFC 3339"}),
    ("/api/events?types=status&types=progress", 400, {"parameter": "types", "value": "status,progress", "expected": "once"}),
    ("/api/servers/weather/events?namespace=team", 400, {"parameter": "namespace", "expected": "types, level"}),
    ("/api/servers?types=status", 400, {"parameter": "types", "expected": "namespace"}),
    ("/api/servers/weather?types=status", 400, {"parameter": "types", "expected": "no parameters"}),
    ("/api/servers/team%2Fweather", 400, {"parameter": "id", "value": "team/weather", "expected": "namespace:name"}),
    ("/api/servers/a:b:c/events", 400, {"parameter": "id", "value": "a:b:c"}),
    ("/api/servers/Weather", 400, {"parameter": "id", "value": "Weather"}),
    ("/api/servers/:weather", 400, {"parameter": "id", "value": ":weather"}),
    ("/api/servers/we%0d%0aather", 400, {"parameter": "id", "value": "we\r\nather"}),
    ("/api/servers/" + "x" * 300, 400, {"parameter": "id", "value": "x" * 200 + "…"}),
    ("/api/nothing", 404, {"detail": "/api/nothing"}),
]


@one_engine
class TestProblems:
    @pytest.mark.parametrize(("path", "code", "said"), BAD_REQUESTS, ids=[path[:50] for path, *_ in BAD_REQUESTS])
    async def test_a_bad_request_is_told_what_would_be_right(
        self, loopback: Loopback, path: str, code: int, said: dict[str, Any]
    ) -> None:
        async with loopback.session.get(loopback.url + path) as response:
            problem = await response.json(content_type="application/problem+json")

        assert response.status == problem["status"] == code
        assert problem["type"] == "about:blank"
        assert problem["title"] == {400: "Bad Request", 404: "Not Found"}[code]
        for member, words in said.items():
            assert words in problem[member]

    @pytest.mark.parametrize("path", ["/api/events", "/api/servers/weather/events"])
    @pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
    async def test_a_stream_can_only_be_got(self, loopback: Loopback, method: str, path: str) -> None:
        async with loopback.session.request(method, loopback.url + path) as response:
            body = await response.read()

        assert response.status == 405
        assert response.headers["Allow"] == "GET, HEAD, OPTIONS"
        assert response.content_type == "application/problem+json"
        assert f"{method} is not possible".encode() in body

    @pytest.mark.parametrize("accept", ["text/html", "image/*", "image/*, application/json;q=0"])
    async def test_an_events_url_has_a_stream_or_a_page(self, loopback: Loopback, accept: str) -> None:
        code, problem = await loopback.get("/api/events", headers={"Accept": accept})

        assert (code, problem["expected"]) == (406, "text/event-stream or application/json")


class BrokenLog(MemoryLog):
    """A log that fails when the test says so."""

    broken = False

    async def read(self, after: EventId, selection: Selection, *, limit: int) -> Batch | Gap:
        if self.broken:
            raise RuntimeError("the disk is full")
        return await super().read(after, selection, limit=limit)

    async def snapshot(self, selection: Selection, *, tail: int = 0) -> Snapshot:
        if self.broken:
            raise RuntimeError("the disk is full")
        return await super().snapshot(selection, tail=tail)


class SlowLog(MemoryLog):
    """A log whose snapshots take as long as the test wants."""

    def __init__(self, *, capacity: int) -> None:
        super().__init__(capacity=capacity)
        self.asked = asyncio.Event()
        self.answered = asyncio.Event()

    async def snapshot(self, selection: Selection, *, tail: int = 0) -> Snapshot:
        self.asked.set()
        await self.answered.wait()
        return await super().snapshot(selection, tail=tail)


class TestFailures:
    async def test_before_the_first_byte_it_is_a_problem(
        self, start_gateway: StartGateway, caplog: pytest.LogCaptureFixture
    ) -> None:
        log = BrokenLog(capacity=10)
        loopback = await start_gateway(log=log)
        log.broken = True

        for path in ("/api/servers", "/api/events"):
            code, problem = await loopback.get(path)
            assert (code, problem["title"]) == (500, "Internal Server Error")
            assert "disk" not in str(problem)
        assert "the disk is full" in caplog.text

    async def test_after_it_the_stream_says_goodbye_without_a_cursor(
        self, start_gateway: StartGateway, caplog: pytest.LogCaptureFixture
    ) -> None:
        log = BrokenLog(capacity=10)
        loopback = await start_gateway(log=log)
        async with loopback.subscribe("/api/events") as subscriber:
            await subscriber.until("bookmark")
            log.broken = True
            await loopback.tell(status("default/weather"))
            [bye] = await subscriber.rest()

        assert (bye.event, bye.json["reason"], bye.json["cursor"], bye.has_id_line) == ("bye", "error", None, False)
        assert "the disk is full" in caplog.text


class TestBeforeTheClusterIsKnown:
    @pytest.mark.parametrize("path", ["/api/events", "/api/servers/weather/events", f"/api/servers/{uid_of('a/b')}/events"])
    @pytest.mark.parametrize("cursor", [None, "0123456789-3", "malformed"])
    async def test_a_stream_asks_to_come_back_later(self, loopback: Loopback, path: str, cursor: str | None) -> None:
        loopback.synced = False

        async with loopback.subscribe(path, cursor=cursor) as subscriber:
            hello, bye = await subscriber.rest()

        assert (hello.event, hello.json["cursor"], bye.event, bye.json["reason"]) == ("hello", None, "bye", "starting")
        assert not bye.has_id_line
        assert subscriber.parser.retry_ms is not None
        assert 5000 <= subscriber.parser.retry_ms <= 15000
        assert "Event-Cursor" not in subscriber.response.headers

    async def test_everything_else_is_unavailable(self, loopback: Loopback) -> None:
        loopback.synced = False
        for path in ("/api/servers", "/api/servers/weather"):
            async with loopback.session.get(loopback.url + path) as response:
                assert (response.status, response.content_type) == (503, "application/problem+json")
                assert int(response.headers["Retry-After"]) > 0

    async def test_what_is_wrong_anyway_is_refused_anyway(self, loopback: Loopback) -> None:
        loopback.synced = False

        assert (await loopback.get("/api/events?types=logs"))[0] == 400

    async def test_it_is_alive_but_not_ready(self, loopback: Loopback) -> None:
        async def probe() -> list[int]:
            answers = []
            for path in ("/healthz", "/readyz"):
                async with loopback.session.get(loopback.health_url + path) as response:
                    answers.append(response.status)
            return answers

        loopback.synced = False
        before = await probe()
        loopback.synced = True

        assert before == [200, 503]
        assert await probe() == [200, 200]


class TestMetrics:
    async def test_they_tell_of_streams_and_of_the_log(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(capacity=1)
        await loopback.tell(
            status("default/weather"), progress("default/weather", 10), *(line("default/weather") for _ in "12345")
        )
        held_bytes = loopback.log.statistics().held_bytes[EventType.LOG]
        async with loopback.subscribe("/api/events") as subscriber:
            await subscriber.until("bookmark")
            async with loopback.session.get(loopback.health_url + "/metrics") as response:
                lines = (await response.text()).splitlines()

        assert {
            "mcp_operator_streams 1.0",
            'mcp_operator_events_appended_total{type="status"} 1.0',
            'mcp_operator_events_appended_total{type="progress"} 1.0',
            'mcp_operator_events_delivered_total{type="status"} 1.0',
            'mcp_operator_events_delivered_total{type="progress"} 1.0',
            "mcp_operator_stream_replays_total 0.0",
            'mcp_operator_stream_resets_total{reason="expired"} 0.0',
            'mcp_operator_stream_drops_total{type="log"} 0.0',
            'mcp_operator_log_events{type="status"} 1.0',
            'mcp_operator_log_events{type="log"} 1.0',
            f'mcp_operator_log_bytes{{type="log"}} {held_bytes:.1f}',
            'mcp_operator_log_bytes{type="metrics"} 0.0',
            'mcp_operator_events_evicted_total{type="status"} 0.0',
            'mcp_operator_events_evicted_total{type="log"} 4.0',
        } <= set(lines)

    async def test_subscribers_do_not_see_them(self, loopback: Loopback) -> None:
        for path in ("/metrics", "/healthz", "/readyz"):
            assert (await loopback.get(path))[0] == 404


class TestStopping:
    async def test_open_streams_say_goodbye_with_the_place_to_go_on_from(self, loopback: Loopback) -> None:
        async with loopback.subscribe("/api/events") as busy, loopback.subscribe("/api/events?types=status") as quiet:
            for subscriber in (busy, quiet):
                await subscriber.until("bookmark")
            [last] = await loopback.tell(status("default/weather"))
            for subscriber in (busy, quiet):
                await subscriber.next()
            await loopback.gateway.stop()
            byes = [await subscriber.rest() for subscriber in (busy, quiet)]

        for [bye] in byes:
            assert (bye.event, bye.json["reason"], bye.id) == ("bye", "shutdown", str(last))

    async def test_it_stops_in_the_middle_of_a_long_replay(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(capacity=5000)
        first, *_ = await loopback.tell(*(status("default/weather", message="x" * 2000) for _ in range(4000)))
        async with loopback.subscribe("/api/events", cursor=first) as subscriber:
            await subscriber.next()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(loopback.gateway.stop())
                *replay, bye = await subscriber.rest()

        seqs = [EventId.parse(message.id).seq for message in replay]
        assert seqs == list(range(2, 2 + len(seqs)))
        assert (bye.event, bye.id) == ("bye", replay[-1].id)
        assert len(replay) < 3999

    async def test_a_stream_that_is_just_opening_says_goodbye_too(self, start_gateway: StartGateway) -> None:
        log = SlowLog(capacity=10)
        loopback = await start_gateway(log=log)
        await log.append(status("default/weather"))
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(loopback.session.get(loopback.url + "/api/servers/weather/events"))
            await log.asked.wait()
            tasks.create_task(loopback.gateway.stop())
            await until(lambda: loopback.gateway._streams._ending, "the gateway is stopping", every=0.01)
            log.answered.set()
            async with await opening as response:
                *_, bye = await Subscriber(response).rest()

        assert (bye.event, bye.json["reason"]) == ("bye", "shutdown")

    async def test_a_taken_port_is_an_error_and_nothing_is_left_listening(self, loopback: Loopback) -> None:
        _, taken = loopback.address
        gateway = Gateway(
            log=MemoryLog(capacity=10),
            synced=lambda: True,
            registry=CollectorRegistry(),
            http=HttpOptions(host="127.0.0.1", port=0, health_port=taken),
            streams=StreamOptions(),
        )

        with pytest.raises(OSError, match="address already in use"):
            await gateway.start()


async def test_a_request_is_one_line_in_the_log_without_its_query(loopback: Loopback, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="mcp_operator.gateway")

    await loopback.get("/api/servers/a%0D%0Ab?token=secret")

    [line] = [record.getMessage() for record in caplog.records if record.name == "mcp_operator.gateway.serving"]
    assert line.startswith(r"GET '/api/servers/a\r\nb' from 127.0.0.1: 400 after ")
    assert "secret" not in caplog.text
