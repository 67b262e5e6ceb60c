"""The `{id}` of a URL: one path segment, in three forms, that names a server."""

import re
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from itertools import chain

from mcp_operator.eventlog.log import Record, Selection, ServerSnapshot, Snapshot
from mcp_operator.gateway.problems import ProblemError, bad_parameter
from mcp_operator.model.servers import ServerName
from mcp_operator.model.statuses import Status

_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_EXPECTED = "namespace:name, a UID, or the name of a server in the namespace {!r}"


def is_label(text: str) -> bool:
    """Whether it can be the name of a namespace or of a server: a DNS label."""
    return _NAME.fullmatch(text) is not None


def server_of(server_id: str, *, default_namespace: str) -> ServerName | str | None:
    """The server that an `{id}` names: a name, or a UID as it is; None if it has none of the three forms.

    A name that looks like a UID is taken for one; written as namespace:name it is a name.
    """
    if _UID.fullmatch(server_id):
        return server_id
    namespace, colon, name = server_id.rpartition(":")
    if not colon:
        namespace = default_namespace
    return ServerName(namespace, name) if is_label(namespace) and is_label(name) else None


def selection_of(server_id: str, *, default_namespace: str) -> Selection:
    """Everything about the server that `{id}` names: under a name whichever object has it, under a UID that one object.

    Raises:
        ProblemError: 400, it has none of the three forms.
    """
    match server_of(server_id, default_namespace=default_namespace):
        case None:
            raise bad_parameter("id", server_id, expected=_EXPECTED.format(default_namespace))
        case ServerName() as name:
            return Selection(servers=frozenset({name}))
        case uid:
            return Selection(uid=uid)


def current(snapshot: Snapshot) -> ServerSnapshot | None:
    """The one server that an `{id}` means, among all that had its name: one that stays, else one that goes, else one gone."""

    def rank(server: ServerSnapshot) -> int:
        return {Status.DELETED: 0, Status.TERMINATING: 1}.get(server.phase, 2) if server.phase else 2

    return max(reversed(snapshot.servers), key=rank, default=None)


def standing(snapshot: Snapshot, selection: Selection) -> Sequence[ServerSnapshot]:
    """The servers of a snapshot to tell a subscriber of: those that exist. Who follows one server alone hears that it is gone."""
    servers = [server for server in snapshot.servers if not server.deleted]
    alone = selection.uid is not None or (selection.servers is not None and len(selection.servers) == 1)
    return servers if servers or not alone else snapshot.servers[-1:]


def unknown_server(server_id: str) -> ProblemError:
    """404: there is no such server, or no longer."""
    return ProblemError(
        HTTPStatus.NOT_FOUND,
        f"There is no server {server_id}: GET /api/servers lists those that exist",
        parameter="id",
        value=server_id,
    )


def told_by(snapshot: Snapshot, selection: Selection) -> Iterator[Record]:
    """The events that tell a subscriber of a selection what is known, in the order in which it gets them."""
    servers = standing(snapshot, selection)
    newest = (record for server in servers for record in (server.status, server.progress, server.metrics))
    told = {server.uid for server in servers}
    lines = (line for line in snapshot.lines if line.uid in told)
    return chain((record for record in newest if record is not None and record.type in selection.types), lines)
