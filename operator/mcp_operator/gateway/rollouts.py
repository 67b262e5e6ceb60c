"""GET /api/servers/{id}/rollouts: the records of a server's rollouts and scalings. `serving` routes to it.

Records come from whoever holds them, through `Records`: the gateway doesn't know the cluster.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from aiohttp import web

from mcp_operator.eventlog.log import EventLog
from mcp_operator.gateway.listing import json_response
from mcp_operator.gateway.naming import current, selection_of, unknown_server
from mcp_operator.gateway.problems import not_ready
from mcp_operator.gateway.querying import read_parameters
from mcp_operator.model.base import Model
from mcp_operator.model.records import NamedRecord

_RETRY_AFTER_SECONDS = 2


class Records(Protocol):
    """Who holds the records."""

    synced: bool
    """Whether all that existed at the start are known."""

    def of(self, uid: str) -> Sequence[NamedRecord]:
        """The records of the server with this UID, the newest first."""


class NoRecords:
    """A gateway without records: every server's list is empty."""

    synced = True

    def of(self, uid: str) -> Sequence[NamedRecord]:
        return ()


class RolloutList(Model):
    """The records of one server."""

    items: tuple[NamedRecord, ...]
    """Its rollouts and scalings, the newest first; one that is open is at most a few seconds behind its events."""


class RolloutHandlers:
    """The handler of the records' URL."""

    def __init__(self, *, log: EventLog, synced: Callable[[], bool], records: Records, default_namespace: str) -> None:
        self._log = log
        self._synced = synced
        self._records = records
        self._default_namespace = default_namespace

    async def rollouts(self, request: web.Request) -> web.Response:
        """GET /api/servers/{id}/rollouts: all that are kept.

        Raises:
            ProblemError: 400 for a parameter, 404 for a server that there isn't, 503 before all is known.
        """
        read_parameters(request.query, ())
        server_id = request.match_info["id"]
        selection = selection_of(server_id, default_namespace=self._default_namespace)
        if not (self._synced() and self._records.synced):
            raise not_ready(retry_after_seconds=_RETRY_AFTER_SECONDS)
        server = current(await self._log.snapshot(selection))
        if server is None or server.deleted:
            raise unknown_server(server_id)
        records = RolloutList(items=tuple(self._records.of(server.uid)))
        return json_response(records.model_dump_json(by_alias=True).encode())
