"""Streams that are up to date, grouped by what they want: `broadcasting` looks at each event once for each group, not stream.

A feed's streams have heard everything up to where the broadcaster is. So they hold nothing of their own: no position, no queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mcp_operator.eventlog.log import Record, Selection
from mcp_operator.eventlog.sifting import passes
from mcp_operator.model.events import EventType
from mcp_operator.model.servers import ServerName

if TYPE_CHECKING:
    from mcp_operator.gateway.streaming import Stream

_Scope: TypeAlias = tuple[EventType, str | ServerName | None]
"""A type of events, and whose: one UID's, one name's, a namespace's (as "namespace/"), or (None) everybody's."""


class FrameForm(NamedTuple):
    """How the same events differ in their bytes."""

    named: bool
    chunked: bool


class Feed:
    """The up-to-date streams of one selection, by form."""

    __slots__ = ("audiences", "selection", "told", "written")

    def __init__(self, selection: Selection, *, position: int, now: float) -> None:
        self.selection = selection
        self.audiences: dict[FrameForm, dict[Stream, None]] = {}
        self.told = position
        """Seq of the newest id that each of the streams has got at least: they would resume from there."""
        self.written = now
        """When the streams were last written to (event loop's clock): at least this long ago none of them was silent."""

    @property
    def streams(self) -> int:
        return sum(map(len, self.audiences.values()))


class Feeds:
    """All feeds, and which of them may want an event."""

    def __init__(self) -> None:
        self._by_selection: dict[Selection, Feed] = {}
        self._by_scope: dict[_Scope, dict[Feed, None]] = {}

    def __iter__(self) -> Iterator[Feed]:
        return iter(self._by_selection.values())

    def join(self, stream: Stream, *, told: int, position: int, now: float) -> Feed:
        """Make a stream one of its selection's feed. It has heard all up to `position`, and the id of `told`."""
        feed = self._by_selection.get(stream.selection)
        if feed is None:
            feed = self._by_selection[stream.selection] = Feed(stream.selection, position=position, now=now)
            for scope in _scopes(stream.selection):
                self._by_scope.setdefault(scope, {})[feed] = None
        stream.selection = feed.selection  # equal ones become one object
        feed.told = min(feed.told, told)
        feed.audiences.setdefault(stream.form, {})[stream] = None
        return feed

    def leave(self, stream: Stream, feed: Feed) -> None:
        """Take a stream out of its feed; without streams the feed goes as well."""
        audience = feed.audiences[stream.form]
        del audience[stream]
        if audience:
            return
        del feed.audiences[stream.form]
        if feed.audiences:
            return
        del self._by_selection[feed.selection]
        for scope in _scopes(feed.selection):
            feeds = self._by_scope[scope]
            del feeds[feed]
            if not feeds:
                del self._by_scope[scope]

    def sort(self, records: Iterable[Record]) -> Mapping[Feed, list[Record]]:
        """Which of these events each feed wants, in order. Feeds that want none are left out."""
        wanted: dict[Feed, list[Record]] = {}
        for record in records:
            for feed in self._concerned(record):
                if feed.selection.covers(record.subject) and passes(record, feed.selection):
                    wanted.setdefault(feed, []).append(record)
        return wanted

    def ending(self, record: Record) -> Iterable[Feed]:
        """The feeds that are about nothing but the object whose last word this is, whatever types they want."""
        feeds = {feed: None for type_ in EventType for feed in self._by_scope.get((type_, record.uid), ())}
        return [feed for feed in feeds if feed.selection.uid == record.uid and feed.selection.covers(record.subject)]

    def _concerned(self, record: Record) -> Iterator[Feed]:
        server = record.server
        found = [
            feeds
            for scope in (record.uid, server, f"{server.namespace}/", None)
            if (feeds := self._by_scope.get((record.type, scope))) is not None
        ]
        if len(found) == 1:
            return iter(found[0])
        return iter({feed: None for feeds in found for feed in feeds})


def _scopes(selection: Selection) -> list[_Scope]:
    whose: list[str | ServerName | None]
    if selection.uid is not None:
        whose = [selection.uid]
    elif selection.servers is not None:
        whose = list(selection.servers)
    elif selection.namespaces is not None:
        whose = [f"{namespace}/" for namespace in selection.namespaces]
    else:
        whose = [None]
    return [(type_, scope) for type_ in selection.types for scope in whose]
