"""The main job: a person applies, scales, changes, breaks, repairs and deletes a server, and a subscriber is told all of it."""

import asyncio
from collections import defaultdict
from itertools import pairwise

from tests.e2e.acting import User
from tests.e2e.installation import Installation
from tests.e2e.side_by_side import side_by_side
from tests.e2e.subscribing import EventJson, Subscriber


def percents(events: list[EventJson], *, kind: str) -> list[int]:
    """The percents that operations of a kind told, in order."""
    return [event["percent"] for event in events if event["type"] == "progress" and event["kind"] == kind]


@side_by_side
async def test_a_server_lives_from_apply_to_delete(user: User, installed: Installation) -> None:
    async with installed.cluster_stream(user) as stream:
        user.apply_server("weather", image=installed.sample)
        created = await stream.until_status("deploying")
        assert created["server"] == f"{user.namespace}/weather"
        running = await stream.until_status("running", instances=1, desired=1)
        assert running["causes"] == []
        assert running["operation"] is None

        user.scale("weather", 3)
        await stream.until_status("scaling", desired=3)
        ended = await stream.until(lambda event: event["type"] == "progress" and event["outcome"] is not None)
        assert (ended["kind"], ended["outcome"], ended["percent"], ended["desired"]) == ("scale", "succeeded", 100, 3)
        await stream.until_status("running", instances=3)

        user.patch_server("weather", {"image": installed.sample_next})
        deploying = await stream.until_status("deploying")
        succeeded = await stream.until(lambda event: event["type"] == "progress" and event["outcome"] == "succeeded")
        assert succeeded["operation"] == deploying["operation"]
        new = await stream.until_status("running", instances=3)
        assert new["revision"] not in (None, running["revision"])

        user.patch_server("weather", {"image": "registry.invalid/nobody/has:this", "rollout": {"progressDeadlineSeconds": 10}})
        told = await stream.until(lambda event: bool(event.get("causes")))
        assert told["causes"][0]["reason"] in ("ErrImagePull", "ImagePullBackOff")
        assert "registry.invalid/nobody/has:this" in told["causes"][0]["message"]
        failed = await stream.until_status("failed", instances=3)
        assert failed["available"] == 3, "the old instances go on serving"

        user.patch_server("weather", {"image": installed.sample_next})
        await stream.until_status("running", instances=3, causes=[])

        user.delete("mcpserver", "weather")
        await stream.until_status("terminating")
        await stream.until_status("deleted", instances=0)

        kinds = {event["kind"] for event in stream.events if event["type"] == "progress"}
        assert kinds == {"rollout", "scale"}
    assert user.find("deployment", "weather") is None
    assert user.find("service", "weather") is None


@side_by_side
async def test_each_step_of_each_instance_shows_in_a_rollout_of_three(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample, replicas=3)
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running", instances=3)
        user.patch_server("weather", {"image": installed.sample_next})
        started = await stream.until_status("deploying")
        await stream.until_status("running", instances=3)
        told = [e for e in stream.events if e["type"] == "progress" and e["operation"] == started["operation"]]

    shown = [event["percent"] for event in told]
    assert all(later >= earlier for earlier, later in pairwise(shown)), f"percent fell: {shown}"
    assert shown[-1] == 100
    assert all(percent <= 99 for percent in shown[:-1])
    assert len(set(shown)) >= 9, f"three instances, each with several steps, but only these percents: {shown}"
    steps: dict[str, set[str]] = defaultdict(set)
    for event in told:
        for revision in event["revisions"]:
            if revision["current"]:
                for instance in revision["instances"]:
                    steps[instance["name"]].add(instance["step"])
    assert len(steps) == 3
    assert all(len(taken) >= 3 for taken in steps.values()), f"few steps of an instance were told: {dict(steps)}"


@side_by_side
async def test_two_subscribers_see_the_same_events_under_the_same_ids(user: User, installed: Installation) -> None:
    async with installed.cluster_stream(user) as dashboard, installed.cluster_stream(user) as pipeline:
        user.apply_server("weather", image=installed.sample)
        streams = (dashboard, pipeline)
        running = await asyncio.gather(*(stream.until_status("running", instances=1) for stream in streams))
        told = [stream.up_to(last) for stream, last in zip(streams, running, strict=True)]
        assert [(e["id"], e) for e in told[0]] == [(e["id"], e) for e in told[1]]


@side_by_side
async def test_a_subscriber_that_comes_back_misses_and_repeats_nothing(user: User, installed: Installation) -> None:
    async with installed.cluster_stream(user) as watching:
        async with installed.cluster_stream(user) as first:
            user.apply_server("weather", image=installed.sample)
            await first.until_status("deploying")
        user.scale("weather", 2)
        await watching.until_status("running", instances=2)
        async with installed.cluster_stream(user, last_event_id=first.last_event_id) as second:
            user.delete("mcpserver", "weather")
            told = first.events + second.up_to(await second.until_status("deleted"))
        whole = watching.up_to(await watching.until_status("deleted"))
    assert not any(frame["type"] == "reset" for frame in second.control)
    assert [e["id"] for e in told] == [e["id"] for e in whole]


@side_by_side
async def test_a_server_without_instances_is_stopped_and_comes_back(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample)
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running")
        user.patch_server("weather", {"suspend": True})
        stopped = await stream.until_status("stopped", instances=0, desired=0)
        assert stopped["terminating"] == 0
        assert user.get("mcpserver", "weather")["spec"]["replicas"] == 1
        user.patch_server("weather", {"suspend": False})
        await stream.until_status("running", instances=1)
        user.scale("weather", 0)
        await stream.until_status("stopped")


@side_by_side
async def test_a_crashing_server_fails_with_its_exit_code_and_recovers(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample, env=[{"name": "CRASH_AT_START", "value": "no weather today"}])
    async with installed.stream(user, "weather") as stream:
        told = await stream.until(lambda event: bool(event.get("causes")))
        assert (told["causes"][0]["reason"], told["causes"][0]["exitCode"]) == ("CrashLoopBackOff", 1)
        await stream.until_status("failed")
        user.patch_server("weather", {"env": None})
        await stream.until_status("running", instances=1)


@side_by_side
async def test_a_newer_template_supersedes_a_rollout_and_a_new_count_is_absorbed(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample)
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running")
        user.patch_server("weather", {"env": [{"name": "NEVER_READY", "value": "1"}]})
        first = await stream.until_status("deploying")
        user.scale("weather", 2)
        absorbed = await stream.until(lambda event: event["type"] == "progress" and event["desired"] == 2)
        assert absorbed["operation"] == first["operation"]
        user.patch_server("weather", {"env": None, "image": installed.sample_next})
        ended = await stream.until(lambda event: event["type"] == "progress" and event["outcome"] is not None)
        assert (ended["operation"], ended["outcome"]) == (first["operation"], "superseded")
        running = await stream.until_status("running", instances=2)
        assert running["operation"] is None


@side_by_side
async def test_an_unknown_server_is_not_found_and_a_name_outlives_its_server(user: User, installed: Installation) -> None:
    status, problem = await installed.get_json(f"/api/servers/{user.namespace}:nobody")
    assert status == 404
    assert "nobody" in problem["detail"]

    user.apply_server("weather", image=installed.sample)
    async with installed.stream(user, "weather") as by_name:
        first = await by_name.until_status("running")
        async with Subscriber(f"{installed.gateway}/api/servers/{first['uid']}/events") as by_uid:
            user.delete("mcpserver", "weather")
            user.apply_server("weather", image=installed.sample)
            await by_uid.until_status("deleted")
            await by_uid.until_control("bye")
        again = await by_name.until(lambda event: event["uid"] != first["uid"])
        assert again["server"] == first["server"]
        await by_name.until(lambda event: event["uid"] == again["uid"] and event.get("status") == "running")
