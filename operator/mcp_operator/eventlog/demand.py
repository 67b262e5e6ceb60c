"""Who listens to what, in one process: what `MemoryLog` knows of its readers, kept so that asking costs nothing.

Logs are followed and metrics sampled for thousands of servers or for none; so listeners are counted by what they listen to, not
looked through one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from mcp_operator.eventlog.log import Selection
from mcp_operator.eventlog.scoping import Scope, scopes_around, scopes_of
from mcp_operator.model.events import EventType
from mcp_operator.model.labels import NO_LABELS, Labels, Selector
from mcp_operator.model.servers import ServerName

_Wish: TypeAlias = tuple[frozenset[EventType], int]
"""Types of events, and lines of a container's past."""


class Listeners:
    """A `Demand` that readers enter and leave. Belongs to one event loop."""

    def __init__(self) -> None:
        self._wishes: dict[Scope, dict[Selector | None, dict[_Wish, int]]] = {}
        """How many listeners there are, by their selector and by what they want. One that names a hundred servers is in here a
        hundred times, so there is little for each."""
        self._version = 0
        self._moved = asyncio.Event()

    def listening(self, selection: Selection, *, tail: int = 0) -> Listener:
        """A listener, counted while inside the block that it is entered by."""
        return Listener(self, selection, tail)

    def wanted(self, type_: EventType, server: ServerName, uid: str, labels: Labels = NO_LABELS) -> bool:
        return any(True for _ in self._concerned(type_, server, uid, labels))

    def tail(self, server: ServerName, uid: str, labels: Labels = NO_LABELS) -> int:
        return max(self._concerned(EventType.LOG, server, uid, labels), default=0)

    async def changed(self, since: int) -> int:
        while self._version == since:
            await self._moved.wait()
        return self._version

    def count(self, selection: Selection, tail: int, listeners: int) -> None:
        """Have so many more, or fewer, listen to a selection."""
        news = False
        wish = (selection.types, tail)
        for scope in scopes_of(selection):
            by_selector = self._wishes.setdefault(scope, {})
            wishes = by_selector.setdefault(selection.selector, {})
            before = _types(wishes)
            wishes[wish] = wishes.get(wish, 0) + listeners
            if wishes[wish] == 0:
                del wishes[wish]
            news = news or _types(wishes) != before
            if not wishes:
                del by_selector[selection.selector]
            if not by_selector:
                del self._wishes[scope]
        if news:
            self._version += 1
            self._moved.set()
            self._moved = asyncio.Event()

    def _concerned(self, type_: EventType, server: ServerName, uid: str, labels: Labels) -> Iterator[int]:
        """For whoever listens to one server's events of a type: how many lines of the past they want."""
        for scope in scopes_around(server, uid):
            for selector, wishes in self._wishes.get(scope, {}).items():
                tails = [tail for types, tail in wishes if type_ in types]
                if tails and (selector is None or selector.matches(labels)):
                    yield from tails


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


def _types(wishes: Mapping[_Wish, int]) -> frozenset[EventType]:
    return frozenset[EventType]().union(*(types for types, _ in wishes))
