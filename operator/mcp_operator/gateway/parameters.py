"""The parameters of the API as its description tells of them: name, meaning, values, an example each.

`describing` puts them at the routes that take them. What they do is in `subscribing`, `filtering` and `querying`; a test asks the
gateway which ones it takes and compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp_operator.gateway.charting import MOST_POINTS, USUAL_POINTS
from mcp_operator.gateway.shapes import reference
from mcp_operator.model.schemas import Schema

_LABEL: Final = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_SERVER: Final[Schema] = {"type": "string", "pattern": f"^({_LABEL}:)?{_LABEL}$"}
_LIST: Final[Schema] = {"type": "array", "minItems": 1, "maxItems": 100}
_SINCE: Final = (
    r"^(earliest|([0-9]{1,6}d)?([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2}))$"
)
_FLAG: Final[Schema] = {"type": "string", "enum": ["0", "1"]}

_QUERY: Final[Mapping[str, tuple[str, Schema, Any]]] = {
    # Name: meaning, values, an example.
    "namespace": (
        "Only servers of these namespaces.",
        {**_LIST, "items": {"type": "string", "pattern": f"^{_LABEL}$"}},
        ["default", "team-a"],
    ),
    "servers": ("Only these servers, each written as `{id}` in a path.", {**_LIST, "items": _SERVER}, ["default:weather"]),
    "selector": (
        "Only servers whose labels match: a label selector as `kubectl -l` takes it.",
        {"type": "string"},
        "team=maps,tier in (web,api)",
    ),
    "types": (
        "Only events of these types. Without it all, with `named=0` `status` and `response`.",
        {**_LIST, "items": reference("EventType")},
        ["status", "log"],
    ),
    "level": ("Of log lines only those at least as grave.", reference("LogLevel"), "warn"),
    "grep": (
        "Of log lines only those whose `msg` contains this text as it is; upper and lower case are told apart.",
        {"type": "string", "maxLength": 256, "pattern": r"^[^\x00-\x08\x0a-\x1f\x7f-\x9f]*$"},
        "timed out",
    ),
    "tail": (
        "The snapshot ends with so many of the newest lines of each container.",
        {"type": "integer", "minimum": 0, "maximum": 10_000, "default": 0},
        50,
    ),
    "named": (
        "`0`: events without an `event:` line, for clients that hear only these, such as n8n's trigger.",
        {**_FLAG, "default": "1"},
        "0",
    ),
    "snapshot": ("With `named=0`, `1`: the snapshot's events have no `event:` line either.", {**_FLAG, "default": "0"}, "1"),
    "last_event_id": (
        "The cursor of a client that can't send `Last-Event-ID`; the header wins.",
        reference("Envelope/properties/id"),
        "a33cfacdbb-4",
    ),
    "since": (
        "Without a cursor: begin with what was told since a time (RFC 3339), in the last `30s`, `5m`, `2h`, `1d`, or `earliest`.",
        {"type": "string", "pattern": _SINCE},
        "5m",
    ),
    "limit": ("Only of a page: at most so many events.", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}, 100),
    "wait": (
        "Only of a page: how many seconds to wait for an event if there is none yet.",
        {"type": "number", "minimum": 0, "maximum": 30, "default": 0},
        20,
    ),
}


def query_parameter(name: str) -> dict[str, Any]:
    """A parameter of the query, by its name. An empty one counts as absent."""
    description, schema, example = _QUERY[name]
    style = {"style": "form", "explode": False} if schema.get("type") == "array" else {}
    return {"name": name, "in": "query", "description": description, **style, "schema": schema, "example": example}


def limit_of_streams() -> dict[str, Any]:
    """`limit` of the list of open streams."""
    return {
        "name": "limit",
        "in": "query",
        "description": "At most so many streams, the oldest ones.",
        "schema": {"type": "integer", "minimum": 0, "maximum": 100_000, "default": 1000},
        "example": 10,
    }


def since_of_history() -> dict[str, Any]:
    """`since` of the metrics' history."""
    _, schema, _ = _QUERY["since"]
    return {
        "name": "since",
        "in": "query",
        "description": "From when on: a time (RFC 3339), or the last `30s`, `5m`, `2h`, `1d`, or `earliest`, all that is held.",
        "schema": {**schema, "default": "15m"},
        "example": "1h",
    }


def points_of_history() -> dict[str, Any]:
    """`points` of the metrics' history."""
    return {
        "name": "points",
        "in": "query",
        "description": "At most so many points: if there are more samples, each point sums up those of a slice of time.",
        "schema": {"type": "integer", "minimum": 2, "maximum": MOST_POINTS, "default": USUAL_POINTS},
        "example": 100,
    }


def path_id() -> dict[str, Any]:
    """The `{id}` of a path."""
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "Which server: `namespace:name`, the UID of the MCPServer, or a bare name of the gateway's default "
        "namespace. A name means whatever object has it, one after the other; a UID means that one object.",
        "schema": _SERVER,
        "example": "default:weather",
    }


def last_event_id_header() -> dict[str, Any]:
    """The header that browsers and other clients send by themselves when they come back."""
    return {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The id of the last event that the client has seen: the stream goes on behind it. What is no event id is "
        "answered with `reset`, not refused.",
        "schema": {"type": "string"},
        "example": "a33cfacdbb-4",
    }
