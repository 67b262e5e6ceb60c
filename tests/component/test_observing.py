"""Servers that observe a workload of somebody else: what is read for them, when, and that nothing is ever written for them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mcp_operator.cluster import reflecting
from mcp_operator.rollout import tracing
from tests.builders import (
    Object,
    counting,
    deployment,
    having,
    observed,
    observer,
    pod,
    ready,
    replicaset,
    scheduled,
    started,
    stateful_pod,
    statefulset,
)
from tests.component.fake_api import FakeApi, serving, until
from tests.component.operating import apply_server, condition, operating, settle

REVISION = "maps-7d4b9"
GOING = "spec.workloadRef names the Deployment maps of this namespace, which is being deleted"
UNLABELLED = having("metadata.labels", {"app": "maps"})


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with serving() as api:
        yield api


def someones_set(api: FakeApi, *, instances: int = 1) -> Object:
    """A StatefulSet that runs, with its pods."""
    counts = counting(wanted=instances, updated=instances, ready=instances, available=instances)
    revisions = (having("status.updateRevision", REVISION), having("status.currentRevision", REVISION))
    for ordinal in range(instances):
        api.put("pods", stateful_pod(f"maps-{ordinal}", REVISION, scheduled(), started(), ready()))
    return api.put("statefulsets", statefulset("maps", counts, observed(1), *revisions))


def someones_deployment(api: FakeApi) -> Object:
    """A Deployment that runs, without our labels, with its ReplicaSet and its pod."""
    revision = having("metadata.labels", {"pod-template-hash": "7d4b9"})
    child = api.put("replicasets", replicaset("maps-7d4b9", revision))
    api.put("pods", pod("maps-7d4b9-0", revision, scheduled(), started(), ready()))
    not_ours = (UNLABELLED, having("metadata.ownerReferences", []), having("spec.template", child["spec"]["template"]))
    counts = counting(wanted=1, updated=1, ready=1, available=1)
    return api.put("deployments", deployment("maps", *not_ours, counts, observed(1)))


def written(api: FakeApi) -> set[str]:
    """What was written: kinds, and subresources of them."""
    return {f"{request.plural}/{request.subresource}".rstrip("/") for request in api.received(write=True)}


async def test_a_stateful_set_and_a_deployment_are_followed_and_nothing_is_written_but_the_servers_status(api: FakeApi) -> None:
    someones_deployment(api)
    api.put("mcpservers", observer("front", of=someones_set(api, instances=2)))
    async with operating(api) as operator:
        api.put("mcpservers", observer("maps"))
        await operator.tells("status", server="default/front", status="running", instances=2)
        await operator.tells("status", server="default/maps", status="running", instances=1)
        await until(lambda: all(condition(api, "Ready", name).get("status") == "True" for name in ("front", "maps")))
        changed = api.get("deployments", "maps")
        changed["spec"]["replicas"] = 2
        api.put("deployments", changed)
        await operator.tells("status", server="default/maps", desired=2)
    assert written(api) - {"mcpserverrollouts"} == {"mcpservers/status", "events"}


async def test_a_restarted_operator_is_ready_only_when_it_knows_the_workloads_of_others(api: FakeApi) -> None:
    api.put("mcpservers", observer("front", of=someones_set(api)))
    someones_deployment(api)
    api.put("mcpservers", observer("maps"))
    async with operating(api) as operator:
        told = {(event["server"], event["status"]) for event in await operator.told("status")}
        assert told == {("default/front", "running"), ("default/maps", "running")}


async def test_a_namespace_is_reflected_while_a_server_observes_a_workload_there_and_no_longer(api: FakeApi) -> None:
    someones_set(api)
    someones_deployment(api)
    async with operating(api) as operator:
        apply_server(api)
        await settle(api)
        await operator.tells("status", server="default/weather", status="running")
        assert not api.received(plural="statefulsets")

        for name, of in (("front", statefulset("maps")), ("maps", None)):
            api.put("mcpservers", observer(name, of=of))
            await operator.tells("status", server=f"default/{name}", status="running")
        await until(lambda: api.watching("statefulsets") == 1)
        api.remove("mcpservers", "default", "front")
        await operator.tells("status", server="default/front", status="deleted")
        assert api.watching("statefulsets") == 1
        api.remove("mcpservers", "default", "maps")
        await until(lambda: not api.watching("statefulsets") and api.watching("deployments") == api.watching("pods") == 1)

        api.put("mcpservers", observer("later", of=statefulset("maps")))
        await operator.tells("status", server="default/later", status="running")


async def test_of_a_workload_that_nobody_made_or_somebody_deleted_it_is_said_that_it_is_missing(api: FakeApi) -> None:
    async with operating(api) as operator:
        api.put("mcpservers", observer("maps"))
        await operator.tells("status", status="pending", reason="TargetNotFound")
        someones_deployment(api)
        await operator.tells("status", status="running")
        going = api.get("deployments", "maps")
        going["metadata"]["deletionTimestamp"] = "2026-11-23T09:00:00Z"
        api.put("deployments", going)
        await operator.tells("status", status="pending", message=GOING)


async def test_what_is_not_read_yet_is_not_told_as_missing(api: FakeApi) -> None:
    someones_deployment(api)
    async with operating(api) as operator:
        api.fail(500, plural="pods", watch=False, times=2)
        api.put("mcpservers", observer("maps"))
        await operator.tells("status", status="running")
        assert [event["reason"] for event in await operator.told("status")] == ["Running"]


async def test_of_a_kind_that_may_not_be_read_its_observers_say_so_and_nobody_else_waits(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reflecting, "_REFUSAL_SECONDS", 0.0)
    api.put("mcpservers", observer("front", of=someones_set(api)))
    someones_deployment(api)
    api.put("mcpservers", observer("maps"))
    refusal = api.fail(403, "Forbidden", "statefulsets.apps is forbidden", plural="statefulsets", times=10_000)
    rule = "{apiGroups: [apps], resources: [statefulsets], verbs: [list, watch]}"
    async with operating(api) as operator:  # it becomes ready
        assert (await operator.tells("status", server="default/maps"))["status"] == "running"
        told = await operator.tells("status", server="default/front", status="pending", reason="TargetForbidden")
        assert told["message"].endswith(rule)
        await until(lambda: condition(api, "Ready", "front").get("reason") == "TargetForbidden")
        assert rule in caplog.text
        refusal.times = 0
        await operator.tells("status", server="default/front", status="running")
        assert not [event for event in await operator.told("progress", server="default/front") if event["outcome"]]


async def test_a_permission_that_is_there_before_its_object_leads_to_a_missing_target(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reflecting, "_REFUSAL_SECONDS", 0.0)
    monkeypatch.setattr(tracing, "LASTING_SECONDS", 10_000)  # so that time alone leads to no look at it
    refusal = api.fail(403, "Forbidden", "no", plural="statefulsets", times=10_000)
    async with operating(api) as operator:
        api.put("mcpservers", observer("front", of=statefulset("maps")))
        await operator.tells("status", server="default/front", reason="TargetForbidden")
        refusal.times = 0
        await operator.tells("status", server="default/front", reason="TargetNotFound")


async def test_what_an_api_server_refuses_only_while_it_starts_is_waited_for(api: FakeApi) -> None:
    api.fail(403, "Forbidden", "not yet", plural="statefulsets", times=2)
    api.put("mcpservers", observer("front", of=someones_set(api)))
    async with operating(api) as operator:
        await operator.tells("status", server="default/front", status="running")
        assert [event["reason"] for event in await operator.told("status")] == ["Running"]
