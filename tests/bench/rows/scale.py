"""What the operator needs for 1,000 servers with 10,000 pods, of which 50 change in a second; with 100 servers for the growth.

kwok plays the kubelet of the pods, all else is real (`crowding`). `churning` makes the changes, and measures how soon an event
and `kubectl get pods -w -A` tell of each; CPU and memory are what the operator's own metrics say, and what /proc says of kubectl.
A cold start is timed from the start of the operator's process until /readyz says yes, beside `kubectl get pods -A` of the same.
The API server's audit log tells what the operator has asked it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any

import aiohttp

from local_cluster.progress import step
from local_stack.stack import NAMESPACE as SYSTEM
from tests.bench.auditing import Asked
from tests.bench.churning import Sightings, churn, kubectl_watching, one_pod_each, operator_metrics, plan, read_events
from tests.bench.crowding import Crowd, crowded, server
from tests.bench.figures import ROUNDS, AtMost, Figure, Peer, percentile
from tests.bench.inside import ApiServer, api_server
from tests.bench.running import NAMESPACE, Lab
from tests.waiting import until

SIZES = (100, 1000)
INSTANCES = 10
RATE = 50.0
_CHANGES = 200
"""In a round."""
_STARTS = 3
_BATCH = 100
"""Servers that are made at the same time: the next ones when these run, or the API server would have no time for anybody."""
_MAKERS = 4
_FILL_SECONDS = 900.0
_BATCH_SECONDS = 180.0
_PROBE_SECONDS = 300.0
_START_SECONDS = 120.0
_QUIET_PERCENT = 5.0
"""Of a core: what an operator may use that has nothing to do."""
_PEER = "kubectl get pods -w -A"
_MIB = 2**20
_SERVERS = f"/apis/mcp-operator.dev/v1alpha1/namespaces/{NAMESPACE}/mcpservers"


@dataclass(frozen=True, slots=True)
class Side:
    """What one of the two came to in a round."""

    lags: Sequence[float]
    """Milliseconds from each change until it was told."""
    cpu: float
    """Seconds of it."""
    resident: float
    """Bytes at the end."""


@dataclass(frozen=True, slots=True)
class Start:
    """One cold start; seconds."""

    ready: float
    kubectl: float


@dataclass(frozen=True, slots=True)
class Sized:
    """All that was measured with so many servers."""

    servers: int
    ours: Sequence[Side]
    theirs: Sequence[Side]
    idle_percent: float
    """Of a core, what the operator uses while nothing happens."""
    starts: Sequence[Start]
    asked: Asked
    """While pods changed."""
    asked_at_starts: Asked


def measure(_: Lab) -> Sequence[Figure]:
    with crowded() as crowd:
        sized = [_measure(crowd, servers) for servers in SIZES]
        version = crowd.stack.kubectl("exec", f"--namespace={SYSTEM}", "deployment/mcp-operator", "--", "python3", "--version")
    return figures(
        sized, conditions=f"operator on Python {version.split()[-1]}, asyncio, no TLS to the subscriber; one subscriber"
    )


def _measure(crowd: Crowd, servers: int) -> Sized:
    with step(f"scale: {servers:,} servers with {servers * INSTANCES:,} pods"):
        crowd.inside("scale", seconds=_FILL_SECONDS, task="fill", servers=servers)
    gateway = crowd.stack.kubectl(
        "get", "service", "mcp-operator", f"--namespace={SYSTEM}", "--output=jsonpath={.spec.clusterIP}"
    )
    begun = crowd.audited
    with step(f"scale: {RATE:g} of {servers * INSTANCES:,} pods change in a second, {ROUNDS} rounds"):
        churned = crowd.inside("scale", seconds=_PROBE_SECONDS, task="churn", gateway=f"http://{gateway}:8080", servers=servers)
    asked, begun = crowd.asked(since=begun), crowd.audited
    with step(f"scale: {_STARTS} cold starts with {servers:,} servers"):
        starts = crowd.inside("scale", seconds=_PROBE_SECONDS, task="start", servers=servers)
    return Sized(
        servers=servers,
        ours=[Side(**each) for each in churned["ours"]],
        theirs=[Side(**each) for each in churned["theirs"]],
        idle_percent=churned["idle_percent"],
        starts=[Start(**each) for each in starts],
        asked=asked,
        asked_at_starts=crowd.asked(since=begun),
    )


def figures(sized: Sequence[Sized], *, conditions: str) -> Sequence[Figure]:
    """Those of each size, then how they have grown from the smallest to the largest."""
    small, large = sized[0], sized[-1]
    grown = (
        ("memory of the operator", _resident(large) / _resident(small)),
        ("CPU per pod change", median(_cpu(large.ours)) / median(_cpu(small.ours))),
        ("a cold start", median(_ready(large)) / median(_ready(small))),
    )
    times = large.servers / small.servers
    return [
        *(figure for each in sized for figure in _figures(each, conditions)),
        *(
            Figure(
                name=f"growth of {name} from {small.servers:,} to {large.servers:,} servers",
                value=value,
                unit="times",
                goal=AtMost(times),
                conditions=f"{conditions}; {times:g} times the servers and pods, the same {RATE:g} changes a second",
            )
            for name, value in grown
        ),
        *_requests(sized, conditions),
    ]


def _figures(sized: Sized, conditions: str) -> Sequence[Figure]:
    size = f"{sized.servers:,} servers with {sized.servers * INSTANCES:,} pods"
    changes = len(sized.ours) * _CHANGES
    under = f"{conditions}; {size}, {changes:,} changes in {len(sized.ours)} rounds; idle: {sized.idle_percent:.1f} % of a core"

    def compared(name: str, unit: str, ours: Sequence[float], theirs: Sequence[float]) -> Figure:
        peer = Peer.compared(_PEER, ours=ours, theirs=theirs)
        return Figure(name=f"{name}, {size}", value=median(ours), unit=unit, peer=peer, conditions=under)

    lags = [[percentile(side.lags, percent) for side in sides] for percent in (50, 99) for sides in (sized.ours, sized.theirs)]
    return [
        compared("pod change to the subscriber, median", "ms", lags[0], lags[1]),
        compared("pod change to the subscriber, 99th percentile", "ms", lags[2], lags[3]),
        compared("CPU per pod change", "ms", _cpu(sized.ours), _cpu(sized.theirs)),
        compared("memory", "MiB", *([side.resident / _MIB for side in sides] for sides in (sized.ours, sized.theirs))),
        Figure(
            name=f"cold start until /readyz, {size}",
            value=median(_ready(sized)),
            unit="s",
            peer=Peer.compared("kubectl get pods -A", ours=_ready(sized), theirs=[each.kubectl for each in sized.starts]),
            conditions=f"{conditions}; {size}, {len(sized.starts)} starts, with all that Python has to load",
        ),
    ]


def _requests(sized: Sequence[Sized], conditions: str) -> Sequence[Figure]:
    """What the operator asked of the API server, and shouldn't have."""
    churned, started = [each.asked for each in sized], [each.asked_at_starts for each in sized]
    reads, idle = (sum(each.total() for each in counters) for counters in ([a.reads for a in churned], [a.idle for a in churned]))
    writes = sum(each.writes.total() for each in churned)
    changes = sum(len(each.ours) * _CHANGES for each in sized)
    lists = sum(each.lists for each in (*churned, *started))
    at_starts = sum(each.idle.total() for each in started)
    said = "as the API server's audit log has it"
    return [
        Figure(
            name="lists without a limit",
            value=sum(len(each.unlimited) for each in (*churned, *started)),
            unit="requests",
            goal=AtMost(0),
            conditions=f"{conditions}; {said}; of {lists:,} lists, those of {len(sized) * _STARTS} cold starts among them",
        ),
        Figure(
            name="reads of single objects while pods change",
            value=reads,
            unit="requests",
            goal=AtMost(0),
            conditions=f"{conditions}; {said}; {changes:,} changes",
        ),
        Figure(
            name="writes that changed nothing while pods change",
            value=idle,
            unit="requests",
            goal=AtMost(0),
            conditions=f"{conditions}; {said}; of {writes:,} writes after {changes:,} changes; {at_starts:,} in all cold starts",
        ),
    ]


def _cpu(sides: Sequence[Side]) -> Sequence[float]:
    """Milliseconds per change."""
    return [1000 * side.cpu / len(side.lags) for side in sides]


def _resident(sized: Sized) -> float:
    return median(side.resident for side in sized.ours)


def _ready(sized: Sized) -> Sequence[float]:
    return [each.ready for each in sized.starts]


async def probe(*, task: str, **arguments: Any) -> Any:
    """One of the things that are done inside the node."""
    async with api_server() as api:
        return await _TASKS[task](api, **arguments)


async def _fill(api: ApiServer, *, servers: int) -> None:
    """Have so many servers, all of them running, and an operator that has nothing left to do."""
    there = {each["metadata"]["name"] async for each in api.items(_SERVERS)}
    missing = [name for number in range(servers) if (name := f"crowd-{number}") not in there]
    room = asyncio.Semaphore(_MAKERS)

    async def make(name: str) -> None:
        async with room:
            await api.create(_SERVERS, server(name, instances=INSTANCES))

    async def all_running() -> bool:
        phases = [each.get("status", {}).get("phase") async for each in api.items(_SERVERS)]
        return set(phases) == {"running"}

    for first in range(0, len(missing), _BATCH):
        async with asyncio.TaskGroup() as tasks:
            for name in missing[first : first + _BATCH]:
                tasks.create_task(make(name))
        await until(all_running, "the servers are running", within=_BATCH_SECONDS, every=1.0)
    await _quiet(await _operator(api))


async def _churn(api: ApiServer, *, gateway: str, servers: int) -> Mapping[str, Any]:
    """The rounds: fields of `Side`, and what the operator uses while nothing happens."""
    events, rows, opened = Sightings(), Sightings(), asyncio.Event()
    operator = await _operator(api)
    ours: list[Side] = []
    theirs: list[Side] = []
    async with kubectl_watching(rows, pods=servers * INSTANCES) as kubectl, asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(read_events(f"{gateway}/api/events?types=status&namespace={NAMESPACE}", events, opened))
        await opened.wait()
        pods = await one_pod_each(api)
        idle = await _quiet(operator)
        for _ in range(ROUNDS):
            cpu, kubectl_cpu = (await operator_metrics(operator))["process_cpu_seconds_total"], kubectl.cpu_seconds
            halves = plan(pods, _CHANGES)
            lags, kubectl_lags = await churn(api, halves, rate=RATE, instances=INSTANCES, events=events, rows=rows)
            after = await operator_metrics(operator)
            ours.append(Side(lags, after["process_cpu_seconds_total"] - cpu, after["process_resident_memory_bytes"]))
            theirs.append(Side(kubectl_lags, kubectl.cpu_seconds - kubectl_cpu, kubectl.resident_bytes))
        reading.cancel()
    return {"ours": [asdict(each) for each in ours], "theirs": [asdict(each) for each in theirs], "idle_percent": idle}


async def _start(api: ApiServer, *, servers: int) -> Sequence[Mapping[str, float]]:
    """Cold starts one after the other; fields of `Start`."""
    starts = []
    for _ in range(_STARTS):
        before = await _operator_pod(api)
        await api.delete(f"/api/v1/namespaces/{SYSTEM}/pods/{before['metadata']['name']}")
        operator = await until(
            partial(_operator, api, other_than=before["metadata"]["uid"]), "the operator runs again", every=0.05
        )
        await until(partial(_answers, f"{operator}/readyz"), "the operator is ready", within=_START_SECONDS, every=0.02)
        at = time.time()
        ready = at - (await operator_metrics(operator))["process_start_time_seconds"]
        await _quiet(operator)
        starts.append(asdict(Start(ready, await _kubectl(servers * INSTANCES))))
    return starts


async def _kubectl(pods: int) -> float:
    """Seconds that `kubectl get pods` of all namespaces takes."""
    begin = time.perf_counter()
    argv = ("get", "pods", "--all-namespaces", "--no-headers")
    process = await asyncio.create_subprocess_exec("kubectl", *argv, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    took = time.perf_counter() - begin
    if (told := printed.count(b"\n")) < pods:
        raise AssertionError(f"kubectl told of {told} pods, and there are {pods}")
    return took


async def _operator_pod(api: ApiServer) -> Mapping[str, Any]:
    listed = await api.get(f"/api/v1/namespaces/{SYSTEM}/pods?labelSelector=app.kubernetes.io/name=mcp-operator")
    pods = [each for each in listed["items"] if "deletionTimestamp" not in each["metadata"]]
    return pods[0] if pods else {}


async def _operator(api: ApiServer, *, other_than: str = "") -> str:
    """Base URL of the operator's health and metrics; empty while there is none, or only this one."""
    pod = await _operator_pod(api)
    address = pod.get("status", {}).get("podIP")
    return f"http://{address}:8081" if address and pod["metadata"]["uid"] != other_than else ""


async def _answers(url: str) -> bool:
    with suppress(aiohttp.ClientError, TimeoutError):
        timeout = aiohttp.ClientTimeout(total=1)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            return answer.ok
    return False


async def _quiet(operator: str) -> float:
    """Wait until the operator has nothing left to do; percent of a core that it then uses."""
    used = 100.0

    async def is_quiet() -> bool:
        nonlocal used
        before, begin = (await operator_metrics(operator))["process_cpu_seconds_total"], time.perf_counter()
        await asyncio.sleep(2.0)
        after = (await operator_metrics(operator))["process_cpu_seconds_total"]
        used = 100 * (after - before) / (time.perf_counter() - begin)
        return used < _QUIET_PERCENT

    await until(is_quiet, "the operator has nothing left to do", within=_START_SECONDS)
    return used


_TASKS: Mapping[str, Callable[..., Awaitable[Any]]] = {"fill": _fill, "churn": _churn, "start": _start}
