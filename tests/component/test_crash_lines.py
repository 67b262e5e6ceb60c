"""The last lines of crashed containers: which run's, when, and what happens where they can't be read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.kinds import DEPLOYMENT, MCP_SERVER, POD, REPLICA_SET, Kind
from mcp_operator.cluster.grouping import Families
from mcp_operator.cluster.metrics import ClusterMetrics
from mcp_operator.cluster.podlogs import crashing
from mcp_operator.cluster.podlogs.crashing import CrashReader
from mcp_operator.cluster.telling import Teller
from mcp_operator.cluster.watching import Change
from mcp_operator.eventlog.memory import MemoryLog
from tests.builders import (
    Modifier,
    condition,
    crashed,
    deployment,
    having,
    kubernetes_event,
    mcpserver,
    pod,
    ready,
    replicaset,
    started,
    waiting,
)
from tests.component.fake_api import FakeApi, running, serving, until
from tests.component.operating import Operator, apply_server, operating, settle
from tests.stories import Story
from tests.waiting import until as until_true

Object: TypeAlias = dict[str, Any]

POD_NAME = "weather-7d4b9-0"
LONG_AGO = "2020-01-01T00:00:00Z"
UNSETTLED = "2999-01-01T00:00:00Z"
"""Ready since then, an instance has not proved itself yet."""
ENDED = "2026-11-23T09:00:05Z"
CRASHED = crashed(3, finished=ENDED)
REMARK = "unable to retrieve container logs for containerd://7d97b9dfc6c5"
"""What kubelet says, with status 200, where the log of a dead run has been removed."""


def printed(*lines: str, second: int = 5) -> str:
    """A log as kubelet sends it with timestamps."""
    return "".join(f"2026-11-23T09:00:{second:02}.{number:09}Z {line}\n" for number, line in enumerate(lines))


class Logs:
    """What kubelet answers to requests for logs: of a pod's container, of its previous run or not; the last answer stays."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str, bool], list[str | int]] = {}
        self.open = asyncio.Event()
        self.open.set()
        self.asked: list[Object] = []

    def hold(self, *answers: str | int, previous: bool = False, instance: str = POD_NAME, container: str = "mcp") -> None:
        """Give these answers one after the other: a log, or the status of an error."""
        self.answers[instance, container, previous] = list(answers)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        instance, query = request.path.split("/")[-2], request.query
        self.asked.append({"instance": instance, **query})
        await self.open.wait()
        answers = self.answers.get((instance, query["container"], query["previous"] == "true"), [400])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, int):
            return web.json_response({"kind": "Status", "code": answer, "message": "as the test has ordered"}, status=answer)
        lines = answer.splitlines(keepends=True)
        return web.Response(body="".join(lines[-int(query["tailLines"]) :]).encode())


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with serving() as api:
        yield api


@pytest.fixture
def logs(api: FakeApi) -> Logs:
    logs = Logs()
    api.pod_log = logs.answer
    return logs


async def running_server(api: FakeApi, operator: Operator, **spec: Any) -> None:
    apply_server(api, **spec)
    await settle(api)
    await operator.tells("status", status="running")


def change_pod(api: FakeApi, *modifiers: Modifier, name: str = POD_NAME) -> None:
    body = api.get("pods", name)
    for modify in modifiers:
        modify(body)
    api.put("pods", body)


def crash(api: FakeApi, *, name: str = POD_NAME, restarts: int = 0, container: str = "mcp", then: Modifier | None = None) -> None:
    """A container ends with code 3; `then` is what becomes of it until anybody looks."""
    ended = crashed(3, restarts=restarts, container=container, finished=ENDED)
    change_pod(api, ended, *([then] if then else []), condition("Ready", "False"), name=name)


async def causes_told(operator: Operator, *, state: str = "active", times: int = 1, **payload: Any) -> None:
    """Wait for so many statuses with these fields that name a cause in this state."""

    async def are_told() -> bool:
        told = await operator.told("status", **payload)
        return sum(any(cause["state"] == state for cause in event["causes"]) for event in told) >= times

    await until_true(are_told, f"{times} statuses with a cause that is {state}, {payload}")


async def lines_told(operator: Operator, last: str) -> list[Object]:
    """All lines told so far, once this one is among them."""
    await operator.tells("log", msg=last)
    return await operator.told("log")


async def test_a_crash_is_told_with_its_cause_and_then_its_last_twenty_lines(api: FakeApi, logs: Logs) -> None:
    async with operating(api) as operator:
        await running_server(api, operator)
        logs.hold(printed(*(f"step {number}" for number in range(1, 30)), "ValueError: no such city"))
        crash(api)
        lines = await lines_told(operator, "ValueError: no such city")
        events = await operator.told()
    told = next(event for event in events if event["type"] == "status" and event["causes"])
    (cause,) = told["causes"]
    assert [line["msg"] for line in lines] == [*(f"step {number}" for number in range(11, 30)), "ValueError: no such city"]
    assert {(line["previous"], line["cause"], line["instance"], line["container"]) for line in lines} == {
        (True, cause["id"], POD_NAME, "mcp")
    }
    assert lines[-1]["level"] == "error"
    assert lines[-1]["timestamp"] == "2026-11-23T09:00:05.000000029Z"
    (asked,) = logs.asked
    assert (asked["tailLines"], asked["timestamps"], "follow" in asked) == ("20", "true", False)
    assert events.index(told) < events.index(lines[0])


@pytest.mark.parametrize(
    ("then", "previous"),
    [(None, False), (waiting("CrashLoopBackOff", restarts=1), True), (started(restarts=1), True)],
    ids=["terminated", "waiting", "running again"],
)
async def test_the_dead_run_is_read_whatever_has_become_of_the_container(
    api: FakeApi, logs: Logs, then: Modifier | None, previous: bool
) -> None:
    async with operating(api) as operator:
        await running_server(api, operator)
        logs.hold(printed("of another run"), previous=not previous)
        logs.hold(printed("of the run that died"), previous=previous)
        crash(api, then=then)
        assert [line["msg"] for line in await lines_told(operator, "of the run that died")] == ["of the run that died"]


@pytest.mark.parametrize(
    "first",
    [REMARK, printed("the end") + REMARK, "", printed("of the next run", second=6), 400, 404, 500],
    ids=["removed", "removed while read", "nothing yet", "of the next run", "400", "404", "500"],
)
async def test_what_can_not_be_the_dead_runs_log_is_read_again(api: FakeApi, logs: Logs, first: str | int) -> None:
    async with operating(api) as operator:
        await running_server(api, operator)
        logs.hold(first, printed("the end"))
        crash(api)
        assert [line["msg"] for line in await lines_told(operator, "the end")] == ["the end"]
        assert len(logs.asked) == 2


async def test_a_run_that_begins_while_the_dead_ones_log_is_read_is_not_taken_for_it(api: FakeApi, logs: Logs) -> None:
    async with operating(api) as operator:
        await running_server(api, operator)
        logs.hold(printed("of the next run"))
        logs.hold(printed("of the run that died"), previous=True)
        logs.open.clear()
        crash(api)
        await until(lambda: bool(logs.asked))
        change_pod(api, started(restarts=1), ready(UNSETTLED))
        await causes_told(operator, instances=1)
        logs.open.set()
        assert [line["msg"] for line in await lines_told(operator, "of the run that died")] == ["of the run that died"]


async def test_a_container_that_printed_nothing_is_asked_until_that_is_certain(api: FakeApi, logs: Logs) -> None:
    async with operating(api) as operator:
        await running_server(api, operator)
        logs.hold("")
        logs.hold("", previous=True)
        crash(api)
        await until(lambda: bool(logs.asked))
        change_pod(api, waiting("CrashLoopBackOff", restarts=0))
        await until(lambda: operator.count("crashes_read", result="empty") == 1)
        assert logs.asked[0]["previous"] == "false"
        assert logs.asked[-1]["previous"] == "true", "an empty log of a run that is still there could be the next run's"
        assert await operator.told("log") == []


async def test_restarts_are_not_told_again_but_the_same_crash_after_a_recovery_is(api: FakeApi, logs: Logs) -> None:
    async with operating(api) as operator:
        await running_server(api, operator)
        logs.hold(printed("first"))
        crash(api)
        await lines_told(operator, "first")
        logs.hold(printed("second"))
        change_pod(api, started(restarts=1), ready(UNSETTLED))
        await causes_told(operator, instances=1)
        crash(api, restarts=1)
        await causes_told(operator, instances=0, times=2)
        change_pod(api, started(restarts=2), ready(LONG_AGO))
        await causes_told(operator, state="recovered")
        logs.hold(printed("third"))
        crash(api, restarts=2)
        assert [line["msg"] for line in await lines_told(operator, "third")] == ["first", "third"]


async def test_a_restarted_operator_tells_the_lines_again_under_the_same_keys(api: FakeApi, logs: Logs) -> None:
    logs.hold(printed("first", "second") + printed("printed with the first"), previous=True)
    async with operating(api) as operator:
        await running_server(api, operator)
        crash(api, then=waiting("CrashLoopBackOff", restarts=1))
        await until(lambda: operator.count("crashes_read", result="told") == 1)
        before = await operator.told("log")
        await until(lambda: bool(api.get("mcpservers", "weather")["status"].get("causes")))
    async with operating(api) as operator:
        await until(lambda: operator.count("crashes_read", result="told") == 1)
        after = await operator.told("log")
    assert [line["key"] for line in after] == [line["key"] for line in before]
    assert [line["msg"] for line in after] == ["first", "second", "printed with the first"]
    assert len({line["key"] for line in after}) == 3


async def test_the_lines_are_those_of_the_instance_that_the_cause_names(api: FakeApi, logs: Logs) -> None:
    async with operating(api) as operator:
        await running_server(api, operator, replicas=3)
        logs.hold(printed("sound"))
        logs.hold(printed("dying"), instance="weather-7d4b9-1")
        crash(api, name="weather-7d4b9-1")
        assert [line["instance"] for line in await lines_told(operator, "dying")] == ["weather-7d4b9-1"]
        assert {asked["instance"] for asked in logs.asked} == {"weather-7d4b9-1"}


async def test_an_instance_that_goes_before_it_is_read_leaves_the_word_to_the_next(api: FakeApi, logs: Logs) -> None:
    async with operating(api) as operator:
        await running_server(api, operator, replicas=2)
        logs.hold(404)
        logs.hold(printed("dying"), instance="weather-7d4b9-1")
        crash(api)
        await until(lambda: bool(logs.asked))
        crash(api, name="weather-7d4b9-1")
        api.remove("pods", "default", POD_NAME)
        assert [line["instance"] for line in await lines_told(operator, "dying")] == ["weather-7d4b9-1"]


async def test_a_crashed_init_container_is_read_too(api: FakeApi, logs: Logs) -> None:
    async with operating(api) as operator:
        await running_server(api, operator)
        logs.hold(printed("no table"), container="migrate")
        ended = {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": ENDED, "containerID": "containerd://1"}}
        status = {"name": "migrate", "state": ended, "restartCount": 0, "ready": False, "image": "", "imageID": ""}
        spec = having("spec.initContainers", [{"name": "migrate", "image": "registry.example/migrate:1.0"}])
        change_pod(api, spec, having("status.initContainerStatuses", [status]), condition("Ready", "False"))
        assert [line["container"] for line in await lines_told(operator, "no table")] == ["migrate"]


async def test_a_probe_that_fails_and_ends_its_container_later_brings_the_lines_then(api: FakeApi, logs: Logs) -> None:
    probe = {"name": "mcp", "startupProbe": {"periodSeconds": 1, "failureThreshold": 1}}
    async with operating(api) as operator:
        await running_server(api, operator)
        told = kubernetes_event("Unhealthy", "Startup probe failed: no answer", about=api.get("pods", POD_NAME))
        api.put("events", told)
        unready = condition("Ready", "False", "ContainersNotReady")
        change_pod(api, having("spec.containers", [probe]), started(), unready)
        change_pod(
            api,
            having(
                "status.containerStatuses", [{**api.get("pods", POD_NAME)["status"]["containerStatuses"][0], "started": False}]
            ),
        )
        await causes_told(operator)
        logs.hold(printed("waiting for the database"))
        crash(api)
        (line,) = await lines_told(operator, "waiting for the database")
        statuses = await operator.told("status")
    told_of_it = [(cause["reason"], cause["exitCode"], cause["id"]) for event in statuses for cause in event["causes"]]
    assert [each[:2] for each in told_of_it] == [("StartupProbeFailed", None), ("StartupProbeFailed", 3)]
    assert {each[2] for each in told_of_it} == {line["cause"]}


async def test_lines_are_read_in_the_format_of_the_spec(api: FakeApi, logs: Logs) -> None:
    line = '{"level":"error","msg":"no answer","city":"Berlin"}'
    async with operating(api) as operator:
        await running_server(api, operator, logs={"format": "text"})
        logs.hold(printed(line))
        crash(api)
        (told,) = await lines_told(operator, line)
        assert told["fields"] is None


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([f"{number:02}" + "x" * 4094 for number in range(20)], [f"{number:02}" for number in range(16, 20)]),
        (["first", "y" * 20_000], ["yy"]),
    ],
    ids=["many long ones", "one that is too long"],
)
async def test_the_lines_of_a_crash_are_bounded_together(api: FakeApi, logs: Logs, lines: list[str], told: list[str]) -> None:
    async with operating(api) as operator:
        await running_server(api, operator)
        logs.hold(printed(*lines))
        crash(api)
        await until(lambda: operator.count("crashes_read", result="told") == 1)
        events = await operator.told("log")
    assert [event["msg"][:2] for event in events] == told
    assert sum(len(event["msg"].encode()) for event in events) <= 16 * 1024
    assert events[-1]["truncated"] is (told == ["yy"])


async def test_a_log_that_does_not_come_delays_nothing_and_is_asked_for_again(
    api: FakeApi, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crashing, "_READ_SECONDS", 0.1)
    async with operating(api) as operator:
        await running_server(api, operator)
        logs.hold(printed("the end"))
        logs.open.clear()
        crash(api)
        await until(lambda: len(logs.asked) >= 2)
        change_pod(api, started(restarts=1), ready(LONG_AGO))
        await causes_told(operator, state="recovered")
        crash(api, restarts=1)
        await causes_told(operator, instances=0, times=2)
        logs.open.set()
        await lines_told(operator, "the end")


class Reader:
    """A CrashReader with what it needs; the test plays the observer."""

    def __init__(self, client: Api, *, tries: int) -> None:
        self.families = Families()
        self.log = MemoryLog(capacity=100)
        self.registry = CollectorRegistry()
        self.reader = CrashReader(
            client, self.families, teller=Teller(self.families, log=self.log), metrics=ClusterMetrics(self.registry), tries=tries
        )

    def see(self, server: str, trouble: Modifier) -> Story:
        """A server whose only instance, `<server>-7d4b9-0`, has a trouble."""
        parts: dict[Kind, Object] = {
            MCP_SERVER: mcpserver(server),
            DEPLOYMENT: deployment(server),
            REPLICA_SET: replicaset(f"{server}-7d4b9"),
            POD: pod(f"{server}-7d4b9-0", trouble),
        }
        for kind, body in parts.items():
            self.families.take(kind, Change(old=None, new=body))
        story = Story(server)
        story.see(
            at=1, server=mcpserver(server), deployment=parts[DEPLOYMENT], replica_sets=[parts[REPLICA_SET]], pods=[parts[POD]]
        )
        self.reader.evaluated(None, story.state)
        return story

    def count(self, result: str) -> float:
        return self.registry.get_sample_value("mcp_operator_crashes_read_total", {"result": result}) or 0


async def test_troubles_that_are_no_crash_have_no_lines(api: FakeApi, logs: Logs) -> None:
    logs.hold(printed("the end"), instance="dying-7d4b9-0")
    async with Api(load=api.configuration) as client:
        crashes = Reader(client, tries=1)
        assert crashes.see("pulling", waiting("ErrImagePull", "not found")).causes
        crashes.see("dying", CRASHED)
        async with running(crashes.reader.run()):
            await until(lambda: crashes.count("told") == 1)
    assert crashes.count("failed") == 0


async def test_a_cause_that_is_over_before_it_is_read_is_still_explained(api: FakeApi, logs: Logs) -> None:
    logs.hold(printed("the end"))
    async with Api(load=api.configuration) as client:
        crashes = Reader(client, tries=1)
        story = crashes.see("weather", CRASHED)
        before = story.state
        crashes.reader.evaluated(before, story.see(at=2, pods=(pod(POD_NAME, started(), ready(LONG_AGO)),)))
        assert not story.causes
        async with running(crashes.reader.run()):
            await until(lambda: crashes.count("told") == 1)
    assert crashes.log.head.seq == 1


async def test_lines_that_went_with_their_instance_are_given_up_at_once(api: FakeApi, logs: Logs) -> None:
    async with Api(load=api.configuration) as client:
        crashes = Reader(client, tries=1000)
        story = crashes.see("weather", CRASHED)
        before = story.state
        crashes.families.take(POD, Change(old=story.observation.pods[0], new=None))
        crashes.reader.evaluated(before, story.see(at=2, pods=()))
        async with running(crashes.reader.run()):
            await until(lambda: crashes.count("failed") == 1)
    assert logs.asked == []


async def test_more_crashes_than_can_wait_are_given_up(api: FakeApi, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crashing, "_WAITING", 1)
    logs.hold(printed("the end"), instance="first-7d4b9-0")
    async with Api(load=api.configuration) as client:
        crashes = Reader(client, tries=1)
        for server in ("first", "second"):
            crashes.see(server, CRASHED)
        assert crashes.count("failed") == 1
        async with running(crashes.reader.run()):
            await until(lambda: crashes.count("told") == 1)
    assert {asked["instance"] for asked in logs.asked} == {"first-7d4b9-0"}


async def test_a_log_that_can_not_be_read_is_given_up_and_told_to_the_operators_own(
    api: FakeApi, logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    logs.hold(REMARK)
    async with Api(load=api.configuration) as client:
        crashes = Reader(client, tries=2)
        crashes.see("weather", CRASHED)
        with caplog.at_level(logging.WARNING):
            async with running(crashes.reader.run()):
                await until(lambda: crashes.count("failed") == 1)
    assert len(logs.asked) == 2
    assert crashes.log.head.seq == 0
    title = f"default/weather (container mcp of {POD_NAME})"
    assert [record.getMessage() for record in caplog.records] == [f"The last lines of a crash of {title} can't be read: {REMARK}"]
