"""The room as a whole: builds its parts, joins them, and runs them under one task group. `app` is its only caller."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

from kubernetes.aio.client import Configuration
from prometheus_client import CollectorRegistry

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.credentials import load_configuration
from mcp_operator.apiserver.kinds import (
    AUTOSCALER,
    DEPLOYMENT,
    EVENT,
    MCP_SERVER,
    MCP_SERVER_ROLLOUT,
    OURS,
    POD,
    REPLICA_SET,
    SERVICE,
    STATEFUL_SET,
    Kind,
)
from mcp_operator.cluster.applying import Applier
from mcp_operator.cluster.grouping import Families
from mcp_operator.cluster.metrics import ClusterMetrics
from mcp_operator.cluster.objects import uid_of
from mcp_operator.cluster.observing import Observer
from mcp_operator.cluster.podlogs.crashing import CrashReader
from mcp_operator.cluster.podlogs.following import LINGER_SECONDS, LogFollowing
from mcp_operator.cluster.podlogs.metrics import FollowingMetrics
from mcp_operator.cluster.podmetrics.metrics import SamplingMetrics
from mcp_operator.cluster.podmetrics.sampling import Sampler
from mcp_operator.cluster.reconciling import Reconciler
from mcp_operator.cluster.recording import Recorder
from mcp_operator.cluster.records.holding import HeldRecords, compact
from mcp_operator.cluster.records.keeping import RecordKeeper
from mcp_operator.cluster.reflecting import Reflector, pod_in_brief, whole, with_managers_of_spec, without_managed_fields
from mcp_operator.cluster.reporting import Reporter
from mcp_operator.cluster.targeting import REFLECTED, Joint, Targets
from mcp_operator.cluster.telling import Teller
from mcp_operator.cluster.triggering import Trigger
from mcp_operator.cluster.watching import Change
from mcp_operator.eventlog.log import EventLog
from mcp_operator.model.base import Object
from mcp_operator.rollout.observation import Applied

_LABELLED: Mapping[str, str] = {"labelSelector": OURS}


def _warnings_about(kind: Kind) -> Mapping[str, str]:
    """Kubernetes Events have no labels of ours. Our own are about MCPServers: none of these."""
    return {"fieldSelector": f"type=Warning,involvedObject.kind={kind.name}"}


_REFLECTED: Sequence[tuple[Kind, Mapping[str, str]]] = (
    (MCP_SERVER, {}),
    (DEPLOYMENT, _LABELLED),
    (SERVICE, _LABELLED),
    (REPLICA_SET, _LABELLED),
    (POD, _LABELLED),
    (AUTOSCALER, {}),
    (EVENT, _warnings_about(DEPLOYMENT)),
    (EVENT, _warnings_about(REPLICA_SET)),
    (EVENT, _warnings_about(POD)),
    (EVENT, _warnings_about(AUTOSCALER)),
)
_APPLIED = {DEPLOYMENT, SERVICE}
"""What the operator writes: there the managed fields tell drift."""
_ATTRIBUTED = {MCP_SERVER, DEPLOYMENT, STATEFUL_SET}
"""Where they tell who scaled or changed a server."""
_JOINT = {DEPLOYMENT, REPLICA_SET, POD}
"""What two watches divide by our label, where a server observes a workload."""


def _trim(kind: Kind, *, ours: bool) -> Callable[[dict[str, Any]], Object]:
    """What is kept of an object of this kind."""
    if ours and kind in _APPLIED:
        return whole
    if kind is POD:
        return pod_in_brief
    return with_managers_of_spec if kind in _ATTRIBUTED else without_managed_fields


class Cluster:
    """Everything between the API server and the event log.

    Args:
        log: where events are told.
        namespaces: whose MCPServers are run; none means all.
        instance: name of this operator among others, for Kubernetes Events.
        registry: of the metrics.
        load: reads the credentials.
        log_linger_seconds: for how long a server's logs are followed after its last listener has gone.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        namespaces: Sequence[str],
        instance: str,
        registry: CollectorRegistry,
        load: Callable[[], Awaitable[Configuration]] = load_configuration,
        log_linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        self._api = Api(load=load)
        self.records = HeldRecords()
        """The records of the servers' rollouts and scalings, as the API server holds them."""
        self._families = Families()
        teller = Teller(self._families, log=log)
        metrics = ClusterMetrics(registry)
        self._reporter = Reporter(self._api, metrics=metrics)
        self._recorder = Recorder(self._api, instance=instance)
        self._keeper = RecordKeeper(self._api, self.records, metrics=metrics)
        self._crashes = CrashReader(self._api, self._families, teller=teller, metrics=metrics)
        applied: dict[str, Applied] = {}
        self._targets = Targets(
            make=lambda namespace, on_permission: [
                self._reflector(kind, namespace, selectors, ours=False, metrics=metrics, on_permission=on_permission)
                for kind, selectors in REFLECTED
            ],
            on_change=partial(self._take, ours=False),
            on_synced=self._look_at,
        )
        self._joint = Joint()
        self._observer = Observer(
            self._families,
            teller=teller,
            reporter=self._reporter,
            recorder=self._recorder,
            records=self._keeper,
            paces=self.records.paces,
            crashes=self._crashes,
            applied=applied,
            is_known=self._targets.known,
            forbidden=self._targets.forbidden,
            metrics=metrics,
            on_deleted=self._reporter.forget,
        )
        self._reconciler = Reconciler(
            Applier(self._api, metrics=metrics, on_repair=self._recorder.record_repair),
            self._families,
            applied=applied,
            on_applied=self._observer.changed,
            metrics=metrics,
        )
        self._logs = LogFollowing(
            self._families, api=self._api, teller=teller, metrics=FollowingMetrics(registry), linger=log_linger_seconds
        )
        self._sampler = Sampler(self._families, api=self._api, teller=teller, metrics=SamplingMetrics(registry))
        self._trigger = Trigger(namespaces=namespaces, load=load, on_change=self._reconciler.server_changed, metrics=metrics)
        self._reflectors = [
            self._reflector(kind, namespace, selectors, ours=True, metrics=metrics)
            for namespace in namespaces or (None,)
            for kind, selectors in _REFLECTED
        ]
        self._record_reflectors = [
            Reflector(
                self._api,
                MCP_SERVER_ROLLOUT,
                namespace,
                selectors=_LABELLED,
                trim=compact,
                on_change=self._take_record,
                metrics=metrics,
            )
            for namespace in namespaces or (None,)
        ]
        metrics.watch_silence(self._silence)

    def _reflector(
        self,
        kind: Kind,
        namespace: str | None,
        selectors: Mapping[str, str],
        *,
        ours: bool,
        metrics: ClusterMetrics,
        on_permission: Callable[[], None] = lambda: None,
    ) -> Reflector:
        return Reflector(
            self._api,
            kind,
            namespace,
            selectors=selectors,
            trim=_trim(kind, ours=ours),
            on_change=partial(self._take, kind, ours=ours),
            on_permission=on_permission,
            metrics=metrics,
        )

    def synced(self) -> bool:
        """Whether the log tells of every server that existed when the operator started."""
        return self._observer.synced

    async def run(self) -> None:
        """Run until cancelled. An API server that is away, however long, is waited for.

        Raises:
            ApiError: there are no credentials to ask it with.
        """
        async with self._api:
            await self._api.log_in()
            await self._run()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for reflector in (*self._reflectors, *self._record_reflectors):
                tasks.create_task(reflector.run(), name=f"reflecting {reflector}")
            tasks.create_task(self._reporter.run(), name="reporting")
            tasks.create_task(self._recorder.run(), name="recording")
            tasks.create_task(self._keep_records(), name="keeping records")
            for reflector in self._reflectors:
                if reflector.kind is not AUTOSCALER:  # who scaled is worth no waiting
                    await reflector.synced.wait()
            tasks.create_task(self._targets.run(), name="reflecting workloads of others")
            tasks.create_task(self._reconciler.run(), name="reconciling")
            await self._targets.settled()
            tasks.create_task(self._observer.run(), name="observing")
            tasks.create_task(self._crashes.run(), name="reading last lines")
            tasks.create_task(self._logs.run(), name="following logs")
            tasks.create_task(self._sampler.run(), name="sampling")
            tasks.create_task(self._trigger.run(), name="triggering")

    async def _keep_records(self) -> None:
        """Keep records once those that exist are known; nothing else waits for them."""
        for reflector in self._record_reflectors:
            await reflector.synced.wait()
        self.records.synced = True
        await self._keeper.run()

    def _take_record(self, change: Change) -> None:
        uid = self.records.take(change)
        if uid is not None:
            self._keeper.changed(uid)

    def _take(self, kind: Kind, change: Change, *, ours: bool) -> None:
        """Where all facts come in: sort the change into its family, and have whoever is concerned look.

        Args:
            ours: whether a watch of the operator's own objects has told it, not one of a namespace's others.
        """
        joined = self._joint.take(change, ours=ours) if kind in _JOINT else change
        if joined is not None:
            self._sort(kind, joined)

    def _look_at(self, uid: str) -> None:
        self._observer.changed(uid)

    def _sort(self, kind: Kind, change: Change) -> None:
        concerned = self._families.take(kind, change)
        if kind is MCP_SERVER and _only_status_differs(change) and self._reporter.stands(change.object):
            return  # news of our own write
        for uid in concerned:
            self._observer.changed(uid, observed=change.observed)
            self._logs.changed(uid)
            if kind in _APPLIED:
                self._reconciler.child_changed(uid, change)
        if kind is MCP_SERVER:
            self._targets.server_changed(change)
            self._sampler.changed(uid_of(change.object))
            metadata = change.object["metadata"]
            if change.new is None:
                self._reconciler.server_deleted(metadata["uid"])
            else:
                self._reconciler.server_changed(metadata["uid"], metadata["generation"])

    def _silence(self) -> Mapping[tuple[str, str], float]:
        """The longest silence by kind and namespace: several watches may follow one kind."""
        longest: dict[tuple[str, str], float] = defaultdict(float)
        for reflector in chain(self._reflectors, self._targets.reflectors, self._record_reflectors):
            key = (reflector.kind.name, reflector.namespace or "")
            longest[key] = max(longest[key], reflector.silent_seconds)
        return longest


def _only_status_differs(change: Change) -> bool:
    """Whether of an object nothing but its status (and with it its version) is another."""
    if change.old is None or change.new is None:
        return False
    old, new = ({**each["metadata"], "resourceVersion": ""} for each in (change.old, change.new))
    return old == new and change.old.get("spec") == change.new.get("spec")
