"""What every event log does with log lines: it chooses them by level and text, and finds the newest of each container."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_operator.eventlog.log import EVERYTHING, EventLog, Record, Selection
from mcp_operator.model.events import Event, EventType, Follow, LogLevel, LogPayload
from mcp_operator.model.labels import Selector
from mcp_operator.model.statuses import Status
from tests.events import follow, labelled, line, metrics, progress, status, uid_of
from tests.logs import LOGS, MakeLog, fill, only, others, records_after, start_of

pytestmark = pytest.mark.parametrize("make_log", LOGS)


def messages(records: Sequence[Record]) -> list[str]:
    return [json.loads(record.data)["msg"] for record in records]


def numbered(server: str, count: int, **fields: Any) -> list[Event]:
    return [line(server, f"line {number}", **fields) for number in range(count)]


class TestLevel:
    @pytest.mark.parametrize(
        ("level", "told"),
        [
            (None, list(LogLevel)),
            (LogLevel.TRACE, list(LogLevel)),
            (LogLevel.INFO, ["info", "warn", "error", "fatal"]),
            (LogLevel.ERROR, ["error", "fatal"]),
            (LogLevel.FATAL, ["fatal"]),
        ],
    )
    async def test_it_is_the_least_grave_that_is_told(
        self, make_log: MakeLog, level: LogLevel | None, told: list[LogLevel]
    ) -> None:
        log = make_log(100)
        await fill(log, [line("default/a", level, level=level) for level in LogLevel])
        selection = only(EventType.LOG, level=level)

        assert messages(await records_after(log, await start_of(log), selection)) == told
        await log.append(status("default/a"))
        assert messages((await log.snapshot(selection, tail=10)).lines) == told


class TestGrep:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("tool", ["tool weather failed", 'tool "maps"\n\tdone']),
            ("Tool", []),
            ("tool weather", ["tool weather failed"]),
            ('"maps"', ['tool "maps"\n\tdone']),
            ("\n", ['tool "maps"\n\tdone']),
            ("\n\td", ['tool "maps"\n\tdone']),
            ("n\\td", []),
            ("\\n", ["C:\\new"]),
            ("\\", ["C:\\new"]),
            ("td", []),
            ("ü", ["Zürich 🌦 \u2028\x1b[31m"]),
            ("🌦", ["Zürich 🌦 \u2028\x1b[31m"]),
            ("\u2028\x1b[", ["Zürich 🌦 \u2028\x1b[31m"]),
            ("u2028", []),
            (".*", []),
            ("mcp", []),
            ("default", []),
            ("msg", []),
            ("hidden", []),
        ],
    )
    async def test_it_is_a_literal_part_of_the_message_and_of_nothing_else(
        self, make_log: MakeLog, text: str, told: list[str]
    ) -> None:
        log = make_log(100)
        for message in ("tool weather failed", 'tool "maps"\n\tdone', "C:\\new", "Zürich 🌦 \u2028\x1b[31m", "", "end"):
            await log.append(line("default/a", message, fields={"msg": "hidden", "hidden": ["hidden"]}, cause="hidden"))
        selection = only(EventType.LOG, grep=text)

        assert messages(await records_after(log, await start_of(log), selection)) == told
        await log.append(status("default/a"))
        assert messages((await log.snapshot(selection, tail=10)).lines) == told

    @settings(max_examples=200)
    @given(
        message=st.text(st.characters(codec="utf-8") | st.sampled_from('"\\\n,:mns g'), max_size=30),
        key=st.sampled_from(["k", '"msg":"', ',"msg":"x', '\\","msg":"y', "msg"]),
        text=st.text(st.characters(codec="utf-8") | st.sampled_from('"\\\n,:mns g'), min_size=1, max_size=3),
        cut=st.tuples(st.integers(0, 30), st.integers(1, 30)),
        a_part=st.booleans(),
    )
    def test_it_finds_exactly_what_the_message_contains(
        self, make_log: MakeLog, message: str, key: str, text: str, cut: tuple[int, int], *, a_part: bool
    ) -> None:
        async def find() -> None:
            begin, length = cut
            wanted = (message[begin : begin + length] or text) if a_part else text
            log = make_log(10)
            await log.append(line("default/a", message, key=key, fields={key: key}))
            found = await records_after(log, await start_of(log), only(EventType.LOG, grep=wanted))
            assert bool(found) == (wanted in message)

        asyncio.run(find())

    async def test_half_a_surrogate_pair_in_a_message_is_what_it_is_told_as(self, make_log: MakeLog) -> None:
        log = make_log(10)
        await log.append(line("default/a", "half \ud83c"))

        found = [await records_after(log, await start_of(log), only(EventType.LOG, grep=text)) for text in ("half ?", "\ud83c")]

        assert [len(records) for records in found] == [1, 0]


class TestFilteredReading:
    async def test_level_and_grep_are_both_asked_for_and_concern_lines_only(self, make_log: MakeLog) -> None:
        log = make_log(100)
        kept = await fill(
            log,
            [
                status("default/a"),
                progress("default/a", 10),
                metrics("default/a"),
                line("default/a", "no tool", level=LogLevel.WARN),
            ],
        )
        await fill(log, [line("default/a", "tool"), line("default/a", "nothing", level=LogLevel.FATAL)])

        records = await records_after(log, await start_of(log), Selection(level=LogLevel.WARN, grep="tool"))

        assert [record.id for record in records] == kept

    @pytest.mark.parametrize("selection", [Selection(level=LogLevel.TRACE), Selection(grep="followed")])
    async def test_a_follow_is_no_line_but_a_loss_is_never_hidden(self, make_log: MakeLog, selection: Selection) -> None:
        log = make_log(100)
        _, loss, _ = await fill(log, [follow("default/a"), follow("default/a", dropped=True), follow("default/a", Follow.ENDED)])

        assert [record.id for record in await records_after(log, await start_of(log), selection)] == [loss]
        assert len(await records_after(log, await start_of(log))) == 3

    async def test_what_a_filter_leaves_out_is_passed_all_the_same(self, make_log: MakeLog) -> None:
        log = make_log(100)
        await fill(log, numbered("default/a", 30))

        batch = await log.read(await start_of(log), only(EventType.LOG, level=LogLevel.ERROR), limit=100)

        assert batch.position == log.head  # type: ignore[union-attr]  # nothing is missing


class TestTail:
    """The newest lines of each container, for a listener who has just come."""

    async def tail(self, log: EventLog, count: int, selection: Selection = EVERYTHING) -> list[str]:
        return messages((await log.snapshot(selection, tail=count)).lines)

    async def test_each_container_has_its_own_in_the_order_of_the_log(self, make_log: MakeLog) -> None:
        log = make_log(100)
        for number in range(5):
            for instance, container in (("a-0", "mcp"), ("a-0", "sidecar"), ("a-1", "mcp")):
                await log.append(line("default/a", f"{instance} {container} {number}", instance=instance, container=container))
            await fill(log, [progress("default/a", number), follow("default/a")])

        assert await self.tail(log, 2) == [
            *("a-0 mcp 3", "a-0 sidecar 3", "a-1 mcp 3"),
            *("a-0 mcp 4", "a-0 sidecar 4", "a-1 mcp 4"),
        ]

    @pytest.mark.parametrize(
        ("selection", "told"),
        [
            (Selection(), ["a2", "a3", "b", "reborn"]),
            (only(EventType.LOG), ["a2", "a3", "b", "reborn"]),
            (only(EventType.STATUS), []),
            (Selection(namespaces=frozenset({"team"})), ["b"]),
            (Selection(servers=frozenset({status("default/a").server})), ["a2", "a3", "reborn"]),
            (Selection(uid=uid_of("default/a")), ["a2", "a3"]),
            (Selection(uid=uid_of("default/nobody")), []),
            (Selection(grep="a1"), ["a1"]),
            (Selection(level=LogLevel.ERROR), ["a0", "a1"]),
        ],
    )
    async def test_it_is_of_the_selected_lines(self, make_log: MakeLog, selection: Selection, told: list[str]) -> None:
        log = make_log(100)
        await fill(log, [line("default/a", f"a{number}", level=LogLevel.ERROR) for number in range(2)])
        await fill(log, [line("default/a", f"a{number}") for number in range(2, 4)])
        await fill(log, [line("team/b", "b"), line("default/a", "reborn", life=2)])

        assert await self.tail(log, 2, selection) == told

    async def test_lines_of_a_crash_count_like_others(self, make_log: MakeLog) -> None:
        log = make_log(100)
        await fill(log, [*numbered("default/a", 2), line("default/a", "Traceback", previous=True, cause="c")])

        assert await self.tail(log, 2) == ["line 1", "Traceback"]

    @pytest.mark.parametrize("selection", [EVERYTHING, Selection(grep="line")])
    async def test_without_a_tail_there_are_none(self, make_log: MakeLog, selection: Selection) -> None:
        log = make_log(100)
        await fill(log, numbered("default/a", 3))

        assert await self.tail(log, 0, selection) == []

    async def test_only_lines_that_are_held_are_there(self, make_log: MakeLog) -> None:
        log = make_log(4)
        await fill(log, [*numbered("default/a", 10, instance="a-0"), *numbered("default/a", 2, instance="a-1")])

        assert await self.tail(log, 100) == ["line 8", "line 9", "line 0", "line 1"]

    async def test_a_quiet_servers_newest_line_is_there_after_a_flood_and_until_the_next(self, make_log: MakeLog) -> None:
        log = make_log(4)
        await fill(log, [line("default/quiet", "before the flood"), *numbered("default/busy", 10)])
        quiet = Selection(uid=uid_of("default/quiet"))
        tails = [await self.tail(log, 5, quiet)]
        await fill(log, [line("default/quiet", "after it", instance="quiet-1")])
        tails.append(await self.tail(log, 5, quiet))
        await fill(log, [status("default/quiet", Status.DELETED), *(status("default/busy") for _ in range(10))])
        await fill(log, numbered("default/busy", 10))
        tails.append(await self.tail(log, 5, quiet))

        assert tails == [["before the flood"], ["after it"], []]

    async def test_a_forgotten_servers_line_goes_with_it_however_long_it_had_stayed(self, make_log: MakeLog) -> None:
        log = make_log(4)
        await fill(log, [line("default/quiet", "before the flood"), *numbered("default/busy", 10)])
        await fill(log, [status("default/quiet", Status.DELETED), *(status("default/busy") for _ in range(10))])

        assert await self.tail(log, 1) == ["line 9"]

    @pytest.mark.parametrize("labels", [{"tier": "gold"}, {}])
    async def test_each_line_is_chosen_by_the_labels_of_its_time(self, make_log: MakeLog, labels: dict[str, str]) -> None:
        log = make_log(100)
        await fill(log, [labelled(each, tier="gold") for each in numbered("default/a", 3)])
        await log.append(labelled(line("default/a", "later"), **labels))

        told = await self.tail(log, 2, Selection(selector=Selector.parse("tier=gold")))

        assert told == (["line 2", "later"] if labels else ["line 1", "line 2"])

    @pytest.mark.parametrize("grep", [None, "line 1"])
    async def test_it_is_that_of_the_snapshots_position_while_lines_keep_coming_and_going(
        self, make_log: MakeLog, grep: str | None
    ) -> None:
        log = make_log(5000)
        await fill(log, numbered("default/a", 5000))

        async def print_more() -> None:
            while True:
                await fill(log, [line("default/a", "line 1, later") for _ in range(100)])
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            printing = tasks.create_task(print_more())
            await log.wait(log.head)
            before = log.head
            snapshot = await log.snapshot(only(EventType.LOG, grep=grep), tail=10_000)
            printing.cancel()

        later = before.seq - 5000
        found = [number for number in range(later, 5000) if grep is None or str(number).startswith("1")]
        assert snapshot.position == before
        assert messages(snapshot.lines) == [f"line {number}" for number in found] + ["line 1, later"] * later

    async def test_looking_for_a_rare_line_lets_others_have_their_turn(self, make_log: MakeLog) -> None:
        log = make_log(10_000)
        await fill(log, numbered("default/a", 10_000))

        async with others() as counted:
            await log.snapshot(only(EventType.LOG, grep="no such line"), tail=1)

        assert counted.turns >= 5


lines = st.lists(
    st.builds(
        line,
        st.sampled_from(["default/a", "team/b"]),
        st.sampled_from(["ready", "tool", "tool failed"]),
        level=st.sampled_from(LogLevel),
        instance=st.sampled_from(["0", "1"]),
        container=st.sampled_from(["mcp", "sidecar"]),
    ),
    max_size=40,
)


@settings(max_examples=200)
@given(
    story=lines,
    capacity=st.integers(1, 40),
    tail=st.integers(1, 5),
    namespaces=st.sampled_from([None, frozenset({"team"})]),
    level=st.none() | st.sampled_from(LogLevel),
    grep=st.sampled_from([None, "tool", "failed"]),
)
def test_the_tail_is_the_end_of_what_a_reader_from_the_start_gets(
    make_log: MakeLog,
    *,
    story: list[Event],
    capacity: int,
    tail: int,
    namespaces: frozenset[str] | None,
    level: LogLevel | None,
    grep: str | None,
) -> None:
    async def tell() -> None:
        log, selection = make_log(capacity), Selection(namespaces=namespaces, level=level, grep=grep)
        told = dict(zip(await fill(log, story), story, strict=True))
        batch = await log.read(await start_of(log), selection, limit=1000)

        left: dict[tuple[str, str, str], int] = {}
        expected: list[Record] = []
        for record in reversed(batch.records):  # type: ignore[union-attr]  # what is missing is said, and there is no gap
            payload = told[record.id].payload
            assert isinstance(payload, LogPayload)
            container = (record.uid, payload.instance, payload.container)
            left[container] = left.get(container, tail) - 1
            if left[container] >= 0:
                expected.insert(0, record)

        assert list((await log.snapshot(selection, tail=tail)).lines) == expected

    asyncio.run(tell())
