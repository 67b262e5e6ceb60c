"""How soon a change in the cluster is told to the last of 100 subscribers, against a bare watch of the same objects.

One process inside the node holds both: a watch of the pods, and 100 streams over real sockets through the gateway's Service. It
changes a pod's readiness, notes when the watch has brought the change, and when the last stream has brought the event that names
the pod with its new step. Then it waits a moment of random length, and changes the next pod.

The pods wait for a scheduler that doesn't exist, so that no kubelet sets right what is written to their status; one never gets
ready, so that the rollout stays open and each change is a step of it, told in a progress event without a status write before it.
The readers do nothing but look for the event in the bytes: 100 subscribers of this machine would else take longer to parse than
the operator takes to tell.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from itertools import islice
from statistics import median
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from local_cluster.progress import step
from mcp_operator.apiserver.kinds import OURS
from tests.bench.figures import ROUNDS, AtMost, Figure, Goal, Peer, Spread, percentile
from tests.bench.inside import ApiServer, Arrival, api_server
from tests.bench.running import NAMESPACE, Lab
from tests.waiting import until

SERVER = "watched"
_INSTANCES = 4
_STREAMS = (100, 1)
_CHANGES = 30
"""In a round."""
_WARM_UP = 5
_PAUSE_SECONDS = (0.02, 0.12)
"""Random, so that the changes don't keep step with the operator's own status writes, one a second."""
_PATIENCE_SECONDS = 10.0
_PROBE_SECONDS = 120.0
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"

Samples: TypeAlias = Sequence[Sequence[float]]
"""Of each change: milliseconds from the request that made it to the watch, and to the last stream."""

_GOALS: Mapping[tuple[int, float], Goal] = {(100, 50): AtMost(5), (100, 99): AtMost(25)}
"""By streams and percentile."""


def measure(lab: Lab) -> Sequence[Figure]:
    rounds: dict[int, list[Samples]] = {streams: [] for streams in _STREAMS}
    rollout, pod_template = {"progressDeadlineSeconds": 3600}, {"spec": {"schedulerName": "nobody"}}
    with lab.server(SERVER, replicas=_INSTANCES, rollout=rollout, podTemplate=pod_template):
        for number in range(1, ROUNDS + 1):
            for streams in _STREAMS:
                with step(f"watch: {_CHANGES} changes to {streams} subscribers, round {number} of {ROUNDS}"):
                    gateway = lab.gateway_inside
                    rounds[streams].append(lab.inside("watch", seconds=_PROBE_SECONDS, gateway=gateway, streams=streams))
    conditions = f"operator on Python {lab.operator_python}, asyncio, no TLS to subscribers"
    return [figure for streams in _STREAMS for figure in figures(rounds[streams], streams=streams, conditions=conditions)]


def figures(rounds: Sequence[Samples], *, streams: int, conditions: str) -> Sequence[Figure]:
    """How much later than the watch the last of so many streams is: the median and the 99th percentile of all changes."""
    differences = [last - watch for samples in rounds for watch, last in samples]
    peer = Peer.compared(
        "bare watch, from the change on",
        ours=[median(last for _, last in samples) for samples in rounds],
        theirs=[median(watch for watch, _ in samples) for samples in rounds],
    )
    to_whom = "the one subscriber" if streams == 1 else f"the last of {streams} subscribers"
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


class Ear(asyncio.Protocol):
    """One subscriber, who listens for one event at a time."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.opened = self.listen_for(b"event: bookmark\n")
        """When the snapshot has been read."""

    def listen_for(self, awaited: bytes) -> asyncio.Future[float]:
        """When the next event that contains this has been read to its end."""
        self._unread, self._awaited = b"", awaited
        self._heard: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        return self._heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._heard.done():
            return
        self._unread += data
        if self._unread.startswith(b"HTTP/") and not self._unread.startswith(b"HTTP/1.1 200 "[: len(self._unread)]):
            self._heard.set_exception(ConnectionError(f"no stream: {self._unread[:500]!r}"))
            return
        place = self._unread.find(self._awaited)
        if place >= 0 and self._unread.find(b"\n\n", place) >= 0:
            self._heard.set_result(time.perf_counter())

    def connection_lost(self, error: Exception | None) -> None:
        if not self._heard.done():
            self._heard.set_exception(error or ConnectionError(f"a stream ended: {self._unread[-200:]!r}"))


async def probe(*, gateway: str, streams: int) -> list[list[float]]:
    """Make changes one after the other and wait until each has come by both ways; see `Samples`."""
    seen: list[Arrival] = []
    async with api_server() as api, AsyncExitStack() as opened:
        pods, version = await _pods(api)
        watching = asyncio.create_task(api.watch(_PODS, selector=OURS, version=version, into=seen.append))
        opened.callback(watching.cancel)
        ears = await _subscribe(gateway, streams, opened)
        made = [await _change(api, pod, available, ears) for pod, available in _plan(pods)]
        versions = [version for version, _, _ in made]
        await until(lambda: watching.done() or versions[-1] in _versions(seen), "the watch has seen the last change")
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    arrived = _versions(seen)
    samples = [[1000 * (arrived[version] - begin), 1000 * (last - begin)] for version, begin, last in made]
    return samples[_WARM_UP:]


def _plan(pods: Sequence[str]) -> Sequence[tuple[str, bool]]:
    """Which pod gets ready, or ceases to be, one change after the other; the last pod is left alone."""
    turns = ((pod, turn % 2 == 0) for turn in range(_CHANGES + _WARM_UP) for pod in pods[:-1])
    return list(islice(turns, _CHANGES + _WARM_UP))


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


async def _subscribe(gateway: str, streams: int, opened: AsyncExitStack) -> Sequence[Ear]:
    """Open the streams, and wait until each has had its snapshot."""
    address = urlsplit(gateway)
    host, port = address.hostname or "", address.port or 80
    path = f"/api/servers/{NAMESPACE}:{SERVER}/events?types=status,progress"
    request = f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nAccept: text/event-stream\r\n\r\n".encode()
    ears = []
    for _ in range(streams):
        connecting = asyncio.get_running_loop().create_connection(lambda: Ear(request), host, port)
        transport, ear = await asyncio.wait_for(connecting, _PATIENCE_SECONDS)
        opened.callback(transport.close)
        ears.append(ear)
        await asyncio.wait_for(ear.opened, _PATIENCE_SECONDS)
    return ears


async def _change(api: ApiServer, pod: str, available: bool, ears: Sequence[Ear]) -> tuple[str, float, float]:
    """Make one change; its version, when it was asked for, and when the last stream had told it."""
    await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))  # noqa: S311 - it spreads moments and protects nothing
    step = "available" if available else "created"
    heard = [ear.listen_for(f'{{"name":"{pod}","step":"{step}"}}'.encode()) for ear in ears]
    begin = time.perf_counter()
    changed = await api.patch_status(f"{_PODS}/{pod}", _readiness(ready=available))
    last = max(await asyncio.wait_for(asyncio.gather(*heard), _PATIENCE_SECONDS))
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
