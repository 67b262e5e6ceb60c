"""What is known about each server now: from it the log in memory makes its snapshots."""

from __future__ import annotations

from mcp_operator.eventlog.finding import Objects
from mcp_operator.eventlog.folding import fold
from mcp_operator.eventlog.log import Record, Selection, ServerSnapshot
from mcp_operator.model.events import Event, EventType


class KnownServers:
    """The servers that the log remembers, as of their newest events."""

    def __init__(self) -> None:
        self._by_uid: dict[str, ServerSnapshot] = {}
        self._objects = Objects()

    def __contains__(self, uid: str) -> bool:
        return uid in self._by_uid

    def get(self, uid: str) -> ServerSnapshot | None:
        return self._by_uid.get(uid)

    def learn(self, event: Event, record: Record) -> None:
        """Take in an event, newer than all others; a log line alone makes no server known."""
        if event.type is EventType.LOG:
            return
        known = self._by_uid.get(event.uid)
        if known is None:
            self._objects.add(event.server, event.uid)
        self._by_uid[event.uid] = fold(known, event, record)

    def forget(self, uid: str) -> None:
        """Know no more of a server that is known."""
        known = self._by_uid.pop(uid)
        self._objects.remove(known.server, uid)

    def selected(self, selection: Selection) -> list[ServerSnapshot]:
        """Those that a selection covers, in the order of their names, those of one name in the order of their newest status."""
        uids = self._objects.selected(selection)
        known = self._by_uid.values() if uids is None else [self._by_uid[uid] for uid in uids if uid in self._by_uid]
        servers = [server for server in known if selection.covers(server.subject)]
        servers.sort(key=lambda server: (server.server, server.status.id.seq if server.status else 0))
        return servers
