"""Pod changes at a steady rate, and when each of them was told, by the gateway and by `kubectl get pods -w -A`.

It runs inside the node, as the probe of the row `scale`. A change sets one pod ready, or no longer ready; a server has one such
pod at a time, so the event that tells of a change is the first that gives the server's new number of ready instances.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from local_stack.sse import Parser
from mcp_operator.apiserver.kinds import OURS
from tests.bench.inside import ApiServer
from tests.bench.running import NAMESPACE
from tests.waiting import until

PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_PATIENCE_SECONDS = 30.0
_AFTERWARDS_SECONDS = 1.5
"""What a change leads to later, the write of the server's status for instance, belongs to its round."""


@dataclass(frozen=True)
class Pod:
    """One pod of a server, with its status as it is while it is ready."""

    name: str
    server: str
    status: Mapping[str, Any]

    def status_if(self, *, ready: bool) -> Mapping[str, Any]:
        """Its status, ready or not."""
        now, value = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "True" if ready else "False"
        conditions = [
            {**each, "status": value, "lastTransitionTime": now} if each["type"] in {"Ready", "ContainersReady"} else each
            for each in self.status["conditions"]
        ]
        containers = [{**each, "ready": ready} for each in self.status["containerStatuses"]]
        return {"conditions": conditions, "containerStatuses": containers}


@dataclass(frozen=True)
class Change:
    """One change of a pod."""

    pod: Pod
    ready: bool
    at: float
    """When it was asked for."""


class Sightings:
    """When which fact was read, by what it is about and what it says."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, Any], list[float]] = defaultdict(list)

    def add(self, about: str, value: Any, *, at: float) -> None:
        self._times[about, value].append(at)

    def after(self, at: float, about: str, value: Any) -> float | None:
        """When it was first read at or after this time; None if it wasn't."""
        times = self._times[about, value]
        place = bisect_left(times, at)
        return times[place] if place < len(times) else None


class Process:
    """CPU and memory of a process in this node, as /proc tells them (proc_pid_stat(5): utime and stime behind the name)."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    @property
    def cpu_seconds(self) -> float:
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def resident_bytes(self) -> int:
        return int((self._folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def operator_metrics(url: str) -> Mapping[str, float]:
    """What the operator says of itself, by the names of its metrics; those with labels are left out."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return {name: float(value) for name, value in (line.split()[:2] for line in lines if "{" not in line and line[:1] != "#")}


async def one_pod_each(api: ApiServer) -> Sequence[Pod]:
    """The first pod of each server."""
    pods: dict[str, Pod] = {}
    async for body in api.items(PODS, selector=OURS):
        server = body["metadata"]["labels"]["app.kubernetes.io/instance"]
        pods.setdefault(server, Pod(body["metadata"]["name"], server, body["status"]))
    return list(pods.values())


def plan(pods: Sequence[Pod], changes: int) -> Sequence[Sequence[tuple[Pod, bool]]]:
    """Two halves: so many pods cease to be ready, one after the other, and then are ready again in the same order."""
    chosen = random.sample(pods, changes // 2)
    return [[(pod, ready) for pod in chosen] for ready in (False, True)]


async def churn(
    api: ApiServer,
    halves: Sequence[Sequence[tuple[Pod, bool]]],
    *,
    rate: float,
    instances: int,
    events: Sightings,
    rows: Sightings,
) -> tuple[list[float], list[float]]:
    """Make the changes at this rate; milliseconds from each to its event, and to its row of kubectl's.

    The second half begins when the first is told: two changes of one server within one evaluation would be told as none.

    Raises:
        AssertionError: one of them wasn't told.
    """
    ours: list[float] = []
    theirs: list[float] = []
    for half in halves:
        changes = await _make(api, half, rate)
        rows_of = [(each, each.pod.name, each.ready) for each in changes]
        theirs += await _lags(rows_of, rows, "kubectl prints a row of every change")
        events_of = [(each, each.pod.server, instances if each.ready else instances - 1) for each in changes]
        ours += await _lags(events_of, events, "an event tells of every change")
    await asyncio.sleep(_AFTERWARDS_SECONDS)
    return ours, theirs


async def _make(api: ApiServer, turns: Sequence[tuple[Pod, bool]], rate: float) -> Sequence[Change]:
    changes: list[Change] = []
    begin = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number, (pod, ready) in enumerate(turns):
            await asyncio.sleep(max(0.0, begin + number / rate - time.perf_counter()))
            changes.append(Change(pod, ready, time.perf_counter()))
            tasks.create_task(api.patch_status(f"{PODS}/{pod.name}", pod.status_if(ready=ready)))
    return changes


async def _lags(sought: Sequence[tuple[Change, str, Any]], seen: Sightings, expected: str) -> list[float]:
    """Milliseconds from each change until the fact that tells it was read, once all were."""

    def found() -> list[float]:
        times = [(seen.after(change.at, about, value), change.at) for change, about, value in sought]
        told = [1000 * (at - begin) for at, begin in times if at is not None]
        return told if len(told) == len(sought) else []

    return await until(found, expected, within=_PATIENCE_SECONDS)


async def read_events(url: str, into: Sightings, opened: asyncio.Event) -> None:
    """Read a stream until cancelled; `opened` is set when it has brought the state of all servers."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    parser = Parser()
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
        response.raise_for_status()
        async for piece in response.content.iter_any():
            at = time.perf_counter()
            for message in parser.feed(piece):
                if message.event == "bookmark":
                    opened.set()
                elif message.event == "status" and opened.is_set():
                    event = json.loads(message.data)
                    into.add(event["server"].partition("/")[2], event["instances"], at=at)
    raise ConnectionError(f"{url} ended")


@asynccontextmanager
async def kubectl_watching(into: Sightings, *, pods: int) -> AsyncIterator[Process]:
    """`kubectl get pods -w -A`, once it has printed every pod, while the body runs."""
    argv = ("get", "pods", "--all-namespaces", "--watch", "--no-headers")
    process = await asyncio.create_subprocess_exec("kubectl", *argv, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    printed = asyncio.Semaphore(0)
    reading = asyncio.create_task(_read_rows(process.stdout, into, printed))
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            for _ in range(pods):
                await printed.acquire()
        yield Process(process.pid)
    finally:
        process.kill()
        await process.wait()
        await reading


async def _read_rows(pipe: asyncio.StreamReader, into: Sightings, printed: asyncio.Semaphore) -> None:
    """Rows of NAMESPACE NAME READY STATUS RESTARTS AGE, where READY is 1/1 or 0/1."""
    while line := await pipe.readline():
        at = time.perf_counter()
        namespace, name, ready, *_ = line.decode().split()
        if namespace == NAMESPACE:
            into.add(name, ready == "1/1", at=at)
            printed.release()
