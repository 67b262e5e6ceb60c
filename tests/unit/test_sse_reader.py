"""The tests' own reader of event streams, against the examples and rules of WHATWG HTML, section "Server-sent events"."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_stack.sse import Parser
from mcp_operator.terminal.parsing import FrameParser


@pytest.mark.parametrize(
    ("stream", "heard"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [("message", "YHOO\n+2\n10", "")]),
        (
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            [("message", "first event", "1"), ("message", "second event", ""), ("message", " third event", "")],
        ),
        (b"data\n\ndata\ndata\n\ndata:", [("message", "", ""), ("message", "\n", "")]),
        (b"data:test\n\ndata: test\n\n", [("message", "test", ""), ("message", "test", "")]),
        (b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n", [("add", "73857293", ""), ("remove", "2153", "")]),
        (b"\xef\xbb\xbfdata: after a mark\r\n\r\n", [("message", "after a mark", "")]),
        (b"data: a\r\rdata: b\r\r", [("message", "a", ""), ("message", "b", "")]),
        (b"id: 5\n\ndata: x\n\n", [("message", "x", "5")]),
        (b"id: 5\ndata: x\n\nid: 6\x00\ndata: y\n\n", [("message", "x", "5"), ("message", "y", "5")]),
        (b"data: cut off\nid: 9\n", []),
        (b"data: cut off behind its line's CR\r", []),
        (b"id: 7\nevent: lost\n\ndata: x\n\n", [("message", "x", "7")]),
        (b"id: 7\n\nid:\ndata: x\n\n", [("message", "x", "")]),
        (b"data: x\nid: a: b\n\n", [("message", "x", "a: b")]),
        (b"data:\t x \n\n", [("message", "\t x ", "")]),
        (b" data: x\ndata : y\n\n", []),
        (b"data: x\n:data: y\n::\n\n", [("message", "x", "")]),
        (b"event: a\nevent: b\ndata: x\n\n", [("b", "x", "")]),
        (b"event: a\nevent\ndata: x\n\n", [("message", "x", "")]),
        (b"event: a\ndata: x\n\ndata: y\n\n", [("a", "x", ""), ("message", "y", "")]),
        (b"data: a\r\ndata: b\rdata: c\n\r\n", [("message", "a\nb\nc", "")]),
        (b"data: a\n\r\ndata: b\n\r", [("message", "a", ""), ("message", "b", "")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a second mark is part of the name\n\n", []),
        (b"data: \xef\xbb\xbfx\n\n", [("message", "\ufeffx", "")]),
        (b"data: \xff\xc3\ndata: \xf0\x9f\x92\xa5\n\n", [("message", "\ufffd\ufffd\n\U0001f4a5", "")]),
        ("data: \u2028\x85\x0b\x0c\n\n".encode(), [("message", "\u2028\x85\x0b\x0c", "")]),
        (b"data: \0\n\n", [("message", "\0", "")]),
        (b"Data: x\nunknown: y\n\n", []),
    ],
)
def test_streams_are_heard_as_the_standard_says(stream: bytes, heard: list[tuple[str, str, str]]) -> None:
    parser = Parser()

    messages = [message for byte in stream for message in parser.feed(bytes([byte]))]

    assert [(message.event, message.data, message.id) for message in messages] == heard


def test_an_id_counts_only_once_its_event_is_complete() -> None:
    parser = Parser()
    parser.feed(b"data: x\nid: 1\n\ndata: y\nid: 2\n")

    assert parser.last_event_id == "1"


@pytest.mark.parametrize(
    ("line", "delay"),
    [
        (b"retry: 2500", 2500),
        (b"retry:0", 0),
        (b"retry: 007", 7),
        (b"retry: 100ms", None),
        (b"retry: -1", None),
        (b"retry: 1.5", None),
        (b"retry:  1", None),
        (b"retry", None),
        ("retry: \u0662".encode(), None),
        (b"Retry: 1", None),
    ],
)
def test_retry_takes_digits_only(line: bytes, delay: int | None) -> None:
    parser = Parser()
    parser.feed(line + b"\n")  # it counts at once, not only with an event

    assert parser.retry_ms == delay


WORDS = (b"data", b"id", b"event", b"retry", b":", b": ", b"\r", b"\n", b"\r\n", b"\xef\xbb\xbf", b"\0", b"1", "é💥".encode())
STREAMS = st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=4))).map(b"".join)


@given(stream=STREAMS, cuts=st.lists(st.integers(0, 200)))
def test_it_does_not_matter_how_bytes_are_cut(stream: bytes, cuts: list[int]) -> None:
    whole, pieces = Parser(), Parser()
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]

    heard = [message for begin, end in pairwise(edges) for message in pieces.feed(stream[begin:end])]

    assert heard == whole.feed(stream)
    assert (pieces.last_event_id, pieces.retry_ms, pieces.comments) == (whole.last_event_id, whole.retry_ms, whole.comments)


@given(stream=STREAMS)
def test_the_commands_reader_hears_the_same(stream: bytes) -> None:
    frames = FrameParser().feed(stream)

    assert [(frame.event, frame.data, frame.id) for frame in frames] == [
        (message.event, message.data, message.id) for message in Parser().feed(stream)
    ]
