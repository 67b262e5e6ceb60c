"""Status writes: what an evaluation came to, into the MCPServer's status subresource.

On change only, and at most once a second per server, the newest value winning; but the start and the end of an operation are
written at once, because a restarted operator goes on from what stands there. Each write names the UID and the resourceVersion
that it is based on, so that it never lands on a later object of the same name nor over a newer status. `observing` calls it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.errors import ApiError
from mcp_operator.apiserver.kinds import MCP_SERVER
from mcp_operator.cluster.metrics import ClusterMetrics
from mcp_operator.cluster.objects import name_of, uid_of, version_of
from mcp_operator.cluster.queueing import WorkQueue
from mcp_operator.model.base import Object
from mcp_operator.model.statuses import MCPServerStatus

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_WRITES = 1.0
_CONFLICTS = 5
"""Tries within one write; each reads the object anew."""


@dataclass(slots=True)
class _Report:
    """What one server's status is and should be."""

    server: Object
    """The newest version known."""
    wanted: dict[str, Any]
    """As JSON; null means absent."""
    written: dict[str, Any] | None = None
    """The last `wanted` that was written."""
    answered: Object | None = None
    """The status that the API server made of it."""
    written_at: float = float("-inf")
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def due(self) -> bool:
        """Whether the status in the API isn't the wanted one."""
        status = self.server.get("status")
        if self.wanted == self.written and status == self.answered:
            return False
        return bool(_without_nulls(self.wanted) != status)

    @property
    def pause(self) -> float:
        """Seconds until it may be written again."""
        return max(0.0, self.written_at + _SECONDS_BETWEEN_WRITES - time.monotonic())


class Reporter:
    """Keeps the status subresource of each server as it was last told to."""

    def __init__(self, api: Api, *, metrics: ClusterMetrics) -> None:
        self._api = api
        self._metrics = metrics
        self._reports: dict[str, _Report] = {}
        self._queue = WorkQueue("writing the status of", self._work, title=self._title, concurrency=8, longest_backoff=30)

    async def run(self) -> None:
        """Write what was reported, until cancelled."""
        await self._queue.run()

    def report(self, server: Object, status: MCPServerStatus) -> None:
        """Have the status written soon, unless it stands there already.

        Args:
            server: the MCPServer as it was last seen.
        """
        report = self._take(server, status)
        if report.due:
            self._queue.add(uid_of(server), after=report.pause)

    async def persist(self, server: Object, status: MCPServerStatus) -> None:
        """Write the status now, unless it stands there already; returns when it does.

        Returns as well if the server is gone, or the API server refuses the status for good (which is logged): then there is
        nothing to wait for.

        Raises:
            ApiError: it couldn't be written; to be tried again.
        """
        report = self._take(server, status)
        try:
            await self._write(report)
        except ApiError as error:
            if not error.refused:
                raise
            logger.error("The status of %s is refused and was not written: %s", name_of(server), error)  # noqa: TRY400 - no traceback

    def stands(self, server: Object) -> bool:
        """Whether the status of this MCPServer is what was last reported."""
        report, status = self._reports.get(uid_of(server)), server.get("status")
        return report is not None and status is not None and status in (report.answered, _without_nulls(report.wanted))

    def forget(self, uid: str) -> None:
        """Drop a server that is deleted."""
        self._queue.discard(uid)
        self._reports.pop(uid, None)

    def _take(self, server: Object, status: MCPServerStatus) -> _Report:
        wanted = _listless_nulls(status.to_json_object())
        report = self._reports.setdefault(uid_of(server), _Report(server, wanted))
        report.wanted = wanted
        if version_of(server) > version_of(report.server):
            report.server = server
        return report

    async def _work(self, uid: str) -> None:
        report = self._reports.get(uid)
        if report is None:
            return
        if pause := report.pause:  # a write has begun since this one was asked for
            self._queue.add(uid, after=pause)
        else:
            await self._write(report)

    async def _write(self, report: _Report) -> None:
        async with report.writing:
            for _ in range(_CONFLICTS):
                if not report.due:
                    return
                try:
                    await self._patch(report)
                except ApiError as error:
                    if error.gone:
                        return
                    self._metrics.writes.labels(kind=MCP_SERVER.name, result="refused" if error.refused else "failed").inc()
                    if not error.conflict or not await self._catch_up(report):
                        raise
                else:
                    self._metrics.writes.labels(kind=MCP_SERVER.name, result="written").inc()
                    return
            raise ApiError(status=409, reason="Conflict", message=f"the object changed during each of {_CONFLICTS} tries")

    async def _patch(self, report: _Report) -> None:
        name, wanted = name_of(report.server), report.wanted
        preconditions = {key: report.server["metadata"][key] for key in ("uid", "resourceVersion")}
        patch = {"metadata": preconditions, "status": wanted}
        report.written_at = time.monotonic()
        report.server = await self._api.patch_status(MCP_SERVER, name.namespace, name.name, patch)
        report.written, report.answered = wanted, report.server.get("status")

    async def _catch_up(self, report: _Report) -> bool:
        """Take over the newest version; False if the server is gone, or another one bears its name."""
        name = name_of(report.server)
        newest = await self._api.get(MCP_SERVER, name.namespace, name.name)
        if uid_of(newest) != uid_of(report.server):
            return False
        report.server = newest
        return True

    def _title(self, uid: str) -> str:
        report = self._reports.get(uid)
        return str(name_of(report.server)) if report is not None else uid


def _listless_nulls(value: Any, *, in_list: bool = False) -> Any:
    """Leave out nulls inside lists: a merge patch replaces lists as a whole, so there they would be written."""
    if isinstance(value, dict):
        return {key: _listless_nulls(item, in_list=in_list) for key, item in value.items() if not (in_list and item is None)}
    if isinstance(value, list):
        return [_listless_nulls(item, in_list=True) for item in value]
    return value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value
