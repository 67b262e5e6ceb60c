"""`mcp-operator restart`: all instances of a server anew, one after the other, by a new `spec.restartedAt`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from mcp_operator.apiserver.credentials import current_namespace
from mcp_operator.apiserver.errors import ApiError
from mcp_operator.apiserver.kinds import MCP_SERVER
from mcp_operator.model.servers import ServerName
from mcp_operator.terminal.errors import TerminalError, UnknownServerError
from mcp_operator.terminal.judging import Edit
from mcp_operator.terminal.naming import ServerReference
from mcp_operator.terminal.reaching import Access, explained
from mcp_operator.terminal.values import harmless

MANAGER = "mcp-operator-cli"
"""Field manager of what the commands write, so that the operator's own writes can be told from a person's."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """What a restart has done."""

    server: ServerName
    edit: Edit
    sentence: str


async def restart(access: Access, server: ServerReference) -> Restarted:
    """Set the time.

    Raises:
        TerminalError: it can't be set.
    """
    server = server.within(current_namespace(kubeconfig=access.kubeconfig, context=access.context))
    name = server.server_name
    if name is None:
        raise TerminalError("A restart needs the server's name, not its UID: `mcp-operator status` lists the names")
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    try:
        async with access.api() as api:
            patch = {"spec": {"restartedAt": now}}
            answer = await api.patch(MCP_SERVER, name.namespace, name.name, patch, manager=MANAGER)
    except ApiError as error:
        if error.gone:
            raise _unknown(error, server) from error
        if error.refused and error.status != 403:
            raise TerminalError(f"The API server refuses to restart {name}: {harmless(error.message)}") from error
        raise explained(error, f"restart {name}") from error
    spec, metadata = answer["spec"], answer["metadata"]
    wanted = 0 if spec.get("suspend") else int(spec.get("replicas", 1))
    what = {
        0: "it is stopped, so nothing restarts now",
        1: "its instance is replaced by a new one",
    }.get(wanted, f"its {wanted} instances are replaced by new ones")
    return Restarted(name, Edit(metadata["uid"], metadata["generation"]), f"{name} restarts: {what} (spec.restartedAt is {now})")


def _unknown(error: ApiError, server: ServerReference) -> TerminalError:
    if str(server.name) not in error.message:
        return TerminalError("The cluster has no MCPServers at all: the operator's CustomResourceDefinitions are not installed")
    return UnknownServerError(server.unknown)
