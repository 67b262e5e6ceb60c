"""Killing the operator at chosen moments, and what its streams tell over all its lives, held against the records that are left.

The kubelet stands still from the kill until a new operator's pod is there: nothing but the test decides what happens meanwhile,
and the new pod doesn't wait as a container does that has failed often.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local_stack.stack import NAMESPACE
from tests.bench.inside import ApiServer, Arrival
from tests.e2e.installation import Installation
from tests.e2e.subscribing import EventJson, Subscriber
from tests.waiting import until

_COMPACT = """
import base64, json, urllib.request
def ask(path, **what):
    request = urllib.request.Request("http://127.0.0.1:2379/v3/kv/" + path, json.dumps(what).encode(), method="POST")
    return json.load(urllib.request.urlopen(request, timeout=30))
newest = ask("range", key=base64.b64encode(b"/").decode(), limit=1)["header"]["revision"]
ask("compaction", revision=newest, physical=True)
"""


def process_of(container: str) -> int:
    """The machine's process id of a container's first process.

    Raises:
        AssertionError: it doesn't run.
    """
    processes = sorted(int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal())
    for pid in processes:
        try:
            if container in Path(f"/proc/{pid}/cgroup").read_text():
                return pid
        except (FileNotFoundError, ProcessLookupError):
            continue
    raise AssertionError(f"the container {container} has no process")


@contextmanager
def standing_still(pid: int) -> Any:
    """A process of the cluster that does nothing while the body runs, and hears nobody."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@dataclass
class Operator:
    """The installed operator, to be killed."""

    installed: Installation
    _pod: str = ""
    _process: int = 0

    async def find(self) -> None:
        """Have its process at hand, so that it can be killed at once."""
        await until(lambda: len(self._running()) == 1, "one operator runs", within=120)
        ((self._pod, container),) = self._running().items()
        self._process = process_of(container)

    @asynccontextmanager
    async def killed(self) -> AsyncIterator[None]:
        """It does nothing any more from now on; the body runs while no operator does. Then another one starts, and is ready.

        The process is stopped, never goes on, and gets its SIGKILL when kubelet has seen that its pod is gone. Had it ended
        before, kubelet might start it once more in that pod: a short life that nobody listens to.
        """
        with standing_still(self.installed.cluster.pid_of("kubelet")):
            os.kill(self._process, signal.SIGSTOP)
            yield
            where = ("pod", self._pod, f"--namespace={NAMESPACE}")
            await asyncio.to_thread(self.installed.stack.kubectl, "delete", *where, "--force", "--grace-period=0")
        await until(lambda: set(self._running()) - {self._pod}, "another operator has started", within=120)
        with suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGKILL)
        await self.installed.ready()

    def _running(self) -> Mapping[str, str]:
        """Pods of the operator with the id of their running container."""
        pods = json.loads(self.installed.stack.kubectl("get", "pods", f"--namespace={NAMESPACE}", "--output=json"))["items"]
        return {
            pod["metadata"]["name"]: str(status["containerID"]).removeprefix("containerd://")
            for pod in pods
            for status in pod.get("status", {}).get("containerStatuses", ())
            if "running" in status["state"] and not pod["metadata"].get("deletionTimestamp")
        }


def compact(installed: Installation) -> None:
    """Have etcd forget all history: whoever wants to go on from an older version is answered with 410."""
    installed.inside("python3", "-c", _COMPACT)


class Written:
    """The statuses of a namespace's MCPServers, as a bare watch brings them."""

    def __init__(self, api: ApiServer, namespace: str) -> None:
        self._api = api
        self._path = f"/apis/mcp-operator.dev/v1alpha1/namespaces/{namespace}/mcpservers"
        self._rest = b""
        self._statuses: dict[str, Mapping[str, Any]] = {}
        self._waiting: dict[asyncio.Event, Callable[[Mapping[str, Mapping[str, Any]]], bool]] = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        version = str((await self._api.get(self._path))["metadata"]["resourceVersion"])
        await self._api.watch(self._path, selector="", version=version, into=self._take)

    async def now(self) -> Mapping[str, Mapping[str, Any]]:
        """What stands there, by the servers' names."""
        items = (await self._api.get(self._path))["items"]
        return {each["metadata"]["name"]: each.get("status", {}) for each in items}

    async def until(self, written: Callable[[Mapping[str, Mapping[str, Any]]], bool], *, within: float = 120) -> None:
        """Return in the very moment in which it stands there."""
        reached = asyncio.Event()
        self._waiting[reached] = written
        try:
            self._look()
            async with asyncio.timeout(within):
                await reached.wait()
        finally:
            del self._waiting[reached]

    def _take(self, arrival: Arrival) -> None:
        *lines, self._rest = (self._rest + arrival.data).split(b"\n")
        for line in lines:
            body = json.loads(line)["object"]
            if "name" in body.get("metadata", {}):
                self._statuses[body["metadata"]["name"]] = body.get("status", {})
        self._look()

    def _look(self) -> None:
        for reached, written in self._waiting.items():
            if written(self._statuses):
                reached.set()


@dataclass
class Lives:
    """What was told of each operation, over all lives of the operator."""

    starts: set[str] = field(default_factory=set)
    ends: dict[str, str] = field(default_factory=dict)
    """Outcomes by the operation's id."""
    late: int = 0
    again: int = 0
    """Starts and ends that were told in more than one life."""
    away_seconds: list[float] = field(default_factory=list)

    def take(self, events: Sequence[EventJson], persisted: Mapping[str, Mapping[str, Any]]) -> None:
        """Add what one life has told, and hold it against what stood in the statuses when it began.

        Raises:
            AssertionError: something is told twice, a percent is below the persisted one, or an operation is forgotten.
        """
        told = [event for event in events if not event.get("snapshot")]
        keys = [event["key"] for event in told]
        repeats = {key for key in keys if keys.count(key) > 1}
        assert not repeats, f"told twice by one operator: {repeats}"
        for name, status in persisted.items():
            if (operation := status.get("operation")) is not None:
                self._goes_on([event for event in told if event["server"].endswith(f"/{name}")], operation)
        for event in told:
            self.late += bool(event.get("late"))
            transition = event["key"].removeprefix(f"{event['uid']}/")
            if transition == f"{event.get('operation')}/started":
                self.again += event["operation"] in self.starts
                self.starts.add(event["operation"])
            elif event["type"] == "progress" and event["outcome"] is not None:
                assert transition == f"{event['operation']}/{event['outcome']}"
                self.again += event["operation"] in self.ends
                assert self.ends.setdefault(event["operation"], event["outcome"]) == event["outcome"], "two ends of one operation"

    def _goes_on(self, told: Sequence[EventJson], operation: Mapping[str, Any]) -> None:
        percents = [event["percent"] for event in told if event["type"] == "progress" and event["operation"] == operation["id"]]
        assert percents, f"nobody told of {operation['id']} any more, which was open: {told}"
        assert min(percents) >= operation["percent"], f"{operation['id']} fell from {operation['percent']}: {percents}"


@asynccontextmanager
async def listening(installed: Installation, namespace: str) -> AsyncIterator[Subscriber]:
    """All that the operator has told of a namespace's operations since it started, and goes on to tell."""
    url = f"{installed.gateway}/api/events?namespace={namespace}&types=status,progress&since=earliest"
    stream = Subscriber(url)
    async with stream:
        yield stream


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began
