"""What every event log says about events that it no longer holds: nothing is ever missing in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from mcp_operator.eventlog.log import EVERYTHING, Batch, EventId, Gap, GapReason, Selection
from mcp_operator.model.events import Event, EventType, LogLevel
from mcp_operator.model.labels import Selector
from mcp_operator.model.statuses import Status
from tests.events import labelled, line, metrics, progress, response, status, uid_of, warning
from tests.logs import LOGS, MakeLog, Replay, fill, only, records_after, replay, start_of

STATUSES = only(EventType.STATUS)
LINES = only(EventType.LOG)
MEASUREMENTS = only(EventType.METRICS)

pytestmark = pytest.mark.parametrize("make_log", LOGS)


def said_by(say: Callable[..., Event]) -> Sequence[object]:
    """What four events of a type tell."""
    return list(Status)[:4] if say is status else [1, 2, 3, 4]


def flood(server: str, count: int = 50) -> list[Event]:
    return [event for number in range(count) for event in (line(server, f"{number}"), metrics(server, number))]


class TestGaps:
    """A missing status, progress, response or warning can't be made good: the cursor can't be continued."""

    @pytest.mark.parametrize("say", [status, progress, response, warning])
    async def test_it_is_declared_of_each_type_that_nobody_may_miss(self, make_log: MakeLog, say: Callable[..., Event]) -> None:
        log = make_log(2)
        ids = await fill(log, [say("default/a", said) for said in said_by(say)])

        assert await replay(log, await start_of(log)) == Gap(GapReason.EXPIRED)
        assert [record.id for record in await records_after(log, ids[1])] == ids[2:]

    async def test_it_is_declared_to_those_who_want_what_is_lost_and_to_no_one_else(self, make_log: MakeLog) -> None:
        log = make_log(5)
        await fill(log, [status("default/a"), status("default/b")])
        cursor = log.head
        await fill(log, [progress("default/a", percent) for percent in range(20)])

        assert await replay(log, cursor) == Gap(GapReason.EXPIRED)
        assert await replay(log, cursor, Selection(uid=uid_of("default/a"))) == Gap(GapReason.EXPIRED)
        assert await records_after(log, cursor, STATUSES) == []
        assert await records_after(log, cursor, Selection(uid=uid_of("default/b"))) == []

    async def test_it_is_declared_however_small_the_steps_of_the_reader(self, make_log: MakeLog) -> None:
        """The event after the hole comes later than the first step, which must not carry the reader past the hole."""
        log = make_log(1)
        await fill(log, [status("default/a"), status("default/b"), status("default/a")])

        assert await replay(log, await start_of(log), limit=1) == Gap(GapReason.EXPIRED)

    async def test_what_a_reader_has_read_may_go(self, make_log: MakeLog) -> None:
        log = make_log(1)
        [seen, *_] = await fill(log, [status("default/a"), status("default/b")])
        await fill(log, [status("default/a", Status.DEGRADED), progress("default/b", 1), progress("default/b", 2)])

        records = await records_after(log, seen, STATUSES)

        assert [str(record.server) for record in records] == ["default/b", "default/a"]

    async def test_a_deleted_server_is_remembered_for_a_while_and_then_forgotten(self, make_log: MakeLog) -> None:
        log = make_log(5)
        before = await log.append(status("default/gone"))
        await fill(log, [progress("default/gone", 50), status("default/gone", Status.DELETED)])
        remembered = await log.snapshot(EVERYTHING)
        await fill(log, [status("default/busy") for _ in range(20)])
        forgotten = await log.snapshot(EVERYTHING)

        assert [(server.deleted, server.progress) for server in remembered.servers] == [(True, None)]
        assert [str(server.server) for server in forgotten.servers] == ["default/busy"]
        # Nothing newer names the lost word, and yet it isn't lost in silence.
        assert await replay(log, before, STATUSES) == Gap(GapReason.EXPIRED)
        assert await replay(log, before, Selection(servers=frozenset({status("default/gone").server}))) == Gap(GapReason.EXPIRED)

    async def test_who_reads_lines_of_one_object_is_told_that_its_end_is_forgotten(self, make_log: MakeLog) -> None:
        """All of its lines are held, but not the last word that would end the reading."""
        log = make_log(5)
        first, _, last_word = await fill(
            log, [status("default/gone"), line("default/gone"), status("default/gone", Status.DELETED)]
        )
        await fill(log, [status("default/busy") for _ in range(20)])
        selection = only(EventType.LOG, uid=uid_of("default/gone"))

        assert await replay(log, first, selection) == Gap(GapReason.EXPIRED)
        assert await records_after(log, last_word, selection) == []

    async def test_lines_of_an_object_that_lives_go_on_whoever_else_is_forgotten(self, make_log: MakeLog) -> None:
        log = make_log(5)
        await fill(log, [status("default/gone"), status("default/gone", Status.DELETED), status("default/a")])
        told = await log.append(line("default/a"))
        await fill(log, [status("default/busy") for _ in range(20)])

        records = await records_after(log, await start_of(log), only(EventType.LOG, uid=uid_of("default/a")))

        assert [record.id for record in records] == [told]

    async def test_an_end_that_is_told_again_is_remembered_from_then_on(self, make_log: MakeLog) -> None:
        log = make_log(5)
        await fill(log, [status("default/gone", Status.DELETED), *(status("default/busy") for _ in range(3))])
        await fill(log, [status("default/gone", Status.DELETED), *(status("default/busy") for _ in range(3))])

        known = {str(server.server): server.deleted for server in (await log.snapshot(EVERYTHING)).servers}

        assert known == {"default/busy": False, "default/gone": True}

    async def test_not_even_an_event_after_the_last_word_is_lost_in_silence(self, make_log: MakeLog) -> None:
        log = make_log(3)
        await fill(log, [status("default/gone"), status("default/gone", Status.DELETED)])
        cursor = log.head
        await fill(log, [progress("default/gone", 1), *(progress("default/busy", percent) for percent in range(20))])
        await fill(log, [status("default/busy") for _ in range(20)])

        assert await replay(log, cursor, Selection(servers=frozenset({status("default/gone").server}))) == Gap(GapReason.EXPIRED)


class TestDropped:
    """Missing lines and metrics are told in their place, and the reader goes on."""

    async def test_the_types_are_named_and_what_is_left_is_read(self, make_log: MakeLog) -> None:
        log = make_log(5)
        cursor = await log.append(status("default/a"))
        await fill(log, flood("default/a"))
        later = await log.append(status("default/a", Status.DEGRADED))

        read = await replay(log, cursor)

        assert isinstance(read, Replay)
        assert read.lost == {EventType.LOG, EventType.METRICS}
        assert Counter(record.type for record in read.records) == {
            EventType.LOG: 5,
            EventType.METRICS: 5,
            EventType.STATUS: 1,
        }
        assert read.records[-1].id == later

    async def test_it_names_the_newest_that_is_missing(self, make_log: MakeLog) -> None:
        log = make_log(3)
        ids = await fill(log, [line("default/a", f"{number}") for number in range(10)])

        batch = await log.read(await start_of(log), LINES, limit=100)

        assert batch == Batch(batch.records, ids[-1], ended=False, dropped={EventType.LOG: ids[6]})  # type: ignore[union-attr]  # no gap
        assert [record.id for record in batch.records] == ids[7:]

    @pytest.mark.parametrize(
        ("selection", "lost"),
        [
            (EVERYTHING, {EventType.LOG, EventType.METRICS}),
            (LINES, {EventType.LOG}),
            (MEASUREMENTS, {EventType.METRICS}),
            (STATUSES, set()),
            (Selection(uid=uid_of("default/a")), {EventType.LOG, EventType.METRICS}),
            (Selection(uid=uid_of("default/b")), set()),
            (Selection(namespaces=frozenset({"team"})), set()),
            # Whether it would have passed the filter isn't known any more.
            (only(EventType.LOG, level=LogLevel.FATAL, grep="never printed"), {EventType.LOG}),
        ],
    )
    async def test_only_to_those_who_want_what_is_missing(
        self, make_log: MakeLog, selection: Selection, lost: set[EventType]
    ) -> None:
        log = make_log(5)
        cursor = await log.append(status("default/a"))
        await fill(log, [line("default/b"), metrics("default/b"), *flood("default/a")])

        read = await replay(log, cursor, selection)

        assert isinstance(read, Replay)
        assert read.lost == lost

    async def test_a_reader_who_is_past_it_misses_nothing(self, make_log: MakeLog) -> None:
        log = make_log(5)
        ids = await fill(log, [line("default/a", f"{number}") for number in range(10)])

        assert [record.id for record in await records_after(log, ids[4], LINES)] == ids[5:]

    async def test_small_steps_are_told_until_they_are_past_it(self, make_log: MakeLog) -> None:
        log = make_log(5)
        statuses = await fill(log, [status("default/a") for _ in range(4)])
        ids = await fill(log, [line("default/a", f"{number}") for number in range(10)])

        read = await replay(log, await start_of(log), limit=2)

        assert isinstance(read, Replay)
        assert [record.id for record in read.records] == [*statuses, *ids[5:]]
        assert [(after.seq, missing) for after, missing in read.dropped] == [
            (0, {EventType.LOG: ids[4]}),
            (2, {EventType.LOG: ids[4]}),
            (4, {EventType.LOG: ids[4]}),
            (ids[6].seq, {}),
            (ids[8].seq, {}),
        ]

    async def test_a_missing_status_beside_it_can_still_not_be_made_good(self, make_log: MakeLog) -> None:
        log = make_log(3)
        await fill(log, [*flood("default/a"), *(status("default/a") for _ in range(10))])

        assert await replay(log, await start_of(log)) == Gap(GapReason.EXPIRED)

    async def test_lines_of_a_server_that_was_forgotten_are_not_lost_in_silence(self, make_log: MakeLog) -> None:
        log = make_log(3)
        cursor = await log.append(status("default/gone"))
        await fill(log, [line("default/gone"), status("default/gone", Status.DELETED)])
        await fill(log, [*(status("default/busy") for _ in range(9)), *(line("default/busy", f"{n}") for n in range(3))])

        read = await replay(log, cursor, only(EventType.LOG, servers=frozenset({status("default/gone").server})))

        assert isinstance(read, Replay)
        assert read.lost == {EventType.LOG}

    async def test_lines_that_a_forgotten_server_had_lost_before_are_not_forgotten_with_it(self, make_log: MakeLog) -> None:
        log = make_log(3)
        cursor = await log.append(status("default/gone"))
        ids = await fill(log, [line("default/gone", f"{number}") for number in range(5)])
        await fill(log, [status("default/gone", Status.DELETED), *(status("default/busy") for _ in range(9))])

        read = await replay(log, cursor, LINES)

        assert isinstance(read, Replay)
        assert [record.id for record in read.records] == ids[2:]
        assert read.dropped[0][1] == {EventType.LOG: ids[1]}


class TestLabels:
    """Lost events are remembered as their servers were labelled then."""

    async def test_a_server_that_is_labelled_anew_takes_no_loss_with_it(self, make_log: MakeLog) -> None:
        log = make_log(2)
        cursor = await log.append(labelled(status("default/a"), tier="gold"))
        later = await log.append(labelled(status("default/a", Status.DEGRADED), tier="silver"))
        await fill(log, [labelled(status("default/a", key=f"{number}"), tier="bronze") for number in range(2)])

        async def answer(after: EventId, selector: str) -> Replay | Gap:
            return await replay(log, after, only(EventType.STATUS, selector=Selector.parse(selector)))

        assert await answer(await start_of(log), "tier=gold") == Gap(GapReason.EXPIRED)
        assert await answer(cursor, "tier=gold") == Replay(dropped=[(cursor, {})])
        assert await answer(cursor, "tier=silver") == Gap(GapReason.EXPIRED)
        assert isinstance(await answer(later, "tier=silver"), Replay)
        assert isinstance(await answer(await start_of(log), "tier=bronze"), Replay)
        assert isinstance(await answer(await start_of(log), "tier=tin"), Replay)

    async def test_lines_too(self, make_log: MakeLog) -> None:
        log = make_log(2)
        [lost, *_] = await fill(log, [labelled(line("default/a"), tier="gold"), *(line("default/a") for _ in range(5))])

        read = await replay(log, await start_of(log), Selection(selector=Selector.parse("tier")))

        assert isinstance(read, Replay)
        assert read.records == []
        assert read.dropped[0][1] == {EventType.LOG: lost}

    async def test_of_very_many_labels_the_oldest_may_only_be_known_to_have_been_some(self, make_log: MakeLog) -> None:
        """More is declared than is missing, never less."""
        log = make_log(2)
        ids = await fill(log, [labelled(status("default/a"), version=f"v{number}") for number in range(50)])

        for number, lost in enumerate(ids[:48]):
            selection = only(EventType.STATUS, selector=Selector.parse(f"version=v{number}"))
            before = EventId(lost.epoch, lost.seq - 1)
            assert await replay(log, before, selection) == Gap(GapReason.EXPIRED)
        newest = only(EventType.STATUS, selector=Selector.parse("version=v47"))
        assert isinstance(await replay(log, ids[47], newest), Replay)
        elsewhere = only(EventType.STATUS, selector=Selector.parse("version=v0"), servers=frozenset({uid_of("default/b")}))
        assert isinstance(await replay(log, await start_of(log), elsewhere), Replay)
