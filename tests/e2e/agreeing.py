"""Whether our `running` agrees with kubectl and kstatus: their rules on every version of a workload, by one clock.

A bare watch of its own brings the versions, and each `running` that arrives is answered by a read of the workload. `judge` puts
the two side by side; it is pure, so that a table tests it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from local_cluster import Cluster
from mcp_operator.apiserver.credentials import authorization, load_configuration, open_session
from tests.bench.inside import ApiServer, Arrival
from tests.e2e.subscribing import EventJson, Subscriber
from tests.kstatus import Kstatus, kstatus, rolled_out

_GONE = 404
_PLURALS = {"Deployment": "deployments", "StatefulSet": "statefulsets"}


@dataclass(frozen=True)
class Version:
    """One version of a workload, as the bare watch brought it."""

    number: int
    """Its resourceVersion; of a deleted workload that of the deletion."""
    at: float
    """When it came, in seconds of `time.perf_counter`."""
    generation: int
    agreed: bool
    """Whether `kubectl rollout status` would end well and kstatus says Current."""


@dataclass(frozen=True)
class Claim:
    """A `running` that was told after another status."""

    at: float
    """When it came, as of a version."""
    read: int | None
    """The resourceVersion that the workload had just afterwards; None if it was gone by then."""


@dataclass(frozen=True)
class Judgement:
    """What became of the claims of one server."""

    delays: Sequence[float] = ()
    """Seconds by which each claim came after the version that made it true; the bare watch may be a little late itself."""
    premature: Sequence[Claim] = ()
    """Those that nothing made true."""


def judge(versions: Sequence[Version], claims: Sequence[Claim]) -> Judgement:
    """Hold what was told against the versions.

    A claim is right if both rules agree on the workload as it is just afterwards. Where the workload has moved on by then, they
    have to have agreed on some version that came up after the one which the claim before it was about.
    """
    delays, premature, before = [], [], -1
    periods = list(_agreed(versions))
    last = max((version.number for version in versions), default=0)
    for claim in claims:
        read = last if claim.read is None else claim.read
        found = [index for index, (first, _) in enumerate(periods) if first.number <= read]
        newest = found[-1] if found else None
        if newest is None or (newest <= before and not _lasts(periods[newest], read)):
            premature.append(claim)
            continue
        if newest > before:
            delays.append(claim.at - periods[newest][0].at)
        before = newest
    return Judgement(delays, premature)


def _agreed(versions: Sequence[Version]) -> list[tuple[Version, Version | None]]:
    """The first version of each period in which the rules agree, and the first one after it."""
    periods: list[tuple[Version, Version | None]] = []
    for index, version in enumerate(versions):
        was_agreed = index > 0 and versions[index - 1].agreed
        if version.agreed and not was_agreed:
            periods.append((version, None))
        elif was_agreed and not version.agreed:
            periods[-1] = (periods[-1][0], version)
    return periods


def _lasts(period: tuple[Version, Version | None], number: int) -> bool:
    return period[1] is None or period[1].number > number


class Watch:
    """Every version of the workloads of one namespace."""

    def __init__(self, api: ApiServer, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._rest: dict[str, bytes] = defaultdict(bytes)
        self.versions: Mapping[tuple[str, str], list[Version]] = defaultdict(list)
        """By kind and name."""

    async def run(self, kind: str) -> None:
        """Watch the workloads of a kind until cancelled."""
        listed = await self._api.get(self._path(kind))
        version = str(listed["metadata"]["resourceVersion"])
        await self._api.watch(self._path(kind), selector="", version=version, into=lambda arrival: self._take(kind, arrival))

    async def read(self, kind: str, name: str) -> int | None:
        """The resourceVersion of a workload now; None if there is none."""
        try:
            read = await self._api.get(f"{self._path(kind)}/{name}")
        except aiohttp.ClientResponseError as error:
            if error.status != _GONE:
                raise
            return None
        return int(read["metadata"]["resourceVersion"])

    def newest(self, kind: str, name: str) -> Version | None:
        """The version that came last."""
        versions = self.versions[kind, name]
        return versions[-1] if versions else None

    def _path(self, kind: str) -> str:
        return f"/apis/apps/v1/namespaces/{self._namespace}/{_PLURALS[kind]}"

    def _take(self, kind: str, arrival: Arrival) -> None:
        *lines, self._rest[kind] = (self._rest[kind] + arrival.data).split(b"\n")
        for line in lines:
            change = json.loads(line)
            body = change["object"]
            if change["type"] in ("ADDED", "MODIFIED", "DELETED"):
                there = change["type"] != "DELETED"
                self.versions[kind, body["metadata"]["name"]].append(version_of(body, at=arrival.at, there=there))


def version_of(workload: Mapping[str, Any], *, at: float, there: bool = True) -> Version:
    """What the rules say of a workload."""
    metadata = workload["metadata"]
    agreed = there and rolled_out(workload) and kstatus(workload) is Kstatus.CURRENT
    return Version(int(metadata["resourceVersion"]), at, metadata["generation"], agreed)


@asynccontextmanager
async def bare_api(cluster: Cluster) -> AsyncIterator[ApiServer]:
    """The API server, with the administrator's rights."""
    configuration = await load_configuration(kubeconfig=str(cluster.kubeconfig))
    async with open_session(configuration, await authorization(configuration)) as session:
        yield ApiServer(session, configuration.host.rstrip("/"))


@asynccontextmanager
async def watching(cluster: Cluster, namespace: str) -> AsyncIterator[Watch]:
    """A bare watch of a namespace's workloads, with the administrator's rights, while the body runs."""
    async with bare_api(cluster) as api:
        watch = Watch(api, namespace)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(watch.run(kind)) for kind in _PLURALS]
            try:
                yield watch
            finally:
                for each in running:
                    each.cancel()


@dataclass
class Listener:
    """A subscriber to the statuses of one server, which reads the workload whenever it is told that the server runs."""

    stream: Subscriber
    watch: Watch
    kind: str
    workload: str
    last: EventJson | None = None
    """The newest status event."""
    _claims: list[asyncio.Task[Claim]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._changed = asyncio.Condition()
        await self.stream.__aenter__()
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *exception: Any) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        await self.stream.__aexit__(*exception)

    async def claims(self) -> Sequence[Claim]:
        """Each `running` so far that was told after another status, once the workload has been read."""
        return await asyncio.gather(*self._claims)

    async def until(self, expected: Callable[[EventJson], bool], what: str, *, within: float = 150) -> None:
        """Wait until the newest status is as expected; `what` says how that is.

        Raises:
            AssertionError: it isn't in time, or the stream has ended.
        """

        def reached() -> bool:
            return self.last is not None and expected(self.last)

        try:
            async with asyncio.timeout(within), self._changed:
                await self._changed.wait_for(lambda: reached() or self._listening.done())
        except TimeoutError:
            raise AssertionError(f"not {what} within {within} s; the newest status: {self.last}") from None
        if not reached():
            self._listening.result()

    async def _listen(self) -> None:
        try:
            async with asyncio.TaskGroup() as reads:
                while True:
                    event = await self.stream.until(lambda event: event["type"] == "status", within=600)
                    at = time.perf_counter()
                    if event["status"] == "running" and (self.last is None or self.last["status"] != "running"):
                        self._claims.append(reads.create_task(self._claim(at)))
                    async with self._changed:
                        self.last = event
                        self._changed.notify_all()
        finally:
            async with self._changed:
                self._changed.notify_all()

    async def _claim(self, at: float) -> Claim:
        return Claim(at, await self.watch.read(self.kind, self.workload))
