"""Samples servers: for each whose `metrics` events somebody listens to, one event per interval of its spec, the first at once.

Every server has its own rhythm, so that a cluster's stream doesn't make all be read in the same tick. A sample never follows
another within the interval, however listeners come and go; without a listener nothing is asked at all.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import pydantic

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.errors import ApiError
from mcp_operator.apiserver.kinds import POD_METRICS
from mcp_operator.cluster.grouping import Families, Family
from mcp_operator.cluster.objects import name_of, uid_of
from mcp_operator.cluster.outages import Outage
from mcp_operator.cluster.podmetrics.metrics import SamplingMetrics
from mcp_operator.cluster.podmetrics.readings import Missing, Reading, Reason, Requests, Usage
from mcp_operator.cluster.podmetrics.scraping import Endpoint, Scraper, not_running
from mcp_operator.cluster.podmetrics.summing import nothing, summarise
from mcp_operator.cluster.podmetrics.usage import limits_of, read_usages
from mcp_operator.cluster.queueing import WorkQueue
from mcp_operator.cluster.telling import Teller
from mcp_operator.model.base import Object
from mcp_operator.model.events import Event, EventType, MetricsPayload
from mcp_operator.model.spec import InvalidSpecError, MCPServer, MetricsSpec
from mcp_operator.rollout.instances import read_instances
from mcp_operator.rollout.wording import tidy
from mcp_operator.workload.naming import selector, selector_of

_CONCURRENCY: Final = 64
_LONGEST_BACKOFF: Final = 5.0
_USAGE_SECONDS: Final = 5.0
_USAGE_PAGE: Final = 5000
"""More instances than a server can have; metrics-server gives all in one page anyway."""
_SPREAD_SECONDS: Final = 0.05
"""Between the first samples of servers that begin to be listened to together."""
_LOOK_SECONDS: Final = 0.1
"""Between two looks at who listens: thousands of listeners may come in the same second."""
_MESSAGE_LIMIT: Final = 256

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
        self._api = api
        self._teller = teller
        self._metrics = metrics
        self._scraper = Scraper(metrics=metrics)
        self._outage = Outage("Reading what pods use from metrics.k8s.io")
        self._begun: dict[str, float] = {}
        """When the last sample of each server was begun, by UID; of servers that exist."""
        self._queue = WorkQueue(
            "sampling", self._sample, title=families.title, concurrency=_CONCURRENCY, longest_backoff=_LONGEST_BACKOFF
        )

    def changed(self, uid: str) -> None:
        """An MCPServer is new, edited or gone."""
        server = self._families.server(uid)
        if server is None:
            self._queue.discard(uid)
            self._begun.pop(uid, None)
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
            return nothing(Missing(Reason.INVALID_SPEC, _brief(str(error))), sampled_at=now)
        async with asyncio.TaskGroup() as tasks:
            chosen = selector(parsed) if family.observes is None else selector_of(family.workload)
            usages = tasks.create_task(self._usages(family.name.namespace, chosen))
            requests = tasks.create_task(self._requests(parsed, pods))
        return summarise([_reading(pod, usages.result(), requests.result()) for pod in pods], sampled_at=now)

    async def _usages(self, namespace: str, chosen: str) -> Mapping[str, Usage] | Missing:
        """What each of the pods that a label selector chooses uses, by its name."""
        try:
            with self._metrics.usage_seconds.time():
                async with asyncio.timeout(_USAGE_SECONDS):
                    answer = await self._api.list_page(
                        POD_METRICS,
                        namespace,
                        selectors={"labelSelector": chosen},
                        limit=_USAGE_PAGE,
                        token=None,
                    )
            usages = read_usages(answer)
        except TimeoutError:
            return self._unavailable(ApiError(status=None, reason="TimedOut", message=f"no answer within {_USAGE_SECONDS:g} s"))
        except ApiError as error:
            return self._unavailable(error)
        except ValueError as error:
            return self._unavailable(ApiError(status=None, reason="Malformed", message=str(error)))
        self._metrics.usage_requests.labels(result="read").inc()
        self._outage.works()
        return usages

    def _unavailable(self, error: ApiError) -> Missing:
        self._metrics.usage_requests.labels(result="refused" if error.refused or error.gone else "failed").inc()
        self._outage.fails(error)
        return Missing(Reason.METRICS_UNAVAILABLE, f"metrics.k8s.io: {_brief(str(error))}", of_server=True)

    async def _requests(self, server: MCPServer, pods: Sequence[Object]) -> Mapping[str, Requests | Missing] | Missing:
        """How many requests each pod has served, by its name."""
        prometheus = server.spec.metrics.prometheus
        if prometheus is None:
            return _NO_ENDPOINT
        return await self._scraper.scrape(pods, Endpoint(prometheus.port or server.spec.port, prometheus.path))


def _reading(pod: Object, usages: Mapping[str, Usage] | Missing, requests: Mapping[str, Requests | Missing] | Missing) -> Reading:
    name: str = pod["metadata"]["name"]
    absent = _NOT_YET_MEASURED if pod.get("status", {}).get("phase") == "Running" else not_running(pod)
    return Reading(
        instance=name,
        limits=limits_of(pod),
        usage=usages if isinstance(usages, Missing) else usages.get(name, absent),
        requests=requests if isinstance(requests, Missing) else requests[name],
    )


def _interval(server: Object) -> int:
    """Seconds between two samples; the default ones as long as the spec can't be read."""
    try:
        return MetricsSpec.model_validate((server.get("spec") or {}).get("metrics") or {}).interval_seconds
    except pydantic.ValidationError:
        return MetricsSpec().interval_seconds


def _brief(message: str) -> str:
    text = tidy(message)
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"
