"""Records of rollouts on a real cluster: they tell what happened, outlive the operator and the pods, and go with their server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.e2e.acting import Object, User
from tests.e2e.installation import Installation
from tests.e2e.side_by_side import side_by_side
from tests.e2e.test_terminal import Person
from tests.waiting import until

MOST_BYTES = 16 * 1024


def records(user: User, server: str = "weather") -> Sequence[Object]:
    """The objects, the newest first."""
    held = user.list("mcpserverrollouts", selector=f"app.kubernetes.io/instance={server}")
    return sorted(held, key=lambda body: str(body["record"]["startedAt"]), reverse=True)


def outcomes(user: User, server: str = "weather") -> list[str | None]:
    return [body["record"].get("outcome") for body in records(user, server)]


def is_recorded(user: User, count: int) -> bool:
    """Whether there are records of so many rollouts, and all of these have succeeded."""
    return outcomes(user) == ["succeeded"] * count


async def listed(installed: Installation, user: User, server: str = "weather") -> Any:
    code, body = await installed.get_json(f"/api/servers/{user.namespace}:{server}/rollouts")
    assert code == 200, body
    return body["items"]


async def test_a_record_outlives_the_operator_that_began_it(user: User, installed: Installation) -> None:
    slow = [{"name": "START_DELAY_SECONDS", "value": "4"}]
    user.apply_server("weather", image=installed.sample, replicas=2)
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running", instances=2)
        user.patch_server("weather", {"image": installed.sample_next, "env": slow})
        started = await stream.until(lambda event: event["type"] == "progress" and event["percent"] >= 20)
        await until(lambda: outcomes(user) == [None, "succeeded"], "the rollout's record is there")
    before = records(user)[0]
    (running, _) = await listed(installed, user)
    assert (running["id"], running["outcome"], running["name"]) == (started["operation"], None, before["metadata"]["name"])
    await installed.kill_operator()
    async with installed.stream(user, "weather", since="earliest") as stream:
        ended = await stream.until(lambda event: event["type"] == "progress" and event["outcome"] is not None)
    await until(lambda: outcomes(user) == ["succeeded", "succeeded"], "the record tells of the end")
    after = records(user)[0]
    for name in ("name", "uid"):
        assert after["metadata"][name] == before["metadata"][name], "it is the same object"
    record = after["record"]
    assert (record["id"], record["startedAt"]) == (ended["operation"], before["record"]["startedAt"])
    pods = {pod["metadata"]["name"] for pod in user.pods("weather") if "deletionTimestamp" not in pod["metadata"]}
    assert {instance["name"] for instance in record["instances"]} == pods
    for instance in record["instances"]:
        assert instance["phases"]["ready"] >= 3, "a server that needs 4 s to start isn't ready before"
        assert instance["seconds"] == sum(instance["phases"].values())
    assert (record["before"], record["desired"], record["failures"]) == (2, 2, [])


@side_by_side
async def test_records_tell_what_went_wrong_are_limited_and_go_with_their_server(user: User, installed: Installation) -> None:
    person = Person(Path(installed.cluster.kubeconfig), user.namespace)
    user.apply_server("weather", image=installed.sample, rollout={"historyLimit": 3})
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running")
        user.patch_server("weather", {"image": "localhost/no:such", "imagePullPolicy": "Never"})
        await stream.until_status("failed", reason="ErrImageNeverPull")
        user.patch_server("weather", {"image": installed.sample, "imagePullPolicy": "IfNotPresent"})
        await stream.until_status("running")
        await until(lambda: outcomes(user)[:2] == ["succeeded", "superseded"], "both are recorded")
        broken = records(user)[1]["record"]
        assert [failure["reason"] for failure in broken["failures"]] == ["ErrImageNeverPull"]
        assert broken["failures"][0]["until"] >= broken["failures"][0]["since"]
        code, output, _ = await person.run("rollouts", "weather", "-n", user.namespace)
        assert code == 0
        assert [line.split()[1] for line in output.splitlines()[1:]] == ["rollout"] * 3
        assert "ErrImageNeverPull" in output
        short = records(user)[1]["metadata"]["name"].rpartition("-")[2]
        code, output, _ = await person.run("rollouts", "weather", short[:6], "-n", user.namespace)
        assert (code, output.splitlines()[0]) == (0, f"{user.namespace}/weather   rollout   {short}   superseded")
        code, output, _ = await person.run("rollouts", "weather", "-n", user.namespace, "--output", "json")
        assert json.loads(output)["items"] == await listed(installed, user)

        names = {body["metadata"]["name"] for body in records(user)}
        for count in (2, 1):
            user.scale("weather", count)
            await stream.until_status("running", instances=count)
        # Their Kubernetes Events and pods are gone by now, or will be; of the records the newest three are left.
        await until(lambda: len(records(user)) == 3 and outcomes(user) == ["succeeded"] * 3, "old records are deleted")
        assert [body["record"]["kind"] for body in records(user)] == ["scale", "scale", "rollout"]
        assert len(names & {body["metadata"]["name"] for body in records(user)}) == 1
        sizes = [len(json.dumps(body)) for body in records(user)]
        assert max(sizes) < MOST_BYTES
        user.delete("mcpserver", "weather")
        await until(lambda: not records(user), "the records went with their server")


@side_by_side
async def test_the_seconds_left_are_estimated_from_the_rollouts_before(user: User, installed: Installation) -> None:
    def version(number: int) -> dict[str, Any]:
        return {"env": [{"name": "START_DELAY_SECONDS", "value": "3"}, {"name": "VERSION", "value": str(number)}]}

    user.apply_server("weather", image=installed.sample, **version(0))
    told: list[list[float | None]] = []
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running")
        for number in (1, 2):
            await until(partial(is_recorded, user, number), "what was before is recorded")
            begin = len(stream.events)
            user.patch_server("weather", version(number))
            ended = await stream.until(lambda event: event["type"] == "progress" and event["outcome"] is not None)
            progress = [event for event in stream.up_to(ended)[begin:] if event["type"] == "progress"]
            told.append([event["remainingSeconds"] for event in progress])
            await stream.until_status("running")
    first, second = told
    assert set(first) == {None}, "nothing like it was ever seen"
    estimates = [seconds for seconds in second[:-1] if seconds is not None]
    assert estimates
    assert second[-1] is None
    assert all(seconds >= 0 for seconds in estimates)
