"""What a subscriber hears on an open stream."""

from __future__ import annotations

import asyncio
import json
import socket

import aiohttp
import pytest

from local_stack.sse import Message
from mcp_operator.eventlog.log import EventId
from mcp_operator.model.operations import Outcome
from mcp_operator.model.statuses import Status
from tests.component.conftest import Loopback, StartGateway, Subscriber
from tests.component.raw_http import raw_client
from tests.events import progress, status, uid_of
from tests.waiting import until


def told(message: Message) -> tuple[str, str, str]:
    return message.event, message.json["server"], message.json.get("status") or str(message.json["percent"])


async def test_a_stream_opens_with_hello_a_snapshot_and_a_bookmark_and_goes_on_live(loopback: Loopback) -> None:
    *_, last = await loopback.tell(
        status("default/maps"),
        status("default/weather"),
        status("default/weather", Status.DEPLOYING),
        progress("default/weather", 20),
        progress("default/weather", 40),
    )

    async with loopback.subscribe("/api/events") as subscriber:
        hello, *snapshot, bookmark = await subscriber.until("bookmark")
        [live_id] = await loopback.tell(progress("default/weather", 60))
        live = await subscriber.next()

    assert (hello.event, hello.json["type"], hello.has_id_line) == ("hello", "hello", False)
    assert hello.json["cursor"] == subscriber.response.headers["Event-Cursor"] == str(last)
    assert hello.json["heartbeatSeconds"] == 60
    assert [told(message) for message in snapshot] == [
        ("status", "default/maps", "running"),
        ("status", "default/weather", "deploying"),
        ("progress", "default/weather", "40"),
    ]
    assert all(message.json["snapshot"] is True and not message.has_id_line for message in snapshot)
    assert snapshot[-1].json["id"] == str(last)
    assert (bookmark.id, bookmark.json["type"], bookmark.json["cursor"]) == (str(last), "bookmark", str(last))
    assert (live.id, live.json["id"], live.json["percent"]) == (str(live_id), str(live_id), 60)
    assert "snapshot" not in live.json


async def test_the_first_line_asks_for_a_random_retry_of_one_to_three_seconds(loopback: Loopback) -> None:
    retries = set()
    for _ in range(10):
        async with loopback.subscribe("/api/events") as subscriber:
            await subscriber.next()
            assert subscriber.received.startswith(b"event: hello\nretry: ")
            retries.add(subscriber.parser.retry_ms)

    assert len(retries) > 1
    assert all(retry is not None and 1000 <= retry <= 3000 for retry in retries)


async def test_headers_keep_proxies_and_caches_from_holding_the_stream_back(loopback: Loopback) -> None:
    async with loopback.subscribe("/api/events", **{"Accept-Encoding": "gzip, deflate"}) as subscriber:
        headers = subscriber.response.headers

    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert headers["Cache-Control"] == "no-store, no-transform"
    assert headers["X-Accel-Buffering"] == "no"
    assert "Content-Encoding" not in headers
    assert headers["Transfer-Encoding"] == "chunked"


async def test_a_client_of_http_1_0_reads_until_the_connection_closes(loopback: Loopback) -> None:
    await loopback.tell(status("default/weather"))
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(60), raw_client(loopback.address) as client:
        client.get("/api/events", version="HTTP/1.0")
        head = await client.reader.readuntil(b"\r\n\r\n")
        opening = await client.reader.readuntil(b"event: bookmark")
        tasks.create_task(loopback.gateway.stop())
        rest = await client.closed()

    assert b"transfer-encoding" not in head.lower()
    assert opening.startswith(b"event: hello\n")
    assert rest.endswith(b"\n\n")


async def test_two_subscribers_hear_the_same_events_under_the_same_ids(loopback: Loopback) -> None:
    uid = uid_of("team/weather")
    await loopback.tell(status("team/weather", Status.DEPLOYING))
    async with (
        loopback.subscribe("/api/events") as cluster,
        loopback.subscribe("/api/servers/team:weather/events") as by_name,
        loopback.subscribe(f"/api/servers/{uid}/events") as by_uid,
    ):
        for subscriber in (cluster, by_name, by_uid):
            await subscriber.until("bookmark")
        ids = await loopback.tell(
            progress("team/weather", 50), progress("team/weather", 100, outcome=Outcome.SUCCEEDED), status("team/weather")
        )
        heard = [await subscriber.take(3) for subscriber in (cluster, by_name, by_uid)]

    assert heard[0] == heard[1] == heard[2]
    assert [message.id for message in heard[0]] == [str(event_id) for event_id in ids]


async def test_a_bare_name_means_the_gateways_default_namespace(loopback: Loopback) -> None:
    await loopback.tell(status("default/weather"), status("team/weather"))

    async with loopback.subscribe("/api/servers/weather/events") as subscriber:
        _, *snapshot, _ = await subscriber.until("bookmark")

    assert [message.json["server"] for message in snapshot] == ["default/weather"]


@pytest.mark.parametrize(
    ("query", "heard"),
    [
        ("", ["a status", "a progress", "b status", "c status"]),
        ("?types=status", ["a status", "b status", "c status"]),
        ("?types=progress", ["a progress"]),
        ("?types=progress,status", ["a status", "a progress", "b status", "c status"]),
        ("?namespace=other", ["b status"]),
        ("?namespace=team,other", ["b status", "c status"]),
        ("?namespace=default&types=status", ["a status"]),
        ("?namespace=nobody-uses-it", []),
        ("?types=&namespace=", ["a status", "a progress", "b status", "c status"]),
    ],
)
async def test_filters_choose_what_is_heard_in_the_snapshot_and_live(loopback: Loopback, query: str, heard: list[str]) -> None:
    story = [status("default/a"), progress("default/a", 10), status("other/b"), status("team/c")]

    def words(messages: list[Message]) -> list[str]:
        return [f"{message.json['server'][-1]} {message.event}" for message in messages]

    await loopback.tell(*story)
    async with loopback.subscribe(f"/api/events{query}") as subscriber:
        _, *snapshot, _ = await subscriber.until("bookmark")
        await loopback.tell(*story)
        live = await subscriber.take(len(heard))
        await loopback.gateway.stop()
        bye = await subscriber.rest()

    assert words(snapshot) == heard
    assert words(live) == heard
    assert [message.event for message in bye] == ["bye"]


def read_to_the_end(connection: socket.socket) -> bytes:
    connection.settimeout(60)
    received = b""
    while piece := connection.recv(1 << 20):
        received += piece
    return received


class TestUnnamedEvents:
    """`named=0`: for n8n's SSE Trigger and other clients that hear only events without a name."""

    async def opening(self, subscriber: Subscriber) -> list[tuple[str, str]]:
        return [(message.event, message.json["type"]) for message in await subscriber.until("bookmark")]

    async def test_only_live_statuses_start_a_workflow(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"), progress("default/weather", 10))
        async with loopback.subscribe("/api/events?named=0") as subscriber:
            opening = await self.opening(subscriber)
            _, live_id = await loopback.tell(progress("default/weather", 20), status("default/weather", Status.DEGRADED))
            live = await subscriber.next()

        assert opening == [("hello", "hello"), ("status", "status"), ("bookmark", "bookmark")]
        assert (live.event, live.json["type"], live.json["status"]) == ("message", "status", "degraded")
        assert live.id == live.json["id"] == str(live_id)

    async def test_other_types_can_be_asked_for(self, loopback: Loopback) -> None:
        async with loopback.subscribe("/api/events?named=0&types=progress") as subscriber:
            await self.opening(subscriber)
            await loopback.tell(status("default/weather"), progress("default/weather", 20))
            live = await subscriber.next()

        assert (live.event, live.json["type"]) == ("message", "progress")

    async def test_the_snapshot_can_start_workflows_too(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"))
        async with loopback.subscribe("/api/events?named=0&snapshot=1") as subscriber:
            opening = await self.opening(subscriber)

        assert opening == [("hello", "hello"), ("message", "status"), ("bookmark", "bookmark")]

    async def test_a_gap_is_not_silent(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"))
        async with loopback.subscribe("/api/events?named=0", cursor="old-17") as subscriber:
            opening = await self.opening(subscriber)

        assert opening == [("hello", "hello"), ("message", "reset"), ("status", "status"), ("bookmark", "bookmark")]


class TestSilence:
    """Heartbeats keep connections open, bookmarks keep cursors fresh."""

    async def test_a_quiet_stream_has_bare_comment_lines(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(heartbeat_seconds=0.05)
        async with loopback.subscribe("/api/events") as subscriber:
            await subscriber.until("bookmark")
            opening = len(subscriber.received)
            await subscriber.comments(3)

        assert set(subscriber.received[opening:].splitlines(keepends=True)) == {b":\n"}

    async def test_a_position_that_moved_past_the_filter_is_bookmarked_once(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(heartbeat_seconds=0.05)
        async with loopback.subscribe("/api/events?types=status") as subscriber:
            await subscriber.until("bookmark")
            *_, passed = await loopback.tell(*(progress("default/weather", percent) for percent in range(10)))
            bookmark = await subscriber.next()
            beats = subscriber.parser.comments
            await subscriber.comments(beats + 2)

        assert (bookmark.event, bookmark.id, bookmark.json["cursor"]) == ("bookmark", str(passed), str(passed))
        assert subscriber.received.count(b"event: bookmark") == 2

    async def test_events_that_others_want_do_not_put_the_heartbeat_off(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(heartbeat_seconds=0.05)

        async def chatter() -> None:
            for number in range(10_000):
                await loopback.tell(progress("default/busy", number % 100))
                await asyncio.sleep(0.005)

        await loopback.tell(status("default/quiet"))
        async with loopback.subscribe("/api/servers/quiet/events") as subscriber, asyncio.TaskGroup() as tasks:
            talking = tasks.create_task(chatter())
            bookmarks = [await subscriber.until("bookmark") for _ in range(3)]
            talking.cancel()

        ids = [EventId.parse(messages[-1].id).seq for messages in bookmarks]
        assert ids == sorted(set(ids))


class TestSlowClients:
    async def test_a_client_that_takes_nothing_costs_no_one_else_and_is_cut_off(
        self, start_gateway: StartGateway, caplog: pytest.LogCaptureFixture
    ) -> None:
        loopback = await start_gateway(stall_seconds=3)
        with socket.create_connection(loopback.address) as stuck:
            stuck.sendall(b"GET /api/events HTTP/1.1\r\nHost: gateway\r\n\r\n")
            async with asyncio.timeout(60), loopback.subscribe("/api/events") as other:
                await other.until("bookmark")
                await self.talk_until_alone(loopback, other)
                ended = [loopback.figure("mcp_operator_streams_ended_total", reason=reason) for reason in ("left", "stalled")]
            with pytest.raises(ConnectionResetError):
                await asyncio.to_thread(read_to_the_end, stuck)

        assert sum(ended) == 1
        assert not [record for record in caplog.records if record.levelname == "ERROR"]

    async def talk_until_alone(self, loopback: Loopback, subscriber: Subscriber) -> None:
        """Once both streams are open, events keep coming and this subscriber hears them all, until it is the only one left."""
        await until(lambda: loopback.figure("mcp_operator_streams") == 2, "both streams are open", every=0.01)
        while loopback.figure("mcp_operator_streams") == 2:
            await loopback.tell(*(status("default/weather", message="x" * 50_000) for _ in range(20)))
            assert len(await subscriber.take(20)) == 20

    async def test_a_stream_that_falls_out_of_history_while_it_is_open_is_told(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(capacity=20)
        async with loopback.subscribe("/api/events?types=progress") as subscriber:
            await subscriber.until("bookmark")
            # All in one turn of the event loop: no stream can read in between.
            await loopback.tell(*(progress("default/weather", number) for number in range(50)))
            reset = await subscriber.next()
            snapshot, bookmark = await subscriber.take(2)
            [next_id] = await loopback.tell(progress("default/weather", 99))
            live = await subscriber.next()

        assert (reset.event, reset.json["reason"], reset.has_id_line) == ("reset", "expired", False)
        assert (snapshot.json["percent"], snapshot.json["snapshot"]) == (49, True)
        assert bookmark.id == snapshot.json["id"] == reset.json["cursor"]
        assert live.id == str(next_id)


async def test_what_no_client_may_see_stays_inside_its_json_string(loopback: Loopback) -> None:
    nasty = "line\r\nevent: bye\ndata: {}\n\n\u2028\x85\x1b[31m\x00😀"
    async with loopback.subscribe("/api/events") as subscriber:
        await subscriber.until("bookmark")
        await loopback.tell(status("default/weather", message=nasty))
        message = await subscriber.next()

    assert message.event == "status"
    assert json.loads(message.data)["message"] == nasty
    assert b"\x1b" not in subscriber.received


async def test_a_subscriber_that_leaves_is_noticed_at_once(loopback: Loopback) -> None:
    async with loopback.subscribe("/api/events") as subscriber:
        await subscriber.until("bookmark")
        assert loopback.figure("mcp_operator_streams") == 1
        subscriber.response.close()

    await until(lambda: loopback.figure("mcp_operator_streams") == 0, "no stream is open", every=0.01)


async def test_a_browser_and_a_script_ask_alike(loopback: Loopback) -> None:
    for accept in ("*/*", "text/event-stream", "text/html, */*;q=0.8", "application/json, text/event-stream", "Text/*"):
        async with loopback.subscribe("/api/events", Accept=accept) as subscriber:
            assert (await subscriber.next()).event == "hello"
    async with (
        aiohttp.ClientSession(skip_auto_headers=["Accept"]) as bare,
        bare.get(f"{loopback.url}/api/events") as response,
    ):
        assert response.content_type == "text/event-stream"
