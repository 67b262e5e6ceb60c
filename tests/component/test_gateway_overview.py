"""The streams that are open, as GET /api/streams tells of them: most are only said to be, some are real ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from mcp_operator.eventlog.log import EventId, EventLog, Selection
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.gateway.overviewing import BroadcastStreams, OpenStreams, OverviewHandlers, StreamState, StreamView
from mcp_operator.gateway.problems import problem_middleware
from mcp_operator.model.events import EventType, LogLevel
from mcp_operator.model.labels import Selector
from mcp_operator.model.servers import ServerName
from tests.component.conftest import Loopback
from tests.component.slow_reader import slow_reader
from tests.contract import contract
from tests.events import status, uid_of
from tests.waiting import until


class Engine:
    """Open streams that are only said to be."""

    def __init__(self, *views: StreamView) -> None:
        self.views = list(views)
        self.looked_at = 0

    def __len__(self) -> int:
        return len(self.views)

    def overview(self) -> Iterator[StreamView]:
        for view in list(self.views):
            self.looked_at += 1
            yield view


@asynccontextmanager
async def answering(engine: OpenStreams, log: EventLog) -> AsyncIterator[str]:
    """The URL at which the engine's streams are told."""
    application = web.Application(middlewares=[problem_middleware])
    application.router.add_get("/api/streams", OverviewHandlers(streams=engine, log=log).streams)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/api/streams"
    finally:
        await runner.cleanup()


def view(log: EventLog, **fields: Any) -> StreamView:
    """A stream of everything that is up to date and was opened just now."""
    usual = {
        "client": "address 10.0.0.7",
        "path": "/api/events",
        "selection": Selection(),
        "named": True,
        "cursor": log.head,
        "state": StreamState.LIVE,
        "opened": asyncio.get_running_loop().time(),
    }
    return StreamView(**{**usual, **fields})


async def get(url: str, query: str = "", *, checked: bool = True) -> tuple[int, Any]:
    """Status and JSON of an answer; `checked`: it is held against the contract, which takes a moment for each stream."""
    async with aiohttp.ClientSession() as session, session.get(url + query) as response:
        body = await response.read()
        if checked:
            contract().check_answer(
                method="GET", path="/api/streams", status=response.status, content_type=response.content_type, body=body
            )
        return response.status, json.loads(body)


class TestOneStream:
    async def test_it_says_who_listens_to_what_since_when_and_how_far_behind(self) -> None:
        log = MemoryLog(capacity=100)
        heard, *_ = [await log.append(status("maps/weather")) for _ in range(5)]
        choice = Selection(
            types=frozenset({EventType.STATUS, EventType.LOG}),
            servers=frozenset({ServerName("maps", "weather"), ServerName("default", "geo")}),
            namespaces=frozenset({"maps", "default"}),
            selector=Selector.parse("tier in (web,api), team=maps"),
            level=LogLevel.WARN,
            grep="timed out",
        )
        slow = view(
            log,
            client="identity n8n",
            path="/api/events",
            selection=choice,
            named=False,
            cursor=heard,
            state=StreamState.CATCHING_UP,
            opened=asyncio.get_running_loop().time() - 90,
        )
        async with answering(Engine(slow), log) as url:
            status_code, answer = await get(url)
        assert status_code == 200
        [stream] = answer.pop("streams")
        assert answer == {"total": 1}
        opened, age = datetime.fromisoformat(stream.pop("openedAt")), stream.pop("ageSeconds")
        assert age >= 90
        assert (datetime.now(UTC) - opened).total_seconds() >= 90
        assert stream == {
            "client": "identity n8n",
            "path": "/api/events",
            "named": False,
            "filters": {
                "types": ["log", "status"],
                "servers": ["default/geo", "maps/weather"],
                "namespace": ["default", "maps"],
                "selector": "team=maps,tier in (api,web)",
                "level": "warn",
                "grep": "timed out",
            },
            "state": "catching-up",
            "cursor": str(heard),
            "behind": 4,
        }

    async def test_a_stream_without_filters_and_one_by_uid(self) -> None:
        log = MemoryLog(capacity=100)
        await log.append(status("maps/weather"))
        uid = uid_of("maps/weather")
        streams = [view(log), view(log, path=f"/api/servers/{uid}/events", selection=Selection(uid=uid))]
        async with answering(Engine(*streams), log) as url:
            _, answer = await get(url)
        everything, one = answer["streams"]
        assert everything["filters"] == {
            "types": sorted(EventType),
            **dict.fromkeys(("servers", "namespace", "selector", "level", "grep")),
        }
        assert one["filters"]["servers"] == [uid]
        assert (everything["behind"], everything["state"]) == (0, "live")

    async def test_a_cursor_that_is_ahead_of_the_head_is_not_behind(self) -> None:
        log = MemoryLog(capacity=100)
        async with answering(Engine(view(log, cursor=EventId(log.head.epoch, 7))), log) as url:
            _, answer = await get(url)
        assert answer["streams"][0]["behind"] == 0

    async def test_text_of_clients_stays_text(self) -> None:
        log = MemoryLog(capacity=100)
        nasty = view(log, path='/api/servers/a"\n\x1b[2J\u2028/events', selection=Selection(grep='"}],\x9b'))
        async with (
            answering(Engine(nasty), log) as url,
            aiohttp.ClientSession() as session,
            session.get(url) as response,
        ):
            body = (await response.read()).decode()
            [stream] = (await response.json(content_type=None))["streams"]
        assert (stream["path"], stream["filters"]["grep"]) == (nasty.path, nasty.selection.grep)
        assert not {"\x1b", "\u2028", "\x9b"} & set(body)
        assert len(body.splitlines()) == 1


class TestManyStreams:
    async def test_the_oldest_come_first_and_no_more_than_asked_for_with_the_number_of_all(self) -> None:
        log = MemoryLog(capacity=100)
        engine = Engine(*(view(log, client=f"address {number}") for number in range(1500)))
        async with answering(engine, log) as url:
            usual, few, none, all_ = [
                (await get(url, query, checked=False))[1] for query in ("", "?limit=3", "?limit=0", "?limit=2000")
            ]
        for answer, count in ((usual, 1000), (few, 3), (none, 0), (all_, 1500)):
            assert answer["total"] == 1500
            assert [stream["client"] for stream in answer["streams"]] == [f"address {number}" for number in range(count)]

    async def test_without_any_the_list_is_empty(self) -> None:
        log = MemoryLog(capacity=100)
        async with answering(Engine(), log) as url:
            assert await get(url) == (200, {"total": 0, "streams": []})

    async def test_others_have_their_turns_while_20_000_are_told(self) -> None:
        log = MemoryLog(capacity=100)
        engine = Engine(*(view(log) for _ in range(20_000)))
        most = 0
        turns = 0

        async def others() -> None:
            """Look at how much was done between two turns."""
            nonlocal most, turns
            before = 0
            while True:
                await asyncio.sleep(0)
                most, before, turns = max(most, engine.looked_at - before), engine.looked_at, turns + 1

        async with answering(engine, log) as url:
            watching = asyncio.create_task(others())
            _, answer = await get(url, "?limit=100000", checked=False)
            watching.cancel()
        assert len(answer["streams"]) == 20_000
        assert most <= 64
        assert turns > 20_000 / 64

    async def test_a_client_that_leaves_in_the_middle_ends_it(self) -> None:
        log = MemoryLog(capacity=100)
        engine = Engine(*(view(log, selection=Selection(grep="x" * 256)) for _ in range(50_000)))
        async with answering(engine, log) as url:
            async with aiohttp.ClientSession() as session, session.get(url + "?limit=100000") as response:
                await response.content.read(10_000)
                response.close()
            assert (await get(url, "?limit=1"))[1]["total"] == 50_000
        assert engine.looked_at < 50_000


@pytest.mark.parametrize("query", ["?limit=-1", "?limit=ten", "?limit=1000001", "?client=me", "?limit=1&limit=2"])
async def test_what_it_cannot_read_is_refused_by_name(query: str) -> None:
    log = MemoryLog(capacity=100)
    async with answering(Engine(), log) as url:
        status_code, problem = await get(url, query)
    assert status_code == 400
    assert problem["parameter"] == query[1:].split("=", maxsplit=1)[0]


async def test_head_has_no_body() -> None:
    log = MemoryLog(capacity=100)
    engine = Engine(*(view(log) for _ in range(100)))
    async with (
        answering(engine, log) as url,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session,
    ):
        async with session.head(url) as response:
            assert (response.status, response.content_type, await response.read()) == (200, "application/json", b"")
        async with session.get(url) as response:
            assert (await response.json())["total"] == 100


class TestRealStreams:
    @asynccontextmanager
    async def told(self, loopback: Loopback) -> AsyncIterator[str]:
        streams = BroadcastStreams(loopback.gateway._streams._broadcaster)
        async with answering(streams, loopback.log) as url:
            yield url

    async def test_they_are_there_while_they_are_open_with_what_they_want(self, loopback: Loopback) -> None:
        await loopback.tell(status("maps/weather"), status("default/geo"))
        query = "named=0&types=status,log&level=warn&grep=timed+out&last_event_id="
        async with (
            self.told(loopback) as url,
            loopback.subscribe("/api/events?selector=team=maps&namespace=maps") as everything,
            loopback.subscribe(f"/api/servers/maps:weather/events?{query}") as one,
        ):
            for subscriber in (everything, one):
                await subscriber.until("bookmark")
            [last] = await loopback.tell(status("maps/weather"))
            await one.next()
            _, both = await get(url)
            first, second = both["streams"]
            assert (first["filters"]["selector"], first["filters"]["namespace"]) == ("team=maps", ["maps"])
            assert second["filters"] == {
                "types": ["log", "status"],
                "servers": ["maps/weather"],
                "namespace": None,
                "selector": None,
                "level": "warn",
                "grep": "timed out",
            }
            assert [each["path"] for each in both["streams"]] == ["/api/events", "/api/servers/maps:weather/events"]
            assert [each["named"] for each in both["streams"]] == [True, False]
            assert {each["client"] for each in both["streams"]} == {"address 127.0.0.1"}
            assert {each["state"] for each in both["streams"]} == {"live"}
            assert {(each["cursor"], each["behind"]) for each in both["streams"]} == {(str(last), 0)}
        await until(lambda: loopback.figure("mcp_operator_streams") == 0, "both are gone", every=0.01)
        async with self.told(loopback) as url:
            assert (await get(url))[1] == {"total": 0, "streams": []}

    async def test_one_that_takes_nothing_is_seen_to_fall_behind(self, loopback: Loopback) -> None:
        async with self.told(loopback) as url, slow_reader(loopback, "/api/events") as stuck:
            await stuck.until("bookmark")
            stream: dict[str, Any] = {}
            for number in range(2000):  # at most: what the two kernels hold for it is much less
                await loopback.tell(status("maps/weather", message=f"{number} {'x' * 20_000}"))
                [stream] = (await get(url))[1]["streams"]
                if stream["behind"] >= 10:  # a large event alone is caught up with within moments
                    break
            assert stream["state"] == "catching-up"
            *_, last = await loopback.tell(*(status("maps/weather", message=f"{number}") for number in range(10)))
            broadcaster = loopback.gateway._streams._broadcaster
            await until(lambda: broadcaster.position == last, "those who keep up have heard all", every=0.01)
            [stream] = (await get(url))[1]["streams"]
        assert stream["behind"] >= 10
        assert EventId.parse(stream["cursor"]).seq + stream["behind"] == last.seq
