"""Bad days: the watch is cut, the operator is killed, the API server is killed. Nothing false is told, and nothing is lost."""

import asyncio
from functools import partial

from tests.e2e.acting import User
from tests.e2e.installation import Installation
from tests.e2e.side_by_side import side_by_side
from tests.waiting import until


def is_ready(user: User, name: str) -> bool:
    return bool(user.conditions(name).get("Ready", {}).get("status") == "True")


async def test_what_is_deleted_while_the_watch_was_cut_is_noticed(user: User, installed: Installation) -> None:
    for name in ("pod-loss", "child-loss", "server-loss"):
        user.apply_server(name, image=installed.sample)
    async with installed.cluster_stream(user) as stream:
        for name in ("pod-loss", "child-loss", "server-loss"):
            await until(partial(is_ready, user, name), f"{name} is ready")
        gone = user.get("mcpserver", "server-loss")["metadata"]["uid"]
        (pod,) = user.pods("pod-loss")
        deployment = user.get("deployment", "child-loss")["metadata"]["uid"]

        async with installed.watch_cut():
            user.run("delete", "pod", pod["metadata"]["name"], "--wait=false", "--grace-period=1")
            user.run("delete", "deployment", "child-loss", "--wait=false")
            user.run("delete", "mcpserver", "server-loss", "--wait=false")
            await until(lambda: not user.find("deployment", "server-loss"), "the garbage collector took the children")
            await until(lambda: not user.pods("server-loss"), "the last instance is gone")
            # A new API server has no history: the operator can't resume its watches and must list again.
            installed.cluster.kill("kube-apiserver")
            await until(installed.api_ready, "the API server is back")

        await stream.until(lambda e: e["server"].endswith("/server-loss") and e.get("status") == "deleted")
        assert any(event["uid"] == gone and event.get("status") == "deleted" for event in stream.events)
        await until(
            lambda: (user.find("deployment", "child-loss") or {}).get("metadata", {}).get("uid", deployment) != deployment,
            "a new Deployment",
        )
        for name in ("pod-loss", "child-loss"):
            user.run("wait", "--for=condition=Ready", f"mcpserver/{name}", "--timeout=180s")
    known = {(await installed.get_json(f"/api/servers/{user.namespace}:{name}"))[0] for name in ("pod-loss", "child-loss")}
    assert known == {200}


async def test_an_operator_killed_in_a_rollout_goes_on_with_the_same_operation(user: User, installed: Installation) -> None:
    slow = [{"name": "START_DELAY_SECONDS", "value": "5"}]
    user.apply_server("weather", image=installed.sample, replicas=3)
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running", instances=3)
        user.patch_server("weather", {"image": installed.sample_next, "env": slow})
        started = await stream.until_status("deploying")
        before = await stream.until(lambda event: event["type"] == "progress" and event["percent"] >= 30)
    await installed.kill_operator()
    async with installed.stream(user, "weather", since="earliest") as stream:
        after = await stream.until(lambda event: event["type"] == "progress")
        ended = await stream.until(lambda event: event["type"] == "progress" and event["outcome"] is not None)
        await stream.until_status("running", instances=3)
    told = [event["percent"] for event in stream.events if event["type"] == "progress"]
    assert after["operation"] == started["operation"]
    assert after["percent"] >= before["percent"], "a restart must not lower the percent"
    assert told == sorted(told)
    assert (ended["operation"], ended["outcome"]) == (started["operation"], "succeeded")


async def test_what_happened_while_the_operator_was_away_is_told_once_and_marked(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample, replicas=1)
    user.run("wait", "--for=condition=Ready", "mcpserver/weather", "--timeout=180s")
    async with installed.operator_stopped():
        user.run("scale", "deployment", "weather", "--replicas=0")
        await until(lambda: not user.pods("weather"), "no instance is left")
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running", instances=1)
        late = [event for event in stream.events if event.get("late")]
    assert len(late) <= 3
    assert len({event["key"] for event in stream.events if not event.get("snapshot")}) == len(
        [event for event in stream.events if not event.get("snapshot")]
    )


async def test_the_api_server_killed_and_back_leaves_streams_open_and_truth_right(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample)
    async with installed.stream(user, "weather") as by_name, installed.cluster_stream(user) as of_cluster:
        await by_name.until_status("running")
        installed.cluster.kill("kube-apiserver")
        await until(installed.api_ready, "the API server is back", every=0.05)
        user.scale("weather", 2)
        # What the operator itself does; the controllers of Kubernetes take their own time to come back.
        await by_name.until(lambda event: event["type"] == "status" and event["desired"] == 2)
        await until(lambda: user.get("deployment", "weather")["spec"]["replicas"] == 2, "the Deployment is scaled")
        await asyncio.gather(*(stream.until_status("running", instances=2) for stream in (by_name, of_cluster)))
        assert not by_name.ended
        assert not of_cluster.ended
        assert [frame["type"] for frame in by_name.control].count("hello") == 1, "the very same response went on"


@side_by_side
async def test_a_pod_that_is_killed_is_told_as_degraded_and_then_running(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample, replicas=2)
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running", instances=2)
        (victim, _) = user.pods("weather")
        user.run("delete", "pod", victim["metadata"]["name"], "--wait=false")
        degraded = await stream.until_status("degraded", instances=1)
        assert degraded["operation"] is None
        await stream.until_status("running", instances=2)


@side_by_side
async def test_a_subscriber_that_disappears_costs_the_others_nothing(user: User, installed: Installation) -> None:
    async with installed.cluster_stream(user) as staying:
        for _ in range(20):
            async with installed.cluster_stream(user):
                pass
        user.apply_server("weather", image=installed.sample)
        await staying.until_status("running")
        assert not staying.ended
