"""When servers are sampled, and for whom: at once for the first listener, once per interval, and never for nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from mcp_operator.apiserver.kinds import MCP_SERVER
from mcp_operator.cluster import queueing
from mcp_operator.cluster.podmetrics import asking
from mcp_operator.cluster.watching import Change
from mcp_operator.model.events import EventType
from tests.builders import mcpserver
from tests.component.measuring import Stage, answering, by_address, pod_listening, staging

MIB = 2**20
TRAFFIC = ["requests", "requestsPerSecond", "errors", "inFlight"]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staging() as stage:
        yield stage


def times(samples: list[dict[str, Any]]) -> list[datetime]:
    return [datetime.fromisoformat(sample["sampledAt"]) for sample in samples]


def refusing(status: int) -> Any:
    return answering(b"{}", status=status)


async def test_a_listener_hears_at_once_what_the_server_uses(stage: Stage) -> None:
    uid = stage.apply(instances=2)
    with stage.listening():
        sample = await stage.tells()
    assert (sample["cpuMillicores"], sample["memory"], sample["memoryBytes"]) == (20.0, 40.0, 40 * MIB)
    assert sample["cpu"] == 1.0, "of two instances without a limit: of two cores"
    assert [instance["name"] for instance in sample["perInstance"]] == ["weather-7d4b9-0", "weather-7d4b9-1"]
    assert [(each["reason"], each["fields"]) for each in sample["unavailable"]] == [
        ("NoPrometheusEndpoint", TRAFFIC),
        ("NoMemoryLimit", ["memoryPercent"]),
    ]
    assert sample["key"] == f"{uid}/metrics/{sample['sampledAt']}"


async def test_nobody_listens_and_nothing_is_asked(stage: Stage) -> None:
    scraped = []

    async def count(request: web.Request) -> web.StreamResponse:
        scraped.append(request.path)
        return web.Response(text="mcp_requests_total 1\n")

    async with pod_listening(count) as port:
        stage.apply("unheard", intervalSeconds=1, prometheus={"port": port})
        stage.apply("heard", intervalSeconds=1)
        with stage.listening("unheard", types=frozenset(EventType) - {EventType.METRICS}), stage.listening("heard"):
            await stage.tells("heard", samples=2)
    assert stage.asked("unheard") == 0
    assert scraped == []
    assert (stage.count("samples_total"), stage.count("scrapes_total", result="read")) == (stage.asked("heard"), 0)


async def test_two_listeners_are_told_one_sample(stage: Stage) -> None:
    stage.apply()
    stage.apply("barrier")
    with stage.listening():
        await stage.tells()
        with stage.listening(), stage.listening(None):
            await stage.tells("barrier")
    assert (stage.asked("weather"), len(await stage.told())) == (1, 1)


async def test_a_sample_follows_another_after_the_interval_and_never_before(stage: Stage) -> None:
    stage.apply(intervalSeconds=1)
    with stage.listening():
        await stage.tells(samples=3)
    # What is told is the time of day, what is waited for is not: they needn't agree to the millisecond.
    assert all(later - earlier >= timedelta(seconds=0.9) for earlier, later in pairwise(times(await stage.told())))


async def test_listeners_that_come_and_go_get_no_more_than_one_sample_per_interval(stage: Stage) -> None:
    stage.apply()
    for barrier in ("first", "second", "third"):
        stage.apply(barrier)
        with stage.listening():
            await stage.tells()
            with stage.listening(barrier):
                await stage.tells(barrier)  # so the sampler has seen this listener, too
    assert stage.asked("weather") == 1


async def test_a_server_that_nobody_listens_to_any_more_is_no_longer_sampled(stage: Stage) -> None:
    listener = ExitStack()

    async def left_meanwhile(_: web.Request) -> web.StreamResponse:
        listener.close()
        return web.json_response({"items": []})

    stage.apply(intervalSeconds=1)
    stage.api.away = left_meanwhile
    listener.enter_context(stage.listening())
    await stage.tells()
    stage.api.away = None
    stage.apply("barrier", intervalSeconds=1)
    with stage.listening("barrier"):
        await stage.tells("barrier", samples=2)
    assert stage.asked("weather") == 1
    edit(stage, intervalSeconds=2)
    stage.apply("second-barrier")
    with stage.listening("second-barrier"):
        await stage.tells("second-barrier")
    assert stage.asked("weather") == 1, "an edit is no reason either"


async def test_an_interval_made_shorter_takes_effect(stage: Stage) -> None:
    stage.apply()
    with stage.listening():
        await stage.tells()
        edit(stage, intervalSeconds=1)
        await stage.tells(samples=2)


async def test_an_interval_made_longer_takes_effect(stage: Stage) -> None:
    async def edited_meanwhile(_: web.Request) -> web.StreamResponse:
        edit(stage, intervalSeconds=3600)
        return web.json_response({"items": []})

    stage.apply(intervalSeconds=1)
    stage.api.away = edited_meanwhile
    with stage.listening():
        await stage.tells()
        stage.api.away = None
        stage.apply("barrier", intervalSeconds=1)
        with stage.listening("barrier"):
            await stage.tells("barrier", samples=2)
    assert stage.asked("weather") == 1


async def test_a_server_that_comes_later_is_sampled_for_whoever_listens_already(stage: Stage) -> None:
    with stage.listening():
        stage.apply()
        assert (await stage.tells())["cpuMillicores"] == 10.0


async def test_nothing_is_told_of_a_server_that_is_gone(stage: Stage) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        asked.set()
        await gone.wait()
        return web.json_response({"items": []})

    uid = stage.apply(intervalSeconds=1)
    stage.api.away = slow
    with stage.listening(None):
        await asked.wait()
        stage.delete()
        stage.api.away = None
        gone.set()
        stage.apply("barrier", intervalSeconds=1)
        await stage.tells("barrier", samples=2)
    assert await stage.told() == []
    assert stage.asked("weather") == 1
    assert uid not in stage.sampler._rates, "and nothing is kept of it"


async def test_servers_that_begin_to_be_listened_to_together_are_not_read_in_the_same_tick(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        stage.apply(f"server-{number}", intervalSeconds=1)
    now = time.monotonic()
    with stage.listening(None), monkeypatch.context() as clock:
        clock.setattr(queueing, "time", SimpleNamespace(monotonic=lambda: now))
        stage.sampler._look()
        due = sorted(stage.sampler._queue._due.values())
    assert due[-1] - due[0] <= 1, "all of them within their interval"
    assert all(later - earlier > 0.01 for earlier, later in pairwise(due))


async def test_a_slow_server_does_not_keep_the_others_waiting(stage: Stage) -> None:
    released = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response()

    async with pod_listening(hang) as port:
        stage.apply("slow", instances=1, prometheus={"port": port})
        stage.apply("quick", intervalSeconds=1)
        with stage.listening(None):
            await stage.tells("quick", samples=2)
            assert await stage.told("slow") == []
            released.set()
            await stage.tells("slow")


async def test_requests_of_all_instances_are_summed_and_one_that_refuses_is_named(stage: Stage) -> None:
    first, second = 'mcp_requests_total{status="ok"} 3\n', 'mcp_requests_total{status="error"} 4\nmcp_active_requests 1\n'
    pods = by_address({"127.0.0.1": answering(first), "127.0.0.2": answering(second)})
    async with pod_listening(pods, host="127.0.0.1") as port, pod_listening(pods, host="127.0.0.2", port=port):
        stage.apply(instances=3, prometheus={"port": port, "path": "/figures"})
        with stage.listening():
            sample = await stage.tells()
    assert (sample["requests"], sample["requestsSource"]) == (7.0, "pod")
    assert [instance["requests"] for instance in sample["perInstance"]] == [3.0, 4.0, None]
    assert [instance["errors"] for instance in sample["perInstance"]] == [0.0, 4.0, None]
    assert (sample["requestsPerSecond"], sample["errors"], sample["inFlight"]) == (None, 4.0, 1.0)
    assert [(each["reason"], each["instance"], each["fields"]) for each in sample["unavailable"]] == [
        ("NotYetMeasured", None, ["requestsPerSecond"]),
        ("NoInFlightGauge", "weather-7d4b9-0", ["inFlight"]),
        ("ScrapeRefused", "weather-7d4b9-2", TRAFFIC),
        ("NoMemoryLimit", None, ["memoryPercent"]),
    ]
    assert stage.count("scrapes_total", result="read") == 2
    assert stage.count("scrapes_total", result="ScrapeRefused") == 1


class Serving:
    """A pod that counts, and may be restarted."""

    def __init__(self, served: int = 0) -> None:
        self.served = served

    async def answer(self, _: web.Request) -> web.StreamResponse:
        return web.Response(text=f"mcp_requests_total {self.served}\n")


async def test_rates_follow_what_instances_serve_through_restarts_and_a_scaling(stage: Stage) -> None:
    first, second = Serving(100), Serving(5000)
    pods = by_address({"127.0.0.1": first.answer, "127.0.0.2": second.answer})

    async def rates_until(*expected: float | None) -> dict[str, Any]:
        """The next sample in which the instances have these rates."""
        samples = len(await stage.told())
        while True:
            samples += 1
            sample = await stage.tells(samples=samples)
            rates = [instance["requestsPerSecond"] for instance in sample["perInstance"]]
            assert sample["requestsPerSecond"] == (
                sum(known) if (known := [rate for rate in rates if rate is not None]) else None
            )
            if rates == list(expected):
                return sample

    async with pod_listening(pods, host="127.0.0.1") as port, pod_listening(pods, host="127.0.0.2", port=port):
        stage.apply(intervalSeconds=1, prometheus={"port": port})
        with stage.listening():
            assert (await stage.tells())["requestsPerSecond"] is None
            await rates_until(0.0)
            first.served = 160
            stage.run_pod("weather-7d4b9-1", "127.0.0.2")
            await rates_until(0.0, 0.0)
            known = [sample["requestsPerSecond"] for sample in await stage.told() if sample["requestsPerSecond"]]
            assert len(known) == 1, "60 requests were served between two samples"
            assert known[0] < 5000, "and what the new instance had served before is no rate"
            first.served = 3
            while "CounterReset" not in [each["reason"] for each in (await rates_until(None, 0.0))["unavailable"]]:
                pass
            await rates_until(0.0, 0.0)


async def test_an_instance_that_is_gone_is_asked_no_more(stage: Stage) -> None:
    asked: list[str] = []

    async def count(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        asked.append(request.transport.get_extra_info("sockname")[0])
        return web.Response(text="mcp_requests_total 1\n")

    async with pod_listening(count, host="127.0.0.1") as port, pod_listening(count, host="127.0.0.2", port=port):
        stage.apply(instances=2, intervalSeconds=1, prometheus={"port": port})
        with stage.listening():
            await stage.tells()
            stage.remove_pod("weather-7d4b9-1")
            told = len(await stage.told())
            sample = await stage.tells(samples=told + 2)  # the next one may have begun before
            assert [instance["name"] for instance in sample["perInstance"]] == ["weather-7d4b9-0"]
            asked.clear()
            await stage.tells(samples=told + 3)
    assert set(asked) == {"127.0.0.1"}


async def test_each_instance_says_when_it_was_measured(stage: Stage) -> None:
    stage.api.measured_at = "2026-11-23T05:32:32Z"
    stage.apply(instances=2)
    del stage.api.usage["weather-7d4b9-1"]
    with stage.listening():
        sample = await stage.tells()
    first, second = sample["perInstance"]
    assert (first["sampledAt"], first["windowSeconds"]) == ("2026-11-23T05:32:32Z", 15.2)
    assert (second["sampledAt"], second["windowSeconds"]) == (None, None)


async def test_servers_whose_turn_comes_within_a_second_are_asked_for_together(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=lambda: 0.0))  # else a slow machine needs more requests
    names = [f"server-{number}" for number in range(12)]
    for name in names:
        stage.apply(name)
    with stage.listening(None):
        for name in names:
            sample = await stage.tells(name)
            assert (sample["cpuMillicores"], len(sample["perInstance"])) == (10.0, 1), "each its own instance alone"
    assert stage.asked() == stage.count("usage_requests_total", result="read") == 1


async def test_when_metrics_server_is_away_those_asked_for_together_all_say_so(stage: Stage) -> None:
    stage.api.away = refusing(503)
    names = [f"server-{number}" for number in range(4)]
    for name in names:
        stage.apply(name)
    with stage.listening(None):
        for name in names:
            sample = await stage.tells(name)
            assert sample["unavailable"][0]["reason"] == "MetricsUnavailable"


@pytest.mark.parametrize("status", [404, 503])
async def test_without_metrics_server_usage_is_null_with_the_reason_and_the_next_sample_has_it_again(
    stage: Stage, status: int
) -> None:
    stage.api.away = refusing(status)
    async with pod_listening(answering("mcp_requests_total 3\n")) as port:
        stage.apply(intervalSeconds=1, prometheus={"port": port})
        with stage.listening():
            sample = await stage.tells()
            assert [sample[field] for field in ("cpu", "cpuMillicores", "memory", "memoryBytes", "memoryPercent")] == [None] * 5
            assert sample["requests"] == 3.0
            trouble = sample["unavailable"][0]
            assert (trouble["reason"], trouble["instance"], len(trouble["fields"])) == ("MetricsUnavailable", None, 5)
            assert str(status) in trouble["message"]
            stage.api.away = None
            told = len(await stage.told())
            assert (await stage.tells(samples=told + 2))["cpuMillicores"] == 10.0
    failed = {result: stage.count("usage_requests_total", result=result) for result in ("refused", "failed")}
    assert failed["refused" if status < 500 else "failed"] >= 1
    assert stage.count("usage_requests_total", result="read") >= 1


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"x"', b"<html>", b'{"items": 3}', b"{}"])
async def test_nonsense_in_the_place_of_metrics_is_no_figure(stage: Stage, body: bytes) -> None:
    stage.api.away = answering(body)
    stage.apply()
    with stage.listening():
        sample = await stage.tells()
    assert (sample["cpu"], sample["memoryBytes"]) == (None, None)
    assert sample["unavailable"][0]["reason"] == "MetricsUnavailable"


async def test_a_pod_that_is_not_measured_yet_is_named(stage: Stage) -> None:
    stage.apply(instances=2)
    del stage.api.usage["weather-7d4b9-1"]
    with stage.listening():
        sample = await stage.tells()
    assert sample["cpuMillicores"] == 10.0
    assert ("NotYetMeasured", "weather-7d4b9-1") in [(each["reason"], each["instance"]) for each in sample["unavailable"]]


async def test_a_server_without_instances_says_so_and_nothing_is_asked(stage: Stage) -> None:
    stage.apply(instances=0)
    with stage.listening():
        sample = await stage.tells()
    assert [each["reason"] for each in sample["unavailable"]] == ["NoInstances"]
    assert sample["perInstance"] == []
    assert stage.asked() == 0


async def test_a_spec_that_cannot_be_read_is_told_and_ends_nothing(stage: Stage) -> None:
    uid = stage.apply("broken")
    body = mcpserver("broken", spec={"metrics": {"intervalSeconds": "often"}})
    stage.families.take(MCP_SERVER, Change(old=None, new=body))
    stage.sampler.changed(uid)
    stage.apply("whole")
    with stage.listening(None):
        sample = await stage.tells("broken")
        await stage.tells("whole")
    assert [each["reason"] for each in sample["unavailable"]] == ["InvalidSpec"]


def edit(stage: Stage, **metrics: Any) -> None:
    """Somebody changes how `weather` is to be measured."""
    body = mcpserver("weather", spec={"metrics": metrics})
    stage.families.take(MCP_SERVER, Change(old=None, new=body))
    stage.sampler.changed(body["metadata"]["uid"])
