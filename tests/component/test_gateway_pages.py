"""The JSON page: the events of a stream's URL as an answer that ends, for clients that ask now and then."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from local_stack.sse import Parser
from mcp_operator.eventlog.log import Batch, EventId, Gap, Selection
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.gateway import paging
from mcp_operator.model.events import EventType
from mcp_operator.model.servers import ServerName
from mcp_operator.model.statuses import Status
from tests.component.conftest import Loopback, StartGateway, one_engine
from tests.events import follow, line, metrics, progress, status, uid_of
from tests.waiting import until

JSON = {"Accept": "application/json"}
UID = uid_of("default/weather")


async def page(loopback: Loopback, path: str, cursor: object = None) -> Any:
    headers = JSON if cursor is None else {**JSON, "Last-Event-ID": str(cursor)}
    code, body = await loopback.get(path, headers=headers)
    assert code == 200, body
    return body


def listeners(loopback: Loopback) -> bool:
    return loopback.log.demand.wanted(EventType.STATUS, ServerName("default", "weather"), UID)


class TestReading:
    async def test_its_events_are_the_very_bytes_that_a_stream_sends(self, loopback: Loopback) -> None:
        start = loopback.log.head
        await loopback.tell(
            status("default/weather", message="é \u2028 \r\n"), progress("default/weather", 10), line("default/weather")
        )
        async with loopback.session.get(f"{loopback.url}/api/events?last_event_id={start}", headers=JSON) as response:
            body = await response.read()
        async with loopback.subscribe("/api/events", cursor=start) as subscriber:
            _, *streamed = await subscriber.take(4)

        assert b'"events":[%b],"next"' % b",".join(message.data.encode() for message in streamed) in body
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Event-Cursor"] == str(start)
        assert body.count(b"\n") == 1

    async def test_without_a_cursor_it_is_the_snapshot_and_where_to_go_on(self, loopback: Loopback) -> None:
        *_, head = await loopback.tell(
            status("default/weather"),
            progress("default/weather", 10),
            metrics("default/weather"),
            line("default/weather", "hello"),
        )
        first = await page(loopback, "/api/events?tail=1")
        async with loopback.subscribe("/api/events?tail=1") as subscriber:
            _, *streamed, _ = await subscriber.until("bookmark")

        assert first == {
            "events": [],
            "next": str(head),
            "reset": None,
            "snapshot": [message.json for message in streamed],
            "dropped": [],
            "more": False,
        }
        assert [event["type"] for event in first["snapshot"]] == ["status", "progress", "metrics", "log"]
        assert all(event["snapshot"] is True for event in first["snapshot"])

    async def test_a_cluster_of_which_nothing_is_known_has_an_empty_snapshot(self, loopback: Loopback) -> None:
        first = await page(loopback, "/api/events")

        assert (first["snapshot"], first["events"], first["next"]) == ([], [], str(loopback.log.head))

    @pytest.mark.parametrize("limit", [1, 3, 7, 10, 11])
    async def test_page_by_page_each_event_comes_once(self, loopback: Loopback, limit: int) -> None:
        cursor, *told = await loopback.tell(*(progress("default/weather", percent) for percent in range(11)))
        heard, sizes, more = [], [], True
        while more:
            read = await page(loopback, f"/api/events?limit={limit}", cursor)
            heard += [event["id"] for event in read["events"]]
            sizes.append(len(read["events"]))
            cursor, more = read["next"], read["more"]

        assert heard == [str(event_id) for event_id in told]
        assert sizes == [limit] * (10 // limit) + ([10 % limit] if 10 % limit else [])

    async def test_next_is_how_far_it_looked_not_the_last_match(self, loopback: Loopback) -> None:
        start = loopback.log.head
        await loopback.tell(status("default/weather"), *(progress("default/maps", 1) for _ in range(1000)))

        read = await page(loopback, "/api/events?types=status,progress&servers=weather&limit=1", start)

        assert ([event["type"] for event in read["events"]], read["more"]) == (["status"], False)
        assert read["next"] == str(loopback.log.head)

    async def test_there_is_more_only_if_more_is_wanted(self, loopback: Loopback) -> None:
        start = loopback.log.head
        story = [status("default/weather"), *(progress("default/maps", 1) for _ in range(1000))]
        told = await loopback.tell(*story, status("default/weather", Status.DEGRADED))

        read = await page(loopback, "/api/events?servers=weather&limit=1", start)

        assert read["more"] is True
        rest = await page(loopback, "/api/events?servers=weather&limit=1", read["next"])
        assert ([event["id"] for event in rest["events"]], rest["more"]) == ([str(told[-1])], False)

    async def test_it_is_bounded_in_bytes_as_well(self, loopback: Loopback) -> None:
        start = loopback.log.head
        told = await loopback.tell(*(status("default/weather", message="x" * 50_000, key=str(n)) for n in range(200)))
        heard: list[str] = []
        pages, cursor, more = 0, str(start), True
        while more:
            async with loopback.session.get(
                f"{loopback.url}/api/events?limit=1000&last_event_id={cursor}", headers=JSON
            ) as response:
                body = await response.read()
            assert len(body) < paging.PAGE_BYTES + 64 * 1024
            read = json.loads(body)
            heard += [event["id"] for event in read["events"]]
            cursor, more, pages = read["next"], read["more"], pages + 1

        assert heard == [str(event_id) for event_id in told]
        assert pages == 3

    async def test_what_is_missing_is_said(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(capacity=3)
        [cursor] = await loopback.tell(status("default/weather"))
        *_, lost, _, _, _ = await loopback.tell(*(line("default/weather", str(number)) for number in range(10)))

        read = await page(loopback, "/api/events", cursor)

        missing = {"types": ["log"], "count": None, "after": str(cursor), "before": f"{lost.epoch}-{lost.seq + 1}"}
        assert (read["dropped"], read["reset"], read["snapshot"]) == ([missing], None, None)
        assert [event["msg"] for event in read["events"]] == ["7", "8", "9"]

    async def test_a_cursor_that_cannot_be_continued_gets_the_reason_and_a_snapshot(self, loopback: Loopback) -> None:
        [head] = await loopback.tell(status("default/weather"))

        read = await page(loopback, "/api/events", "0123456789-3")

        assert read["reset"] == {"reason": "epoch", "cursor": str(head)}
        assert ([event["status"] for event in read["snapshot"]], read["events"], read["next"]) == (["running"], [], str(head))

    async def test_many_pages_come_over_one_connection(self, loopback: Loopback) -> None:
        reader, writer = await asyncio.open_connection(*loopback.address)
        request = b"GET /api/events HTTP/1.1\r\nHost: gateway\r\nAccept: application/json\r\n\r\n"
        writer.write(request * 3)
        async with asyncio.timeout(60):
            for _ in range(3):
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                assert json.loads(await reader.readexactly(length))["events"] == []
        writer.close()


@one_engine
class TestWaiting:
    async def test_the_first_wanted_event_ends_it(self, loopback: Loopback) -> None:
        [cursor] = await loopback.tell(status("default/weather"))
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(page(loopback, "/api/events?types=status&servers=weather&wait=30", cursor))
            await until(lambda: listeners(loopback), "the page waits", every=0.01)
            await loopback.tell(status("default/maps"), progress("default/weather", 10), line("default/weather"))
            [wanted] = await loopback.tell(status("default/weather", Status.DEGRADED))

        read = asked.result()
        assert [event["id"] for event in read["events"]] == [str(wanted)]
        assert read["next"] == str(wanted)

    async def test_what_is_there_already_comes_at_once(self, loopback: Loopback) -> None:
        cursor, missed = await loopback.tell(status("default/weather"), status("default/maps"))
        async with asyncio.timeout(20):
            read = await page(loopback, "/api/events?wait=30", cursor)
            first = await page(loopback, "/api/events?wait=30")
            reset = await page(loopback, "/api/events?wait=30", "malformed")

        assert [event["id"] for event in read["events"]] == [str(missed)]
        assert len(first["snapshot"]) == len(reset["snapshot"]) == 2

    async def test_when_its_time_is_over_it_says_how_far_it_looked(self, loopback: Loopback) -> None:
        [cursor] = await loopback.tell(status("default/weather"))
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(page(loopback, "/api/events?types=log&level=error&wait=2", cursor))
            await until(
                lambda: loopback.log.demand.wanted(EventType.LOG, ServerName("a", "b"), "uid"), "the page waits", every=0.01
            )
            [passed] = await loopback.tell(line("default/weather"))

        read = asked.result()
        assert (read["events"], read["more"], read["snapshot"]) == ([], False, None)
        assert EventId.parse(read["next"]).seq == passed.seq

    async def test_while_it_waits_somebody_listens_and_afterwards_nobody(self, loopback: Loopback) -> None:
        demand, server = loopback.log.demand, ServerName("default", "weather")
        [cursor] = await loopback.tell(status("default/weather"))
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(page(loopback, "/api/servers/weather/events?types=log&tail=7&wait=30", cursor))
            await until(lambda: demand.wanted(EventType.LOG, server, UID), "the page waits", every=0.01)
            during = (demand.tail(server, UID), demand.wanted(EventType.METRICS, server, UID))
            await loopback.tell(line("default/weather", "followed"))

        assert during == (7, False)
        assert [event["msg"] for event in asked.result()["events"]] == ["followed"]
        await until(lambda: not demand.wanted(EventType.LOG, server, UID), "nobody listens", every=0.01)

    async def test_a_client_that_leaves_ends_it(self, loopback: Loopback) -> None:
        [cursor] = await loopback.tell(status("default/weather"))
        _, writer = await asyncio.open_connection(*loopback.address)
        writer.write(
            b"GET /api/events?wait=30&last_event_id=%b HTTP/1.1\r\nHost: g\r\nAccept: application/json\r\n\r\n"
            % str(cursor).encode()
        )
        await until(lambda: listeners(loopback), "the page waits", every=0.01)
        writer.close()

        await until(lambda: not listeners(loopback), "nobody listens", within=20, every=0.01)

    async def test_a_gateway_that_stops_ends_it_with_an_answer(self, loopback: Loopback) -> None:
        [cursor] = await loopback.tell(status("default/weather"))
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(page(loopback, "/api/events?wait=30", cursor)) for _ in range(5)]
            await until(lambda: listeners(loopback), "the pages wait", every=0.01)
            await loopback.gateway.stop()

        assert {read.result()["next"] for read in asked} == {str(cursor)}

    async def test_history_that_goes_while_it_waits_is_a_reset(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(capacity=5)
        [cursor] = await loopback.tell(status("default/weather"))
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(page(loopback, "/api/events?types=progress&wait=30", cursor))
            await until(
                lambda: loopback.log.demand.wanted(EventType.PROGRESS, ServerName("a", "b"), "uid"), "the page waits", every=0.01
            )
            # All in one turn of the event loop: the page can't read in between.
            await loopback.tell(*(progress("default/weather", number) for number in range(20)))

        assert asked.result()["reset"]["reason"] == "expired"
        assert [event["percent"] for event in asked.result()["snapshot"]] == [19]

    async def test_however_much_it_does_not_want_it_looks_now_and_then(self, start_gateway: StartGateway) -> None:
        class Counting(MemoryLog):
            reads = 0

            async def read(self, after: EventId, selection: Selection, *, limit: int) -> Batch | Gap:
                self.reads += selection.servers is not None
                return await super().read(after, selection, limit=limit)

        log = Counting(capacity=10_000)
        loopback = await start_gateway(log=log)
        [cursor] = await loopback.tell(status("default/weather"))
        begin = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(page(loopback, "/api/events?types=log&servers=weather&level=error&wait=30", cursor))
            server = ServerName("default", "weather")
            await until(lambda: log.demand.wanted(EventType.LOG, server, UID), "the page waits", every=0.01)
            for number in range(2000):
                await loopback.tell(line("default/weather", str(number)))
                await asyncio.sleep(0)
            await loopback.tell(status("default/weather", Status.DELETED), follow("default/weather", dropped=True))
        took = time.monotonic() - begin

        assert len(asked.result()["events"]) == 1
        assert log.reads <= took / paging._PAUSE_SECONDS + 2000 / paging._BATCH_EVENTS + 3


class TestServersThatGo:
    path = f"/api/servers/{UID}/events"

    async def test_by_uid_it_ends_with_the_object(self, loopback: Loopback) -> None:
        seen, last_word = await loopback.tell(status("default/weather"), status("default/weather", Status.DELETED))
        await loopback.tell(status("default/weather", Status.PENDING, life=2))

        read = await page(loopback, self.path, seen)

        assert [event["status"] for event in read["events"]] == ["deleted"]
        assert (read["next"], read["more"]) == (str(last_word), False)
        assert await loopback.get(self.path, headers={**JSON, "Last-Event-ID": read["next"]}) == (204, None)

    async def test_the_end_ends_the_waiting_even_if_the_filter_leaves_it_out(self, loopback: Loopback) -> None:
        [cursor] = await loopback.tell(status("default/weather"))
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(page(loopback, f"{self.path}?types=progress&wait=30", cursor))
            server = ServerName("default", "weather")
            await until(lambda: loopback.log.demand.wanted(EventType.PROGRESS, server, UID), "the page waits", every=0.01)
            [last_word] = await loopback.tell(status("default/weather", Status.DELETED))

        assert (asked.result()["events"], asked.result()["next"]) == ([], str(last_word))

    async def test_a_server_that_nobody_knows_is_not_found(self, loopback: Loopback) -> None:
        [cursor] = await loopback.tell(status("default/maps"))
        for path, headers in (
            ("/api/servers/weather/events", JSON),
            (self.path, JSON),
            (self.path, {**JSON, "Last-Event-ID": str(cursor)}),
            ("/api/servers/weather/events?since=earliest", JSON),
        ):
            code, problem = await loopback.get(path, headers=headers)
            assert (code, problem["parameter"]) == (404, "id")

    async def test_by_name_with_a_cursor_it_waits_for_the_next_object(self, loopback: Loopback) -> None:
        [cursor] = await loopback.tell(status("default/maps"))
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(page(loopback, "/api/servers/weather/events?wait=30", cursor))
            await until(lambda: listeners(loopback), "the page waits", every=0.01)
            await loopback.tell(status("default/weather", Status.PENDING))

        assert [event["status"] for event in asked.result()["events"]] == ["pending"]

    @pytest.mark.parametrize("path", ["/api/servers/weather/events", path])
    async def test_since_tells_the_story_of_a_server_that_is_gone(self, loopback: Loopback, path: str) -> None:
        await loopback.tell(status("default/weather"), status("default/weather", Status.DELETED))

        read = await page(loopback, f"{path}?since=5m")
        async with loopback.subscribe(f"{path}?since=earliest") as subscriber:
            _, *streamed = await subscriber.take(3)

        assert [event["status"] for event in read["events"]] == ["running", "deleted"]
        assert [message.json for message in streamed] == read["events"]


class TestOtherAnswers:
    async def test_before_the_cluster_is_known_it_asks_to_come_back(self, loopback: Loopback) -> None:
        loopback.synced = False
        for path in ("/api/events", "/api/servers/weather/events", f"/api/servers/{UID}/events"):
            async with loopback.session.get(loopback.url + path, headers=JSON) as response:
                assert (response.status, response.content_type) == (503, "application/problem+json")
                assert int(response.headers["Retry-After"]) > 0
        assert (await loopback.get("/api/events?limit=0", headers=JSON))[0] == 400

    async def test_it_takes_a_place_among_the_streams_and_is_refused_without_one(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(max_streams=1)
        [cursor] = await loopback.tell(status("default/weather"))
        async with loopback.subscribe("/api/events") as subscriber:
            await subscriber.until("bookmark")
            async with loopback.session.get(loopback.url + "/api/events", headers=JSON) as response:
                assert (response.status, response.content_type) == (503, "application/problem+json")
                assert int(response.headers["Retry-After"]) >= 5
            subscriber.response.close()
        await until(lambda: not listeners(loopback), "the stream has ended", every=0.01)
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(page(loopback, "/api/events?wait=30", cursor))
            await until(lambda: listeners(loopback), "the page waits", every=0.01)
            async with loopback.subscribe("/api/events") as subscriber:
                _, bye = await subscriber.rest()
            await loopback.tell(status("default/weather", Status.DEGRADED))

        assert bye.json["reason"] == "too-many-streams"
        assert len(asked.result()["events"]) == 1

    async def test_head_has_its_headers_and_waits_for_nothing(self, loopback: Loopback) -> None:
        [cursor] = await loopback.tell(status("default/weather"))
        async with (
            asyncio.timeout(20),
            loopback.session.head(f"{loopback.url}/api/events?wait=30&last_event_id={cursor}", headers=JSON) as response,
        ):
            assert (response.status, response.content_type, await response.read()) == (200, "application/json", b"")
            assert response.headers["Event-Cursor"] == str(cursor)

    async def test_a_stream_has_no_limit_and_no_wait(self, loopback: Loopback) -> None:
        for name in ("limit", "wait"):
            code, problem = await loopback.get(f"/api/events?{name}=5")
            assert (code, problem["parameter"], problem["value"]) == (400, name, "5")
            assert "application/json" in problem["expected"]

    @pytest.mark.parametrize(
        ("accept", "content_type"),
        [
            ("*/*", "text/event-stream"),
            ("text/event-stream, application/json", "text/event-stream"),
            ("application/json, text/plain, */*", "application/json"),
            ("application/json;q=0.2, text/event-stream;q=0.1", "application/json"),
        ],
    )
    async def test_the_accept_header_decides_the_form(self, loopback: Loopback, accept: str, content_type: str) -> None:
        async with loopback.session.get(loopback.url + "/api/events", headers={"Accept": accept}) as response:
            assert (response.status, response.content_type) == (200, content_type)

    async def test_a_form_that_there_is_not_is_said(self, loopback: Loopback) -> None:
        code, problem = await loopback.get("/api/events", headers={"Accept": "text/html"})

        assert (code, problem["expected"]) == (406, "text/event-stream or application/json")

    async def test_a_page_is_no_stream_to_an_event_source(self, loopback: Loopback) -> None:
        async with loopback.session.get(loopback.url + "/api/events", headers=JSON) as response:
            assert Parser().feed(await response.read()) == []
