"""Keeps one MCPServerRollout object for each rollout and scaling: made at its start, finished at its end, deleted when it is old.

`observing` tells of each evaluation. What is written follows what the MCPServer's status says, and nothing waits for it: an API
server that is away only delays a record. While an operation is open its record is written at most every few seconds. The object's
name is made from the operation's id, so a restarted operator goes on with the same one; what it hadn't finished it finishes from
the status, which carries the last ends.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.errors import ApiError
from mcp_operator.apiserver.kinds import MANAGER, MCP_SERVER, MCP_SERVER_ROLLOUT
from mcp_operator.cluster.metrics import ClusterMetrics
from mcp_operator.cluster.objects import name_of, uid_of
from mcp_operator.cluster.queueing import WorkQueue
from mcp_operator.cluster.records.holding import HeldRecord, HeldRecords, record_text
from mcp_operator.model.base import Object
from mcp_operator.model.records import RolloutRecord
from mcp_operator.model.spec import DEFAULT_HISTORY_LIMIT
from mcp_operator.rollout.recording import Draft, continued, note, record_of
from mcp_operator.rollout.state import State

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_WRITES = 5.0
_MOST_WAITING = 20
"""Records of one server that couldn't be written yet; then the oldest is given up."""
_MOST_DELETED = 20
"""Records of one server that are deleted in one run."""
_MOST_REMEMBERED = 100
"""Records of one server of which it is known what was written last."""


@dataclass(slots=True)
class _Desk:
    """What is kept of one server."""

    server: Object
    state: State
    drafts: dict[str, Draft] = field(default_factory=dict)
    """By the operation's id: the open one, and those whose end isn't written yet."""
    unread: set[str] = field(default_factory=set)
    """Operations that began before this process: what their records tell isn't in their drafts yet."""
    written: dict[str, bytes] = field(default_factory=dict)
    """Digest of what this process wrote last, by the object's name."""
    deleted: set[str] = field(default_factory=set)
    """Names that were deleted and that the reflector still shows."""
    written_at: float = float("-inf")

    @property
    def pause(self) -> float:
        """Seconds until the record of the open operation may be written again."""
        return max(0.0, self.written_at + _SECONDS_BETWEEN_WRITES - time.monotonic())

    @property
    def history_limit(self) -> int:
        limit: int = (self.server["spec"].get("rollout") or {}).get("historyLimit", DEFAULT_HISTORY_LIMIT)
        return limit


class RecordKeeper:
    """Writes, finishes and deletes records."""

    def __init__(self, api: Api, held: HeldRecords, *, metrics: ClusterMetrics) -> None:
        self._api = api
        self._held = held
        self._metrics = metrics
        self._desks: dict[str, _Desk] = {}
        self._queue = WorkQueue("keeping the records of", self._work, title=self._title, concurrency=4, longest_backoff=30)

    async def run(self) -> None:
        """Keep until cancelled. To be started when the first lists of records are complete."""
        await self._queue.run()

    def note(self, server: Object, previous: State | None, state: State) -> None:
        """Have written what an evaluation says about a server's operations."""
        uid = uid_of(server)
        desk = self._desks.setdefault(uid, _Desk(server, state))
        desk.server, desk.state = server, state
        urgent = False
        for draft in note(desk.drafts, previous, state, now=datetime.now(UTC)):
            operation = draft.operation.id
            if operation not in desk.drafts and previous is not None and previous.restored:
                desk.unread.add(operation)
            urgent = urgent or draft.outcome is not None or operation not in desk.drafts
            desk.drafts[operation] = draft
        self._give_up(desk)
        if desk.drafts or self._surplus(desk) or any(self._strays(desk)):
            self._queue.add(uid, after=0 if urgent else desk.pause)

    def changed(self, uid: str) -> None:
        """The reflector shows another set of records of a server."""
        desk = self._desks.get(uid)
        if desk is not None and (self._surplus(desk) or any(self._strays(desk))):
            self._queue.add(uid)

    def forget(self, uid: str) -> None:
        """Drop a server that is deleted: its records go with it."""
        self._queue.discard(uid)
        self._desks.pop(uid, None)

    async def _work(self, uid: str) -> None:
        desk = self._desks.get(uid)
        if desk is None:
            return
        self._read_on(desk)
        for operation, draft in list(desk.drafts.items()):
            if draft.outcome is None and record_name(draft) in desk.written and desk.pause:
                self._queue.add(uid, after=desk.pause)
                continue
            await self._write(desk, record_name(draft), record_of(draft))
            if draft.outcome is not None and desk.drafts.get(operation) is draft:
                del desk.drafts[operation]
        for stray in list(self._strays(desk)):
            await self._finish(desk, stray)
        for surplus in self._surplus(desk)[:_MOST_DELETED]:
            await self._delete(desk, surplus)
        if self._surplus(desk):
            self._queue.add(uid)

    def _read_on(self, desk: _Desk) -> None:
        """Take over what the records of operations from before a restart tell."""
        for operation in desk.unread & desk.drafts.keys():
            draft = desk.drafts[operation]
            held = self._held.get(draft.uid, record_name(draft))
            if held is not None and (record := held.record) is not None:
                desk.drafts[operation] = continued(draft, record)
        desk.unread.clear()

    async def _write(self, desk: _Desk, name: str, record: RolloutRecord) -> None:
        text = record_text(record.to_json_object())
        held, wanted = self._held.get(record.uid, name), _digest(text)
        if wanted == desk.written.get(name, _digest(held.text) if held is not None else None):
            return
        desk.written_at = time.monotonic()
        try:
            await self._api.apply(MCP_SERVER_ROLLOUT, _manifest(desk.server, name, json.loads(text)), force=True)
        except ApiError as error:
            if not (error.gone or error.refused):
                self._count("failed")
                raise
            self._count("refused")
            if not (error.gone or error.in_going_namespace):
                logger.warning("The record %s of %s is refused and was not written: %s", name, name_of(desk.server), error)
        else:
            self._count("written")
        desk.written[name] = wanted
        while len(desk.written) > _MOST_REMEMBERED:
            desk.written.pop(next(iter(desk.written)))

    def _strays(self, desk: _Desk) -> Iterator[HeldRecord]:
        """Records that are open although their operation is over, and that aren't about to be finished."""
        operation = desk.state.operation
        for held in self._held.all_of(uid_of(desk.server)):
            known = held.operation in desk.drafts or held.name in desk.written or held.name in desk.deleted
            if held.outcome is None and not known and (operation is None or held.operation != operation.id):
                yield held

    async def _finish(self, desk: _Desk, stray: HeldRecord) -> None:
        """Write the end that the status tells; a record whose end nobody knows goes, because it would seem open for ever."""
        record = stray.record
        for last in desk.state.last_operations:
            if record is not None and last.id == stray.operation:
                ends = {"outcome": last.outcome, "percent": last.percent, "ended_at": last.ended_at}
                fields = {name: getattr(record, name) for name in RolloutRecord.model_fields}
                await self._write(desk, stray.name, RolloutRecord(**{**fields, **ends}))
                return
        logger.warning("How the operation %s of %s ended isn't known: its record goes.", stray.operation, name_of(desk.server))
        await self._delete(desk, stray)

    def _surplus(self, desk: _Desk) -> list[HeldRecord]:
        """The oldest finished records, beyond those that are kept."""
        held = self._held.all_of(uid_of(desk.server))
        desk.deleted &= {each.name for each in held}
        finished = [each for each in held if each.outcome is not None and each.name not in desk.deleted]
        return finished[desk.history_limit :][::-1]

    async def _delete(self, desk: _Desk, held: HeldRecord) -> None:
        try:
            await self._api.delete(MCP_SERVER_ROLLOUT, held.namespace, held.name, uid=held.uid)
        except ApiError as error:
            if not (error.gone or error.conflict or error.refused):
                raise
            if error.refused:
                logger.warning("The record %s of %s can't be deleted: %s", held.name, name_of(desk.server), error)
        desk.deleted.add(held.name)

    def _give_up(self, desk: _Desk) -> None:
        ended = [operation for operation, draft in desk.drafts.items() if draft.outcome is not None]
        for operation in ended[:-_MOST_WAITING]:
            logger.warning("Too many records of %s wait to be written: that of %s is lost.", name_of(desk.server), operation)
            del desk.drafts[operation]

    def _count(self, result: str) -> None:
        self._metrics.writes.labels(kind=MCP_SERVER_ROLLOUT.name, result=result).inc()

    def _title(self, uid: str) -> str:
        desk = self._desks.get(uid)
        return str(name_of(desk.server)) if desk is not None else uid


def record_name(draft: Draft) -> str:
    """The name of the object that holds a draft's record: always the same for one operation of one server."""
    digest = hashlib.sha256(f"{draft.uid}/{draft.operation.id}".encode()).hexdigest()[:10]
    return f"{draft.server.name}-{digest}"


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def _manifest(server: Object, name: str, record: dict[str, Any]) -> Object:
    metadata = server["metadata"]
    owner = {"apiVersion": MCP_SERVER.api_version, "kind": MCP_SERVER.name, "name": metadata["name"], "uid": metadata["uid"]}
    labels = {
        "app.kubernetes.io/name": "mcp-server",
        "app.kubernetes.io/instance": metadata["name"],
        "app.kubernetes.io/managed-by": MANAGER,
    }
    return {
        "apiVersion": MCP_SERVER_ROLLOUT.api_version,
        "kind": MCP_SERVER_ROLLOUT.name,
        "metadata": {"namespace": metadata["namespace"], "name": name, "labels": labels, "ownerReferences": [owner]},
        "record": record,
    }
