"""From where every event log lets a reader begin who has no cursor: from a time on, or with all that is still held."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mcp_operator.eventlog.log import EVERYTHING, EventLog, Gap, GapReason, Selection
from mcp_operator.model.events import Event, EventType
from mcp_operator.model.labels import Selector
from mcp_operator.model.statuses import Status
from tests.events import labelled, line, metrics, progress, response, status, uid_of
from tests.logs import LOGS, NOON, Clock, MakeLog, Replay, fill, only, records_after, replay, start_of

STATUSES = only(EventType.STATUS)

pytestmark = pytest.mark.parametrize("make_log", LOGS)


async def told_each_minute(log: EventLog, clock: Clock, minutes: int) -> None:
    """At noon and each minute after it a line, and a metrics event right with it."""
    for minute in range(minutes):
        await fill(log, [line("default/a", f"{minute}"), metrics("default/b", minute)])
        clock.advance(60)


class TestSince:
    @pytest.mark.parametrize(
        ("seconds", "seq"),
        [
            (-3600, 0),
            (-0.001, 0),
            (0, 0),
            (0.001, 2),
            (60, 2),
            (61, 4),
            (120, 4),
            (240, 8),
            (240.001, 10),
            (1e6, 10),
        ],
    )
    async def test_it_lies_right_before_what_came_at_that_time_or_later(
        self, make_log: MakeLog, seconds: float, seq: int
    ) -> None:
        clock = Clock()
        log = make_log(100, clock=clock)
        await told_each_minute(log, clock, 5)

        position = await log.position(NOON + timedelta(seconds=seconds), EVERYTHING)

        assert (position.epoch, position.seq) == (log.head.epoch, seq)
        assert len(await records_after(log, position)) == 10 - seq

    async def test_of_an_empty_log_it_is_its_head(self, make_log: MakeLog) -> None:
        log = make_log(10, clock=Clock())

        assert await log.position(NOON, EVERYTHING) == log.head

    async def test_losses_from_before_that_time_are_none(self, make_log: MakeLog) -> None:
        clock = Clock()
        log = make_log(2, clock=clock)
        await fill(log, [status("default/a", key=f"{number}") for number in range(10)])
        clock.advance(60)
        told = await log.append(status("default/a", Status.DEGRADED))

        position = await log.position(NOON + timedelta(seconds=30), STATUSES)

        assert [record.id for record in await records_after(log, position, STATUSES)] == [told]

    async def test_losses_from_after_it_are_declared(self, make_log: MakeLog) -> None:
        clock = Clock()
        log = make_log(2, clock=clock)
        await told_each_minute(log, clock, 10)
        lines = await replay(log, await log.position(NOON + timedelta(minutes=5), EVERYTHING), only(EventType.LOG))
        await fill(log, [status("default/a", key=f"{number}") for number in range(10)])

        assert isinstance(lines, Replay)
        assert len(lines.records) == 2
        assert lines.lost == {EventType.LOG}
        assert await replay(log, await log.position(NOON + timedelta(minutes=5), STATUSES), STATUSES) == Gap(GapReason.EXPIRED)

    @pytest.mark.parametrize(("seconds", "lost"), [(59, True), (60, True), (60.001, False), (120, False)])
    async def test_so_are_those_under_labels_that_the_server_no_longer_has(
        self, make_log: MakeLog, seconds: float, *, lost: bool
    ) -> None:
        clock = Clock()
        log = make_log(2, clock=clock)
        for tier in ("bronze", "gold", "silver", "silver", "silver"):
            await log.append(labelled(status("default/a", key=tier), tier=tier))
            clock.advance(60)
        selection = only(EventType.STATUS, selector=Selector.parse("tier=gold"))

        answer = await replay(log, await log.position(NOON + timedelta(seconds=seconds), selection), selection)

        assert isinstance(answer, Gap) == lost

    async def test_a_clock_that_goes_back_takes_nothing_with_it(self, make_log: MakeLog) -> None:
        clock = Clock()
        log = make_log(10, clock=clock)
        await log.append(line("default/a", "before"))
        clock.advance(-3600)
        later = await log.append(line("default/a", "after"))

        assert (await records_after(log, await log.position(NOON, EVERYTHING)))[-1].id == later


class TestEarliest:
    async def test_of_a_log_that_has_lost_nothing_it_is_the_start(self, make_log: MakeLog) -> None:
        log = make_log(10)
        await fill(log, [status("default/a"), line("default/a")])

        assert await log.position(None, EVERYTHING) == await start_of(log)

    @pytest.mark.parametrize(
        "story",
        [
            [status("default/a", said) for said in list(Status)[:6]],
            [progress("default/a", percent) for percent in range(6)],
            [response("default/a", number) for number in range(6)],
        ],
    )
    async def test_it_lies_behind_what_is_lost_of_a_type_that_nobody_may_miss(
        self, make_log: MakeLog, story: list[Event]
    ) -> None:
        log = make_log(3)
        ids = await fill(log, story)
        await fill(log, [line("default/a", f"{number}") for number in range(10)])

        position = await log.position(None, EVERYTHING)
        read = await replay(log, position)

        assert position == ids[2]
        assert isinstance(read, Replay)
        assert [record.id for record in read.records][:3] == ids[3:]
        assert read.lost == {EventType.LOG}

    async def test_lost_lines_and_what_others_lost_move_it_nowhere(self, make_log: MakeLog) -> None:
        log = make_log(3)
        await fill(log, [*(line("default/a", f"{number}") for number in range(10)), status("default/b")])
        await fill(log, [status("default/a", key=f"{number}") for number in range(10)])

        for selection in (only(EventType.LOG), Selection(uid=uid_of("default/b"))):
            assert await log.position(None, selection) == await start_of(log)
            assert isinstance(await replay(log, await start_of(log), selection), Replay)

    @pytest.mark.parametrize(
        "selection",
        [
            EVERYTHING,
            STATUSES,
            Selection(uid=uid_of("default/gone")),
            only(EventType.LOG, uid=uid_of("default/gone")),
            Selection(servers=frozenset({status("default/gone").server})),
        ],
    )
    async def test_not_even_of_a_forgotten_server_it_leads_to_a_gap(self, make_log: MakeLog, selection: Selection) -> None:
        log = make_log(5)
        await fill(log, [status("default/gone"), line("default/gone"), status("default/gone", Status.DELETED)])
        await fill(log, [status("default/busy", key=f"{number}") for number in range(20)])

        assert isinstance(await replay(log, await log.position(None, selection), selection), Replay)
