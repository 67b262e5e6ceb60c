"""The records that the API server holds, as a reflector tells of them: what the gateway lists and estimates are made from.

Ten records each of thousands of servers are held, and few of them are ever looked at: so they are held as JSON text, once, and
checked as a whole only when somebody wants to know what they say.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from mcp_operator.apiserver.kinds import MCP_SERVER
from mcp_operator.cluster.watching import Change
from mcp_operator.model.base import Object
from mcp_operator.model.operations import Outcome
from mcp_operator.model.records import NamedRecord, RolloutRecord
from mcp_operator.rollout.estimating import NO_PACES, Pace, Paces, Shape, paces_of

_KEPT = ("namespace", "name", "uid", "resourceVersion", "ownerReferences")
_READ = ("id", "outcome", "startedAt")
"""Fields of a record that are read at once."""


@dataclass(frozen=True, slots=True)
class HeldRecord:
    """One MCPServerRollout."""

    namespace: str
    name: str
    uid: str
    """Of the object."""
    operation: str
    outcome: Outcome | None
    started_at: datetime
    text: bytes
    """Its `record`, as `record_text` writes it."""

    @property
    def record(self) -> NamedRecord | None:
        """What it says; None if it isn't a record as this version knows them."""
        try:
            return NamedRecord.model_validate({**json.loads(self.text), "name": self.name})
        except ValueError:
            return None


def record_text(record: Mapping[str, Any]) -> bytes:
    """A record as JSON that is the same for the same content: without nulls, and with whole numbers as such, as the API server
    gives it back."""
    return json.dumps(_tidied(record), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def compact(body: dict[str, Any]) -> Object:
    """What is kept of an MCPServerRollout: for the reflector."""
    metadata = {field: body["metadata"][field] for field in _KEPT if field in body["metadata"]}
    record = body.get("record") or {}
    brief = {field: record.get(field) for field in _READ}
    return {"metadata": metadata, "brief": brief, "text": record_text(record)}


class HeldRecords:
    """The records of all servers. No I/O; `running` hands in the changes."""

    def __init__(self) -> None:
        self.synced = False
        """Whether the first lists are complete."""
        self._held: dict[str, dict[str, HeldRecord]] = defaultdict(dict)
        """By the server's UID and their name."""
        self._paces: dict[str, Paces] = {}

    def take(self, change: Change) -> str | None:
        """Bring the records up to date with one change of a compact object.

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
            held[name] = record
        if not held:
            del self._held[server]
        return server

    def get(self, uid: str, name: str) -> HeldRecord | None:
        """The record of this name, of the server with this UID."""
        return self._held.get(uid, {}).get(name)

    def all_of(self, uid: str) -> Sequence[HeldRecord]:
        """The records of a server, the newest first."""
        return sorted(self._held.get(uid, {}).values(), key=lambda each: (each.started_at, each.name), reverse=True)

    def of(self, uid: str) -> Sequence[NamedRecord]:
        """What the records of a server say, the newest first."""
        return [record for held in self.all_of(uid) if (record := held.record) is not None]

    def paces(self, uid: str) -> Paces:
        """How fast a server's operations went; its records are read when somebody looks into it."""
        if uid not in self._held:
            return NO_PACES
        if uid not in self._paces:
            self._paces[uid] = _LazyPaces(lambda: self.of(uid))
        return self._paces[uid]


class _LazyPaces(Mapping[Shape, Pace]):
    """Paces that are made of the records when they are first looked at: only an open operation has a use for them."""

    def __init__(self, records: Callable[[], Iterable[RolloutRecord]]) -> None:
        self._records = records

    @cached_property
    def _known(self) -> Paces:
        return paces_of(self._records())

    def __getitem__(self, shape: Shape) -> Pace:
        return self._known[shape]

    def __iter__(self) -> Iterator[Shape]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _owner(body: Object) -> str | None:
    """The UID of the MCPServer that it belongs to."""
    owners = body["metadata"].get("ownerReferences") or ()
    return next((owner["uid"] for owner in owners if owner["kind"] == MCP_SERVER.name), None)


def _read(body: Object) -> HeldRecord | None:
    metadata, brief = body["metadata"], body["brief"]
    try:
        outcome = Outcome(brief["outcome"]) if brief["outcome"] is not None else None
        started_at = datetime.fromisoformat(brief["startedAt"]).astimezone(UTC)
    except (ValueError, TypeError):
        return None  # of another version, or not written by an operator
    return HeldRecord(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        operation=str(brief["id"]),
        outcome=outcome,
        started_at=started_at,
        text=body["text"],
    )


def _tidied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _tidied(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_tidied(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
