"""kopf as the trigger: it hears of MCPServers, and its end is never ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from mcp_operator.cluster.metrics import ClusterMetrics
from mcp_operator.cluster.triggering import Trigger
from tests.builders import having, mcpserver
from tests.component.fake_api import FakeApi, running, serving, until


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with serving() as api:
        yield api


@asynccontextmanager
async def triggering(api: FakeApi, *namespaces: str) -> AsyncIterator[tuple[set[tuple[str, int]], Callable[[], float]]]:
    """What was triggered, and how often kopf was started again."""
    heard: set[tuple[str, int]] = set()
    registry = CollectorRegistry()
    trigger = Trigger(
        namespaces=namespaces,
        load=api.configuration,
        on_change=lambda uid, generation: heard.add((uid, generation)),
        metrics=ClusterMetrics(registry),
    )
    async with running(trigger.run()):
        yield heard, lambda: registry.get_sample_value("mcp_operator_trigger_restarts_total") or 0


async def test_servers_that_are_there_and_each_edit_of_them_trigger(api: FakeApi) -> None:
    server = api.put("mcpservers", mcpserver())
    async with triggering(api) as (heard, _):
        await until(lambda: (server["metadata"]["uid"], 1) in heard)
        api.put("mcpservers", mcpserver("weather", spec={"replicas": 2}))
        await until(lambda: (server["metadata"]["uid"], 2) in heard)


async def test_only_the_chosen_namespaces_trigger(api: FakeApi) -> None:
    api.put("mcpservers", mcpserver("elsewhere", having("metadata.namespace", "other")))
    server = api.put("mcpservers", mcpserver())
    async with triggering(api, "default", "empty") as (heard, _):
        await until(lambda: bool(heard))
        assert heard == {(server["metadata"]["uid"], 1)}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b'{"type": "ERROR", "object": {"kind": "Status", "code": 500}}\n', id="an error line"),
        pytest.param(b"[" * 5000 + b"]" * 5000 + b"\n", id="a line that it can't read"),
    ],
)
async def test_when_kopf_ends_it_is_started_again_and_nothing_else_of_ours_ends(
    api: FakeApi, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with triggering(api) as (heard, restarts):
        await until(lambda: api.watching("mcpservers") == 1)
        stream = asyncio.create_task(asyncio.Event().wait())
        api.say(line, plural="mcpservers")
        await until(lambda: restarts() >= 1)
        server = api.put("mcpservers", mcpserver())
        await until(lambda: (server["metadata"]["uid"], 1) in heard)
        assert not stream.done(), "a task that was started after kopf"
        stream.cancel()
    assert "Watching MCPServers with kopf fails and is tried again" in caplog.text


@pytest.mark.parametrize("status", [403, 500, 503])
async def test_an_api_server_in_trouble_does_not_end_kopf(api: FakeApi, status: int) -> None:
    api.fail(status, times=4, plural="mcpservers", watch=False)
    server = api.put("mcpservers", mcpserver())
    async with triggering(api) as (heard, restarts):
        await until(lambda: (server["metadata"]["uid"], 1) in heard)
        assert restarts() == 0


async def test_an_outage_does_not_end_kopf(api: FakeApi) -> None:
    async with triggering(api) as (heard, restarts):
        await until(lambda: api.watching("mcpservers") == 1)
        await api.down()
        server = api.put("mcpservers", mcpserver())
        await api.up()
        await until(lambda: (server["metadata"]["uid"], 1) in heard)
        assert restarts() == 0


async def test_kopf_writes_nothing(api: FakeApi) -> None:
    api.put("mcpservers", mcpserver())
    async with triggering(api) as (heard, _):
        await until(lambda: bool(heard))
    assert api.received(write=True) == []
