"""Which object belongs to which server: reflected objects, sorted into families by owner references. No I/O.

An MCPServer owns its Deployment and its Service, the Deployment its ReplicaSets, they their pods; a Kubernetes Event belongs to
what it is about. Watches of different kinds run at different speeds, so a pod may come before its ReplicaSet; and when a server
is deleted, owners go before what they own: then a member stays in the family that it was seen in. `observing` and `reconciling`
read families; a family is named by the server's UID and outlives the server's object until it is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mcp_operator.apiserver.kinds import AUTOSCALER, DEPLOYMENT, EVENT, MCP_SERVER, POD, REPLICA_SET, SERVICE, Kind
from mcp_operator.cluster.objects import labels_of, name_of, uid_of
from mcp_operator.cluster.watching import Change
from mcp_operator.model.base import Object
from mcp_operator.model.labels import NO_LABELS, Labels
from mcp_operator.model.servers import ServerName
from mcp_operator.model.spec import GROUP

_REMEMBERED = 1000
"""Forgotten servers whose labels are still known: the end of their logs may be told after all else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """What the API server holds of one server."""

    uid: str
    name: ServerName
    server: Object | None
    """None once the MCPServer is deleted."""
    deployment: Object | None
    replica_sets: tuple[Object, ...]
    pods: tuple[Object, ...]
    warnings: tuple[Object, ...]
    autoscalers: tuple[Object, ...]
    """Those that name the server as what they scale."""


@dataclass(slots=True)
class _Member:
    kind: Kind
    object: Object
    owner: str | None = None
    """UID of the controlling owner."""
    family: str | None = None
    """UID of the server."""


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
        self._families: dict[str, set[str]] = defaultdict(set)
        """Members by their server."""
        self._named: dict[tuple[Kind, ServerName], str] = {}
        """UID of the newest object of a name, for the kinds that bear a server's name."""
        self._warnings: dict[str, dict[str, Object]] = defaultdict(dict)
        """Kubernetes Events by what they are about."""

        self._autoscalers: dict[ServerName, dict[str, Object]] = defaultdict(dict)
        """HorizontalPodAutoscalers by the MCPServer that they scale."""

    def take(self, kind: Kind, change: Change) -> set[str]:
        """Bring the families up to date with one change.

        Returns:
            UIDs of the servers that it concerns.
        """
        if kind is EVENT:
            return self._take_warning(change)
        if kind is AUTOSCALER:
            return self._take_autoscaler(change)
        if kind in {MCP_SERVER, DEPLOYMENT, SERVICE}:
            self._take_name(kind, change)
        if kind is MCP_SERVER:
            return self._take_server(change)
        concerned = self._take_member(kind, change)
        if kind in {DEPLOYMENT, SERVICE} and (namesake := self._named.get((MCP_SERVER, name_of(change.object)))) is not None:
            concerned.add(namesake)  # it may have waited for this object to go
        return concerned

    def family(self, uid: str) -> Family | None:
        """Everything known of a server; None if it isn't known, or was forgotten."""
        name = self._names.get(uid)
        if name is None:
            return None
        members = [self._members[member] for member in sorted(self._families.get(uid, ()))]
        deployments = [member.object for member in members if member.kind is DEPLOYMENT and name_of(member.object) == name]
        server = self._servers.get(uid)
        subjects = [member.object for member in members] + ([server] if server is not None else [])
        return Family(
            uid=uid,
            name=name,
            server=server,
            deployment=deployments[0] if deployments else None,
            replica_sets=tuple(member.object for member in members if member.kind is REPLICA_SET),
            pods=tuple(member.object for member in members if member.kind is POD),
            warnings=tuple(warning for subject in subjects for warning in self._warnings.get(uid_of(subject), {}).values()),
            autoscalers=tuple(self._autoscalers.get(name, {}).values()),
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
        """The Deployment or Service of this name, whoever owns it, as far as it has our labels."""
        uid = self._named.get((kind, name))
        return self._members[uid].object if uid is not None else None

    def title(self, uid: str) -> str:
        """What a server is called in log lines."""
        return str(self._names.get(uid, uid))

    def forget(self, uid: str) -> None:
        """Drop a family whose server is deleted and which has no members left."""
        self._names.pop(uid, None)
        self._families.pop(uid, None)
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
        else:
            self._servers[uid] = change.new
            self._names[uid] = name_of(change.new)
        return {uid}

    def _take_warning(self, change: Change) -> set[str]:
        subject = change.object["involvedObject"].get("uid")
        if change.new is not None:
            self._warnings[subject][uid_of(change.new)] = change.new
        elif subject in self._warnings:
            self._warnings[subject].pop(uid_of(change.object), None)
            if not self._warnings[subject]:
                del self._warnings[subject]
        member = self._members.get(subject)
        return {member.family} if member is not None and member.family is not None else set()

    def _take_autoscaler(self, change: Change) -> set[str]:
        uid = uid_of(change.object)
        before, now = _scaled(change.old), _scaled(change.new)
        if before is not None:
            self._autoscalers[before].pop(uid, None)
            if not self._autoscalers[before]:
                del self._autoscalers[before]
        if now is not None and change.new is not None:
            self._autoscalers[now][uid] = change.new
        return _known({self._named.get((MCP_SERVER, name)) for name in (before, now) if name is not None})

    def _take_member(self, kind: Kind, change: Change) -> set[str]:
        uid = uid_of(change.object)
        if change.new is None:
            member = self._members.pop(uid, None)
            if member is None:
                return set()
            self._unlink(uid, member)
            return _known({member.family})
        member = self._members.setdefault(uid, _Member(kind, change.new))
        before = member.family
        self._unlink(uid, member)
        member.object = change.new
        member.owner = _controller(change.new)
        if member.owner is not None:
            self._owned[member.owner].add(uid)
        self._settle(uid, member)
        return _known({before, member.family})

    def _settle(self, uid: str, member: _Member) -> None:
        """Find a member's family, and take along what it owns."""
        owner = self._members.get(member.owner) if member.owner is not None else None
        if member.owner is None:
            member.family = None
        elif member.kind in {DEPLOYMENT, SERVICE}:
            member.family = member.owner
        elif owner is not None:
            member.family = owner.family
        if member.family is not None:
            self._families[member.family].add(uid)
        for child in self._owned.get(uid, ()):
            grown = self._members[child]
            if grown.family != member.family:
                self._leave(child, grown)
                self._settle(child, grown)

    def _unlink(self, uid: str, member: _Member) -> None:
        self._leave(uid, member)
        if member.owner is not None:
            _discard(self._owned, member.owner, uid)

    def _leave(self, uid: str, member: _Member) -> None:
        if member.family is not None:
            _discard(self._families, member.family, uid)


def _scaled(autoscaler: Object | None) -> ServerName | None:
    """The MCPServer that an autoscaler scales."""
    target = autoscaler["spec"]["scaleTargetRef"] if autoscaler is not None else {}
    if autoscaler is None or target.get("kind") != MCP_SERVER.name:
        return None
    group = str(target.get("apiVersion", "")).partition("/")[0]
    return ServerName(autoscaler["metadata"]["namespace"], target["name"]) if group == GROUP else None


def _controller(body: Object) -> str | None:
    references: Iterable[Object] = body["metadata"].get("ownerReferences") or ()
    return next((reference["uid"] for reference in references if reference.get("controller")), None)


def _discard(index: dict[str, set[str]], key: str, value: str) -> None:
    if key in index:
        index[key].discard(value)
        if not index[key]:
            del index[key]


def _known(uids: set[str | None]) -> set[str]:
    return {uid for uid in uids if uid is not None}
