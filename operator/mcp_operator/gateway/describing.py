"""The API described for programs: an OpenAPI 3.2 document, made from the models, the parameters and a few words on each route.

`documenting` serves it at /openapi.json and makes the page /docs of it; `mcp-operator openapi` prints it. Tests hold it to the
gateway: to its routes, to the parameters that it takes, to every answer and every event that they see.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any, Final, TypeAlias

from mcp_operator.gateway import examples
from mcp_operator.gateway.parameters import (
    last_event_id_header,
    limit_of_streams,
    path_id,
    points_of_history,
    query_parameter,
    since_of_history,
)
from mcp_operator.gateway.shapes import CONTROL_FRAMES, control_name, reference, schemas
from mcp_operator.gateway.subscribing import CLUSTER_STREAM_PARAMETERS, LIST_PARAMETERS, SERVER_STREAM_PARAMETERS
from mcp_operator.model.events import EventType
from mcp_operator.model.schemas import DIALECT, Schema, event_name

Part: TypeAlias = dict[str, Any]
"""A part of the document."""

_ABOUT: Final = """\
What happens to MCP servers on Kubernetes, as it happens: status, progress of rollouts and scaling, metrics, log lines and partial
responses of tool calls, as Server-Sent Events.

A stream opens with `hello`, then a snapshot of what is known, closed by a `bookmark`, then every event as it happens, each once
and in one order. A client that comes back with the id of the last event that it has seen goes on behind it. Where something is
missing the stream says so: `dropped` or `reset`. A line with nothing but a colon is a heartbeat.

Fields may be added to events and answers: ignore those that you don't know."""

_EVENTS: Final = """\
With `Accept: text/event-stream`, `*/*` or no Accept header it is a stream that stays open; with `Accept: application/json` a page
of the same events.

Without a cursor (`Last-Event-ID`, else `last_event_id`, else `since`) it begins with a snapshot. A comma in a parameter is "or",
two parameters are "and"."""

_STREAM_HEADERS: Final[Part] = {
    "Event-Cursor": {
        "description": "The position that the answer begins at.",
        "schema": reference("Envelope/properties/id"),
    }
}

_RETRY_AFTER: Final[Part] = {
    "Retry-After": {"description": "Seconds to wait before asking again.", "schema": {"type": "integer", "minimum": 0}}
}


def document() -> Part:
    """The OpenAPI document."""
    return {
        "openapi": "3.2.0",
        "$self": "/openapi.json",
        "jsonSchemaDialect": DIALECT,
        "info": {
            "title": "mcp-operator",
            "summary": "What happens to MCP servers, as streams of events.",
            "description": _paragraphs(_ABOUT),
            "version": importlib.metadata.version("mcp-operator"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This gateway."}],
        "tags": [
            {"name": "events", "summary": "Event streams", "description": "What happens, as it happens."},
            {"name": "servers", "summary": "Servers", "description": "What is known now."},
            {"name": "api", "summary": "About the API", "description": "What describes it."},
        ],
        "paths": _paths(),
        "components": {"schemas": _with_examples(schemas()), "responses": _problems()},
    }


def _paths() -> dict[str, Part]:
    return {
        "/api/events": {"get": _cluster_events()},
        "/api/servers/{id}/events": {"get": _server_events()},
        "/api/servers": {"get": _servers()},
        "/api/servers/{id}": {"get": _server()},
        "/api/servers/{id}/metrics": {"get": _metrics()},
        "/api/servers/{id}/rollouts": {"get": _rollouts()},
        "/api/streams": {"get": _streams()},
        "/openapi.json": {"get": _openapi()},
        "/docs": {"get": _docs()},
        "/": {"get": _index()},
    }


def _cluster_events() -> Part:
    return {
        "operationId": "streamEvents",
        "tags": ["events"],
        "summary": "What happens to all servers",
        "description": _paragraphs(_EVENTS),
        "parameters": _query(*CLUSTER_STREAM_PARAMETERS, with_header=True),
        "responses": {"200": _events_response(), **_refused("BadRequest", "NotAcceptable", "Unavailable")},
    }


def _server_events() -> Part:
    gone = {"description": "The object with this UID is gone, and the cursor is at or past its last event: nothing will follow."}
    return {
        "operationId": "streamServerEvents",
        "tags": ["events"],
        "summary": "What happens to one server",
        "description": _paragraphs(
            _EVENTS
            + "\n\nBy name the stream outlives the server: it tells `deleted`, stays open, and goes on with the next object of "
            "that name. By UID it ends with the object, by `bye`."
        ),
        "parameters": [path_id(), *_query(*SERVER_STREAM_PARAMETERS, with_header=True)],
        "responses": {
            "200": _events_response(),
            "204": gone,
            **_refused("BadRequest", "NotFound", "NotAcceptable", "Unavailable"),
        },
    }


def _servers() -> Part:
    return {
        "operationId": "listServers",
        "tags": ["servers"],
        "summary": "All servers, with the cursor to go on from",
        "parameters": _query(*LIST_PARAMETERS),
        "responses": {
            "200": _json("The servers.", reference("ServerList"), examples.server_list()),
            **_refused("BadRequest", "Unavailable"),
        },
    }


def _server() -> Part:
    return {
        "operationId": "getServer",
        "tags": ["servers"],
        "summary": "One server",
        "parameters": [path_id()],
        "responses": {
            "200": _json("What is known about it.", reference("Snapshot"), examples.snapshot()),
            **_refused("BadRequest", "NotFound", "Unavailable"),
        },
    }


def _metrics() -> Part:
    return {
        "operationId": "getServerMetrics",
        "tags": ["servers"],
        "summary": "What one server has used lately, for a chart",
        "description": "Made of its `metrics` events that are held. Servers are measured only while somebody listens, so there "
        "are points only of such times. By name it is the history of the object that has the name now.",
        "parameters": [path_id(), since_of_history(), points_of_history()],
        "responses": {
            "200": _json("The history, the oldest point first.", reference("MetricsHistory"), examples.metrics_history()),
            **_refused("BadRequest", "NotFound", "Unavailable"),
        },
    }


def _rollouts() -> Part:
    return {
        "operationId": "listRollouts",
        "tags": ["servers"],
        "summary": "The records of a server's rollouts and scalings",
        "description": "What each changed, how long its parts took, what went wrong, how it ended: the newest first, the "
        "one that is open among them. How many are kept is said by spec.rollout.historyLimit of the MCPServer.",
        "parameters": [path_id()],
        "responses": {
            "200": _json("The records.", reference("RolloutList"), examples.rollout_list()),
            **_refused("BadRequest", "NotFound", "Unavailable"),
        },
    }


def _streams() -> Part:
    return {
        "operationId": "listStreams",
        "tags": ["events"],
        "summary": "The streams that are open",
        "description": "Who listens to what, and how far behind. The oldest come first.",
        "parameters": [limit_of_streams()],
        "responses": {"200": _json("The streams.", reference("StreamList")), **_refused("BadRequest")},
    }


def _openapi() -> Part:
    return {
        "operationId": "getOpenApi",
        "tags": ["api"],
        "summary": "This document",
        "responses": {"200": _json("OpenAPI 3.2.", {"type": "object"}), **_unchanged(), **_refused()},
    }


def _docs() -> Part:
    return {
        "operationId": "getDocs",
        "tags": ["api"],
        "summary": "This document as a page for people",
        "responses": {
            "200": {"description": "A page without scripts.", "content": {"text/html": {"schema": {"type": "string"}}}},
            **_unchanged(),
            **_refused(),
        },
    }


def _index() -> Part:
    return {
        "operationId": "getIndex",
        "tags": ["api"],
        "summary": "The URLs of the API",
        "responses": {
            "200": _json("Templates of URLs, by name.", {"type": "object", "additionalProperties": {"type": "string"}}),
            **_refused(),
        },
    }


def _query(*names: str, with_header: bool = False) -> list[Part]:
    return [*(query_parameter(name) for name in names), *([last_event_id_header()] if with_header else [])]


def _events_response() -> Part:
    return {
        "description": "The events: a stream, or a page of them. When too many streams are open, or the gateway doesn't know the "
        "cluster yet, the stream is `hello`, `bye` and nothing else: come back after its `retry:`.",
        "headers": _STREAM_HEADERS,
        "content": {
            "text/event-stream": {
                "itemSchema": reference("StreamItem"),
                "examples": {"stream": {"summary": "The beginning of a stream", "serializedValue": examples.stream()}},
            },
            "application/json": {
                "schema": reference("Page"),
                "examples": {"page": {"summary": "A page without anything missing", "dataValue": examples.page()}},
            },
        },
    }


def _json(description: str, schema: Schema, example: Any = None) -> Part:
    media_type: Part = {"schema": schema}
    if example is not None:
        media_type["examples"] = {"example": {"dataValue": example}}
    return {"description": description, "content": {"application/json": media_type}}


def _unchanged() -> dict[str, Part]:
    return {"304": {"description": "It is as the ETag in If-None-Match says."}}


_PROBLEMS: Final[dict[str, tuple[str, str]]] = {
    "BadRequest": (
        "400",
        "A parameter is unknown or has a value that it can't have: `parameter`, `value` and `expected` say which.",
    ),
    "NotFound": ("404", "There is no such server, or no longer."),
    "NotAcceptable": ("406", "The Accept header asks for neither an event stream nor JSON."),
    "Unavailable": (
        "503",
        "The gateway doesn't know the whole cluster yet, or has too much to do. An event stream opens instead.",
    ),
    "Problem": ("default", "Any other error."),
}


def _refused(*names: str) -> dict[str, Part]:
    return {_PROBLEMS[name][0]: {"$ref": f"#/components/responses/{name}"} for name in (*names, "Problem")}


def _problems() -> dict[str, Part]:
    content = {"application/problem+json": {"schema": reference("Problem")}}
    return {
        name: {"description": text, **({"headers": _RETRY_AFTER} if name == "Unavailable" else {}), "content": content}
        for name, (_, text) in _PROBLEMS.items()
    }


def _with_examples(described: dict[str, Schema]) -> dict[str, Schema]:
    """The schemas, those of events and control frames with an example of each."""
    frames = examples.control_frames()
    shown = {event_name(type_): examples.event(type_) for type_ in EventType}
    shown |= {frame.__name__: frames[control_name(frame)] for frame in CONTROL_FRAMES}
    return {name: {**schema, "examples": [shown[name]]} if name in shown else schema for name, schema in described.items()}


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
