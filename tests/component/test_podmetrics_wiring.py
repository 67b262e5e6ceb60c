"""Samples as part of the whole: the operator reads the cluster, somebody listens, and the server's life goes on."""

from __future__ import annotations

import asyncio

from aiohttp import web

from mcp_operator.eventlog.log import Selection
from mcp_operator.model.events import EventType
from tests.component.fake_api import until
from tests.component.measuring import METRICS, MeasuringApi, answering, measuring, pod_listening
from tests.component.operating import Operator, apply_server, delete_server, operating, settle


async def run_server(api: MeasuringApi, operator: Operator, **metrics: object) -> str:
    """The UID of a server that runs, with one pod on loopback that metrics-server knows."""
    uid: str = apply_server(api, metrics={"intervalSeconds": 3600, **metrics})["metadata"]["uid"]
    await settle(api)
    api.usage["weather-7d4b9-0"] = ("12m", "34Mi")
    await operator.tells("status", uid=uid, status="running")
    return uid


async def test_whoever_listens_to_a_running_server_is_told_what_it_uses() -> None:
    async with measuring() as api, operating(api) as operator, pod_listening(answering("mcp_requests_total 5\n")) as port:
        uid = await run_server(api, operator, prometheus={"port": port})
        with operator._log.listening(Selection(types=METRICS, uid=uid)):
            sample = await operator.tells("metrics", uid=uid)
        assert (sample["cpuMillicores"], sample["memory"], sample["requests"]) == (12.0, 34.0, 5.0)
        (request,) = api.asked
        assert request.path == "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"
        assert request.query["labelSelector"].split(",") == [
            "app.kubernetes.io/name=mcp-server",
            "app.kubernetes.io/instance=weather",
            "app.kubernetes.io/managed-by=mcp-operator",
        ]


async def test_without_a_listener_a_whole_life_goes_by_without_a_question() -> None:
    async with measuring() as api, operating(api) as operator:
        others = frozenset(EventType) - METRICS
        with operator._log.listening(Selection(types=others)):
            await run_server(api, operator)
            delete_server(api)
            api.remove("pods", "default", "weather-7d4b9-0")
            await operator.tells("status", status="deleted")
        assert api.asked == []
        assert operator.count("metrics_samples") == 0
        assert await operator.told("metrics") == []


async def test_an_interval_edited_in_the_resource_takes_effect() -> None:
    async with measuring() as api, operating(api) as operator:
        await run_server(api, operator)
        with operator._log.listening(Selection(types=METRICS)):
            first = await operator.tells("metrics", cpuMillicores=12.0)
            api.usage["weather-7d4b9-0"] = ("13m", "34Mi")
            apply_server(api, metrics={"intervalSeconds": 1})
            second = await operator.tells("metrics", cpuMillicores=13.0)
    assert second["sampledAt"] > first["sampledAt"]


async def test_the_last_word_about_a_server_stays_the_last() -> None:
    asked, released = asyncio.Event(), asyncio.Event()

    async with measuring() as api, operating(api) as operator:
        uid = await run_server(api, operator)

        async def slow(_: web.Request) -> web.StreamResponse:
            asked.set()
            await released.wait()
            return web.json_response({"items": []})

        api.away = slow
        with operator._log.listening(Selection(types=METRICS)):
            await asked.wait()
            delete_server(api)
            api.remove("pods", "default", "weather-7d4b9-0")
            await operator.tells("status", uid=uid, status="deleted")
            samples = operator.count("metrics_samples")
            released.set()
            await until(lambda: operator.count("metrics_samples") > samples)
        assert (await operator.told(uid=uid))[-1]["type"] == "status"
