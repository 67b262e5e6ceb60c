"""Why and how streams end, and that their clients lose nothing by it."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from contextlib import AsyncExitStack

import pytest

from tests.component.conftest import PATIENCE_SECONDS, StartGateway, Subscriber
from tests.component.slow_reader import slow_reader
from tests.events import progress, status
from tests.waiting import until


async def test_after_its_greatest_age_a_stream_ends_and_its_client_goes_on_where_it_was(start_gateway: StartGateway) -> None:
    loopback = await start_gateway(max_age_seconds=1, heartbeat_seconds=0.2)
    [heard] = await loopback.tell(status("default/weather"))
    async with loopback.subscribe("/api/events") as subscriber:
        *_, bye = await subscriber.rest()
    [missed] = await loopback.tell(progress("default/weather", 50))
    async with loopback.subscribe("/api/events", cursor=bye.id) as again:
        _, replayed = await again.take(2)

    assert (bye.event, bye.json["reason"], bye.id) == ("bye", "age", str(heard))
    assert subscriber.parser.retry_ms is not None
    assert 1000 <= subscriber.parser.retry_ms <= 3000
    assert replayed.id == str(missed)
    assert loopback.figure("mcp_operator_streams_ended_total", reason="age") == 1


async def test_streams_of_one_moment_do_not_end_in_one_moment(start_gateway: StartGateway) -> None:
    loopback = await start_gateway(max_age_seconds=1000, drain_seconds=0)
    async with AsyncExitStack() as clients:
        for _ in range(30):
            await clients.enter_async_context(loopback.subscribe("/api/events"))
        ages = {stream.expires - stream.opened for stream in loopback.gateway._streams._broadcaster.streams}

    assert len(ages) > 10
    assert all(799 <= age <= 1002 for age in ages)


@pytest.fixture
def patient_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a slow client takes for the rest of its stream, it isn't cut off."""
    monkeypatch.setattr("mcp_operator.gateway.delivering._GRACE_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr("mcp_operator.gateway.sockets.LINGER_SECONDS", PATIENCE_SECONDS)


async def test_a_client_that_takes_nothing_is_cut_some_time_after_the_greatest_age(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_operator.gateway.broadcasting._OVERDUE_SECONDS", 0.1)
    loopback = await start_gateway(max_age_seconds=1, heartbeat_seconds=1, backlog_bytes=8 * 1024 * 1024)
    async with slow_reader(loopback, "/api/events") as reader:
        await reader.until("bookmark")
        await loopback.tell(*(status("default/weather", message="x" * 20_000) for _ in range(40)))
        await until(lambda: loopback.figure("mcp_operator_streams") == 0, "its place is free", every=0.05)


class TestShutdown:
    async def test_the_ends_are_spread_and_whoever_is_still_there_hears_what_happens(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(drain_seconds=2)
        async with AsyncExitStack() as clients, asyncio.TaskGroup() as tasks:
            subscribers = [await clients.enter_async_context(loopback.subscribe("/api/events")) for _ in range(40)]
            for subscriber in subscribers:
                await subscriber.until("bookmark")
            stopping = tasks.create_task(loopback.gateway.stop())
            [first_bye] = await subscribers[0].rest()
            [event_id] = await loopback.tell(status("default/weather"))
            said = [await subscriber.rest() for subscriber in subscribers[1:]]
            await stopping

        byes = [first_bye, *(messages[-1] for messages in said)]
        assert {(bye.event, bye.json["reason"]) for bye in byes} == {("bye", "shutdown")}
        assert [message.id for message in said[-1]] == [str(event_id)] * 2
        assert len({retry_of(subscriber) for subscriber in subscribers}) > 10

    async def test_who_comes_meanwhile_is_told_to_come_back_later(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(drain_seconds=2)
        async with AsyncExitStack() as clients, asyncio.TaskGroup() as tasks:
            subscribers = [await clients.enter_async_context(loopback.subscribe("/api/events")) for _ in range(40)]
            tasks.create_task(loopback.gateway.stop())
            await until(lambda: loopback.gateway._streams._ending, "the gateway stops", every=0.01)
            async with loopback.subscribe("/api/events") as newcomer:
                hello, bye = await newcomer.rest()
            for subscriber in subscribers:
                await subscriber.rest()

        assert (hello.event, bye.event, bye.json["reason"], bye.id) == ("hello", "bye", "shutdown", "")
        assert retry_of(newcomer) >= 5000

    async def test_a_client_that_takes_nothing_does_not_hold_it_up(
        self, start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for patience in ("delivering._GRACE_SECONDS", "taking_over.LINGER_SECONDS"):
            monkeypatch.setattr(f"mcp_operator.gateway.{patience}", 0.2)
        loopback = await start_gateway()
        async with slow_reader(loopback, "/api/events") as reader:
            await reader.until("bookmark")
            await loopback.tell(*(status("default/weather", message="x" * 50_000) for _ in range(20)))
            await loopback.gateway.stop()
            heard = await reader.rest()

        assert {message.event for message in heard} == {"status"}
        assert loopback.figure("mcp_operator_streams") == 0

    @pytest.mark.usefixtures("patient_end")
    async def test_a_stream_that_must_end_before_its_snapshot_is_sent_leaves_its_client_without_a_cursor(
        self, start_gateway: StartGateway
    ) -> None:
        loopback = await start_gateway()
        await loopback.tell(*(status(f"default/s{number}", message="x" * 50_000) for number in range(30)))
        async with asyncio.TaskGroup() as tasks, slow_reader(loopback, "/api/events") as reader:
            hello = await reader.next()
            tasks.create_task(loopback.gateway.stop())
            await until(
                lambda: all(stream.ending for stream in loopback.gateway._streams._broadcaster.streams),
                "it is to end",
                every=0.01,
            )
            *snapshot, bye = await reader.rest()

        assert (hello.event, bye.event, bye.id, bye.json["cursor"]) == ("hello", "bye", "", None)
        assert 0 < len(snapshot) < 30

    @pytest.mark.usefixtures("patient_end")
    async def test_a_stream_that_must_end_amid_its_replay_leaves_the_cursor_where_it_came_to(
        self, start_gateway: StartGateway
    ) -> None:
        loopback = await start_gateway()
        cursor, *ids = await loopback.tell(*(status("default/weather", message=f"{n} {'x' * 50_000}") for n in range(30)))
        async with asyncio.TaskGroup() as tasks, slow_reader(loopback, "/api/events", cursor=cursor) as reader:
            await reader.next()
            tasks.create_task(loopback.gateway.stop())
            await until(
                lambda: all(stream.ending for stream in loopback.gateway._streams._broadcaster.streams),
                "it is to end",
                every=0.01,
            )
            *replay, bye = await reader.rest()

        assert [message.id for message in replay] == [str(event_id) for event_id in ids[: len(replay)]]
        assert (bye.event, bye.id) == ("bye", replay[-1].id)
        assert len(replay) < len(ids)

    @pytest.mark.usefixtures("own_garbage")
    @pytest.mark.parametrize("turns", range(8))
    async def test_a_client_that_connects_as_the_port_closes_is_neither_forgotten_nor_waited_for(
        self, start_gateway: StartGateway, turns: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mcp_operator.gateway.serving.GRACE_SECONDS", 2 * PATIENCE_SECONDS)
        loopback = await start_gateway()
        with socket.create_connection(loopback.address), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            for _ in range(turns):  # from one that nobody has accepted yet to one that waits for a request
                await asyncio.sleep(0)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await loopback.gateway._api.cleanup()
            gc.collect()

        assert [str(warning.message) for warning in warned] == []


async def test_streams_whose_broadcaster_fails_end_and_come_back(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loopback = await start_gateway()
    async with loopback.subscribe("/api/events") as subscriber:
        *_, bookmark = await subscriber.until("bookmark")
        with monkeypatch.context() as broken:
            broken.setattr("mcp_operator.gateway.feeds.passes", broken_filter)
            [missed] = await loopback.tell(status("default/weather"))
            [bye] = await subscriber.rest()
    async with loopback.subscribe("/api/events", cursor=bye.id) as again:
        _, replayed = await again.take(2)
        [live_id] = await loopback.tell(progress("default/weather", 1))
        live = await again.next()

    assert (bye.json["reason"], bye.id) == ("error", bookmark.id)
    assert [replayed.id, live.id] == [str(missed), str(live_id)]
    assert "can't be told to the streams" in caplog.text


def broken_filter(*_: object) -> bool:
    raise RuntimeError("a fault of ours")


def retry_of(subscriber: Subscriber) -> int:
    assert subscriber.parser.retry_ms is not None
    return subscriber.parser.retry_ms
