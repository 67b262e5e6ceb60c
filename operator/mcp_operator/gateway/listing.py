"""What is known about servers now, as JSON: the list and the snapshot of one. Both are made of the log's own bytes."""

from collections.abc import Callable

from aiohttp import web

from mcp_operator.eventlog.encoding import to_json
from mcp_operator.eventlog.log import EventLog, Record, Selection, ServerSnapshot
from mcp_operator.gateway.bodies import LongBody
from mcp_operator.gateway.filtering import choose_servers
from mcp_operator.gateway.naming import current, selection_of, unknown_server
from mcp_operator.gateway.problems import not_ready
from mcp_operator.gateway.querying import read_parameters
from mcp_operator.gateway.subscribing import LIST_PARAMETERS

_RETRY_AFTER_SECONDS = 2


class ListHandlers:
    """The handlers of the URLs that answer once."""

    def __init__(self, *, log: EventLog, synced: Callable[[], bool], default_namespace: str) -> None:
        self._log = log
        self._synced = synced
        self._default_namespace = default_namespace

    async def servers(self, request: web.Request) -> web.Response:
        """GET /api/servers: all servers, or those chosen, and the cursor with which a stream goes on from this list."""
        parameters = read_parameters(request.query, LIST_PARAMETERS)
        selection = choose_servers(Selection(), parameters, default_namespace=self._default_namespace)
        self._require_synced()
        snapshot = await self._log.snapshot(selection)
        items = b",".join(_snapshot_json(server) for server in snapshot.servers if not server.deleted)
        return json_response(b'{"items":[%b],"cursor":%b}' % (items, to_json(str(snapshot.position))))

    async def server(self, request: web.Request) -> web.Response:
        """GET /api/servers/{id}: one server."""
        read_parameters(request.query, ())
        server_id = request.match_info["id"]
        selection = selection_of(server_id, default_namespace=self._default_namespace)
        self._require_synced()
        server = current(await self._log.snapshot(selection))
        if server is None or server.deleted:
            raise unknown_server(server_id)
        return json_response(_snapshot_json(server))

    def _require_synced(self) -> None:
        if not self._synced():
            raise not_ready(retry_after_seconds=_RETRY_AFTER_SECONDS)


def _snapshot_json(server: ServerSnapshot) -> bytes:
    name, uid = to_json(str(server.server)), to_json(server.uid)
    events = (_event_json(server.status), _event_json(server.progress), _event_json(server.metrics))
    return b'{"server":%b,"uid":%b,"status":%b,"progress":%b,"metrics":%b}' % (name, uid, *events)


def _event_json(record: Record | None) -> bytes:
    return b"null" if record is None else record.data


def json_response(body: bytes | LongBody) -> web.Response:
    """An answer of JSON that is encoded already; a long body has its own line end."""
    whole = body + b"\n" if isinstance(body, bytes) else body
    return web.Response(body=whole, content_type="application/json", headers={"Cache-Control": "no-store"})
