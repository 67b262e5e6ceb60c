"""Whose events a selection is about, so that what concerns a server is found without looking through all selections.

`demand` finds listeners by it, and the gateway the feeds that may want an event.
"""

from __future__ import annotations

from typing import TypeAlias

from mcp_operator.eventlog.log import Selection
from mcp_operator.model.servers import ServerName

Scope: TypeAlias = str | ServerName | None
"""Whose events: one UID's, one name's, a namespace's (as "namespace/"), or (None) everybody's."""


def scopes_of(selection: Selection) -> list[Scope]:
    """The scopes under which a selection is found; none if it selects nobody."""
    if selection.uid is not None:
        return [selection.uid]
    if selection.servers is not None:
        namespaces = selection.namespaces
        return [
            server
            for server in selection.servers
            if namespaces is None or isinstance(server, str) or server.namespace in namespaces
        ]
    if selection.namespaces is not None:
        return [f"{namespace}/" for namespace in selection.namespaces]
    return [None]


def scopes_around(server: ServerName, uid: str) -> tuple[Scope, ...]:
    """The scopes in which the events of a server are."""
    return uid, server, f"{server.namespace}/", None
