"""A log that is read in several answers: each line is told once and in order, however the answers are cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.cluster.podlogs.lines import Line
from mcp_operator.cluster.podlogs.resuming import Answer, Told
from tests.kubelet import PrintedLog, at


class Reader:
    """Who reads a log on, answer by answer, and tells what is new."""

    def __init__(self) -> None:
        self.told = Told()
        self.lines: list[Line] = []
        self.keys: list[tuple[str, int]] = []

    def receive(self, log: PrintedLog, *, cut: int | None = None, chunk: int = 10**6) -> Answer:
        """Ask from the last line told on, and get the first `cut` bytes of the answer, in chunks of this size."""
        position = self.told.position
        answer = Answer(position)
        content = log.answer(since=position.since if position else None)[:cut]
        for start in range(0, len(content), chunk):
            for line in answer.read(content[start : start + chunk]):
                self.keys.append((line.timestamp, self.told.nth(line)))
                self.told.took(line)
                self.lines.append(line)
        answer.end()
        return answer


def printed(*texts: str | bytes) -> PrintedLog:
    log = PrintedLog()
    log.print(*texts)
    return log


@st.composite
def logs(draw: st.DrawFn) -> PrintedLog:
    """Lines that are nanoseconds to seconds apart, some at the same time, some earlier by a little than the one before."""
    steps = draw(st.lists(st.sampled_from([0, 0, 1, 500, 10**6, 10**9 - 1, 10**9, 3 * 10**9]), max_size=25))
    times = [sum(steps[: index + 1]) for index in range(len(steps))]
    for index in draw(st.lists(st.integers(1, 25), max_size=6)):
        if index < len(times) and abs(times[index] - times[index - 1]) < 10**9:
            times[index - 1], times[index] = times[index], times[index - 1]
    log = PrintedLog()
    for time in times:
        text = draw(st.sampled_from([b"", b" ", b"same", b"same\r", "é".encode(), b"\xc3", b"2026-11-23T09:00:00.000000000Z x"]))
        log.print(text, at_ns=time)
    return log


@given(log=logs(), cuts=st.lists(st.integers(0, 400), max_size=8), chunk=st.integers(1, 200))
def test_each_line_is_told_once_however_the_answers_are_cut(log: PrintedLog, cuts: list[int], chunk: int) -> None:
    reader = Reader()
    for cut in cuts:
        reader.receive(log, cut=cut, chunk=chunk)
    last = reader.receive(log, chunk=chunk)
    assert reader.lines == log.as_told
    assert last.found, "nothing is missing"
    assert len(set(reader.keys)) == len(reader.keys)


@given(log=logs(), printed_then=st.integers(0, 25), cut=st.integers(0, 400))
def test_what_is_printed_meanwhile_comes_with_the_next_answer(log: PrintedLog, printed_then: int, cut: int) -> None:
    reader = Reader()
    reader.receive(PrintedLog(log.lines[:printed_then]), cut=cut)
    reader.receive(log)
    assert reader.lines == log.as_told


def test_an_answer_cut_at_any_byte_goes_on_as_if_nothing_had_been() -> None:
    log = printed("one", "", "größe 🙂", "four", b"\xff\xfe", "six")
    for cut in range(len(log.answer()) + 1):
        reader = Reader()
        reader.receive(log, cut=cut, chunk=7)
        reader.receive(log, chunk=5)
        assert reader.lines == log.as_told, f"cut after {cut} bytes"


def test_what_was_told_is_asked_for_from_a_second_before() -> None:
    reader = Reader()
    log = PrintedLog()
    log.print("late", at_ns=61 * 10**9 + 5)
    reader.receive(log)
    assert reader.told.position is not None
    assert reader.told.position.since == "2026-11-23T09:01:00Z"


def test_a_line_older_than_the_one_before_is_neither_lost_nor_doubled() -> None:
    log = PrintedLog()
    for time in (10**9 + 300, 10**9 + 100, 10**9 - 50, 10**9 + 400):
        log.print(f"{time}", at_ns=time)
    for cut in range(len(log.answer()) + 1):
        reader = Reader()
        reader.receive(log, cut=cut)
        reader.receive(log)
        assert reader.lines == log.as_told


def test_lines_of_one_time_have_numbers() -> None:
    log = PrintedLog()
    log.print("a", "b", at_ns=5)
    log.print("c", at_ns=6)
    log.print("d", at_ns=5)
    reader = Reader()
    for cut in (40, 80, 120, None):
        reader.receive(log, cut=cut)
    assert reader.keys == [(at(5), 1), (at(5), 2), (at(6), 1), (at(5), 3)]


@pytest.mark.parametrize(
    ("kept", "told", "found"),
    [
        pytest.param(4, ["one", "two", "three", "four"], True, id="the last line told is still there"),
        pytest.param(2, ["one", "two", "three", "four"], False, id="it is gone and nothing after it"),
        pytest.param(1, ["one", "two", "four"], False, id="lines after it are gone"),
        pytest.param(0, ["one", "two"], None, id="nothing is left to tell by"),
    ],
)
def test_a_rotated_log_shows_whether_something_is_missing(kept: int, told: Sequence[str], found: bool | None) -> None:
    reader = Reader()
    reader.receive(printed("one", "two"))
    log = printed("one", "two", "three", "four")
    log.rotate(keep=kept)
    answer = reader.receive(log)
    assert [line.text for line in reader.lines] == list(told)
    assert answer.found is found


def test_a_last_line_without_an_end_is_no_line_yet() -> None:
    reader = Reader()
    log = printed("one", "tw")
    log.unfinished = True
    answer = reader.receive(log)
    assert [line.text for line in reader.lines] == ["one"]
    assert answer.rest is not None
    assert answer.rest.text == "tw"
    reader.receive(printed("one", "two"))
    assert [line.text for line in reader.lines] == ["one", "two"]


def test_what_kubelet_remarks_is_no_line() -> None:
    answer = Answer(None)
    lines = answer.read(f"{at(0)} one\nfailed to create fsnotify watcher: too many open files".encode())
    answer.end()
    assert [line.text for line in lines] == ["one"]
    assert answer.remark == "failed to create fsnotify watcher: too many open files"
    assert answer.rest is None
