"""The way back from an MCPServer's status to a state: what a restarted operator goes on with.

`cluster` calls it when it sees a server for the first time.
"""

from pydantic import ValidationError

from mcp_operator.model.base import Object
from mcp_operator.model.servers import ServerName
from mcp_operator.model.statuses import MCPServerStatus, Status
from mcp_operator.rollout.state import ActiveCause, Counts, State


def restore(server: Object) -> State | None:
    """Read the state that an MCPServer's status subresource tells.

    Returns:
        None where there is no status yet, or it isn't one that this version wrote: then the server is seen for the first time.
    """
    try:
        told = MCPServerStatus.model_validate(server.get("status"))
    except ValidationError:
        return None
    metadata = server["metadata"]
    desired = told.instances.rpartition("/")[2]
    return State(
        server=ServerName(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        generation=told.observed_generation,
        status=told.phase,
        reason=told.reason,
        message=told.message,
        counts=Counts(
            desired=int(desired) if desired.isdecimal() else 0,
            replicas=told.replicas,
            updated=told.updated_replicas,
            ready=told.ready_replicas,
            available=told.available_replicas,
        ),
        conditions=told.conditions,
        target=told.target,
        operation=told.operation,
        last_operations=told.last_operations,
        untold=told.untold,
        causes=tuple(
            ActiveCause(
                cause,
                frozenset({cause.instance} if cause.instance else ()),
                blocking=told.phase is Status.FAILED and cause.reason == told.reason,
                # The status doesn't say; those of a container don't.
                takes_instance=cause.instance is not None and cause.container is None,
            )
            for cause in told.causes
        ),
        paused=told.reason in {"Paused", "OnDelete"},
        restored=True,
    )
