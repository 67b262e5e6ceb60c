"""What a crashed container printed last: told with the cause, equal to what kubectl shows, and there for those who come later."""

from pathlib import Path
from typing import Any

import yaml

from tests.e2e.acting import User
from tests.e2e.installation import Installation
from tests.e2e.side_by_side import side_by_side
from tests.e2e.subscribing import EventJson, Subscriber
from tests.waiting import until

SAMPLES = Path(__file__).parents[2] / "deploy" / "samples"
DIES_ONCE = """
import os, socket
os.dup2(1, 2)
if os.path.exists("/life/first"):
    server = socket.create_server(("", 8080))
    while True:
        server.accept()
open("/life/first", "w").close()
for number in range(30):
    print("step", number, flush=True)
{"cities": ["Berlin"]}["cities"][number]
"""
"""Prints, dies with a traceback within some 50 ms of its start, and stays up when it is started again.

Standard error goes the way of standard output: containerd copies each in a goroutine of its own, so a traceback may stand
anywhere among the lines printed just before it.
"""


def runs(program: str) -> dict[str, Any]:
    """The part of a spec that runs a Python program; /life stays over restarts."""
    volume = {"volumes": [{"name": "life", "emptyDir": {}}]}
    mount = {"containers": [{"name": "mcp", "volumeMounts": [{"name": "life", "mountPath": "/life"}]}]}
    return {"command": ["/usr/bin/python3", "-c", program], "podTemplate": {"spec": {**volume, **mount}}}


def is_reason(event: EventJson) -> bool:
    """Whether it is the line that says why deploy/samples/crashing.yaml crashes."""
    return event["type"] == "log" and event["previous"] and "orders" in event["msg"]


async def last_lines(stream: Subscriber, count: int) -> list[EventJson]:
    """The next lines of crashed containers."""
    return [await stream.until(lambda event: event["type"] == "log" and event["previous"]) for _ in range(count)]


@side_by_side
async def test_a_traceback_of_a_server_that_dies_at_once_is_told_as_kubectl_shows_it(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample, replicas=2, logs={"format": "text"}, **runs(DIES_ONCE))
    async with installed.stream(user, "weather") as stream:
        crashed = await stream.until(lambda event: event["type"] == "status" and bool(event["causes"]))
        lines = await last_lines(stream, 20)
        await stream.until_status("running", instances=2)

    (cause,) = crashed["causes"]
    (instance,) = {line["instance"] for line in lines}
    assert (cause["reason"], cause["exitCode"]) == ("CrashLoopBackOff", 1)
    assert {(line["cause"], line["container"]) for line in lines} == {(cause["id"], cause["container"])}
    shown = user.run("logs", instance, "--previous", "--timestamps", "--tail=20").splitlines()
    assert [f"{line['timestamp']} {line['msg']}" for line in lines] == shown
    assert "IndexError: list index out of range" in [line["msg"] for line in lines if line["level"] == "error"]


@side_by_side
async def test_who_comes_when_the_pod_is_gone_still_finds_what_it_printed(user: User, installed: Installation) -> None:
    (manifest,) = yaml.safe_load_all((SAMPLES / "crashing.yaml").read_text())
    manifest["spec"]["image"] = installed.sample
    _, listed = await installed.get_json("/api/servers")
    user.apply(manifest)
    async with installed.cluster_stream(user, last_event_id=listed["cursor"]) as stream:
        crashed = await stream.until(lambda event: event["type"] == "status" and bool(event["causes"]))
        told = await stream.until(is_reason)
        user.patch_server("crashing", {"env": None})
        await stream.until_status("running")
    (cause,) = crashed["causes"]
    await until(lambda: user.find("pod", cause["instance"]) is None, "the pod is gone")

    async with installed.cluster_stream(user, last_event_id=listed["cursor"]) as later:
        first = await later.until(lambda event: event["type"] == "status" and bool(event["causes"]))
        found = await later.until(is_reason)
    assert (first["id"], found["id"]) == (crashed["id"], told["id"])
    assert (found["msg"], found["level"]) == ("RuntimeError: database 'orders' not found", "error")
    assert (found["cause"], found["instance"]) == (cause["id"], cause["instance"])
