"""Logs of all that a pod is made of, followed though nobody listens; logs that are rotated; what is switched meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from tests.e2e.acting import User
from tests.e2e.installation import Installation
from tests.e2e.printing import Kubectl, Printed, instance_of, is_line, program, told
from tests.e2e.side_by_side import side_by_side
from tests.e2e.subscribing import EventJson, Subscriber
from tests.waiting import until

SETTING_UP = """
for number in range(50):
    print("step", number)
"""
TALKING = """
import itertools, signal, sys, time
def stop(*_):
    print("last words")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
for number in itertools.count():
    print(number, "password=hunter2")
    time.sleep(0.05)
"""
DYING_ONCE = f"""
import os
os.dup2(1, 2)  # so that both go one way, and keep their order
if not os.path.exists("/life/first"):
    open("/life/first", "w").close()
    print("about to die")
    {{"cities": ["Berlin"]}}["towns"]
{TALKING}
"""
FLOODING = """
import itertools, time
for number in itertools.count():
    print(number, "x" * 6000)
    time.sleep(0.01 if number < 3000 else 0.5)
"""
"""18 MB in half a minute, then little: kubelet rotates a log at 5 MiB, and looks every 10 seconds."""


def container(name: str, image: str, source: str, **fields: Any) -> dict[str, Any]:
    """A container beside the server's that runs this."""
    mounts = {"volumeMounts": [{"name": "life", "mountPath": "/life"}]}
    return {"name": name, "image": image, "command": ["python3", "-u", "-c", source], **mounts, **fields}


class AllOver:
    """Whether the last of these containers has said its last words, and then that its lines end."""

    def __init__(self, *containers: str) -> None:
        self._talking, self._over = set(containers), set(containers)

    def __call__(self, event: EventJson) -> bool:
        if is_line(event) and event["msg"] == "last words":
            self._talking.discard(event["container"])
        elif event["follow"] == "ended" and event["container"] not in self._talking:
            self._over.discard(event["container"])
        return not self._over


class ThreeOfEach:
    """Whether so many containers of all instances have told three lines."""

    def __init__(self, *, containers: int) -> None:
        self._containers = containers
        self._lines: Counter[tuple[str, str]] = Counter()

    def __call__(self, event: EventJson) -> bool:
        if is_line(event):
            self._lines[event["instance"], event["container"]] += 1
        return sum(count >= 3 for count in self._lines.values()) == self._containers


async def history(installed: Installation, user: User, cursor: str, last: EventJson) -> list[EventJson]:
    """All log events of the namespace from a cursor up to an event that was told live."""
    path = f"/api/events?namespace={user.namespace}&types=log"
    async with Subscriber(f"{installed.gateway}{path}", last_event_id=cursor) as stream:
        return stream.up_to(await stream.until(lambda event: event["id"] == last["id"]))


@side_by_side
async def test_each_line_of_each_container_is_in_the_history_of_a_server_that_is_always_followed(
    user: User, installed: Installation
) -> None:
    _, listed = await installed.get_json("/api/servers")
    sidecars = [container("setup", installed.sample, SETTING_UP)]
    sidecars += [container("proxy", installed.sample, TALKING, restartPolicy="Always")]
    pod = {"initContainers": sidecars, "containers": [container("helper", installed.sample, DYING_ONCE)]}
    spec = program(TALKING) | {"logs": {"follow": "always", "redact": False}}
    user.apply_server(
        "weather", image=installed.sample, podTemplate={"spec": {**pod, "volumes": [{"name": "life", "emptyDir": {}}]}}, **spec
    )
    instance = await instance_of(user, "weather")
    debugging = ("debug", instance, f"--image={installed.sample}", "--container=debugger", "--profile=restricted")
    user.run(*debugging, "--", "python3", "-u", "-c", SETTING_UP)

    def state(field: str, name: str) -> Any:
        return next((each for each in user.get("pod", instance)["status"].get(field, ()) if each["name"] == name), {})

    await until(lambda: state("containerStatuses", "helper").get("restartCount"), "the helper has died")
    await until(lambda: "running" in state("containerStatuses", "helper")["state"], "the helper lives again")
    await until(lambda: "terminated" in state("ephemeralContainerStatuses", "debugger").get("state", {}), "the debugger is done")
    first_life = await Kubectl(user, installed, instance, "helper").printed("--previous")
    names = ("setup", "proxy", "mcp", "helper", "debugger")
    reading = {name: Kubectl(user, installed, instance, name) for name in names}
    printing = {name: asyncio.create_task(kubectl.printed_until_it_is_gone()) for name, kubectl in reading.items()}
    for kubectl in reading.values():
        await kubectl.reads.wait()
    path = f"/api/events?namespace={user.namespace}&types=log"
    async with Subscriber(f"{installed.gateway}{path}") as stream:
        user.delete("mcpserver", "weather")
        printed: dict[str, list[Printed]] = {name: await task for name, task in printing.items()}
        last = await stream.until(AllOver("mcp", "proxy", "helper"))
    events = await history(installed, user, listed["cursor"], last)
    printed["helper"] = [*first_life, *printed["helper"]]
    for name in names:
        assert told(events, instance, name) == printed[name], name
    assert [printed[name][-1][1] for name in ("mcp", "proxy", "helper")] == ["last words"] * 3
    assert not any(event["dropped"] for event in events)

    follows = {name: [event["follow"] for event in events if event["container"] == name and event["follow"]] for name in names}
    assert follows == {name: ["started", "ended"] * (2 if name == "helper" else 1) for name in names}
    trace = [event for event in events if event["level"] == "error" and not event["previous"]]
    assert [line["msg"] for line in (trace[0], trace[-1])] == ["Traceback (most recent call last):", "KeyError: 'towns'"]
    assert [line["continues"] for line in trace] == [None, *[trace[0]["key"]] * (len(trace) - 1)]


@side_by_side
async def test_a_log_that_kubelet_rotates_while_it_is_followed_loses_no_line(user: User, installed: Installation) -> None:
    path = f"/api/events?namespace={user.namespace}&types=log"
    async with Subscriber(f"{installed.gateway}{path}") as stream:
        user.apply_server("flooding", image=installed.sample, resources={"requests": {"cpu": "500m"}}, **program(FLOODING))
        instance = await instance_of(user, "flooding")

        def numbers(*options: str) -> list[int]:
            """The numbers of lines that kubelet gives now."""
            return [int(line.split()[0]) for line in user.run("logs", instance, *options).splitlines()]

        newest = max(
            await until(lambda: [number for number in numbers("--tail=1") if number > 3000], "the flood is over", within=180)
        )
        assert numbers("--limit-bytes=20")[0] > 0, "the log was rotated"
        last = await stream.until(lambda event: is_line(event) and event["msg"].startswith(f"{newest} "))
        told_until_then = [int(event["msg"].split()[0]) for event in stream.up_to(last) if is_line(event)]
    assert told_until_then == list(range(newest + 1))
    assert not any(event["dropped"] for event in stream.events)
    assert not [frame for frame in stream.control if frame["type"] in {"dropped", "reset"}]


@side_by_side
async def test_following_and_redacting_are_switched_while_instances_run(user: User, installed: Installation) -> None:
    pod = {"containers": [container("helper", installed.sample, TALKING)], "volumes": [{"name": "life", "emptyDir": {}}]}
    _, listed = await installed.get_json("/api/servers")
    user.apply_server("weather", image=installed.sample, replicas=2, podTemplate={"spec": pod}, **program(TALKING))
    await until(lambda: len(running(user)) == 2, "both instances run")
    lines = f"/api/servers/{user.namespace}:weather/events?types=log"

    user.patch_server("weather", {"logs": {"follow": "always", "tailLines": 5}})
    await until(lambda: is_observed(user), "the operator knows of it")
    begun = newest(user)
    await until(lambda: newest(user) > begun + 200, "it goes on printing, and nobody listens", every=0.5)
    at_last = newest(user)
    async with Subscriber(f"{installed.gateway}{lines}", last_event_id=listed["cursor"]) as stream:
        first = await stream.until(lambda event: is_line(event, running(user)[0]) and event["container"] == "mcp")
        assert int(first["msg"].split()[0]) < at_last - 100, "lines were told though nobody listened"
        stream.rewind()
        await stream.until(ThreeOfEach(containers=4))
    async with Subscriber(f"{installed.gateway}{lines}&tail=3") as stream:
        await stream.until_control("bookmark")
        tail = [event for event in stream.events if event.get("snapshot")]
        told_of = sorted((event["instance"], event["container"]) for event in tail)
        expected = [(instance, name) for instance in running(user) for name in ("helper", "mcp") for _ in range(3)]
        assert told_of == sorted(expected), "three lines of each container of each instance"
        await stream.until(lambda event: is_line(event) and event["msg"].endswith(" password=[redacted]"))
        user.patch_server("weather", {"logs": {"redact": False}})
        await stream.until(lambda event: is_line(event) and event["msg"].endswith(" password=hunter2"))


def is_observed(user: User) -> bool:
    """Whether the operator has seen the newest spec."""
    server = user.get("mcpserver", "weather")
    return bool(server["status"]["observedGeneration"] == server["metadata"]["generation"])


def newest(user: User) -> int:
    """The number of the line that the first instance printed last."""
    return int(user.run("logs", running(user)[0], "--container=mcp", "--tail=1").split()[0])


def running(user: User) -> list[str]:
    """Instances all of whose containers run."""
    pods = [pod for pod in user.pods("weather") if "deletionTimestamp" not in pod["metadata"]]
    states = {pod["metadata"]["name"]: pod["status"].get("containerStatuses", ()) for pod in pods}
    return sorted(name for name, each in states.items() if each and all("running" in status["state"] for status in each))
