"""Brings the children of each server to what its spec says, whenever the spec or a child has changed.

Triggers carry no object: a run takes the newest that the reflectors hold, so runs may be skipped, merged and repeated. Two
sources trigger: kopf, for MCPServers, and the reflectors, for everything that they hear of. If kopf was first, the reflector's
own change comes right after and triggers again. Deletion needs nothing: children go with their owner.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping

from mcp_operator.apiserver.kinds import DEPLOYMENT, SERVICE, Kind
from mcp_operator.cluster.applying import Applier, Refused
from mcp_operator.cluster.grouping import Families
from mcp_operator.cluster.metrics import ClusterMetrics
from mcp_operator.cluster.objects import name_of
from mcp_operator.cluster.owning import owned_fields
from mcp_operator.cluster.queueing import TryAgain, WorkQueue
from mcp_operator.cluster.watching import Change
from mcp_operator.model.base import Object
from mcp_operator.model.spec import InvalidSpecError, MCPServer
from mcp_operator.rollout.observation import Applied
from mcp_operator.workload.rendering import deployment, service

logger = logging.getLogger(__name__)

_CONCURRENCY = 8
_LONGEST_BACKOFF = 30.0

_CHILDREN: Mapping[Kind, Callable[[MCPServer], Object]] = {DEPLOYMENT: deployment, SERVICE: service}


class Reconciler:
    """Runs the applier for servers that were triggered, one run per server at a time.

    Args:
        applied: where the result of the last run for each server is put, by UID.
        on_applied: called with the UID whenever that has changed.
    """

    def __init__(
        self,
        applier: Applier,
        families: Families,
        *,
        applied: MutableMapping[str, Applied],
        on_applied: Callable[[str], None],
        metrics: ClusterMetrics,
    ) -> None:
        self._applier = applier
        self._families = families
        self._metrics = metrics
        self._on_applied = on_applied
        self._applied = applied
        self._queue = WorkQueue(
            "reconciling", self._reconcile, title=families.title, concurrency=_CONCURRENCY, longest_backoff=_LONGEST_BACKOFF
        )

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._queue.run()

    def server_changed(self, uid: str, generation: int) -> None:
        """An MCPServer was seen in this generation; its status alone doesn't make a run."""
        result = self._applied.get(uid)
        if result is None or result.server_generation != generation:
            self._queue.add(uid)

    def child_changed(self, uid: str, change: Change) -> None:
        """A child of a server, or a namesake of one, has changed; its status alone doesn't make a run."""
        if not _status_only(change):
            self._queue.add(uid)

    def server_deleted(self, uid: str) -> None:
        """An MCPServer is gone; after what is running for it, everything held of it is dropped."""
        self._queue.add(uid)

    async def _reconcile(self, uid: str) -> None:
        family = self._families.family(uid)
        if family is None or family.server is None or family.server["metadata"].get("deletionTimestamp"):
            self._applied.pop(uid, None)
            self._applier.forget(uid)
            return
        result = "failed"
        try:
            applied = await self._apply(family.server)
            result = "accepted" if applied.reason is None else "refused"
        finally:
            self._metrics.reconciles.labels(result=result).inc()
        if applied != self._applied.get(uid):
            self._applied[uid] = applied
            self._on_applied(uid)
            if applied.reason is not None:
                logger.warning("%s is not accepted: %s: %s", family.name, applied.reason, applied.message)
        if applied.reason is not None:
            raise TryAgain(f"refused: {applied.reason}")

    async def _apply(self, server: Object) -> Applied:
        """Apply every child, also after one is refused: they don't depend on each other.

        A server that observes a workload has none, and nothing is written for it.
        """
        generation: int = server["metadata"]["generation"]
        try:
            parsed = MCPServer.parse(server)
            if parsed.spec.workload_ref is not None:
                return Applied(server_generation=generation, deployment_generation=None)
            manifests = {kind: render(parsed) for kind, render in _CHILDREN.items()}
        except InvalidSpecError as error:
            return Applied(server_generation=generation, deployment_generation=None, reason=error.reason, message=str(error))
        deployment_generation: int | None = None
        refusals: list[Refused] = []
        for kind, manifest in manifests.items():
            child: Object | None
            try:
                child = await self._applier.apply(server, kind, manifest, self._families.named(kind, name_of(server)))
            except Refused as refusal:
                refusals.append(refusal)
                child = refusal.child
            if kind is DEPLOYMENT and child is not None:
                deployment_generation = child["metadata"]["generation"]
        return Applied(
            server_generation=generation,
            deployment_generation=deployment_generation,
            reason=refusals[0].reason if refusals else None,
            message="; ".join(refusal.message for refusal in refusals) or None,
        )


def _status_only(change: Change) -> bool:
    """Whether nothing but the status (and the bookkeeping of who wrote it) differs."""
    if change.old is None or change.new is None:
        return False
    old, new = change.old["metadata"], change.new["metadata"]
    return (
        change.old.get("spec") == change.new.get("spec")
        and owned_fields(change.old) == owned_fields(change.new)
        and all(old.get(field) == new.get(field) for field in ("labels", "ownerReferences", "deletionTimestamp"))
    )
