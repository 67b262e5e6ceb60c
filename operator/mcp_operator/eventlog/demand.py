"""Who listens to what, in one process: what `MemoryLog` knows of its readers, kept so that asking costs nothing.

Logs are followed and metrics sampled for thousands of servers or for none; so listeners are counted by what they listen to, not
looked through one by one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import TypeAlias

from mcp_operator.eventlog.log import Selection
from mcp_operator.model.events import EventType
from mcp_operator.model.labels import NO_LABELS, Labels, Selector
from mcp_operator.model.servers import ServerName

_Scope: TypeAlias = str | ServerName | None
"""What a listener listens to: one UID, one server's name, a namespace (as "namespace/"), or (None) all servers."""


class Listeners:
    """A `Demand` that readers enter and leave. Belongs to one event loop."""

    def __init__(self) -> None:
        self._tails: dict[tuple[EventType, _Scope], dict[Selector | None, Counter[int]]] = {}
        """How many listeners there are, by their selector and by how many lines of the past they want."""
        self._version = 0
        self._moved = asyncio.Event()

    def listening(self, selection: Selection, *, tail: int = 0) -> Listener:
        """A listener, counted while inside the block that it is entered by."""
        return Listener(self, selection, tail)

    def wanted(self, type_: EventType, server: ServerName, uid: str, labels: Labels = NO_LABELS) -> bool:
        return any(True for _ in self._concerned(type_, server, uid, labels))

    def tail(self, server: ServerName, uid: str, labels: Labels = NO_LABELS) -> int:
        return max((lines for tails in self._concerned(EventType.LOG, server, uid, labels) for lines in tails), default=0)

    async def changed(self, since: int) -> int:
        while self._version == since:
            await self._moved.wait()
        return self._version

    def count(self, selection: Selection, tail: int, listeners: int) -> None:
        """Have so many more, or fewer, listen to a selection."""
        news = False
        for key in product(selection.types, _scopes(selection)):
            by_selector = self._tails.setdefault(key, {})
            news |= selection.selector not in by_selector
            counts = by_selector.setdefault(selection.selector, Counter())
            counts[tail] += listeners
            if counts[tail] == 0:
                del counts[tail]
            if not counts:
                news = True
                del by_selector[selection.selector]
            if not by_selector:
                del self._tails[key]
        if news:
            self._version += 1
            self._moved.set()
            self._moved = asyncio.Event()

    def _concerned(self, type_: EventType, server: ServerName, uid: str, labels: Labels) -> Iterator[Counter[int]]:
        """The listeners to one server's events of a type."""
        for scope in (uid, server, f"{server.namespace}/", None):
            for selector, tails in self._tails.get((type_, scope), {}).items():
                if selector is None or selector.matches(labels):
                    yield tails


class Listener:
    """One listener, as small as ten thousand of them have to be."""

    __slots__ = ("_listeners", "_selection", "_tail")

    def __init__(self, listeners: Listeners, selection: Selection, tail: int) -> None:
        self._listeners = listeners
        self._selection = selection
        self._tail = tail

    def __enter__(self) -> None:
        self._listeners.count(self._selection, self._tail, +1)

    def __exit__(self, *error: object) -> None:
        self._listeners.count(self._selection, self._tail, -1)


def _scopes(selection: Selection) -> list[_Scope]:
    if selection.uid is not None:
        return [selection.uid]
    if selection.servers is not None:
        return list(selection.servers)
    if selection.namespaces is not None:
        return [f"{namespace}/" for namespace in selection.namespaces]
    return [None]
