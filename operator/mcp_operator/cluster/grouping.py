"""Which object belongs to which server: reflected objects, sorted into families by their roots. No I/O.

Every object has one root, the Deployment, StatefulSet or Service that it is or that owns it: a Deployment owns its ReplicaSets,
they their pods, a StatefulSet its pods; a Kubernetes Event belongs to what it is about. A server's roots are those that it owns,
or the workload that it names, which several servers may. Autoscalers are found by what they scale. Watches of different kinds run
at different speeds, so a pod may come before its ReplicaSet; and when a server is deleted, owners go before what they own: then a
member stays with the root that it was seen with. `observing` and `reconciling` read families; a family is named by the server's
UID and outlives the server's object until it is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from mcp_operator.apiserver.kinds import AUTOSCALER, DEPLOYMENT, EVENT, MCP_SERVER, POD, REPLICA_SET, SERVICE, STATEFUL_SET, Kind
from mcp_operator.cluster.objects import labels_of, name_of, observed_by, uid_of
from mcp_operator.cluster.watching import Change
from mcp_operator.model.base import Object
from mcp_operator.model.labels import NO_LABELS, Labels
from mcp_operator.model.servers import ServerName
from mcp_operator.model.spec import GROUP
from mcp_operator.model.workload_ref import WorkloadRef

_WORKLOADS: Mapping[str, Kind] = {kind.name: kind for kind in (DEPLOYMENT, STATEFUL_SET)}
_ROOTS: Set[Kind] = {DEPLOYMENT, STATEFUL_SET, SERVICE}

_Key = TypeVar("_Key")

_REMEMBERED = 1000
"""Forgotten servers whose labels are still known: the end of their logs may be told after all else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """What the API server holds of one server."""

    uid: str
    name: ServerName
    server: Object | None
    """None once the MCPServer is deleted."""
    observes: WorkloadRef | None
    """What the server names instead of an image, or last named."""
    workload: Object | None
    """The server's own Deployment, or the workload that it names."""
    replica_sets: tuple[Object, ...]
    pods: tuple[Object, ...]
    warnings: tuple[Object, ...]
    autoscalers: tuple[Object, ...]
    """Those that scale the server, or the workload that it names."""


@dataclass(slots=True)
class _Member:
    kind: Kind
    object: Object
    owner: str | None = None
    """UID of the controlling owner."""
    root: str | None = None
    """UID of the workload or Service that it is or that it comes from."""


class Families:
    """All families, brought up to date change by change."""

    def __init__(self) -> None:
        self._servers: dict[str, Object] = {}
        self._names: dict[str, ServerName] = {}
        self._labels: dict[str, Labels] = {}
        self._last_labels: OrderedDict[str, Labels] = OrderedDict()
        """Of servers that were forgotten."""
        self._members: dict[str, _Member] = {}
        self._owned: dict[str, set[str]] = defaultdict(set)
        """Members by their owner."""
        self._roots: dict[str, set[str]] = defaultdict(set)
        """Members by their root."""
        self._root_owners: dict[str, str] = {}
        """The controlling owner of each root that has one; it outlives the root's own object, as long as the root has members."""
        self._own_roots: dict[str, set[str]] = defaultdict(set)
        """The same from the owner's side."""
        self._references: dict[str, WorkloadRef] = {}
        """What servers name, by the servers' UIDs."""
        self._last_references: dict[str, WorkloadRef] = {}
        """What deleted servers named; nothing of it is theirs any more."""
        self._observers: dict[tuple[Kind, ServerName], set[str]] = defaultdict(set)
        """The same from the side of what is named."""
        self._observed: dict[str, str] = {}
        """The root that each of them observes: the workload of that name, or the last one as long as none has taken its place."""
        self._watchers: dict[str, set[str]] = defaultdict(set)
        """The same from the root's side."""
        self._named: dict[tuple[Kind, ServerName], str] = {}
        """UID of the newest object of a name, for the kinds that are found by name."""
        self._warnings: dict[str, dict[str, Object]] = defaultdict(dict)
        """Kubernetes Events by what they are about."""
        self._autoscalers: dict[tuple[Kind, ServerName], dict[str, Object]] = defaultdict(dict)
        """HorizontalPodAutoscalers by what they scale."""
        self._scaled: dict[str, tuple[Kind, ServerName]] = {}
        """What each of them scales."""

    def take(self, kind: Kind, change: Change) -> set[str]:
        """Bring the families up to date with one change.

        Returns:
            UIDs of the servers that it concerns.
        """
        if kind is EVENT:
            return self._take_warning(change)
        if kind is AUTOSCALER:
            return self._take_autoscaler(change)
        if kind in _ROOTS or kind is MCP_SERVER:
            self._take_name(kind, change)
        if kind is MCP_SERVER:
            return self._take_server(change)
        concerned = self._take_member(kind, change)
        if kind in _ROOTS and (observers := self._observers.get((kind, name_of(change.object)))):
            concerned |= observers
            for observer in observers:
                self._aim(observer)
        if kind in {DEPLOYMENT, SERVICE} and (namesake := self._named.get((MCP_SERVER, name_of(change.object)))) is not None:
            concerned.add(namesake)  # it may have waited for this object to go
        return concerned

    def family(self, uid: str) -> Family | None:
        """Everything known of a server; None if it isn't known, or was forgotten."""
        name = self._names.get(uid)
        if name is None:
            return None
        reference = self._references.get(uid)
        roots = set(self._own_roots.get(uid, ())) if reference is None else {self._observed.get(uid, "")}
        members = [self._members[member] for member in sorted(m for root in roots for m in self._roots.get(root, ()))]
        kind, workload = (DEPLOYMENT, name) if reference is None else _place(reference, name)
        workloads = [member.object for member in members if member.kind is kind and name_of(member.object) == workload]
        scaled = (MCP_SERVER, name) if reference is None else (kind, workload)
        server = self._servers.get(uid)
        autoscalers = tuple(self._autoscalers.get(scaled, {}).values())
        subjects = (*(member.object for member in members), *autoscalers, *([server] if server is not None else []))
        return Family(
            uid=uid,
            name=name,
            server=server,
            observes=reference or self._last_references.get(uid),
            workload=workloads[0] if workloads else None,
            replica_sets=tuple(member.object for member in members if member.kind is REPLICA_SET),
            pods=tuple(member.object for member in members if member.kind is POD),
            warnings=tuple(warning for subject in subjects for warning in self._warnings.get(uid_of(subject), {}).values()),
            autoscalers=autoscalers,
        )

    def servers(self) -> set[str]:
        """UIDs of the servers that exist."""
        return set(self._servers)

    def server(self, uid: str) -> Object | None:
        """The MCPServer of this UID, while it exists."""
        return self._servers.get(uid)

    def labels(self, uid: str) -> Labels:
        """The labels of this MCPServer, or, once it is deleted, the last ones that it had; none if it isn't known."""
        return self._labels.get(uid) or self._last_labels.get(uid, NO_LABELS)

    def names(self) -> Mapping[str, ServerName]:
        """Every server by its UID, with those that are deleted and not yet forgotten."""
        return MappingProxyType(self._names)

    def named(self, kind: Kind, name: ServerName) -> Object | None:
        """The Deployment or Service of this name, whoever owns it, as far as it is reflected."""
        uid = self._named.get((kind, name))
        return self._members[uid].object if uid is not None else None

    def title(self, uid: str) -> str:
        """What a server is called in log lines."""
        return str(self._names.get(uid, uid))

    def forget(self, uid: str) -> None:
        """Drop a family whose server is deleted and which has no members left."""
        self._names.pop(uid, None)
        self._last_references.pop(uid, None)
        if labels := self._labels.pop(uid, NO_LABELS):
            self._last_labels[uid] = labels
            if len(self._last_labels) > _REMEMBERED:
                self._last_labels.popitem(last=False)

    def _take_name(self, kind: Kind, change: Change) -> None:
        key = (kind, name_of(change.object))
        if change.new is not None:
            self._named[key] = uid_of(change.new)
        elif self._named.get(key) == uid_of(change.object):
            del self._named[key]

    def _take_server(self, change: Change) -> set[str]:
        uid = uid_of(change.object)
        if change.new is not None or uid in self._names:
            self._labels[uid] = labels_of(change.object)
        if change.new is None:
            self._servers.pop(uid, None)
            if (reference := self._references.get(uid)) is not None:
                self._last_references[uid] = reference
        else:
            self._servers[uid] = change.new
            self._names[uid] = name_of(change.new)
        self._refer(uid, name_of(change.object), observed_by(change.new))
        return {uid}

    def _refer(self, server: str, name: ServerName, reference: WorkloadRef | None) -> None:
        """Take over what a server names; nothing once it is deleted."""
        before = self._references.pop(server, None)
        if before is not None:
            _discard(self._observers, _place(before, name), server)
        if reference is not None:
            self._references[server] = reference
            self._observers[_place(reference, name)].add(server)
        if before != reference and (root := self._observed.pop(server, None)) is not None:
            _discard(self._watchers, root, server)
        self._aim(server)

    def _aim(self, server: str) -> None:
        """Have a server observe the workload that bears the name now."""
        reference = self._references.get(server)
        root = self._named.get(_place(reference, self._names[server])) if reference is not None else None
        if root is None:
            return
        if (before := self._observed.get(server)) is not None:
            _discard(self._watchers, before, server)
        self._observed[server] = root
        self._watchers[root].add(server)

    def _take_warning(self, change: Change) -> set[str]:
        subject = change.object["involvedObject"].get("uid")
        if change.new is not None:
            self._warnings[subject][uid_of(change.new)] = change.new
        elif subject in self._warnings:
            self._warnings[subject].pop(uid_of(change.object), None)
            if not self._warnings[subject]:
                del self._warnings[subject]
        if (place := self._scaled.get(subject)) is not None:
            return set(self._scaled_by(place))
        member = self._members.get(subject)
        return self._concerned(member.root) if member is not None else set()

    def _take_autoscaler(self, change: Change) -> set[str]:
        uid = uid_of(change.object)
        before, now = _scaled(change.old), _scaled(change.new)
        if before is not None:
            self._autoscalers[before].pop(uid, None)
            if not self._autoscalers[before]:
                del self._autoscalers[before]
        self._scaled.pop(uid, None)
        if now is not None and change.new is not None:
            self._autoscalers[now][uid] = change.new
            self._scaled[uid] = now
        return {server for place in (before, now) if place is not None for server in self._scaled_by(place)}

    def _scaled_by(self, place: tuple[Kind, ServerName]) -> Set[str]:
        """The servers that an autoscaler of this object scales."""
        if place[0] is not MCP_SERVER:
            return self._observers.get(place, frozenset())
        server = self._named.get(place)
        return frozenset() if server is None else {server}

    def _take_member(self, kind: Kind, change: Change) -> set[str]:
        uid = uid_of(change.object)
        if change.new is None:
            member = self._members.pop(uid, None)
            if member is None:
                return set()
            concerned = self._concerned(member.root)
            self._unlink(uid, member)
            self._let_go(member.root)
            return concerned
        member = self._members.setdefault(uid, _Member(kind, change.new))
        root, concerned = member.root, self._concerned(member.root)
        self._unlink(uid, member)
        member.object = change.new
        owner = _controller(change.new)
        member.owner = owner["uid"] if owner is not None else None
        if member.owner is not None:
            self._owned[member.owner].add(uid)
        if kind in _ROOTS:
            self._set_root_owner(uid, member.owner)
        self._settle(uid, member, owner["kind"] if owner is not None else None)
        self._let_go(root)
        return concerned | self._concerned(member.root)

    def _settle(self, uid: str, member: _Member, owner_kind: str | None) -> None:
        """Find a member's root, and take along what it owns."""
        owner = self._members.get(member.owner) if member.owner is not None else None
        if member.kind in _ROOTS:
            member.root = uid
        elif member.owner is None:
            member.root = None
        elif owner_kind in _WORKLOADS:
            member.root = member.owner
        elif owner is not None:
            member.root = owner.root
        if member.root is not None:
            self._roots[member.root].add(uid)
        if member.kind is not REPLICA_SET:
            return
        for child in self._owned.get(uid, ()):
            pod = self._members[child]
            if pod.root != member.root:
                root = pod.root
                self._leave(child, pod)
                self._settle(child, pod, REPLICA_SET.name)
                self._let_go(root)

    def _concerned(self, root: str | None) -> set[str]:
        """The servers of a root."""
        if root is None:
            return set()
        owner = self._root_owners.get(root)
        return self._watchers.get(root, set()) | ({owner} if owner is not None else set())

    def _set_root_owner(self, root: str, owner: str | None) -> None:
        before = self._root_owners.pop(root, None)
        if before is not None:
            _discard(self._own_roots, before, root)
        if owner is not None:
            self._root_owners[root] = owner
            self._own_roots[owner].add(root)

    def _let_go(self, root: str | None) -> None:
        """Forget whose a root was once nothing is left of it."""
        if root is not None and root not in self._roots:
            self._set_root_owner(root, None)

    def _unlink(self, uid: str, member: _Member) -> None:
        self._leave(uid, member)
        if member.owner is not None:
            _discard(self._owned, member.owner, uid)

    def _leave(self, uid: str, member: _Member) -> None:
        if member.root is not None:
            _discard(self._roots, member.root, uid)


def _place(reference: WorkloadRef, server: ServerName) -> tuple[Kind, ServerName]:
    """The workload that a server names: its kind, and its name in the server's namespace."""
    return _WORKLOADS[reference.kind], ServerName(server.namespace, reference.name)


def _scaled(autoscaler: Object | None) -> tuple[Kind, ServerName] | None:
    """What an autoscaler scales, if that is an MCPServer or a workload: its kind, and its name in the autoscaler's namespace."""
    if autoscaler is None:
        return None
    target = autoscaler["spec"]["scaleTargetRef"]
    group = str(target.get("apiVersion", "")).partition("/")[0]
    kind = {(GROUP, MCP_SERVER.name): MCP_SERVER, **{("apps", name): each for name, each in _WORKLOADS.items()}}.get(
        (group, target["kind"])
    )
    return None if kind is None else (kind, ServerName(autoscaler["metadata"]["namespace"], target["name"]))


def _controller(body: Object) -> Object | None:
    references: Iterable[Object] = body["metadata"].get("ownerReferences") or ()
    return next((reference for reference in references if reference.get("controller")), None)


def _discard(index: dict[_Key, set[str]], key: _Key, value: str) -> None:
    if key in index:
        index[key].discard(value)
        if not index[key]:
            del index[key]
