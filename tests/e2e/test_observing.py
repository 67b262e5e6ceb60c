"""Workloads that somebody else owns: followed through everything that kubectl can do to them, and never written to.

They look as another operator leaves them: with its labels and a controller of its own kind.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from tests.e2e.acting import Object, User
from tests.e2e.installation import Installation
from tests.e2e.side_by_side import side_by_side
from tests.e2e.subscribing import EventJson, Subscriber
from tests.waiting import until


def workload(user: User, kind: str, image: str, **spec: Any) -> Object:
    """A workload called weather with two instances, as another operator makes it for an object of its own."""
    owner = user.get("configmap", "weather-owner")["metadata"]
    controller = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner["name"], "uid": owner["uid"], "controller": True}
    labels = {"app": f"weather-{kind.lower()}", "app.kubernetes.io/managed-by": "another-operator"}
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    container = {"name": "server", "image": image, "readinessProbe": probe, "imagePullPolicy": "IfNotPresent"}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "weather", "labels": labels, "ownerReferences": [controller]},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            **spec,
        },
    }


def observe(user: User, name: str, kind: str, **spec: Any) -> None:
    user.apply_server(
        name, workloadRef={"kind": kind, "name": "weather"}, metrics={"intervalSeconds": 1, "prometheus": {}}, **spec
    )


def managers(user: User, kind: str) -> set[str]:
    """Whoever has written to the workload."""
    shown = json.loads(user.run("get", kind, "weather", "--show-managed-fields", "--output=json"))
    return {entry["manager"] for entry in shown["metadata"]["managedFields"]}


def done(user: User, kind: str) -> bool:
    """Whether kubectl calls the workload's rollout done."""
    said = user.run("rollout", "status", f"{kind}/weather", "--watch=false")
    return "successfully rolled out" in said or "complete" in said


async def until_rolled_out(user: User, stream: Subscriber, kind: str, *, instances: int = 2) -> EventJson:
    """The end of a rollout and the status after it, when kubectl says the same."""
    end = await stream.until(lambda event: event["type"] == "progress" and event["outcome"] == "succeeded")
    await stream.until_status("running", instances=instances)
    assert (end["kind"], end["percent"], done(user, kind)) == ("rollout", 100, True)
    return end


async def until_cause(stream: Subscriber, reason: str) -> EventJson:
    """The first status that tells of a cause."""

    def tells(event: EventJson) -> bool:
        return event["type"] == "status" and any(cause["reason"] == reason for cause in event["causes"])

    event = await stream.until(tells)
    return next(cause for cause in event["causes"] if cause["reason"] == reason)


async def follow_a_deployment(user: User, installed: Installation) -> Sequence[EventJson]:
    observe(user, "front", "Deployment")
    async with installed.stream(user, "front") as stream:
        await stream.until_status("pending", reason="TargetNotFound")
        user.apply(workload(user, "Deployment", installed.sample))
        created = await until_rolled_out(user, stream, "deployment")
        assert created["operation"].startswith(user.get("deployment", "weather")["metadata"]["uid"])

        user.run("set", "image", "deployment/weather", f"server={installed.sample_next}")
        await until_rolled_out(user, stream, "deployment")
        user.run("set", "image", "deployment/weather", "server=registry.invalid/nobody/has:this")
        await until_cause(stream, "ImagePullBackOff")
        user.run("rollout", "undo", "deployment/weather")
        await stream.until(lambda event: event["type"] == "progress" and event["outcome"] == "superseded")
        await until_rolled_out(user, stream, "deployment")

        user.run("rollout", "pause", "deployment/weather")
        user.run("set", "env", "deployment/weather", "START_DELAY_SECONDS=1")
        await stream.until_status("deploying", reason="Paused")
        user.run("rollout", "resume", "deployment/weather")
        await until_rolled_out(user, stream, "deployment")
        user.run("rollout", "restart", "deployment/weather")
        await until_rolled_out(user, stream, "deployment")

        user.run("scale", "deployment", "weather", "--replicas=3")
        await stream.until_status("scaling")
        await stream.until_status("running", instances=3)
        assert managers(user, "deployment").isdisjoint({"mcp-operator"})
        user.delete("deployment", "weather")
        await stream.until_status("pending", reason="TargetNotFound")
        user.apply(workload(user, "Deployment", installed.sample))
        again = await until_rolled_out(user, stream, "deployment")
        assert again["operation"].rpartition("-")[0] != created["operation"].rpartition("-")[0]
        return stream.up_to(again)


async def follow_a_stateful_set(user: User, installed: Installation) -> Sequence[EventJson]:
    user.apply(workload(user, "StatefulSet", installed.sample, serviceName="weather"))
    observe(user, "store", "StatefulSet")
    async with installed.stream(user, "store") as stream:
        await stream.until_status("running", instances=2)
        measured = await stream.until(lambda event: event["type"] == "metrics" and event["requests"] is not None)
        assert {each["name"] for each in measured["perInstance"]} == {"weather-0", "weather-1"}

        user.run("set", "image", "statefulset/weather", f"server={installed.sample_next}")
        await until_rolled_out(user, stream, "statefulset")
        user.run("set", "env", "statefulset/weather", "CRASH_AT_START=no weather today")
        cause = await until_cause(stream, "CrashLoopBackOff")
        line = await stream.until(lambda event: event["type"] == "log" and event["previous"] and "no weather" in event["msg"])
        assert (cause["instance"], line["cause"], line["instance"]) == ("weather-1", cause["id"], "weather-1")
        user.run("rollout", "undo", "statefulset/weather")
        user.delete("pod", "weather-1")
        await until_rolled_out(user, stream, "statefulset")

        user.run("scale", "statefulset", "weather", "--replicas=1")
        await stream.until_status("scaling")
        last = await stream.until_status("running", instances=1)
        assert managers(user, "statefulset").isdisjoint({"mcp-operator"})
        return stream.up_to(last)


def rises(events: Sequence[EventJson]) -> bool:
    """Whether no operation's percent ever falls."""
    percents: dict[str, list[int]] = {}
    for event in events:
        if event["type"] == "progress":
            percents.setdefault(event["operation"], []).append(event["percent"])
    return all(told == sorted(told) for told in percents.values())


@side_by_side
async def test_what_kubectl_does_to_the_workloads_of_another_operator_is_told_and_nothing_is_written_to_them(
    user: User, installed: Installation
) -> None:
    user.run("create", "configmap", "weather-owner")
    async with asyncio.TaskGroup() as tasks:
        followed = [tasks.create_task(each(user, installed)) for each in (follow_a_deployment, follow_a_stateful_set)]
    assert all(rises(task.result()) for task in followed)
    assert [each["metadata"]["name"] for each in user.list("services")] == []

    versions = {kind: version_of(user, kind) for kind in ("deployment", "statefulset")}
    for name in ("front", "store"):
        user.patch_server(name, {"port": 9000})
        await until(partial(is_observed, user, name), f"the edit of {name} is seen")
        assert "endpoint" not in user.get("mcpserver", name)["status"]
        accepted = user.conditions(name)["Accepted"]
        assert accepted["message"].endswith("weather is observed, and never written to")
    assert {kind: version_of(user, kind) for kind in versions} == versions

    async with installed.stream(user, "store") as stream:
        user.delete("mcpserver", "store")
        await stream.until_status("deleted")
    assert not user.get("statefulset", "weather")["metadata"].get("deletionTimestamp")
    assert len(user.list("pods", selector="app=weather-statefulset")) == 1


def version_of(user: User, kind: str) -> str:
    return str(user.get(kind, "weather")["metadata"]["resourceVersion"])


def is_observed(user: User, name: str) -> bool:
    server: Mapping[str, Any] = user.get("mcpserver", name)
    return bool(server["status"]["observedGeneration"] == server["metadata"]["generation"])
