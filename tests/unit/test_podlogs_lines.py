"""Bytes of a pod's log, as lines: whatever a container prints, and however it is cut into chunks."""

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.cluster.podlogs.lines import MOST_BYTES, Line, LogLines

TIME = "2026-11-23T04:41:23.836112345Z"


def read(*chunks: bytes) -> list[Line]:
    lines = LogLines()
    return [line for chunk in chunks for line in lines.read(chunk)] + list(lines.end())


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        pytest.param(b"hello", "hello", id="a line"),
        pytest.param(b"", "", id="an empty line"),
        pytest.param(b"   ", "   ", id="only spaces"),
        pytest.param(b"  indented ", "  indented ", id="spaces around"),
        pytest.param(b"from windows\r", "from windows", id="one carriage return at the end"),
        pytest.param(b"10%\r20%\r30%\r\r", "10%\r20%\r30%\r", id="a progress bar"),
        pytest.param(b"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m", id="colours"),
        pytest.param(b"a\x00b\x07\x7f", "a\x00b\x07\x7f", id="control characters"),
        pytest.param(b"a\x0bb\x0cc\x85\xc2\x85\xe2\x80\xa8d", "a\x0bb\x0cc\ufffd\x85\u2028d", id="only LF ends a line"),
        pytest.param(b"\xff\xfe caf\xc3", "\ufffd\ufffd caf\ufffd", id="no UTF-8"),
        pytest.param("日本語 🙂".encode(), "日本語 🙂", id="UTF-8"),
        pytest.param(b'["a", 1]', '["a", 1]', id="a JSON array"),
        pytest.param(f"{TIME} again".encode(), f"{TIME} again", id="a time of its own"),
    ],
)
def test_a_line_is_what_was_printed(printed: bytes, expected: str) -> None:
    assert read(TIME.encode() + b" " + printed + b"\n") == [Line(TIME, expected, truncated=False)]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (TIME, TIME),
        ("2026-11-23T04:41:23.8Z", "2026-11-23T04:41:23.800000000Z"),
        ("2026-11-23T04:41:23Z", "2026-11-23T04:41:23.000000000Z"),
        ("2026-11-23T06:41:23.836112345+02:00", TIME),
        ("2026-11-22T23:11:23.836112345-05:30", TIME),
        ("2026-11-23T24:41:23.836112345Z", ""),
        ("2026-13-23T04:41:23.836112345Z", ""),
        ("0001-01-01T00:00:00.000000000Z", "0001-01-01T00:00:00.000000000Z"),
        ("0001-01-01T00:00:00.000000000+14:00", ""),
        ("23/Nov/2026:04:41:23", ""),
        ("", ""),
    ],
)
def test_timestamps_are_in_utc_with_nanoseconds(written: str, expected: str) -> None:
    (line,) = read(f"{written} hello\n".encode())
    assert line.timestamp == expected
    assert line.text == ("hello" if expected else f"{written} hello")


def test_what_kubelet_remarks_has_no_timestamp() -> None:
    remark = "unable to retrieve container logs for containerd://7d97b9dfc6c5"
    assert read(f"{TIME} last\n{remark}".encode()) == [Line(TIME, "last", truncated=False), Line("", remark, truncated=False)]


def test_a_line_without_an_end_comes_at_the_end() -> None:
    lines = LogLines()
    assert not lines.read(f"{TIME} unfin".encode())
    assert not lines.read(b"ished")
    assert lines.end() == [Line(TIME, "unfinished", truncated=False)]
    assert not lines.end()


@pytest.mark.parametrize("length", [MOST_BYTES, MOST_BYTES + 1, MOST_BYTES + 64, 2**20])
def test_a_long_line_is_cut_and_says_so(length: int) -> None:
    content = f"{TIME} ".encode() + b"x" * length + f"\n{TIME} next\n".encode()
    long, after = read(*(content[start : start + 1000] for start in range(0, len(content), 1000)))
    assert (long.text, long.truncated) == ("x" * min(length, MOST_BYTES), length > MOST_BYTES)
    assert after == Line(TIME, "next", truncated=False)


def test_a_long_line_is_not_cut_within_a_character() -> None:
    (line,) = read(f"{TIME} x{'é' * MOST_BYTES}\n".encode())
    assert line.truncated
    assert set(line.text) == {"x", "é"}


def test_a_line_that_never_ends_takes_no_memory() -> None:
    lines, chunk = LogLines(), b"x" * 2**16
    lines.read(chunk)
    tracemalloc.start()
    try:
        for _ in range(1000):
            assert not lines.read(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**16


@given(content=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=20))
def test_how_it_is_cut_into_chunks_does_not_matter(content: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    assert read(*(content[start:end] for start, end in pairwise(places))) == read(content)


@given(printed=st.lists(st.binary(max_size=40).map(lambda text: text.replace(b"\n", b""))))
def test_as_many_lines_come_out_as_went_in(printed: list[bytes]) -> None:
    lines = read(b"".join(TIME.encode() + b" " + text + b"\n" for text in printed))
    assert [line.text for line in lines] == [text.removesuffix(b"\r").decode(errors="replace") for text in printed]
    assert all(line.timestamp == TIME for line in lines)
