"""From changes in the API server to events in the log, over outages, restarts and re-created servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from mcp_operator.cluster.telling import Teller
from mcp_operator.model.events import Event, ProgressPayload
from tests.builders import autoscaler, having, kubernetes_event, mcpserver, waiting
from tests.builders import condition as condition_of_pod
from tests.component.fake_api import FakeApi, serving, until
from tests.component.operating import Operator, apply_server, begin, condition, delete_server, operating, settle


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with serving() as api:
        yield api


async def running_server(api: FakeApi, operator: Operator) -> str:
    """The UID of a server that was made and now runs."""
    uid: str = apply_server(api)["metadata"]["uid"]
    await operator.tells("progress", uid=uid, outcome=None)
    await settle(api)
    await operator.tells("status", uid=uid, status="running")
    await until(lambda: condition(api, "Ready").get("status") == "True")
    return uid


async def test_the_life_of_a_server_is_told_in_order(api: FakeApi) -> None:
    async with operating(api) as operator:
        uid = apply_server(api)["metadata"]["uid"]
        await operator.tells("progress", uid=uid, outcome=None)
        begin(api)
        await operator.tells("status", status="deploying")
        await settle(api)
        await operator.tells("status", status="running")
        delete_server(api)
        await operator.tells("status", status="terminating")
        api.remove("pods", "default", "weather-7d4b9-0")
        await operator.tells("status", status="deleted")
        statuses = [event["status"] for event in await operator.told("status")]
        progress = await operator.told("progress")
        assert {event["uid"] for event in await operator.told()} == {uid}
    assert list(dict.fromkeys(statuses)) == ["pending", "deploying", "running", "terminating", "deleted"]
    assert statuses.count("deleted") == 1
    assert [event["outcome"] for event in progress if event["outcome"]] == ["succeeded"]


async def test_a_warning_about_an_autoscaler_is_told_with_its_server(api: FakeApi) -> None:
    scaler = autoscaler("weather")
    async with operating(api) as operator:
        uid = await running_server(api, operator)
        api.put("horizontalpodautoscalers", scaler)
        api.put("events", kubernetes_event("FailedGetResourceMetric", "did not receive metrics", about=scaler))
        told = await operator.tells("kubernetes", uid=uid)
    assert (told["kind"], told["name"], told["reason"]) == ("HorizontalPodAutoscaler", "weather", "FailedGetResourceMetric")


async def test_a_cause_is_told_with_its_instance(api: FakeApi) -> None:
    async with operating(api) as operator:
        await running_server(api, operator)
        body = api.get("pods", "weather-7d4b9-0")
        waiting("ErrImagePull", 'failed to pull "registry.example/weather:1.0": not found')(body)
        condition_of_pod("Ready", "False")(body)
        api.put("pods", body)
        told = await operator.tells("status", status="degraded")
        assert [cause["instance"] for cause in told["causes"]] == ["weather-7d4b9-0"]


async def test_the_start_of_an_operation_is_in_the_status_before_it_is_told(api: FakeApi) -> None:
    async with operating(api) as operator:
        await running_server(api, operator)
        before = len(await operator.told("progress"))
        fault = api.fail(503, "ServiceUnavailable", times=1000, plural="mcpservers", method="PATCH")
        apply_server(api, replicas=2)
        await until(lambda: fault.times < 998)
        assert len(await operator.told("progress")) == before, "not told before it is written"
        fault.times = 0
        told = await operator.tells("progress", kind="scale")
        written = [
            request.body["status"]["operation"]["id"]
            for request in api.received(plural="mcpservers", write=True)
            if request.body["status"].get("operation")
        ]
        assert told["operation"] in written


async def test_a_restarted_operator_goes_on_with_the_same_operation(api: FakeApi) -> None:
    async with operating(api) as operator:
        await running_server(api, operator)
        apply_server(api, replicas=3)
        started = await operator.tells("progress", kind="scale", outcome=None)
    async with operating(api) as operator:
        first = (await operator.told("progress"))[0]
        assert first["operation"] == started["operation"]
        assert first["percent"] >= started["percent"]
        await settle(api)
        ended = await operator.tells("progress", outcome="succeeded")
        assert ended["operation"] == started["operation"]


async def test_what_ended_while_the_operator_was_away_is_told_as_late(api: FakeApi) -> None:
    async with operating(api) as operator:
        await running_server(api, operator)
        apply_server(api, replicas=2)
        started = await operator.tells("progress", kind="scale", outcome=None)
        await until(lambda: api.get("deployments", "weather")["spec"]["replicas"] == 2)
    await settle(api)
    async with operating(api) as operator:
        ended = await operator.tells("progress", outcome="succeeded")
        assert ended["operation"] == started["operation"]
        assert ended["late"] is True


async def test_a_server_deleted_in_an_outage_is_noticed_and_the_outage_ends_nothing(api: FakeApi) -> None:
    async with operating(api) as operator:
        uid = await running_server(api, operator)
        await api.down()
        await until(lambda: operator.count("relists", kind="Pod", reason="Unreachable") >= 3)
        delete_server(api)
        api.remove("pods", "default", "weather-7d4b9-0")
        await api.up()
        await operator.tells("status", uid=uid, status="deleted")
        await running_server(api, operator)


async def test_a_server_created_again_at_once_is_another_server(api: FakeApi) -> None:
    async with operating(api) as operator:
        first = await running_server(api, operator)
        delete_server(api)
        second: str = apply_server(api)["metadata"]["uid"]
        await operator.tells("status", uid=second, status="pending")
        api.remove("pods", "default", "weather-7d4b9-0")
        await operator.tells("status", uid=first, status="deleted")
        await settle(api, revision="second")
        await operator.tells("status", uid=second, status="running")
        assert {event["uid"] for event in await operator.told(server="default/weather")} == {first, second}


async def test_the_log_tells_of_every_server_before_the_operator_counts_as_synced(api: FakeApi) -> None:
    for number in range(40):
        api.put("mcpservers", mcpserver(f"server-{number}"))
    async with operating(api) as operator:
        assert len({event["uid"] for event in await operator.told("status")}) == 40


async def test_a_server_that_cannot_be_evaluated_leaves_the_others_alone(api: FakeApi, caplog: pytest.LogCaptureFixture) -> None:
    api.put("mcpservers", mcpserver("broken", having("spec", None)))
    async with operating(api) as operator:
        await running_server(api, operator)
    assert "evaluating default/broken failed" in caplog.text


async def test_big_steps_are_recorded_as_kubernetes_events_once(api: FakeApi) -> None:
    def recorded() -> list[str]:
        return [event["reason"] for event in api.objects["events"].values()]

    async with operating(api) as operator:
        await running_server(api, operator)
        await until(lambda: "RolloutSucceeded" in recorded())
    assert recorded() == ["Created", "RolloutStarted", "RolloutSucceeded"]
    async with operating(api) as operator:
        await operator.tells("status", status="running")
        apply_server(api, replicas=0)
        await operator.tells("progress", kind="scale", outcome=None)
        await settle(api)
        # Which of the last two is first depends on whether the Deployment or its pod is heard of first.
        await until(lambda: len(recorded()) >= 6)
    assert recorded()[3] == "ScalingStarted"
    assert sorted(recorded()[4:]) == ["ScalingSucceeded", "Stopped"]


@pytest.mark.parametrize(
    ("status", "reason"),
    [(429, "TooManyRequests"), (500, "InternalError"), (502, "Bad Gateway"), (503, "ServiceUnavailable"), (504, "Timeout")],
)
async def test_an_api_server_that_answers_with_errors_for_a_while_leaves_state_right(
    api: FakeApi, status: int, reason: str
) -> None:
    async with operating(api) as operator:
        doomed = await running_server(api, operator)
        apply_server(api, "kept")
        await settle(api, "kept")
        await operator.tells("status", server="default/kept", status="running")
        fault = api.fail(status, reason, times=10**6)
        api.end_watches()
        delete_server(api)
        api.remove("pods", "default", "weather-7d4b9-0")
        apply_server(api, "kept", replicas=2)
        await until(lambda: operator.count("relists", kind="Pod", reason=reason) >= 2)
        assert not await operator.told("status", uid=doomed, status="deleted")
        fault.times = 0
        await operator.tells("status", uid=doomed, status="deleted")
        await until(lambda: api.get("deployments", "kept")["spec"]["replicas"] == 2)
        await settle(api, "kept")
        await operator.tells("status", server="default/kept", status="running", instances=2)


async def test_an_end_that_a_killed_operator_wrote_and_did_not_tell_is_told_by_the_next(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = asyncio.Event()

    async def never_told(_: Teller, event: Event, **__: object) -> None:
        if isinstance(event.payload, ProgressPayload) and event.payload.outcome is not None:
            told.set()
            await asyncio.Event().wait()  # until it is killed

    async with operating(api) as operator:
        apply_server(api)
        started = await operator.tells("progress", kind="rollout", outcome=None)
        with monkeypatch.context() as patched:
            patched.setattr(Teller, "tell", never_told)
            await settle(api)
            await told.wait()
    written = api.get("mcpservers", "weather")["status"]
    assert written["untold"] == [f"{started['operation']}/succeeded"]
    assert "operation" not in written
    async with operating(api) as operator:
        (ended,) = await operator.told("progress")
        assert (ended["operation"], ended["outcome"], ended["percent"]) == (started["operation"], "succeeded", 100)
        assert ended["key"] == f"{ended['uid']}/{ended['operation']}/succeeded"
        assert ended["late"] is True
        await until(lambda: api.get("mcpservers", "weather")["status"]["untold"] == [])
    async with operating(api) as operator:
        assert not await operator.told("progress")
