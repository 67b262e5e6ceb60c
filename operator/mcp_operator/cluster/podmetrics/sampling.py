"""Samples servers: for each whose `metrics` events somebody listens to, one event per interval of its spec, the first at once.

Every server has its own rhythm, so that a cluster's stream doesn't make all be read in the same tick. A sample never follows
another within the interval, however listeners come and go; without a listener nothing is asked at all.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

import pydantic

from mcp_operator.apiserver.connecting import Api
from mcp_operator.cluster.grouping import Families, Family
from mcp_operator.cluster.objects import name_of, observed_by, uid_of
from mcp_operator.cluster.podmetrics.asking import TOGETHER_SECONDS, UsageReader, Usages
from mcp_operator.cluster.podmetrics.metrics import SamplingMetrics
from mcp_operator.cluster.podmetrics.rating import Rates, Sighting
from mcp_operator.cluster.podmetrics.readings import Missing, Reading, Reason, Scrape, brief
from mcp_operator.cluster.podmetrics.scraping import Endpoint, Scraper, not_running
from mcp_operator.cluster.podmetrics.summing import nothing, summarise
from mcp_operator.cluster.podmetrics.usage import limits_of
from mcp_operator.cluster.queueing import WorkQueue
from mcp_operator.cluster.telling import Teller
from mcp_operator.model.base import Object
from mcp_operator.model.events import Event, EventType, MetricsPayload
from mcp_operator.model.servers import ServerName
from mcp_operator.model.spec import InvalidSpecError, MCPServer, MetricsSpec
from mcp_operator.rollout.instances import read_instances
from mcp_operator.workload.naming import selector_of

_CONCURRENCY: Final = 64
_LONGEST_BACKOFF: Final = 5.0
_SPREAD_SECONDS: Final = 0.05
"""Between the first samples of servers that begin to be listened to together."""
_LOOK_SECONDS: Final = 0.1
"""Between two looks at who listens: thousands of listeners may come in the same second."""

_LONGEST_RATE_INTERVALS: Final = 3
_LONGEST_RATE_SECONDS: Final = 30.0
"""A rate is of at most so many intervals, or seconds if that is more: after a time without a listener it begins anew."""

_NO_ENDPOINT: Final = Missing(
    Reason.NO_PROMETHEUS_ENDPOINT, "spec.metrics.prometheus doesn't say where requests are counted", of_server=True
)
_NO_INSTANCES: Final = Missing(Reason.NO_INSTANCES, "The server has no instance", of_server=True)
_NOT_YET_MEASURED: Final = Missing(Reason.NOT_YET_MEASURED, "metrics.k8s.io has no figures of this instance yet")


class Sampler:
    """Takes samples and tells them.

    Args:
        metrics: counts what is asked.
    """

    def __init__(self, families: Families, *, api: Api, teller: Teller, metrics: SamplingMetrics) -> None:
        self._families = families
        self._teller = teller
        self._metrics = metrics
        self._scraper = Scraper(metrics=metrics)
        self._usages = UsageReader(api, metrics=metrics)
        self._begun: dict[str, float] = {}
        """When the last sample of each server was begun, by UID; of servers that exist."""
        self._rates: dict[str, Rates] = {}
        """By UID, of the same servers."""
        self._queue = WorkQueue(
            "sampling", self._sample, title=families.title, concurrency=_CONCURRENCY, longest_backoff=_LONGEST_BACKOFF
        )

    def changed(self, uid: str) -> None:
        """An MCPServer is new, edited or gone."""
        server = self._families.server(uid)
        if server is None:
            self._queue.discard(uid)
            self._begun.pop(uid, None)
            self._rates.pop(uid, None)
        elif self._wanted(server):
            self._queue.add(uid, after=self._seconds_to_next(server))

    async def run(self) -> None:
        """Sample until cancelled."""
        async with self._scraper, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._queue.run(), name="sampling")
            version = 0
            while True:
                version = await self._teller.demand.changed(version)
                self._look()
                await asyncio.sleep(_LOOK_SECONDS)

    def _look(self) -> None:
        """Have those servers sampled that somebody listens to; the others' turn comes once more and finds nobody."""
        overdue: list[tuple[str, int]] = []
        for uid in sorted(self._families.servers()):
            server = self._families.server(uid)
            if server is None or not self._wanted(server):
                continue
            if seconds := self._seconds_to_next(server):
                self._queue.add(uid, after=seconds)
            else:
                overdue.append((uid, _interval(server)))
        for number, (uid, interval) in enumerate(overdue):
            self._queue.add(uid, after=number * min(_SPREAD_SECONDS, interval / len(overdue)))

    def _wanted(self, server: Object) -> bool:
        return self._teller.wanted(EventType.METRICS, name_of(server), uid_of(server))

    def _seconds_to_next(self, server: Object) -> float:
        """Time until the server may be sampled; 0 when it may now."""
        due = self._begun.get(uid_of(server), -math.inf) + _interval(server)
        return max(0.0, due - time.monotonic())

    async def _sample(self, uid: str) -> None:
        family = self._families.family(uid)
        if family is None or family.server is None or not self._wanted(family.server):
            return
        if early := self._seconds_to_next(family.server):
            self._queue.add(uid, after=early)  # the interval has become longer
            return
        self._begun[uid] = time.monotonic()
        self._queue.add(uid, after=_interval(family.server))
        with self._metrics.sample_seconds.time():
            payload = await self._measure(family, family.server)
        self._metrics.samples.inc()
        if self._families.server(uid) is not None:  # else nothing may follow its last word
            sampled_at = payload.sampled_at.isoformat().replace("+00:00", "Z")
            await self._teller.tell(Event(family.name, uid, f"{uid}/metrics/{sampled_at}", payload))

    async def _measure(self, family: Family, server: Object) -> MetricsPayload:
        now = datetime.now(UTC)
        pods = [instance.pod for instance in read_instances(family.pods, min_ready_seconds=0, now=now)]
        if not pods:
            return nothing(_NO_INSTANCES, sampled_at=now)
        try:
            parsed = MCPServer.parse(server)
        except InvalidSpecError as error:
            return nothing(Missing(Reason.INVALID_SPEC, brief(str(error))), sampled_at=now)
        rates = self._rates.setdefault(uid_of(server), Rates())
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._usage(family))
            scraping = tasks.create_task(self._scrapes(parsed, pods))
        usages, scrapes = reading.result(), scraping.result()
        seen = {pod["metadata"]["uid"]: _sighting(pod, scrapes[pod["metadata"]["name"]]) for pod in pods}
        longest = max(_LONGEST_RATE_SECONDS, _LONGEST_RATE_INTERVALS * _interval(server))
        per_second = rates.take(seen, longest_seconds=longest)
        return summarise(list(_readings(pods, usages, scrapes, per_second)), sampled_at=now)

    async def _usage(self, family: Family) -> Usages | Missing:
        namespace = family.name.namespace
        if family.observes is None:
            return await self._usages.read(family.name, due_soon=partial(self._due_soon, namespace))
        if family.workload is None:  # its pods are on their way out
            return {}
        return await self._usages.ask(namespace, selector_of(family.workload))

    def _due_soon(self, namespace: str) -> Iterator[ServerName]:
        """Servers of a namespace, with instances of our making, that are sampled within the next second."""
        for uid in self._queue.due_within(TOGETHER_SECONDS):
            server = self._families.server(uid)
            if server is None or server["metadata"]["namespace"] != namespace:
                continue
            due = observed_by(server) is None and self._wanted(server) and self._seconds_to_next(server) <= TOGETHER_SECONDS
            if due:
                yield name_of(server)

    async def _scrapes(self, server: MCPServer, pods: Sequence[Object]) -> Mapping[str, Scrape | Missing]:
        """What each pod says of its requests, by its name."""
        prometheus = server.spec.metrics.prometheus
        if prometheus is None:
            return {pod["metadata"]["name"]: _NO_ENDPOINT for pod in pods}
        return await self._scraper.scrape(pods, Endpoint(prometheus.port or server.spec.port, prometheus.path))


def _readings(
    pods: Sequence[Object],
    usages: Usages | Missing,
    scrapes: Mapping[str, Scrape | Missing],
    rates: Mapping[str, float | Missing],
) -> Iterator[Reading]:
    for pod in pods:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        absent = _NOT_YET_MEASURED if pod.get("status", {}).get("phase") == "Running" else not_running(pod)
        scrape = scrapes[name]
        yield Reading(
            instance=name,
            limits=limits_of(pod),
            usage=usages if isinstance(usages, Missing) else usages.get(name, absent),
            traffic=scrape if isinstance(scrape, Missing) else scrape.traffic,
            rate=rates[uid],
        )


def _sighting(pod: Object, scrape: Scrape | Missing) -> Sighting | Missing:
    if isinstance(scrape, Missing):
        return scrape
    requests = scrape.traffic.requests
    return requests if isinstance(requests, Missing) else Sighting(count=requests, at=scrape.at, restarts=_restarts(pod))


def _restarts(pod: Object) -> int:
    """How often containers of a pod have been restarted."""
    status = pod.get("status", {})
    containers = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return sum(container.get("restartCount") or 0 for container in containers)


def _interval(server: Object) -> int:
    """Seconds between two samples; the default ones as long as the spec can't be read."""
    try:
        return MetricsSpec.model_validate((server.get("spec") or {}).get("metrics") or {}).interval_seconds
    except pydantic.ValidationError:
        return MetricsSpec().interval_seconds
