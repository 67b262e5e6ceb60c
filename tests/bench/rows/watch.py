"""How soon a change in the cluster is told to the last of 100 (5,000) subscribers, against a bare watch of the same objects.

One process inside the node holds a watch of the pods; another, in C, holds the streams, over real sockets through the gateway's
Service. The first changes a pod's readiness, notes when the watch has brought the change, and hears from the second when the last
stream has brought the event that names the pod with its new step. Then it waits a moment of random length, and changes the next
pod.

The pods wait for a scheduler that doesn't exist, so that no kubelet sets right what is written to their status; one never gets
ready, so that the rollout stays open and each change is a step of it, told in a progress event without a status write before it.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from statistics import median
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from local_cluster.progress import step
from mcp_operator.apiserver.kinds import OURS
from tests.bench.building import built
from tests.bench.figures import ROUNDS, AtMost, Figure, Goal, Peer, Spread, percentile
from tests.bench.inside import ApiServer, Arrival, api_server
from tests.bench.probing import ProbeError
from tests.bench.running import NAMESPACE, Lab
from tests.waiting import until

SERVER = "watched"
_INSTANCES = 4
_CHANGES: Mapping[int, int] = {100: 30, 5000: 15, 1: 15}
"""In a round, by the number of streams."""
_WARM_UP = 5
_PAUSE_SECONDS = (0.02, 0.12)
"""Random, so that the changes don't keep step with the operator's own status writes, one a second."""
_PATIENCE_SECONDS = 10.0
_LINE_BYTES = 256 * 1024
_PROBE_SECONDS = 120.0
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"

Samples: TypeAlias = Sequence[Sequence[float]]
"""Of each change: milliseconds from the request that made it to the watch, and to the last stream."""

_GOALS: Mapping[tuple[int, float], Goal] = {(100, 50): AtMost(5), (100, 99): AtMost(25), (5000, 99): AtMost(100)}
"""By streams and percentile."""


def measure(lab: Lab) -> Sequence[Figure]:
    built("sseload")  # the node has no packages to build it with
    rounds: dict[int, list[Samples]] = {streams: [] for streams in _CHANGES}
    rollout, pod_template = {"progressDeadlineSeconds": 3600}, {"spec": {"schedulerName": "nobody"}}
    with lab.server(SERVER, replicas=_INSTANCES, rollout=rollout, podTemplate=pod_template):
        for number in range(1, ROUNDS + 1):
            for streams in _CHANGES:
                with step(f"watch: {_CHANGES[streams]} changes to {streams:,} subscribers, round {number} of {ROUNDS}"):
                    options = {"gateway": lab.gateway_inside, "streams": streams, "changes": _CHANGES[streams]}
                    rounds[streams].append(lab.inside("watch", seconds=_PROBE_SECONDS, **options))
    conditions = f"operator on Python {lab.operator_python}, asyncio, no TLS to subscribers"
    return [figure for streams in _CHANGES for figure in figures(rounds[streams], streams=streams, conditions=conditions)]


def figures(rounds: Sequence[Samples], *, streams: int, conditions: str) -> Sequence[Figure]:
    """How much later than the watch the last of so many streams is: the median and the 99th percentile of all changes."""
    differences = [last - watch for samples in rounds for watch, last in samples]
    peer = Peer.compared(
        "bare watch, from the change on",
        ours=[median(last for _, last in samples) for samples in rounds],
        theirs=[median(watch for watch, _ in samples) for samples in rounds],
    )
    to_whom = "the one subscriber" if streams == 1 else f"the last of {streams:,} subscribers"
    per_round = [[last - watch for watch, last in samples] for samples in rounds]
    return [
        Figure(
            name=f"watch to {to_whom}, {name}",
            value=percentile(differences, percent),
            unit="ms",
            spread=Spread.of([percentile(each, percent) for each in per_round]),
            goal=_GOALS.get((streams, percent)),
            conditions=f"{conditions}; {len(differences)} changes in {len(rounds)} rounds",
        )
        for name, percent in (("median", 50), ("99th percentile", 99))
    ] + [
        Figure(
            name=f"change to {to_whom}, median",
            value=median(last for samples in rounds for _, last in samples),
            unit="ms",
            peer=peer,
            conditions=conditions,
        )
    ]


class Streams:
    """Subscribers in a process of their own, who are asked when the last of them has had an event."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def opened(self) -> None:
        """Wait until each has had its snapshot."""
        while '"opened"' not in await self._line():
            pass

    async def told(self, awaited: str) -> float:
        """When the last of them had the first event that contains this and isn't read yet.

        Raises:
            ProbeError: the streams have ended.
        """
        while True:
            line = await self._line()
            if awaited in line:
                return float(json.loads(line)["last"])

    async def _line(self) -> str:
        line = await self._reader.readline()
        if not line:
            raise ProbeError("the streams have ended")
        return line.decode()


async def probe(*, gateway: str, streams: int, changes: int) -> list[list[float]]:
    """Make changes one after the other and wait until each has come by both ways; see `Samples`."""
    seen: list[Arrival] = []
    async with api_server() as api:
        pods, version = await _pods(api)
        async with asyncio.TaskGroup() as tasks, _subscribed(gateway, streams) as subscribers:
            watching = tasks.create_task(api.watch(_PODS, selector=OURS, version=version, into=seen.append))
            made = [await _change(api, pod, available, subscribers) for pod, available in _plan(pods, changes)]
            await until(lambda: made[-1][0] in _versions(seen), "the watch has seen the last change")
            watching.cancel()
    arrived = _versions(seen)
    samples = [[1000 * (arrived[version] - begin), 1000 * (last - begin)] for version, begin, last in made]
    return samples[_WARM_UP:]


@asynccontextmanager
async def _subscribed(gateway: str, streams: int) -> AsyncIterator[Streams]:
    """The streams, open, while the body runs."""
    address = urlsplit(gateway)
    path = f"/api/servers/{NAMESPACE}:{SERVER}/events?types=status,progress"
    where = (f"--host={address.hostname}", f"--port={address.port or 80}", f"--path={path}")
    argv = (str(built("sseload")), *where, f"--streams={streams}", "--ready-event=bookmark", "--relay", "--hold")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, limit=_LINE_BYTES)
    assert process.stdout is not None
    try:
        subscribers = Streams(process.stdout)
        await subscribers.opened()
        yield subscribers
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _plan(pods: Sequence[str], changes: int) -> Sequence[tuple[str, bool]]:
    """Which pod gets ready, or ceases to be, one change after the other; the last pod is left alone."""
    turns = ((pod, turn % 2 == 0) for turn in range(changes + _WARM_UP) for pod in pods[:-1])
    return list(islice(turns, changes + _WARM_UP))


async def _pods(api: ApiServer) -> tuple[Sequence[str], str]:
    """The server's pods, and the version of the list; each is set back to what it is without readiness."""

    async def all_made() -> Any:
        found = await api.get(f"{_PODS}?labelSelector=app.kubernetes.io/instance={SERVER}")
        return found if len(found["items"]) == _INSTANCES else None

    names = [pod["metadata"]["name"] for pod in (await until(all_made, "all pods exist"))["items"]]
    for name in names:
        await api.patch_status(f"{_PODS}/{name}", _readiness(ready=False))
    return names, str((await api.get(_PODS))["metadata"]["resourceVersion"])


def _readiness(*, ready: bool) -> Mapping[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"conditions": [{"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": now}]}


async def _change(api: ApiServer, pod: str, available: bool, subscribers: Streams) -> tuple[str, float, float]:
    """Make one change; its version, when it was asked for, and when the last stream had told it."""
    await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))  # noqa: S311 - it spreads moments and protects nothing
    step = "available" if available else "created"
    begin = time.perf_counter()
    changed = await api.patch_status(f"{_PODS}/{pod}", _readiness(ready=available))
    awaited = f'{{"name":"{pod}","step":"{step}"}}'
    last = await asyncio.wait_for(subscribers.told(awaited), _PATIENCE_SECONDS)
    return str(changed["metadata"]["resourceVersion"]), begin, last


def _versions(seen: Sequence[Arrival]) -> Mapping[str, float]:
    """When the watch brought which version of an object; a line has come when its last byte has."""
    arrived: dict[str, float] = {}
    rest = b""
    for arrival in seen:
        *lines, rest = (rest + arrival.data).split(b"\n")
        for line in lines:
            arrived[json.loads(line)["object"]["metadata"]["resourceVersion"]] = arrival.at
    return arrived
