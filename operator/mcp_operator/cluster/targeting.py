"""Reflects what others own, wherever an MCPServer observes a workload, and nowhere else.

The operator's own objects have its label and are reflected in the whole cluster. What `spec.workloadRef` names may have any
labels, so in each namespace where a server has one, all other workloads and their pods are reflected as well, by watches of that
namespace that end with its last such server. What the operator may not read holds up nothing: those servers alone that observe it
can't be told of, and say so. `running` starts it and passes changes on.

Two watches of one kind that divide objects by a label may both tell of one object when its label changes, in either order.
`Joint` makes one story of them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from mcp_operator.apiserver.kinds import DEPLOYMENT, EVENT, NOT_OURS, POD, REPLICA_SET, STATEFUL_SET, Kind
from mcp_operator.cluster.objects import observed_by, uid_of, version_of
from mcp_operator.cluster.reflecting import Reflector
from mcp_operator.cluster.watching import Change
from mcp_operator.model.base import Object
from mcp_operator.model.workload_ref import WorkloadKind

logger = logging.getLogger(__name__)

_OTHERS: Mapping[str, str] = {"labelSelector": NOT_OURS}
REFLECTED: Sequence[tuple[Kind, Mapping[str, str]]] = (
    (DEPLOYMENT, _OTHERS),
    (STATEFUL_SET, {}),
    (REPLICA_SET, _OTHERS),
    (POD, _OTHERS),
    (EVENT, {"fieldSelector": f"type=Warning,involvedObject.kind={STATEFUL_SET.name}"}),
)
"""What is reflected of a namespace. A StatefulSet is never ours; Kubernetes Events about the other kinds are reflected anyway."""
_NEEDED: Mapping[WorkloadKind, Sequence[Kind]] = {
    WorkloadKind.DEPLOYMENT: (DEPLOYMENT, REPLICA_SET, POD),
    WorkloadKind.STATEFUL_SET: (STATEFUL_SET, POD),
}
"""Without which nothing true can be said about a workload of this kind."""


class Joint:
    """One story of each object that two watches may tell of: it is gone when neither holds it, and never goes back in time."""

    def __init__(self) -> None:
        self._held: tuple[dict[str, int], dict[str, int]] = ({}, {})
        """Of each watch: the versions of what it holds, by UID."""

    def take(self, change: Change, *, ours: bool) -> Change | None:
        """What a change of one of the watches means for the object; None if nothing.

        Args:
            ours: whether the watch of the operator's own objects has told it.
        """
        uid = uid_of(change.object)
        mine, other = self._held[ours], self._held[not ours]
        if change.new is None:
            mine.pop(uid, None)
            return None if uid in other else change
        mine[uid] = version_of(change.new)
        return change if other.get(uid, 0) <= mine[uid] else None


@dataclass(slots=True, eq=False)
class _Namespace:
    """A namespace that is reflected."""

    reflectors: Sequence[Reflector]
    task: asyncio.Task[None]
    servers: set[str] = field(default_factory=set)
    """Servers that observe a workload there."""

    @property
    def synced(self) -> bool:
        """Whether all of it is known, as far as the operator may read it."""
        return all(each.synced.is_set() or each.forbidden for each in self.reflectors)

    @property
    def forbidden(self) -> Sequence[Kind]:
        """What the operator may not read."""
        return [each.kind for each in self.reflectors if each.forbidden]


class Targets:
    """Reflects the namespaces in which servers observe workloads.

    Args:
        make: makes the reflectors of a namespace, which call a function when a permission comes or goes.
        on_change: takes what a reflector held when it ends, as deletions.
        on_synced: called with each server's UID once all of its namespace is known, and when a permission there comes or goes.
    """

    def __init__(
        self,
        *,
        make: Callable[[str, Callable[[], None]], Sequence[Reflector]],
        on_change: Callable[[Kind, Change], None],
        on_synced: Callable[[str], None],
    ) -> None:
        self._make = make
        self._on_change = on_change
        self._on_synced = on_synced
        self._servers: dict[str, str] = {}
        """The namespace of each server that observes a workload."""
        self._namespaces: dict[str, _Namespace] = {}
        self._changed = asyncio.Event()
        self._settled = asyncio.Condition()

    def server_changed(self, change: Change) -> None:
        """An MCPServer is new, edited or gone."""
        uid = uid_of(change.object)
        if observed_by(change.new) is not None:
            self._servers[uid] = change.object["metadata"]["namespace"]
        else:
            self._servers.pop(uid, None)
        self._changed.set()

    def known(self, server: Object) -> bool:
        """Whether all is reflected of which the server may observe a part."""
        if observed_by(server) is None:
            return True
        namespace = self._namespaces.get(server["metadata"]["namespace"])
        return namespace is not None and namespace.synced

    def forbidden(self, server: Object) -> str | None:
        """What the operator may not read of what the server observes, as a sentence with the rule that would allow it."""
        reference, name = observed_by(server), server["metadata"]["namespace"]
        namespace = self._namespaces.get(name)
        if reference is None or namespace is None:
            return None
        kinds = [kind for kind in _NEEDED[reference.kind] if kind in namespace.forbidden]
        return _refusal(kinds, name) if kinds else None

    async def settled(self) -> None:
        """Wait until every server's namespace is known."""
        async with self._settled:
            await self._settled.wait_for(lambda: all(self._is_synced(namespace) for namespace in self._servers.values()))

    @property
    def reflectors(self) -> Iterator[Reflector]:
        """Those that run."""
        return (reflector for namespace in self._namespaces.values() for reflector in namespace.reflectors)

    async def run(self) -> None:
        """Reflect until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._changed.wait()
                self._changed.clear()
                wanted = set(self._servers.values())
                for name in wanted - self._namespaces.keys():
                    reflectors = self._make(name, partial(self._permission_changed, name))
                    task = tasks.create_task(self._reflect(name, reflectors), name=f"reflecting workloads of {name}")
                    self._namespaces[name] = _Namespace(reflectors, task)
                    logger.info("An MCPServer of namespace %s observes a workload: following the workloads there.", name)
                for name in self._namespaces.keys() - wanted:
                    await self._end(self._namespaces.pop(name))
                    logger.info("No MCPServer of namespace %s observes a workload any more.", name)
                await self._tell_newcomers()

    def _is_synced(self, namespace: str) -> bool:
        return namespace in self._namespaces and self._namespaces[namespace].synced

    async def _reflect(self, name: str, reflectors: Sequence[Reflector]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for reflector in reflectors:
                tasks.create_task(reflector.run(), name=f"reflecting {reflector}")
                tasks.create_task(self._await(reflector), name=f"waiting for {reflector}")

    async def _await(self, reflector: Reflector) -> None:
        await reflector.synced.wait()
        self._changed.set()

    def _permission_changed(self, name: str) -> None:
        namespace = self._namespaces.get(name)
        if namespace is None:  # its end is under way
            return
        if namespace.forbidden:
            logger.warning("Servers of namespace %s can't observe all: %s.", name, _refusal(namespace.forbidden, name))
        for uid in namespace.servers:
            self._on_synced(uid)
        self._changed.set()

    async def _tell_newcomers(self) -> None:
        """Tell of the servers of namespaces that are known, of each once."""
        for name, namespace in self._namespaces.items():
            if namespace.synced:
                servers = {uid for uid, of in self._servers.items() if of == name}
                for uid in servers - namespace.servers:
                    self._on_synced(uid)
                namespace.servers = servers
        async with self._settled:
            self._settled.notify_all()

    async def _end(self, namespace: _Namespace) -> None:
        namespace.task.cancel()
        await asyncio.wait([namespace.task])
        for reflector in namespace.reflectors:
            for body in tuple(reflector.held.values()):
                self._on_change(reflector.kind, Change(old=body, new=None))


def _refusal(kinds: Sequence[Kind], namespace: str) -> str:
    resources = ", ".join(kind.plural for kind in kinds)
    rules = ", ".join(
        f"{{apiGroups: [{kind.group or json.dumps('')}], resources: [{kind.plural}], verbs: [list, watch]}}" for kind in kinds
    )
    return f"the operator may not list and watch {resources} of namespace {namespace}: add to the rules of its role: {rules}"
