"""The `{id}` of a URL: one path segment, in three forms, that names a server."""

import re
from http import HTTPStatus

from mcp_operator.eventlog.log import Selection, ServerSnapshot, Snapshot
from mcp_operator.gateway.problems import ProblemError, bad_parameter
from mcp_operator.model.servers import ServerName
from mcp_operator.model.statuses import Status

_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_EXPECTED = "namespace:name, a UID, or the name of a server in the namespace {!r}"


def is_label(text: str) -> bool:
    """Whether it can be the name of a namespace or of a server: a DNS label."""
    return _NAME.fullmatch(text) is not None


def selection_of(server_id: str, *, default_namespace: str) -> Selection:
    """Everything about the server that `{id}` names: under a name whichever object has it, under a UID that one object.

    A name that looks like a UID is taken for one; written as namespace:name it is a name.

    Raises:
        ProblemError: 400, it has none of the three forms.
    """
    if _UID.fullmatch(server_id):
        return Selection(uid=server_id)
    namespace, colon, name = server_id.rpartition(":")
    if not colon:
        namespace = default_namespace
    if not (is_label(namespace) and is_label(name)):
        raise bad_parameter("id", server_id, expected=_EXPECTED.format(default_namespace))
    return Selection(servers=frozenset({ServerName(namespace, name)}))


def current(snapshot: Snapshot) -> ServerSnapshot | None:
    """The one server that an `{id}` means, among all that had its name: one that stays, else one that goes, else one gone."""

    def rank(server: ServerSnapshot) -> int:
        return {Status.DELETED: 0, Status.TERMINATING: 1}.get(server.phase, 2) if server.phase else 2

    return max(reversed(snapshot.servers), key=rank, default=None)


def unknown_server(server_id: str) -> ProblemError:
    """404: there is no such server, or no longer."""
    return ProblemError(
        HTTPStatus.NOT_FOUND,
        f"There is no server {server_id}: GET /api/servers lists those that exist",
        parameter="id",
        value=server_id,
    )
