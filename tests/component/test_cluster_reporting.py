"""Status writes: what stands in the API server, after how many writes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.errors import ApiError
from mcp_operator.apiserver.kinds import MCP_SERVER
from mcp_operator.cluster.metrics import ClusterMetrics
from mcp_operator.cluster.reporting import Reporter
from mcp_operator.model.causes import Cause
from mcp_operator.model.operations import Operation, OperationKind
from mcp_operator.model.statuses import MCPServerStatus, Status
from tests.builders import mcpserver, uid
from tests.component.fake_api import FakeApi, running, serving, until
from tests.component.fake_objects import Object


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with serving() as api:
        yield api


@pytest.fixture
async def reporter(api: FakeApi) -> AsyncIterator[Reporter]:
    async with Api(load=api.configuration) as connection:
        reporter = Reporter(connection, metrics=ClusterMetrics(CollectorRegistry()))
        async with running(reporter.run()):
            yield reporter


def status(message: str = "as it should be", **fields: Any) -> MCPServerStatus:
    return MCPServerStatus(phase=Status.RUNNING, reason="Running", message=message, instances="1/1", selector="a=b", **fields)


def told(api: FakeApi, name: str = "weather") -> Object:
    held: Object = api.get("mcpservers", name).get("status") or {}
    return held


def writes(api: FakeApi) -> int:
    return len(api.received(plural="mcpservers", write=True))


async def test_of_many_reports_one_a_second_is_written_and_the_newest(api: FakeApi, reporter: Reporter) -> None:
    server = api.put("mcpservers", mcpserver())
    began = time.monotonic()
    async with Api(load=api.configuration) as pace:
        for number in range(30):
            reporter.report(server, status(f"report {number}"))
            await pace.get(MCP_SERVER, "default", "weather")
    await until(lambda: told(api).get("message") == "report 29")
    assert 2 <= writes(api) <= 1 + (time.monotonic() - began)


async def test_what_the_api_server_does_not_keep_is_not_written_for_ever(api: FakeApi, reporter: Reporter) -> None:
    api.pruned = {"endpoint"}
    server = api.put("mcpservers", mcpserver())
    await reporter.persist(server, status(endpoint="http://weather.default.svc:8080/mcp"))
    await reporter.persist(api.get("mcpservers", "weather"), status(endpoint="http://weather.default.svc:8080/mcp"))
    assert "endpoint" not in told(api)
    assert writes(api) == 1


async def test_what_stands_there_already_is_not_written(api: FakeApi, reporter: Reporter) -> None:
    server = api.put("mcpservers", mcpserver())
    await reporter.persist(server, status())
    reporter.report(server, status())
    reporter.report(api.get("mcpservers", "weather"), status())
    await reporter.persist(server, status())
    assert writes(api) == 1


async def test_what_someone_else_wrote_over_it_is_written_again(api: FakeApi, reporter: Reporter) -> None:
    server = api.put("mcpservers", mcpserver())
    await reporter.persist(server, status())
    edited = api.change("mcpservers", "weather", "status.message", "all lies", manager="kubectl")
    reporter.report(edited, status())
    await until(lambda: told(api)["message"] == "as it should be")


async def test_what_is_no_longer_so_is_taken_away(api: FakeApi, reporter: Reporter) -> None:
    server = api.put("mcpservers", mcpserver())
    now = datetime(2026, 11, 23, tzinfo=UTC)
    operation = Operation(
        id="uid-1", kind=OperationKind.ROLLOUT, percent=10, started_at=now, progressed_at=now, base_percent=0, base_work=7
    )
    cause = Cause(id="c", reason="Unschedulable", message="no node takes the pod", since=now)
    await reporter.persist(server, status(operation=operation, causes=(cause,)))
    assert told(api)["operation"]["percent"] == 10
    assert told(api)["causes"][0].items() >= {"id": "c", "reason": "Unschedulable"}.items()
    assert None not in told(api)["causes"][0].values()

    await reporter.persist(api.get("mcpservers", "weather"), status())
    assert "operation" not in told(api)
    assert told(api)["causes"] == []


async def test_a_newer_version_of_the_object_is_caught_up_with(api: FakeApi, reporter: Reporter) -> None:
    server = api.put("mcpservers", mcpserver())
    api.put("mcpservers", mcpserver("weather", spec={"replicas": 3}))
    await reporter.persist(server, status())
    assert told(api)["message"] == "as it should be"
    assert [request.body["metadata"]["resourceVersion"] for request in api.received(write=True)] == [
        server["metadata"]["resourceVersion"],
        str(int(server["metadata"]["resourceVersion"]) + 1),
    ]


async def test_another_object_of_the_name_is_never_written(api: FakeApi, reporter: Reporter) -> None:
    server = api.put("mcpservers", mcpserver())
    api.put("mcpservers", mcpserver("weather", uid("another")))
    with pytest.raises(ApiError, match="409"):
        await reporter.persist(server, status())
    assert told(api) == {}


async def test_a_server_that_is_gone_needs_no_status(api: FakeApi, reporter: Reporter) -> None:
    server = api.put("mcpservers", mcpserver())
    api.remove("mcpservers", "default", "weather")
    await reporter.persist(server, status())


async def test_a_status_that_cannot_be_written_now_is_an_error_for_who_waits_for_it(api: FakeApi, reporter: Reporter) -> None:
    server = api.put("mcpservers", mcpserver())
    api.fail(503, "ServiceUnavailable", method="PATCH")
    with pytest.raises(ApiError, match="503"):
        await reporter.persist(server, status())


async def test_a_status_that_is_refused_is_said_and_keeps_nobody_waiting(
    api: FakeApi, reporter: Reporter, caplog: pytest.LogCaptureFixture
) -> None:
    server = api.put("mcpservers", mcpserver())
    api.fail(422, "Invalid", "status.message: too long", method="PATCH")
    await reporter.persist(server, status())
    assert "The status of default/weather is refused" in caplog.text


async def test_a_report_is_tried_again_until_it_is_written(api: FakeApi, reporter: Reporter) -> None:
    server = api.put("mcpservers", mcpserver())
    api.fail(503, "ServiceUnavailable", times=2, method="PATCH")
    reporter.report(server, status())
    await until(lambda: told(api).get("message") == "as it should be")
