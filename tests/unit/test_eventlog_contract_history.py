"""Every answer of every event log, beside that of a naive one that keeps all: the same, or it says what is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_operator.eventlog.encoding import encode
from mcp_operator.eventlog.folding import is_last_word
from mcp_operator.eventlog.log import EVERYTHING, EXPENDABLE, EventId, EventLog, Gap, GapReason, Selection, Subject
from mcp_operator.model.events import Event, EventType, LogLevel, LogPayload
from mcp_operator.model.labels import Selector
from mcp_operator.model.statuses import Status
from tests.events import follow, labelled, line, metrics, progress, response, status, uid_of
from tests.logs import LOGS, NOON, PLENTY, Clock, MakeLog, Replay, replay, start_of

pytestmark = pytest.mark.parametrize("make_log", LOGS)

SERVERS = ("default/a", "default/b", "team/c")
NAMED = frozenset({status("default/a").server})
LABELS: Sequence[Mapping[str, str]] = ({}, {"tier": "gold"}, {"tier": "silver"})


@dataclass
class History:
    """All that was ever appended: the naive log, which loses nothing and looks at everything."""

    events: list[tuple[EventId, Event, int]] = field(default_factory=list)
    """With the bytes of each one's JSON."""

    async def tell(self, log: EventLog, story: Sequence[Event]) -> None:
        for event in story:
            event_id = await log.append(event)
            self.events.append((event_id, event, len(encode(event, event_id=event_id, time=NOON))))

    def newest(self) -> set[EventId]:
        """The newest event of each server and type."""
        return set({(event.uid, event.type): event_id for event_id, event, _ in self.events}.values())

    def wanted_after(self, cursor: int, selection: Selection) -> list[tuple[EventId, Event]]:
        """What a reader would want if level and grep were not."""
        return [
            (event_id, event)
            for event_id, event, _ in self.events
            if event_id.seq > cursor
            and event.type in selection.types
            and selection.covers(Subject(event.server, event.uid, event.labels))
        ]

    async def held(self, log: EventLog) -> set[EventId]:
        """What can still be read of each server and type alone, from the first cursor that can be continued without a loss."""
        held: set[EventId] = set()
        for uid, type_ in {(event.uid, event.type) for _, event, _ in self.events}:
            ids = [event_id for event_id, event, _ in self.events if (event.uid, event.type) == (uid, type_)]
            selection = Selection(types=frozenset({type_}), uid=uid)
            for number, after in enumerate([await start_of(log), *ids]):
                read = await replay(log, after, selection)
                if isinstance(read, Replay) and not read.lost:
                    assert [record.id for record in read.records] == ids[number:]
                    held.update(ids[number:])
                    break
        return held

    def forgotten_after(self, cursor: int, held: set[EventId]) -> bool:
        """Whether something after a cursor has gone of a server whose last word has."""
        last_words = {event.uid: event_id for event_id, event, _ in self.events if is_last_word(event)}
        forgotten = {uid for uid, event_id in last_words.items() if event_id not in held}
        return any(event.uid in forgotten and event_id not in held for event_id, event, _ in self.events if event_id.seq > cursor)

    def check_bounds(self, held: set[EventId], capacity: int, capacity_bytes: int) -> None:
        """What is held is as much as the bounds allow and no more, and the newest of each server and type."""
        newest = self.newest()
        assert newest <= held
        for type_ in EventType:
            all_of_type = {event_id: size for event_id, event, size in self.events if event.type is type_}
            older = [size for event_id, size in all_of_type.items() if event_id in held - newest]
            assert len(older) <= capacity
            assert sum(older) <= capacity_bytes
            if capacity_bytes == PLENTY:
                assert len(held & all_of_type.keys()) >= min(capacity, len(all_of_type))


def passes(event: Event, selection: Selection) -> bool:
    payload = event.payload
    if not isinstance(payload, LogPayload) or (selection.level is None and selection.grep is None):
        return True
    if payload.level is None:
        return payload.dropped
    grave = selection.level is None or payload.level.rank >= selection.level.rank
    return grave and (selection.grep is None or selection.grep in payload.msg)


servers = st.sampled_from(SERVERS)

unlabelled = st.one_of(
    st.builds(status, servers, st.sampled_from([Status.RUNNING, Status.DEGRADED])),
    st.builds(progress, servers, st.integers(0, 99)),
    st.builds(response, servers, st.integers(1, 99)),
    st.builds(metrics, servers, st.floats(0, 99)),
    st.builds(follow, servers, dropped=st.booleans()),
    st.builds(line, servers, st.sampled_from(["ready", 'a "b" \n', "é", "ready" * 200]), level=st.sampled_from(LogLevel)),
)

events = st.builds(lambda event, labels: labelled(event, **labels), unlabelled, st.sampled_from(LABELS))
"""The servers' labels change all the time."""

stories = st.lists(events, max_size=40)

selections = st.builds(
    Selection,
    types=st.sets(st.sampled_from(EventType), min_size=1).map(frozenset),
    namespaces=st.sampled_from([None, None, frozenset({"default"}), frozenset({"team"})]),
    servers=st.sampled_from([None, None, NAMED, frozenset({*NAMED, uid_of("team/c")}), frozenset({uid_of("default/b")})]),
    uid=st.sampled_from([None, None, uid_of("default/a")]),
    selector=st.sampled_from([None, None, *map(Selector.parse, ("tier=gold", "!tier", "tier!=gold"))]),
    level=st.none() | st.sampled_from(LogLevel),
    grep=st.sampled_from([None, None, "ready", '"b"', "n", "\n", "é"]),
)


@settings(max_examples=300)
@given(
    story=stories,
    capacity=st.integers(1, 12),
    capacity_bytes=st.sampled_from([PLENTY, 2500, 1]),
    selection=selections,
    limit=st.integers(1, 9),
)
def test_every_answer_is_what_was_told_or_says_what_is_missing(
    make_log: MakeLog, *, story: list[Event], capacity: int, capacity_bytes: int, selection: Selection, limit: int
) -> None:
    async def tell() -> None:
        log, history = make_log(capacity, capacity_bytes), History()
        await history.tell(log, story)
        held = await history.held(log)
        assert sum(log.statistics().held.values()) == len(held)
        history.check_bounds(held, capacity, capacity_bytes)
        for cursor in range(log.head.seq + 1):
            answer = await replay(log, EventId(log.head.epoch, cursor), selection, limit=limit)
            check(answer, history, held, cursor, selection)

    asyncio.run(tell())


def check(answer: Replay | Gap, history: History, held: set[EventId], cursor: int, selection: Selection) -> None:
    """Each event that is wanted is in the answer or declared to be missing, and nothing else is."""
    wanted = history.wanted_after(cursor, selection)
    missing = {event.type for event_id, event in wanted if event_id not in held}
    if missing - EXPENDABLE:
        assert answer == Gap(GapReason.EXPIRED)
        return
    assert isinstance(answer, Replay)
    expected = [event_id for event_id, event in wanted if event_id in held and passes(event, selection)]
    assert [record.id for record in answer.records] == expected
    for after, dropped in answer.dropped:
        still = [(event_id, event) for event_id, event in wanted if event_id not in held and event_id.seq > after.seq]
        assert dropped == {event.type: event_id for event_id, event in still}


@settings(max_examples=200)
@given(
    story=st.lists(st.tuples(events, st.integers(0, 30)), max_size=30),
    capacity=st.integers(1, 12),
    max_age_seconds=st.sampled_from([PLENTY, 100]),
    since=st.tuples(st.integers(0, 29), st.sampled_from([-1, 0, 0, 1])),
    selection=selections,
)
def test_from_a_time_on_nothing_is_left_out_in_silence_and_nothing_older_is_told(
    make_log: MakeLog,
    *,
    story: list[tuple[Event, int]],
    capacity: int,
    max_age_seconds: int,
    since: tuple[int, int],
    selection: Selection,
) -> None:
    async def tell() -> None:
        clock = Clock()
        log, history = make_log(capacity, max_age_seconds=max_age_seconds, clock=clock), History()
        times = {}
        for event, seconds in story:
            clock.advance(seconds)
            await history.tell(log, [event])
            times[log.head.seq] = clock.now
        held = await history.held(log)
        assert sum(log.statistics().held.values()) == len(held)

        about, seconds = since
        moment = times.get(about, NOON) + timedelta(seconds=seconds)
        position = await log.position(moment, selection)
        answer = await replay(log, position, selection, limit=3)

        earlier = [seq for seq, time in times.items() if time < moment]
        check(answer, history, held, max(earlier, default=0), selection)
        assert position.seq <= max(earlier, default=0)

    asyncio.run(tell())


@settings(max_examples=200)
@given(story=stories, capacity=st.integers(1, 12), selection=selections)
def test_all_that_is_held_can_be_read(make_log: MakeLog, *, story: list[Event], capacity: int, selection: Selection) -> None:
    """But for what comes before a loss that nobody may miss."""

    async def tell() -> None:
        log, history = make_log(capacity), History()
        await history.tell(log, story)
        held = await history.held(log)

        position = await log.position(None, selection)
        answer = await replay(log, position, selection, limit=3)

        wanted = history.wanted_after(0, selection)
        lost = [event_id.seq for event_id, event in wanted if event_id not in held and event.type not in EXPENDABLE]
        assert position.seq == max(lost, default=0)
        check(answer, history, held, position.seq, selection)

    asyncio.run(tell())


lives = st.lists(
    st.tuples(
        servers,
        st.lists(st.sampled_from([progress, response, line, line, line]), max_size=4),
        st.sampled_from([Status.RUNNING, Status.RUNNING, Status.DELETED]),
    ),
    max_size=25,
)


@settings(max_examples=300)
@given(story=lives, capacity=st.integers(1, 12), selection=selections)
def test_no_deletion_is_lost_in_silence(
    make_log: MakeLog, *, story: list[tuple[str, list[Callable[..., Event]], Status]], capacity: int, selection: Selection
) -> None:
    """Servers live, are deleted and come back under their names; whatever was forgotten meanwhile, no answer has a hole."""

    async def tell() -> None:
        log, history = make_log(capacity), History()
        life = dict.fromkeys(SERVERS, 1)
        phases: dict[str, Status] = {}
        for name, before, said in story:
            told = [make(name, 1, life=life[name]) if make is not line else line(name, life=life[name]) for make in before]
            await history.tell(log, [*told, status(name, said, life=life[name])])
            phases[uid_of(name, life[name])] = said
            if said is Status.DELETED:
                life[name] += 1

        held = await history.held(log)
        for cursor in range(log.head.seq + 1):
            answer = await replay(log, EventId(log.head.epoch, cursor), selection, limit=5)
            check_no_silence(answer, history, held, cursor, selection)

        known = {server.uid: server.phase for server in (await log.snapshot(EVERYTHING)).servers}
        assert known.items() <= phases.items()
        assert {uid for uid, phase in phases.items() if phase is not Status.DELETED} <= known.keys()

    asyncio.run(tell())


def check_no_silence(answer: Replay | Gap, history: History, held: set[EventId], cursor: int, selection: Selection) -> None:
    """Each event that is wanted is in the answer or declared to be missing; of forgotten servers more may be declared."""
    wanted = history.wanted_after(cursor, selection)
    if isinstance(answer, Gap):
        end = {event_id for event_id, event, _ in history.events if event.uid == selection.uid and is_last_word(event)}
        needed = {event_id for event_id, event in wanted if event.type not in EXPENDABLE}
        assert not needed <= held or not end <= held or history.forgotten_after(cursor, held)
        return
    told = [record.id for record in answer.records]
    assert told == [event_id for event_id, _ in wanted if event_id in told]
    assert answer.lost <= EXPENDABLE & selection.types
    declared = answer.dropped[0][1]
    for event_id, event in wanted:
        if event_id not in told and passes(event, selection):
            assert declared[event.type].seq >= event_id.seq
