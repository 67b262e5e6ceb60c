"""What a subscriber hears of logs and metrics: lines it chose, the end of the past, what is missing; and the demand it makes."""

from __future__ import annotations

import asyncio

import pytest

from local_stack.sse import Message
from mcp_operator.eventlog.log import Demand
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.model.events import EventType, Follow, LogLevel
from mcp_operator.model.statuses import Status
from tests.component.conftest import Loopback, StartGateway, Subscriber
from tests.component.test_gateway_answers import SlowLog
from tests.events import follow, line, metrics, progress, status, uid_of
from tests.waiting import until


def said(messages: list[Message]) -> list[str]:
    return [message.json.get("msg") or message.json["type"] for message in messages]


async def opening(subscriber: Subscriber) -> list[str]:
    """What the snapshot says, without the frames around it."""
    return said((await subscriber.until("bookmark"))[1:-1])


async def test_metrics_are_in_the_snapshot_and_live(loopback: Loopback) -> None:
    await loopback.tell(status("default/weather"), metrics("default/weather", 1), metrics("default/weather", 2))
    async with loopback.subscribe("/api/events?types=metrics") as subscriber:
        _, snapshot, _ = await subscriber.until("bookmark")
        [live_id] = await loopback.tell(metrics("default/weather", 3))
        live = await subscriber.next()

    assert (snapshot.event, snapshot.json["cpu"], snapshot.json["snapshot"]) == ("metrics", 2, True)
    assert (live.event, live.id, live.json["cpu"], live.json["memoryBytes"]) == ("metrics", str(live_id), 3, 48 << 20)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", ["follow", "tool failed", "ready", "a 50% tool", "status"]),
        ("?types=log", ["follow", "tool failed", "ready", "a 50% tool"]),
        ("?level=error", ["tool failed", "status"]),
        ("?level=warn&types=log", ["tool failed", "a 50% tool"]),
        ("?grep=tool", ["tool failed", "a 50% tool", "status"]),
        ("?grep=tool&level=error&types=log", ["tool failed"]),
        ("?grep=a+50%25+tool&types=log", ["a 50% tool"]),
        ("?grep=mcp&types=log", []),
        ("?grep=&level=&types=log", ["follow", "tool failed", "ready", "a 50% tool"]),
    ],
)
async def test_level_and_grep_choose_among_the_lines_live_and_in_a_replay(
    loopback: Loopback, query: str, told: list[str]
) -> None:
    story = [
        follow("default/weather", msg="follow"),
        line("default/weather", "tool failed", level=LogLevel.ERROR),
        line("default/weather", "ready"),
        line("default/weather", "a 50% tool", level=LogLevel.WARN),
        status("default/weather"),
    ]
    [cursor] = await loopback.tell(status("default/weather"))
    async with loopback.subscribe(f"/api/events{query}") as subscriber:
        await subscriber.until("bookmark")
        await loopback.tell(*story)
        live = said(await subscriber.take(len(told)))
    async with loopback.subscribe(f"/api/events{query}", cursor=cursor) as subscriber:
        await subscriber.next()
        replay = said(await subscriber.take(len(told)))
        await loopback.gateway.stop()
        rest = said(await subscriber.rest())

    assert live == replay == told
    assert rest == ["bye"]


class TestTail:
    """`tail=`: the end of the past, for the one who asks."""

    async def test_the_newest_lines_of_each_container_are_part_of_the_snapshot(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"), progress("default/weather", 50))
        for number in range(5):
            for instance in ("0", "1"):
                await loopback.tell(line("default/weather", f"{instance}: line {number}", instance=instance))
        async with loopback.subscribe("/api/servers/weather/events?tail=2") as subscriber:
            _, *snapshot, bookmark = await subscriber.until("bookmark")
            await loopback.tell(line("default/weather", "0: line 5", instance="0"))
            live = await subscriber.next()

        assert said(snapshot) == ["status", "progress", "0: line 3", "1: line 3", "0: line 4", "1: line 4"]
        assert all(message.json["snapshot"] is True and not message.has_id_line for message in snapshot)
        assert snapshot[-1].json["id"] == bookmark.id
        assert (live.json["msg"], "snapshot" in live.json) == ("0: line 5", False)

    async def test_others_hear_nothing_of_it(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"), line("default/weather", "long ago"))
        async with loopback.subscribe("/api/events") as other:
            before = await opening(other)
            async with loopback.subscribe("/api/events?tail=5") as subscriber:
                assert await opening(subscriber) == ["status", "long ago"]
            await loopback.tell(line("default/weather", "now"))
            after = await other.next()

        assert (before, after.json["msg"]) == (["status"], "now")

    @pytest.mark.parametrize(
        ("query", "told"),
        [
            ("tail=1", ["status", "third"]),
            ("tail=0", ["status"]),
            ("tail=", ["status"]),
            ("tail=10000", ["status", "first", "second", "third"]),
            ("tail=10&types=log", ["first", "second", "third"]),
            ("tail=10&types=status", ["status"]),
            ("tail=1&level=error", ["status", "second"]),
            ("tail=5&grep=ir&types=log", ["first", "third"]),
            ("tail=5&named=0", ["status"]),
        ],
    )
    async def test_it_is_of_the_lines_that_are_wanted(self, loopback: Loopback, query: str, told: list[str]) -> None:
        await loopback.tell(
            status("default/weather"),
            line("default/weather", "first"),
            line("default/weather", "second", level=LogLevel.ERROR),
            follow("default/weather", Follow.ENDED),
            line("default/weather", "third"),
        )
        async with loopback.subscribe(f"/api/events?{query}") as subscriber:
            assert await opening(subscriber) == told

    async def test_unnamed_streams_have_it_under_its_name_or_not(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"), line("default/weather", "first"))
        for query, name in (("", "log"), ("&snapshot=1", "message")):
            async with loopback.subscribe(f"/api/events?named=0&types=log&tail=5{query}") as subscriber:
                _, told, _ = await subscriber.until("bookmark")
                assert (told.event, told.json["msg"]) == (name, "first")

    async def test_who_can_go_on_gets_what_was_missed_and_no_tail(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"), line("default/weather", "heard"))
        [cursor] = await loopback.tell(line("default/weather", "heard too"))
        await loopback.tell(line("default/weather", "missed"))
        async with loopback.subscribe("/api/events?tail=10", cursor=cursor) as subscriber:
            _, missed = await subscriber.take(2)

        assert (missed.json["msg"], missed.has_id_line) == ("missed", True)

    async def test_who_starts_over_gets_it_again(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"), line("default/weather", "first"))
        async with loopback.subscribe("/api/events?tail=10", cursor="0123456789-3") as subscriber:
            assert await opening(subscriber) == ["reset", "status", "first"]

    async def test_lines_of_servers_that_are_gone_are_left_out_with_them(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/gone"), line("default/gone"), status("default/gone", Status.DELETED))
        await loopback.tell(status("default/weather"), line("default/weather", "alive"))
        async with loopback.subscribe("/api/events?tail=10") as subscriber:
            assert await opening(subscriber) == ["status", "alive"]


class TestDropped:
    """Lines and metrics that are gone are missing in no silence, and what is held is told all the same."""

    async def test_who_comes_back_too_late_is_told_what_is_missing_and_goes_on(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(capacity=3)
        [cursor] = await loopback.tell(status("default/weather"))
        *_, lost, _, _, last = await loopback.tell(*(line("default/weather", f"line {number}") for number in range(10)))
        async with loopback.subscribe("/api/events", cursor=cursor) as subscriber:
            _, dropped, *held = await subscriber.take(5)
            await loopback.tell(line("default/weather", "live"))
            live = await subscriber.next()

        assert (dropped.event, dropped.json["type"], dropped.has_id_line) == ("dropped", "dropped", False)
        assert dropped.json.keys() == {"type", "time", "cursor", "types", "count", "after", "before"}
        assert (dropped.json["types"], dropped.json["count"]) == (["log"], None)
        assert dropped.json["cursor"] == dropped.json["after"] == str(cursor)
        assert dropped.json["before"] == held[0].id == f"{lost.epoch}-{lost.seq + 1}"
        assert said([*held, live]) == ["line 7", "line 8", "line 9", "live"]
        assert held[-1].id == str(last)
        assert loopback.figure("mcp_operator_stream_drops_total", type="log") == 1
        assert loopback.figure("mcp_operator_stream_resets_total", reason="expired") == 0

    async def test_a_long_replay_says_it_once(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(capacity=2000)
        cursor, *_ = await loopback.tell(*(status("default/weather") for _ in range(1500)))
        await loopback.tell(*(line("default/weather", f"line {number}") for number in range(2100)))
        async with loopback.subscribe("/api/events", cursor=cursor) as subscriber:
            _, *replay = await subscriber.take(1 + 1 + 1499 + 2000)

        events = [message.event for message in replay]
        assert events == ["dropped", *["status"] * 1499, *["log"] * 2000]
        assert replay[0].json["before"] == replay[1500].id

    async def test_a_stream_that_falls_behind_is_told_and_its_statuses_are_whole(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(capacity=10)
        async with loopback.subscribe("/api/events?named=0&types=status,log,metrics") as subscriber:
            await subscriber.until("bookmark")
            # All in one turn of the event loop: no stream can read in between.
            for number in range(5):
                await loopback.tell(status("default/weather", key=f"status {number}"))
                await loopback.tell(*(line("default/weather", f"{number}: {each}") for each in range(20)))
                await loopback.tell(*(metrics("default/weather", each) for each in range(20)))
            heard = await subscriber.take(1 + 5 + 10 + 10)

        assert {message.event for message in heard} == {"message"}
        assert (heard[0].json["type"], heard[0].json["types"]) == ("dropped", ["log", "metrics"])
        keys = [message.json["key"] for message in heard if message.json["type"] == "status"]
        assert keys == [f"status {number}" for number in range(5)]

    async def test_a_cursor_that_was_told_of_it_only_is_told_again(self, start_gateway: StartGateway) -> None:
        """The connection breaks behind `dropped`: it has no id, so nothing is passed over."""
        loopback = await start_gateway(capacity=3)
        [cursor] = await loopback.tell(status("default/weather"))
        await loopback.tell(*(line("default/weather", f"line {number}") for number in range(10)))
        for _ in range(2):
            async with loopback.subscribe("/api/events", cursor=cursor) as subscriber:
                _, dropped = await subscriber.take(2)
                assert dropped.event == "dropped"

    async def test_who_wants_none_of_it_hears_none_of_it(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(capacity=3)
        [cursor] = await loopback.tell(status("default/weather"))
        await loopback.tell(*(line("default/weather", f"line {number}") for number in range(10)))
        async with loopback.subscribe("/api/events?types=status,metrics", cursor=cursor) as subscriber:
            await subscriber.next()
            await loopback.tell(metrics("default/weather"))
            assert (await subscriber.next()).event == "metrics"


class TestDemand:
    """Logs are followed and metrics read for those who listen: each open stream is one, and nothing else is."""

    def wanted(self, demand: Demand, server: str = "default/weather") -> set[EventType]:
        event = status(server)
        return {type_ for type_ in EventType if demand.wanted(type_, event.server, event.uid)}

    def tail(self, demand: Demand) -> int:
        event = status("default/weather")
        return demand.tail(event.server, event.uid)

    @pytest.mark.parametrize(
        ("path", "types", "tail"),
        [
            ("/api/events", set(EventType), 0),
            ("/api/events?types=log,metrics&tail=300", {EventType.LOG, EventType.METRICS}, 300),
            ("/api/events?types=status&tail=300", {EventType.STATUS}, 0),
            ("/api/events?named=0", {EventType.STATUS, EventType.RESPONSE}, 0),
            ("/api/events?namespace=default&types=log", {EventType.LOG}, 0),
            ("/api/events?namespace=team", set(), 0),
            ("/api/servers/weather/events?types=log&level=fatal&tail=7", {EventType.LOG}, 7),
            (f"/api/servers/{uid_of('default/weather')}/events", set(EventType), 0),
        ],
    )
    async def test_an_open_stream_wants_what_it_carries_until_its_client_leaves(
        self, loopback: Loopback, path: str, types: set[EventType], tail: int
    ) -> None:
        demand = loopback.log.demand
        await loopback.tell(status("default/weather"))
        async with loopback.subscribe(path) as subscriber:
            await subscriber.until("bookmark")
            during = (self.wanted(demand), self.tail(demand))
            subscriber.response.close()

        assert during == (types, tail)
        await until(lambda: not self.wanted(demand), "nobody listens", every=0.01)
        assert self.tail(demand) == 0

    async def test_two_streams_are_two_listeners(self, loopback: Loopback) -> None:
        demand = loopback.log.demand
        async with loopback.subscribe("/api/events?types=log") as staying:
            await staying.until("bookmark")
            async with loopback.subscribe("/api/events?types=log,metrics") as leaving:
                await leaving.until("bookmark")
                leaving.response.close()
            await until(lambda: EventType.METRICS not in self.wanted(demand), "one has left", every=0.01)
            assert self.wanted(demand) == {EventType.LOG}

    async def test_it_is_there_before_the_snapshot_is_taken(self, start_gateway: StartGateway) -> None:
        log = SlowLog(capacity=10)
        loopback = await start_gateway(log=log)
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            request = tasks.create_task(loopback.session.get(loopback.url + "/api/events?types=log&tail=9"))
            await log.asked.wait()
            before = (self.wanted(log.demand), self.tail(log.demand))
            log.answered.set()
            (await request).close()

        assert before == ({EventType.LOG}, 9)
        await until(lambda: not self.wanted(log.demand), "nobody listens", every=0.01)

    async def test_a_stream_that_ends_by_itself_wants_nothing_more(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"))
        async with loopback.subscribe(f"/api/servers/{uid_of('default/weather')}/events") as subscriber:
            await subscriber.until("bookmark")
            await loopback.tell(status("default/weather", Status.DELETED))
            *_, bye = await subscriber.rest()

        assert bye.event == "bye"
        await until(lambda: not self.wanted(loopback.log.demand), "nobody listens", every=0.01)

    async def test_no_other_answer_makes_demand(self, start_gateway: StartGateway) -> None:
        changes = 0

        class Watched(MemoryLog):
            def listening(self, *args: object, **options: object) -> object:  # type: ignore[override]  # must not be called
                nonlocal changes
                changes += 1
                raise AssertionError("nobody listens")

        loopback = await start_gateway(log=Watched(capacity=10))
        [gone] = await loopback.tell(status("default/weather", Status.DELETED))
        by_uid = f"/api/servers/{uid_of('default/weather')}/events"
        answers = [
            await loopback.get(path, headers={"Last-Event-ID": str(gone)})
            for path in ("/api/servers", "/api/servers/maps", by_uid, "/api/events?tail=x")
        ]
        loopback.synced = False
        async with loopback.subscribe("/api/events") as subscriber:
            await subscriber.rest()

        assert [code for code, _ in answers] == [200, 404, 204, 400]
        assert changes == 0
