"""Every answer of every event log, beside that of a naive one that keeps all: the same, or it says what is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_operator.eventlog.log import EVERYTHING, EXPENDABLE, EventId, EventLog, Gap, GapReason, Record, Selection, Subject
from mcp_operator.model.events import Event, EventType, LogLevel, LogPayload
from mcp_operator.model.statuses import Status
from tests.events import follow, line, metrics, progress, status, uid_of
from tests.logs import LOGS, PLENTY, MakeLog, Replay, fill, records_after, replay, start_of

pytestmark = pytest.mark.parametrize("make_log", LOGS)

SERVERS = ("default/a", "default/b", "team/c")


@dataclass
class History:
    """All that was ever appended: the naive log, which loses nothing and looks at everything."""

    events: list[tuple[EventId, Event, int]] = field(default_factory=list)
    """With the bytes of each one's JSON."""

    def held(self, capacity: int, capacity_bytes: int) -> set[EventId]:
        """What a log with these bounds must hold if no server was deleted."""
        held = {(event.uid, event.type): event_id for event_id, event, _ in self.events}.values()
        recent: set[EventId] = set()
        for type_ in EventType:
            count, size = 0, 0
            for event_id, event, length in reversed(self.events):
                if event.type is not type_:
                    continue
                count, size = count + 1, size + length
                if count > capacity or size > capacity_bytes:
                    break
                recent.add(event_id)
        return {*held, *recent}

    def wanted_after(self, cursor: int, selection: Selection) -> list[tuple[EventId, Event]]:
        """What a reader would want if level and grep were not."""
        return [
            (event_id, event)
            for event_id, event, _ in self.events
            if event_id.seq > cursor
            and event.type in selection.types
            and selection.covers(Subject(event.server, event.uid, event.labels))
        ]


def passes(event: Event, selection: Selection) -> bool:
    payload = event.payload
    if not isinstance(payload, LogPayload) or (selection.level is None and selection.grep is None):
        return True
    if payload.level is None:
        return payload.dropped
    grave = selection.level is None or payload.level.rank >= selection.level.rank
    return grave and (selection.grep is None or selection.grep in payload.msg)


stories = st.lists(
    st.one_of(
        st.builds(status, st.sampled_from(SERVERS), st.sampled_from([Status.RUNNING, Status.DEGRADED])),
        st.builds(progress, st.sampled_from(SERVERS), st.integers(0, 99)),
        st.builds(metrics, st.sampled_from(SERVERS), st.floats(0, 99)),
        st.builds(follow, st.sampled_from(SERVERS), dropped=st.booleans()),
        st.builds(
            line,
            st.sampled_from(SERVERS),
            st.sampled_from(["ready", 'a "b" \n', "é", "ready" * 200]),
            level=st.sampled_from(LogLevel),
        ),
    ),
    max_size=40,
)

selections = st.builds(
    Selection,
    types=st.sets(st.sampled_from(EventType), min_size=1).map(frozenset),
    namespaces=st.sampled_from([None, None, frozenset({"default"}), frozenset({"team"})]),
    server=st.sampled_from([None, None, status("default/a").server]),
    uid=st.sampled_from([None, None, uid_of("default/a")]),
    level=st.none() | st.sampled_from(LogLevel),
    grep=st.sampled_from([None, None, "ready", '"b"', "n", "\n", "é"]),
)


@settings(max_examples=300)
@given(
    story=stories,
    capacity=st.integers(1, 12),
    capacity_bytes=st.sampled_from([PLENTY, 2500, 1]),
    cursor=st.integers(0, 45),
    selection=selections,
    limit=st.integers(1, 9),
)
def test_every_answer_is_what_was_told_or_says_what_is_missing(
    make_log: MakeLog, *, story: list[Event], capacity: int, capacity_bytes: int, cursor: int, selection: Selection, limit: int
) -> None:
    async def tell() -> None:
        log, history = make_log(capacity, capacity_bytes), History()
        for event, record in zip(story, await everything_of(make_log(len(story) + 1), story), strict=True):
            history.events.append((await log.append(event), event, len(record.data)))
        held = history.held(capacity, capacity_bytes)
        assert sum(log.statistics().held.values()) == len(held)

        answer = await replay(log, EventId(log.head.epoch, cursor), selection, limit=limit)

        wanted = history.wanted_after(cursor, selection)
        missing = {event.type for event_id, event in wanted if event_id not in held}
        if cursor > log.head.seq:
            assert answer == Gap(GapReason.AHEAD)
        elif missing - EXPENDABLE:
            assert answer == Gap(GapReason.EXPIRED)
        else:
            assert isinstance(answer, Replay)
            expected = [event_id for event_id, event in wanted if event_id in held and passes(event, selection)]
            assert [record.id for record in answer.records] == expected
            for after, dropped in answer.dropped:
                still = [(event_id, event) for event_id, event in wanted if event_id not in held and event_id.seq > after.seq]
                assert dropped == {event.type: event_id for event_id, event in still}

    async def everything_of(unbounded: EventLog, story: Sequence[Event]) -> list[Record]:
        await fill(unbounded, story)
        return await records_after(unbounded, await start_of(unbounded))

    asyncio.run(tell())


lives = st.lists(
    st.tuples(
        st.sampled_from(SERVERS), st.sampled_from([Status.RUNNING, Status.DELETED]), st.sampled_from([None, progress, line])
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(story=lives, capacity=st.integers(1, 12), draw=st.data())
def test_no_deletion_is_lost_in_silence(
    make_log: MakeLog, story: list[tuple[str, Status, object]], capacity: int, draw: st.DataObject
) -> None:
    """Servers live, are deleted and come back under their names; whatever was forgotten meanwhile, no answer has a hole."""

    async def tell() -> None:
        log, history = make_log(capacity), History()
        life = dict.fromkeys(SERVERS, 1)
        phases: dict[str, Status] = {}
        for name, said, before in story:
            events = [status(name, said, life=life[name])]
            if before is progress:
                events.insert(0, progress(name, 10, life=life[name]))
            elif before is line:
                events.insert(0, line(name, life=life[name]))
            for event in events:
                history.events.append((await log.append(event), event, 1))
            phases[uid_of(name, life[name])] = said
            if said is Status.DELETED:
                life[name] += 1

        cursor = draw.draw(st.integers(0, log.head.seq))
        answer = await replay(log, EventId(log.head.epoch, cursor), limit=5)
        wanted = history.wanted_after(cursor, EVERYTHING)
        recent = {
            id_ for type_ in EventType for id_ in [id_ for id_, event, _ in history.events if event.type is type_][-capacity:]
        }
        if isinstance(answer, Gap):
            assert not {event_id for event_id, event in wanted if event.type not in EXPENDABLE} <= recent
        else:
            told = [record.id for record in answer.records]
            assert told == [event_id for event_id, _ in wanted if event_id in told]
            assert {event.type for event_id, event in wanted if event_id not in told} <= answer.lost <= EXPENDABLE

        known = {server.uid: server.phase for server in (await log.snapshot(EVERYTHING)).servers}
        assert known.items() <= phases.items()
        assert {uid for uid, phase in phases.items() if phase is not Status.DELETED} <= known.keys()

    asyncio.run(tell())
