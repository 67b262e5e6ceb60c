"""Log events: of lines, and of containers that begin or cease to be followed. `reading` and `crashing` tell them.

A line's key is the pod, the container, the line's timestamp and which line of that timestamp it is: whoever reads the log again,
after a restart of the operator for instance, comes to the same keys.
"""

from __future__ import annotations

from dataclasses import dataclass

from mcp_operator.cluster.podlogs.interpreting import Interpreter
from mcp_operator.cluster.podlogs.lines import Line
from mcp_operator.model.base import Object
from mcp_operator.model.events import Event, Follow, LogPayload
from mcp_operator.model.servers import ServerName
from mcp_operator.model.spec import InvalidSpecError, LogFollow, LogsSpec, MCPServer

_MISSING = "{} before are missing, nobody knows how many"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whose log it is: one container of one instance."""

    server: ServerName
    uid: str
    """UID of the MCPServer."""
    instance: str
    """Name of the pod."""
    pod_uid: str
    container: str

    def __str__(self) -> str:
        return f"{self.server.namespace}/{self.instance}/{self.container}"


def logs_spec(server: Object | None) -> LogsSpec | None:
    """What an MCPServer wants of its logs; None once it is deleted, or as long as its spec can't be read."""
    try:
        return MCPServer.parse(server).spec.logs if server is not None else None
    except InvalidSpecError:
        return None


def wants_always(server: Object | None) -> bool:
    """Whether an MCPServer wants its logs followed though nobody listens; one that is deleted doesn't any more.

    It is asked about thousands of servers at a time, so their specs aren't read as a whole.
    """
    logs = ((server or {}).get("spec") or {}).get("logs")
    return logs is not None and logs.get("follow") == LogFollow.ALWAYS


def tell_line(origin: Origin, line: Line, *, nth: int, spec: LogsSpec, interpreter: Interpreter) -> Event:
    """A line that was printed just now, or since somebody listened.

    Args:
        nth: 1 for the container's first line of this timestamp.
        spec: what the server wants of its logs.
        interpreter: has read all lines of the run before this one.
    """
    key = _line_key(origin, line, nth)
    return _event(origin, key, _payload(origin, line, spec, interpreter, key=key))


def tell_last_line(origin: Origin, line: Line, *, nth: int, spec: LogsSpec, interpreter: Interpreter, cause: str) -> Event:
    """One of the last lines of a container that crashed; the arguments are those of `tell_line`, and:

    Args:
        cause: id of the cause that it explains.
    """
    key = f"previous/{cause}/{_line_key(origin, line, nth)}"
    return _event(origin, key, _payload(origin, line, spec, interpreter, key=key, previous=True, cause=cause))


def tell_started(origin: Origin, *, restarts: int, again: bool, dropped: bool, key: str) -> Event:
    """A container's lines are told from now on.

    Args:
        restarts: how often the container had been restarted before it printed them.
        again: whether earlier ones were told.
        dropped: whether lines before this are missing.
        key: what makes this start another than the one before.
    """
    restarted = {0: "", 1: ", restarted once,", 2: ", restarted twice,"}.get(restarts, f", restarted {restarts} times,")
    where = "again, from where they were left" if again and not dropped else "again" if again else "from here on"
    missing = f"; {_MISSING.format('some')}" if dropped else ""
    msg = f"The lines of container {origin.container}{restarted} are told {where}{missing}"
    return _marker(origin, Follow.STARTED, msg, dropped=dropped, key=key)


def tell_ended(origin: Origin, *, why: str, dropped: bool, key: str) -> Event:
    """A container's lines are no longer told.

    Args:
        why: a sentence without a full stop.
        dropped: whether lines before this are missing.
        key: what makes this end another than the one before.
    """
    missing = f"; {_MISSING.format('some lines')}" if dropped else ""
    return _marker(origin, Follow.ENDED, f"{why}{missing}", dropped=dropped, key=key)


def _line_key(origin: Origin, line: Line, nth: int) -> str:
    return f"{origin.uid}/{origin.pod_uid}/{origin.container}/{line.timestamp}/{nth}"


def _payload(
    origin: Origin,
    line: Line,
    spec: LogsSpec,
    interpreter: Interpreter,
    *,
    key: str,
    previous: bool = False,
    cause: str | None = None,
) -> LogPayload:
    parsed, continues = interpreter.read(line, spec, key=key)
    return LogPayload(
        level=parsed.level,
        msg=parsed.msg,
        instance=origin.instance,
        container=origin.container,
        timestamp=line.timestamp,
        fields=parsed.fields,
        truncated=line.truncated or parsed.truncated,
        continues=continues,
        previous=previous,
        cause=cause,
    )


def _marker(origin: Origin, follow: Follow, msg: str, *, dropped: bool, key: str) -> Event:
    payload = LogPayload(
        level=None,
        msg=msg,
        instance=origin.instance,
        container=origin.container,
        timestamp=None,
        follow=follow,
        dropped=dropped,
    )
    return _event(origin, f"{origin.uid}/{origin.pod_uid}/{origin.container}/{follow.value}/{key}", payload)


def _event(origin: Origin, key: str, payload: LogPayload) -> Event:
    return Event(origin.server, origin.uid, key, payload)
