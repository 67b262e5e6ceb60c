"""Filters: the parameters that choose events, read into a `Selection`. `subscribing` and `listing` call it. No I/O.

A comma is "or", two parameters are "and". What means the same becomes an equal selection, because streams of equal selections
share the work of choosing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mcp_operator.eventlog.log import Selection
from mcp_operator.gateway.naming import is_label, server_of
from mcp_operator.gateway.problems import bad_parameter
from mcp_operator.gateway.querying import text_of, values_of
from mcp_operator.model.events import EventType, LogLevel
from mcp_operator.model.labels import Selector
from mcp_operator.model.servers import ServerName

SERVER_FILTERS = ("namespace", "servers", "selector")
"""Parameters that choose servers: of the list, and of the events of all servers."""

EVENT_FILTERS = ("types", "level", "grep")
"""Parameters that choose among the events of a server."""

GREP_CHARACTERS = 256

_REASON_CHARACTERS = 200


def choose_servers(selection: Selection, parameters: Mapping[str, str], *, default_namespace: str) -> Selection:
    """The selection, of these servers only.

    Raises:
        ProblemError: 400.
    """
    return replace(
        selection,
        namespaces=_namespaces(parameters) or selection.namespaces,
        servers=_servers(parameters, default_namespace) or selection.servers,
        selector=_selector(parameters) or selection.selector,
    )


def choose_events(selection: Selection, parameters: Mapping[str, str], *, types: frozenset[EventType]) -> Selection:
    """The selection, of these events only.

    Args:
        types: what it carries unless the parameters say otherwise.

    Raises:
        ProblemError: 400.
    """
    chosen, level, grep = _types(parameters) or types, _level(parameters), text_of(parameters, "grep", most=GREP_CHARACTERS)
    if EventType.LOG not in chosen:
        level = grep = None
    return replace(selection, types=chosen, level=level, grep=grep)


def _namespaces(parameters: Mapping[str, str]) -> frozenset[str] | None:
    expected = "names of namespaces, separated by commas"
    names = values_of(parameters, "namespace", expected=expected)
    if names is None:
        return None
    if not all(is_label(name) for name in names):
        raise bad_parameter("namespace", parameters["namespace"], expected=expected)
    return frozenset(names)


def _servers(parameters: Mapping[str, str], default_namespace: str) -> frozenset[ServerName | str] | None:
    expected = f"servers, separated by commas, each as namespace:name, UID, or name in the namespace {default_namespace!r}"
    names = values_of(parameters, "servers", expected=expected)
    if names is None:
        return None
    servers = [server_of(name, default_namespace=default_namespace) for name in names]
    known = frozenset(server for server in servers if server is not None)
    if None in servers:
        raise bad_parameter("servers", parameters["servers"], expected=expected)
    return known


def _selector(parameters: Mapping[str, str]) -> Selector | None:
    text = parameters.get("selector", "")
    try:
        selector = Selector.parse(text)
    except ValueError as error:
        reason = str(error)[:_REASON_CHARACTERS]
        expected = f"a label selector as kubectl takes it, such as team=maps,tier in (web,api),!legacy ({reason})"
        raise bad_parameter("selector", text, expected=expected) from None
    return selector if selector.text else None


def _types(parameters: Mapping[str, str]) -> frozenset[EventType] | None:
    expected = f"types of events, separated by commas: {', '.join(EventType)}"
    names = values_of(parameters, "types", expected=expected)
    if names is None:
        return None
    try:
        return frozenset(EventType(name) for name in names)
    except ValueError:
        raise bad_parameter("types", parameters["types"], expected=expected) from None


def _level(parameters: Mapping[str, str]) -> LogLevel | None:
    if "level" not in parameters:
        return None
    try:
        return LogLevel(parameters["level"])
    except ValueError:
        expected = f"the least grave level of log lines to tell, one of {', '.join(LogLevel)}"
        raise bad_parameter("level", parameters["level"], expected=expected) from None
