"""How soon an event names the cause of a pod's trouble, against `kubectl rollout status` of the same Deployment.

A server whose image can't be pulled is made; the kubelet writes why its container waits into the pod's status. What is measured
is the time from the moment at which a bare watch of the pods has brought that, until a subscriber has the status event whose
causes name it. kubectl is started as soon as the Deployment is there. It says nothing of a cause: it ends with an error when the
Deployment's deadline has passed, which is ten seconds here and ten minutes by default.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any

import aiohttp

from local_cluster.progress import step
from local_stack.sse import Parser
from mcp_operator.apiserver.kinds import OURS
from tests.bench.figures import ROUNDS, AtMost, Figure, Peer
from tests.bench.inside import ApiServer, Arrival, api_server
from tests.bench.running import NAMESPACE, Lab
from tests.waiting import until

_IMAGE = "127.0.0.1:9/nobody/listens:here"
"""Refused at once, without a name to look up."""
_DEADLINE_SECONDS = 10
_PATIENCE_SECONDS = 60.0
_PROBE_SECONDS = 300.0
_GOAL_MS = 100.0
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_SERVERS = f"/apis/mcp-operator.dev/v1alpha1/namespaces/{NAMESPACE}/mcpservers"
_DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"


@dataclass(frozen=True, slots=True)
class Told:
    """One trouble; seconds on one clock."""

    watched: float
    """When the watch had brought a container that waits for its image."""
    named: float
    """When the event with its cause was read."""
    kubectl: float
    """When kubectl had said that something is wrong."""
    reason: str
    """What the event called it."""


def measure(lab: Lab) -> Sequence[Figure]:
    lab.gateway_inside  # noqa: B018 - the cluster has to run before the step is shown
    with step(f"trouble: {ROUNDS} servers whose image can't be pulled"):
        told = [Told(**each) for each in lab.inside("trouble", seconds=_PROBE_SECONDS, gateway=lab.gateway_inside, rounds=ROUNDS)]
    return figures(told, python=lab.operator_python)


def figures(told: Sequence[Told], *, python: str) -> Sequence[Figure]:
    ours = [1000 * (each.named - each.watched) for each in told]
    theirs = [1000 * (each.kubectl - each.watched) for each in told]
    return [
        Figure(
            name="a pod's trouble to the event that names its cause, after a bare watch",
            value=median(ours),
            unit="ms",
            goal=AtMost(_GOAL_MS),
            conditions=(
                f"operator on Python {python}, asyncio, no TLS; {len(told)} servers, told as {', '.join(_reasons(told))}; "
                f"{min(ours):.1f} to {max(ours):.1f} ms; kubectl rollout status named no cause, and said after "
                f"{median(theirs) / 1000:.1f} s that the deadline of {_DEADLINE_SECONDS} s had passed (by default: 600 s)"
            ),
            peer=Peer.compared("kubectl rollout status", ours=ours, theirs=theirs),
        )
    ]


def _reasons(told: Sequence[Told]) -> Sequence[str]:
    return sorted({each.reason for each in told})


async def probe(*, gateway: str, rounds: int) -> list[dict[str, Any]]:
    """Make one server after the other, and see when each way tells; fields of `Told`."""
    watched: list[Arrival] = []
    streamed: list[Arrival] = []
    async with api_server() as api, asyncio.TaskGroup() as tasks:
        version = str((await api.get(_PODS))["metadata"]["resourceVersion"])
        following = [
            tasks.create_task(api.watch(_PODS, selector=OURS, version=version, into=watched.append)),
            tasks.create_task(_stream(f"{gateway}/api/events?types=status&namespace={NAMESPACE}", streamed.append)),
        ]
        await until(lambda: b"event: bookmark" in b"".join(each.data for each in streamed), "the stream is open")
        slow = []
        for number in range(rounds):
            name = f"troubled-{number}"
            await api.create(_SERVERS, _server(name))
            slow.append(tasks.create_task(_kubectl(api, name)))
            await until(partial(_told_by_both, name, watched, streamed), f"the trouble of {name} is told")
        said = [await each for each in slow]
        for each in following:
            each.cancel()
        for number in range(rounds):
            await api.delete(f"{_SERVERS}/troubled-{number}")
    seen, causes = waiting(watched), named(streamed)
    names = [f"troubled-{number}" for number in range(rounds)]
    return [
        asdict(Told(seen[name], causes[name][0], kubectl, causes[name][1])) for name, kubectl in zip(names, said, strict=True)
    ]


def _told_by_both(name: str, watched: Sequence[Arrival], streamed: Sequence[Arrival]) -> bool:
    return name in named(streamed) and name in waiting(watched)


def _server(name: str) -> Mapping[str, Any]:
    spec = {"image": _IMAGE, "rollout": {"progressDeadlineSeconds": _DEADLINE_SECONDS}}
    return {"apiVersion": "mcp-operator.dev/v1alpha1", "kind": "MCPServer", "metadata": {"name": name}, "spec": spec}


async def _stream(url: str, into: Callable[[Arrival], None]) -> None:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
        response.raise_for_status()
        async for piece in response.content.iter_any():
            into(Arrival(time.perf_counter(), piece))
    raise ConnectionError(f"{url} ended")


async def _kubectl(api: ApiServer, name: str) -> float:
    """When `kubectl rollout status` has ended with its error."""

    async def exists() -> bool:
        return any(each["metadata"]["name"] == name for each in (await api.get(_DEPLOYMENTS))["items"])

    await until(exists, f"the Deployment of {name} exists")
    argv = ("rollout", "status", f"deployment/{name}", f"--namespace={NAMESPACE}")
    async with _running("kubectl", *argv) as process:
        await asyncio.wait_for(process.wait(), _PATIENCE_SECONDS)
        if process.returncode == 0:
            raise AssertionError(f"kubectl says that {name} is rolled out")
    return time.perf_counter()


@asynccontextmanager
async def _running(*argv: str) -> AsyncIterator[asyncio.subprocess.Process]:
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*argv, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def waiting(arrivals: Sequence[Arrival]) -> Mapping[str, float]:
    """When the watch first had a container that can't get its image, by the server's name."""
    found: dict[str, float] = {}
    for at, pod in _changes(arrivals):
        states = (status.get("state", {}) for status in pod.get("status", {}).get("containerStatuses", ()))
        reasons = {state.get("waiting", {}).get("reason") for state in states}
        if reasons & {"ErrImagePull", "ImagePullBackOff"}:
            found.setdefault(pod["metadata"]["labels"]["app.kubernetes.io/instance"], at)
    return found


def named(arrivals: Sequence[Arrival]) -> Mapping[str, tuple[float, str]]:
    """When the stream first had a cause, and its reason, by the server's name."""
    found: dict[str, tuple[float, str]] = {}
    parser = Parser()
    for arrival in arrivals:
        for message in parser.feed(arrival.data):
            if message.event == "status" and message.json["causes"]:
                server = message.json["server"].partition("/")[2]
                found.setdefault(server, (arrival.at, message.json["causes"][0]["reason"]))
    return found


def _changes(arrivals: Sequence[Arrival]) -> Iterator[tuple[float, Mapping[str, Any]]]:
    """Each object of a watch, with the time at which its last byte came."""
    rest = b""
    for arrival in arrivals:
        *lines, rest = (rest + arrival.data).split(b"\n")
        for line in lines:
            yield arrival.at, json.loads(line)["object"]
