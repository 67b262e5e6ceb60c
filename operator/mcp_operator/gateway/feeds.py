"""Streams that are up to date, grouped by what they want: `broadcasting` looks at each event once for each group, not stream.

A feed's streams have heard everything up to where the broadcaster is. So they hold nothing of their own: no position, no queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from mcp_operator.eventlog.log import Record, Selection
from mcp_operator.eventlog.scoping import Scope, scopes_around, scopes_of
from mcp_operator.eventlog.sifting import passes
from mcp_operator.model.events import EventType

if TYPE_CHECKING:
    from mcp_operator.gateway.streaming import Stream

_NONE: Mapping[Feed, None] = {}


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
        self._by_scope: Mapping[EventType, dict[Scope, Feed | dict[Feed, None]]] = {type_: {} for type_ in EventType}
        """Most scopes have one feed, which may be in a hundred of them."""

    def __len__(self) -> int:
        return len(self._by_selection)

    def __iter__(self) -> Iterator[Feed]:
        return iter(self._by_selection.values())

    def join(self, stream: Stream, *, told: int, position: int, now: float) -> Feed:
        """Make a stream one of its selection's feed. It has heard all up to `position`, and the id of `told`."""
        feed = self._by_selection.get(stream.selection)
        if feed is None:
            feed = self._by_selection[stream.selection] = Feed(stream.selection, position=position, now=now)
            for by_scope, scope in self._places(stream.selection):
                match by_scope.get(scope):
                    case None:
                        by_scope[scope] = feed
                    case Feed() as other:
                        by_scope[scope] = {other: None, feed: None}
                    case feeds:
                        feeds[feed] = None
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
        for by_scope, scope in self._places(feed.selection):
            feeds = by_scope[scope]
            if isinstance(feeds, Feed):
                del by_scope[scope]
                continue
            del feeds[feed]
            if len(feeds) == 1:
                [by_scope[scope]] = feeds

    def sort(self, records: Iterable[Record]) -> Mapping[Feed, list[Record]]:
        """Which of these events each feed wants, in order. Feeds that want none are left out.

        For those of one object nothing comes behind its last word, though a log may have taken in a line of it later.
        """
        wanted: dict[Feed, list[Record]] = {}
        gone: set[str] = set()
        for record in records:
            over = record.uid in gone
            for feed in self._concerned(record):
                if over and feed.selection.uid is not None:
                    continue
                if feed.selection.covers(record.subject) and passes(record, feed.selection):
                    wanted.setdefault(feed, []).append(record)
            if record.last_word:
                gone.add(record.uid)
        return wanted

    def ending(self, record: Record) -> Iterable[Feed]:
        """The feeds that are about nothing but the object whose last word this is, whatever types they want."""
        feeds = {feed: None for type_ in EventType for feed in self._of(type_, record.uid)}
        return [feed for feed in feeds if feed.selection.uid == record.uid and feed.selection.covers(record.subject)]

    def _concerned(self, record: Record) -> Iterator[Feed]:
        scopes = scopes_around(record.server, record.uid)
        found = [feeds for scope in scopes if (feeds := self._of(record.type, scope))]
        if len(found) == 1:
            return iter(found[0])
        return iter({feed: None for feeds in found for feed in feeds})

    def _of(self, type_: EventType, scope: Scope) -> Mapping[Feed, None]:
        feeds = self._by_scope[type_].get(scope, _NONE)
        return {feeds: None} if isinstance(feeds, Feed) else feeds

    def _places(self, selection: Selection) -> Iterator[tuple[dict[Scope, Feed | dict[Feed, None]], Scope]]:
        """Where the feed of a selection is to be found."""
        for type_ in selection.types:
            for scope in scopes_of(selection):
                yield self._by_scope[type_], scope
