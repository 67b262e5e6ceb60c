"""The records that the API server holds, as a reflector tells of them: what the gateway lists and estimates are made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from mcp_operator.apiserver.kinds import MCP_SERVER
from mcp_operator.cluster.objects import uid_of
from mcp_operator.cluster.watching import Change
from mcp_operator.model.base import Object
from mcp_operator.model.records import NamedRecord
from mcp_operator.rollout.estimating import NO_PACES, Paces, paces_of


@dataclass(frozen=True, slots=True)
class HeldRecord:
    """One MCPServerRollout."""

    object: Object
    record: NamedRecord


class HeldRecords:
    """The records of all servers. No I/O; `running` hands in the changes."""

    def __init__(self) -> None:
        self.synced = False
        """Whether the first lists are complete."""
        self._held: dict[str, dict[str, HeldRecord]] = defaultdict(dict)
        """By the server's UID and their name."""
        self._paces: dict[str, Paces] = {}

    def take(self, change: Change) -> str | None:
        """Bring the records up to date with one change.

        Returns:
            The UID of the server that it concerns; None for an object that is no record of ours.
        """
        server, name = _owner(change.object), change.object["metadata"]["name"]
        if server is None:
            return None
        self._paces.pop(server, None)
        held = self._held[server]
        held.pop(name, None)
        if change.new is not None and (record := _read(change.new)) is not None:
            held[name] = HeldRecord(change.new, record)
        if not held:
            del self._held[server]
        return server

    def get(self, uid: str, name: str) -> HeldRecord | None:
        """The record of this name, of the server with this UID."""
        return self._held.get(uid, {}).get(name)

    def all_of(self, uid: str) -> Sequence[HeldRecord]:
        """The records of a server, the newest first."""
        held = self._held.get(uid, {}).values()
        return sorted(held, key=lambda each: (each.record.started_at, each.record.name), reverse=True)

    def of(self, uid: str) -> Sequence[NamedRecord]:
        """What the records of a server say, the newest first."""
        return [held.record for held in self.all_of(uid)]

    def paces(self, uid: str) -> Paces:
        """How fast a server's operations went."""
        if uid not in self._held:
            return NO_PACES
        if uid not in self._paces:
            self._paces[uid] = paces_of(self.of(uid))
        return self._paces[uid]


def _owner(body: Object) -> str | None:
    """The UID of the MCPServer that owns it."""
    owners = body["metadata"].get("ownerReferences") or ()
    return next((uid_of({"metadata": owner}) for owner in owners if owner.get("kind") == MCP_SERVER.name), None)


def _read(body: Object) -> NamedRecord | None:
    try:
        return NamedRecord.of(body)
    except ValueError:
        return None  # of another version, or not written by an operator
