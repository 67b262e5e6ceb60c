"""Which streams an event is for: looked at once for all that want the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.eventlog.log import EVERYTHING, Gap, Record, Selection
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.eventlog.sifting import passes
from mcp_operator.gateway import feeds as module
from mcp_operator.gateway.feeds import Feed, Feeds, FrameForm
from mcp_operator.gateway.streaming import Stream
from mcp_operator.model.events import Event, EventType, LogLevel
from mcp_operator.model.servers import ServerName
from mcp_operator.model.statuses import Status
from tests.events import line, metrics, progress, status, uid_of
from tests.logs import only, start_of

EVENTS = [
    status("default/a"),
    status("default/a", Status.DELETED),
    status("team/b", life=2),
    line("team/b", "boom", level=LogLevel.ERROR),
    line("default/a", "ready"),
    metrics("default/a"),
    progress("other/c", 5),
]
SELECTIONS = [
    EVERYTHING,
    only(EventType.LOG),
    only(EventType.LOG, level=LogLevel.WARN),
    only(EventType.LOG, EventType.STATUS, grep="boom"),
    Selection(uid=uid_of("default/a")),
    only(EventType.METRICS, uid=uid_of("default/a")),
    Selection(servers=frozenset({ServerName("default", "a"), uid_of("team/b", 2)})),
    Selection(namespaces=frozenset({"team", "other"})),
    Selection(namespaces=frozenset({"default"}), servers=frozenset({ServerName("team", "b")})),
]


@dataclass(eq=False)
class Subscriber:
    """As much of a stream as a feed sees."""

    selection: Selection
    form: FrameForm = field(default=FrameForm(named=True, chunked=True))


def join(feeds: Feeds, selection: Selection, **fields: Any) -> tuple[Stream, Feed]:
    stream = cast("Stream", Subscriber(selection, **fields))
    return stream, feeds.join(stream, told=0, position=0, now=0)


async def recorded(events: list[Event]) -> list[Record]:
    log = MemoryLog(capacity=1000)
    for event in events:
        await log.append(event)
    batch = await log.read(await start_of(log), EVERYTHING, limit=1000)
    assert not isinstance(batch, Gap)
    return list(batch.records)


@given(events=st.lists(st.sampled_from(EVENTS), max_size=20), selections=st.lists(st.sampled_from(SELECTIONS), max_size=12))
async def test_each_feed_gets_what_its_selection_wants(events: list[Event], selections: list[Selection]) -> None:
    feeds, records = Feeds(), await recorded(events)
    for selection in selections:
        join(feeds, selection)

    sorted_ = feeds.sort(records)

    for feed in feeds:
        wanted = feed.selection
        assert sorted_.get(feed, []) == [
            record
            for record in (records if wanted.uid is None else up_to_last_word(records, wanted.uid))
            if record.type in wanted.types and wanted.covers(record.subject) and passes(record, wanted)
        ]
    assert {feed.selection for feed in feeds} == set(selections)


def up_to_last_word(records: list[Record], uid: str) -> list[Record]:
    ends = [number for number, record in enumerate(records, start=1) if record.last_word and record.uid == uid]
    return records[: ends[0]] if ends else records


async def test_a_thousand_streams_of_two_filters_are_two_looks_at_each_event(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def counted(record: Record, selection: Selection) -> bool:
        nonlocal looks
        looks += 1
        return passes(record, selection)

    monkeypatch.setattr(module, "passes", counted)
    feeds = Feeds()
    for number in range(1000):
        join(feeds, only(EventType.LOG, grep="boom" if number % 2 else "ready"))
    feeds.sort(await recorded([line("default/a", "boom")] * 10))

    assert looks == 20


@pytest.mark.parametrize(
    ("selection", "ends"),
    [
        (Selection(uid=uid_of("default/a")), True),
        (only(EventType.LOG, uid=uid_of("default/a")), True),
        (Selection(uid=uid_of("default/a"), namespaces=frozenset({"team"})), False),
        (Selection(uid=uid_of("default/b")), False),
        (Selection(servers=frozenset({uid_of("default/a")})), False),
        (EVERYTHING, False),
    ],
)
async def test_only_streams_of_one_object_end_with_it_whatever_they_want_of_it(selection: Selection, ends: bool) -> None:
    feeds = Feeds()
    _, feed = join(feeds, selection)
    [last_word] = await recorded([status("default/a", Status.DELETED)])

    assert list(feeds.ending(last_word)) == ([feed] if ends else [])


async def test_a_line_behind_an_objects_last_word_is_for_those_who_go_on() -> None:
    feeds = Feeds()
    for selection in (Selection(uid=uid_of("default/a")), only(EventType.LOG, uid=uid_of("default/a")), EVERYTHING):
        join(feeds, selection)
    before, last_word, behind = records = await recorded(
        [line("default/a", "bye"), status("default/a", Status.DELETED), line("default/a", "late")]
    )

    assert list(feeds.sort(records).values()) == [[before, last_word], [before], [before, last_word, behind]]


async def test_a_feed_goes_with_its_last_stream() -> None:
    feeds = Feeds()
    named, feed = join(feeds, EVERYTHING)
    unnamed, same = join(feeds, Selection(), form=FrameForm(named=False, chunked=True))
    assert same is feed
    assert feed.streams == 2

    feeds.leave(named, feed)
    assert list(feeds) == [feed]
    feeds.leave(unnamed, feed)
    assert list(feeds) == []
    assert feeds.sort(await recorded([status("default/a")])) == {}


def test_who_joins_with_an_older_id_gets_a_bookmark_at_the_next_heartbeat() -> None:
    feeds = Feeds()
    stream = cast("Stream", Subscriber(EVERYTHING))
    feed = feeds.join(stream, told=90, position=90, now=0)
    feeds.join(cast("Stream", Subscriber(EVERYTHING)), told=40, position=90, now=0)

    assert feed.told == 40
