"""The history of a server's metrics for a chart: few points of many samples, and nothing missing in silence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mcp_operator.eventlog.log import EventId, EventLog
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.gateway.charting import AVERAGED, COUNTED, USUAL_POINTS
from mcp_operator.model.events import Event, InstanceMetrics
from mcp_operator.model.statuses import Status
from tests.component.conftest import Loopback, StartGateway, one_engine
from tests.events import metrics, status, uid_of

pytestmark = one_engine

SERVER = "default/weather"
PATH = "/api/servers/weather/metrics"


class Past:
    """A log's clock that the story sets, in seconds before now."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)
        self.ago = 3600.0

    def __call__(self) -> datetime:
        return self.now - timedelta(seconds=self.ago)


async def start_past(start_gateway: StartGateway, *, capacity: int = 20_000) -> tuple[Loopback, Past]:
    """A gateway whose log can be told what was in the last hour."""
    past = Past()
    loopback = await start_gateway(log=MemoryLog(capacity=capacity, clock=past))
    await loopback.tell(status(SERVER))
    return loopback, past


async def tell_every(loopback: Loopback, past: Past, seconds: float, samples: Sequence[Event]) -> list[EventId]:
    """Samples in a rhythm, the last one just now."""
    told = []
    for number, sample in enumerate(samples):
        past.ago = seconds * (len(samples) - 1 - number)
        told += await loopback.tell(sample)
    return told


async def history(loopback: Loopback, query: str = "", path: str = PATH) -> Any:
    code, body = await loopback.get(f"{path}{query}")
    assert code == 200, body
    return body


def values(read: Any, name: str) -> list[Any]:
    return [point[name] for point in read["points"]]


class TestPoints:
    async def test_each_sample_is_a_point_as_long_as_there_is_room(self, start_gateway: StartGateway) -> None:
        loopback, past = await start_past(start_gateway)
        told = await tell_every(loopback, past, 15, [metrics(SERVER, number, requests=10.0 * number) for number in range(5)])

        read = await history(loopback)

        assert (read["server"], read["uid"], read["sliceSeconds"], read["dropped"]) == (SERVER, uid_of(SERVER), None, [])
        assert read["cursor"] == str(told[-1])
        assert values(read, "cpu") == [0, 1, 2, 3, 4]
        assert values(read, "requests") == [0, 10, 20, 30, 40]
        assert values(read, "samples") == [1] * 5
        first = read["points"][0]
        assert first.keys() == {"time", "samples", "max", *AVERAGED, *COUNTED}
        assert first["max"] == {name: first[name] for name in AVERAGED}

    async def test_the_figures_are_those_of_the_events(self, start_gateway: StartGateway) -> None:
        loopback, past = await start_past(start_gateway)
        figures: dict[str, Any] = {
            "requests": 7.0,
            "requests_per_second": 0.123,
            "errors": 2.0,
            "in_flight": 1.0,
            "memory_percent": None,
        }
        odd = [{"fields": (), "reason": "X", "message": ',"perInstance":[{}]}', "instance": None}]
        await tell_every(loopback, past, 15, [metrics(SERVER, 12.345, key='x,"perInstance":', unavailable=odd, **figures)])
        _, page = await loopback.get("/api/servers/weather/events?types=metrics", headers={"Accept": "application/json"})

        (point,) = (await history(loopback))["points"]

        (event,) = page["snapshot"]
        assert {name: point[name] for name in (*AVERAGED, *COUNTED, "time")} == {
            name: event[name] for name in (*AVERAGED, *COUNTED, "time")
        }

    @pytest.mark.parametrize("points", [2, 7, 50, 99])
    async def test_more_samples_than_points_are_summed_up_in_slices_of_time(
        self, start_gateway: StartGateway, points: int
    ) -> None:
        loopback, past = await start_past(start_gateway)
        samples = [
            metrics(SERVER, number % 10, requests=float(number), requests_per_second=float(number == 50)) for number in range(100)
        ]
        await tell_every(loopback, past, 15, samples)

        read = await history(loopback, f"?since=1h&points={points}")

        assert 1 <= len(read["points"]) <= points
        assert sum(values(read, "samples")) == 100, "each sample is in one point"
        seconds = read["sliceSeconds"]
        slices = [int(datetime.fromisoformat(time).timestamp() // seconds) for time in values(read, "time")]
        assert slices == sorted(set(slices)), "one point for a slice"
        assert max(point["max"]["requestsPerSecond"] for point in read["points"]) == 1, "a peak isn't smoothed away"
        assert values(read, "requests") == sorted(values(read, "requests"))
        assert values(read, "requests")[-1] == 99, "a counter is the newest"
        whole = sum(point["cpu"] * point["samples"] for point in read["points"])
        assert whole == pytest.approx(450, abs=0.1), "the mean of each point weighs what it stands for"

    async def test_a_figure_that_is_null_for_a_while_is_the_mean_of_what_is_known(self, start_gateway: StartGateway) -> None:
        loopback, past = await start_past(start_gateway)
        cpus = [None, 4.0, None, 8.0, None, None]
        await tell_every(loopback, past, 0, [metrics(SERVER, cpu, requests=None, key=str(n)) for n, cpu in enumerate(cpus)])

        (point,) = (await history(loopback, "?points=2"))["points"]

        assert (point["cpu"], point["max"]["cpu"], point["samples"]) == (6, 8, 6)
        assert (point["requests"], point["inFlight"], point["max"]["inFlight"]) == (None, None, None)

    async def test_slices_lie_on_the_clock_so_that_points_stay_what_they_were(self, start_gateway: StartGateway) -> None:
        loopback, past = await start_past(start_gateway)
        await tell_every(loopback, past, 10, [metrics(SERVER, number) for number in range(300)])
        first = await history(loopback, "?since=1h&points=31")
        await loopback.tell(metrics(SERVER, 1000))
        second = await history(loopback, "?since=1h&points=31")
        assert first["sliceSeconds"] == second["sliceSeconds"]
        assert first["points"][:-1] == second["points"][: len(first["points"]) - 1]

    async def test_it_goes_on_as_a_stream_without_a_gap_or_a_repeat(self, start_gateway: StartGateway) -> None:
        loopback, past = await start_past(start_gateway)
        await tell_every(loopback, past, 1, [metrics(SERVER, number) for number in range(5)])
        read = await history(loopback)
        await loopback.tell(metrics(SERVER, 5))
        async with loopback.subscribe("/api/servers/weather/events?types=metrics", cursor=read["cursor"]) as subscriber:
            assert [message.json.get("cpu") for message in await subscriber.take(2)] == [None, 5]


class TestSince:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [("", 15), ("?since=5m", 5), ("?since=20m", 20), ("?since=earliest", 31), ("?since=365d", 31), ("?since=0s", 0)],
    )
    async def test_from_when_on(self, start_gateway: StartGateway, query: str, expected: int) -> None:
        loopback, past = await start_past(start_gateway)
        for minute in range(30, -1, -1):
            past.ago = 60 * minute + 30
            await loopback.tell(metrics(SERVER, minute))

        read = await history(loopback, query)

        assert len(read["points"]) == expected
        assert read["from"] <= (values(read, "time") or [read["to"]])[0]

    async def test_a_time_of_the_day(self, start_gateway: StartGateway) -> None:
        loopback, past = await start_past(start_gateway)
        told = await tell_every(loopback, past, 60, [metrics(SERVER, number) for number in range(10)])
        since = (past.now - timedelta(minutes=3, seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        read = await history(loopback, f"?since={since}")
        assert (values(read, "cpu"), read["cursor"]) == ([6, 7, 8, 9], str(told[-1]))
        assert datetime.fromisoformat(read["from"]) == datetime.fromisoformat(since)

    async def test_a_server_that_was_never_measured_has_no_points(self, loopback: Loopback) -> None:
        [head] = await loopback.tell(status(SERVER))
        read = await history(loopback)
        assert (read["points"], read["dropped"], read["cursor"]) == ([], [], str(head))

    async def test_what_is_no_longer_held_is_said(self, start_gateway: StartGateway) -> None:
        loopback, past = await start_past(start_gateway, capacity=10)
        told = await tell_every(loopback, past, 15, [metrics(SERVER, number) for number in range(25)])
        lost = told[14]

        read = await history(loopback)

        assert values(read, "cpu") == list(range(15, 25))
        [missing] = read["dropped"]
        assert (missing["types"], missing["count"], missing["before"]) == (["metrics"], None, f"{lost.epoch}-{lost.seq + 1}")
        assert (await history(loopback, "?since=2m"))["dropped"] == [], "what is still held is all of that"

    async def test_another_server_and_an_earlier_one_of_the_name_are_others(self, start_gateway: StartGateway) -> None:
        loopback, past = await start_past(start_gateway)
        await loopback.tell(status("default/maps"))
        await tell_every(loopback, past, 1, [metrics("default/maps", 1), metrics(SERVER, 2), metrics(SERVER, 3)])
        await loopback.tell(status(SERVER, Status.DELETED), status(SERVER, life=2), metrics(SERVER, 4, life=2))
        assert values(await history(loopback), "cpu") == [4]
        assert values(await history(loopback, path=f"/api/servers/{uid_of('default/maps')}/metrics"), "cpu") == [1]


class TestAnswers:
    async def test_a_server_that_there_is_not(self, loopback: Loopback) -> None:
        await loopback.tell(status(SERVER), metrics(SERVER), status(SERVER, Status.DELETED))
        for name in ("weather", "maps", uid_of(SERVER), uid_of("default/maps")):
            code, problem = await loopback.get(f"/api/servers/{name}/metrics")
            assert (code, problem["parameter"]) == (404, "id")

    async def test_before_the_cluster_is_known_nothing_final_is_said(self, loopback: Loopback) -> None:
        loopback.synced = False
        for name in ("weather", "never-was"):
            code, _ = await loopback.get(f"/api/servers/{name}/metrics")
            assert code == 503

    @pytest.mark.parametrize(
        ("query", "parameter"),
        [
            ("since=yesterday", "since"),
            ("since=-5m", "since"),
            ("points=1", "points"),
            ("points=1001", "points"),
            ("points=many", "points"),
            ("limit=5", "limit"),
            ("points=5&points=6", "points"),
        ],
    )
    async def test_a_value_that_cannot_be_is_refused_with_what_would_be_right(
        self, loopback: Loopback, query: str, parameter: str
    ) -> None:
        await loopback.tell(status(SERVER))
        code, problem = await loopback.get(f"{PATH}?{query}")
        assert (code, problem["parameter"]) == (400, parameter)
        assert problem["expected"]

    async def test_it_takes_a_place_among_the_streams(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(max_streams_per_client=1)
        await loopback.tell(status(SERVER))
        for _ in range(3):
            await history(loopback)  # and gives it back
        async with loopback.subscribe("/api/events") as subscriber:
            await subscriber.next()
            code, problem = await loopback.get(PATH)
            assert (code, problem["reason"]) == (503, "too-many-of-client")

    async def test_head_and_methods(self, loopback: Loopback) -> None:
        await loopback.tell(status(SERVER), metrics(SERVER))
        code, body = await loopback.get(PATH, method="HEAD")
        assert (code, body) == (200, None)
        async with loopback.session.get(loopback.url + PATH) as answer:
            assert (answer.headers["Cache-Control"], answer.content_type) == ("no-store", "application/json")
        async with loopback.session.options(loopback.url + PATH) as answer:
            assert (answer.status, answer.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")
        code, _ = await loopback.get(PATH, method="POST")
        assert code == 405

    async def test_the_index_names_it(self, loopback: Loopback) -> None:
        _, index = await loopback.get("/")
        assert index["serverMetrics"] == "/api/servers/{id}/metrics"


def crowded(number: int) -> Event:
    """A sample of a server with as many instances as an event lists."""
    instance = InstanceMetrics(
        name="weather-7d4b9c6f58-x2x7q",
        cpu=1.0,
        cpu_millicores=10.0,
        memory=20.0,
        memory_bytes=20 * 2**20,
        memory_percent=None,
        requests=5.0,
        requests_per_second=0.5,
        errors=0.0,
        in_flight=0.0,
        sampled_at=None,
        window_seconds=None,
    )
    return metrics(SERVER, float(number), per_instance=(instance,) * 100)


class TestBounds:
    async def test_thousands_of_large_samples_leave_the_loop_to_others(self, start_gateway: StartGateway) -> None:
        log: EventLog = MemoryLog(capacity=5000, capacity_bytes=2**30)
        loopback = await start_gateway(log=log)
        await loopback.tell(status(SERVER), *map(crowded, range(4000)))
        turns, reading = 0, asyncio.create_task(history(loopback))
        while not reading.done():
            turns += 1
            await asyncio.sleep(0)
        read = await reading
        assert sum(values(read, "samples")) == 4000
        assert len(read["points"]) <= USUAL_POINTS
        assert len(json.dumps(read)) < 300_000, "instances are left out"
        assert turns > 2 * 4000 / 128, "a turn for others after each bit of reading, and of parsing"
