"""The commands' reader of event streams, against WHATWG HTML's examples and against another reader of the same rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_stack.sse import Parser
from mcp_operator.terminal.parsing import MAX_EVENT_BYTES, FrameParser, TooLongError


@pytest.mark.parametrize(
    ("stream", "heard"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [("message", "YHOO\n+2\n10", "")]),
        (
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            [("message", "first event", "1"), ("message", "second event", ""), ("message", " third event", "")],
        ),
        (b"data\n\ndata\ndata\n\ndata:", [("message", "", ""), ("message", "\n", "")]),
        (b"event: add\ndata: 73857293\n\n", [("add", "73857293", "")]),
        (b"\xef\xbb\xbfdata: after a mark\r\n\r\n", [("message", "after a mark", "")]),
        (b"id: 5\n\ndata: x\n\n", [("message", "x", "5")]),
        (b"id: 5\ndata: x\n\nid: 6\x00\ndata: y\n\n", [("message", "x", "5"), ("message", "y", "5")]),
        (b"data: cut off\nid: 9\n", []),
    ],
)
def test_streams_are_heard_as_the_standard_says(stream: bytes, heard: list[tuple[str, str, str]]) -> None:
    parser = FrameParser()

    frames = [frame for byte in stream for frame in parser.feed(bytes([byte]))]

    assert [(frame.event, frame.data, frame.id) for frame in frames] == heard


@given(
    pieces=st.lists(
        st.one_of(
            st.sampled_from(
                [
                    b"data: x",
                    b"data",
                    b"id: 7",
                    b"id",
                    b"id: \0",
                    b"event: log",
                    b"retry: 25",
                    b"retry: x",
                    b": hush",
                    b"\xef\xbb\xbf",
                ]
            ),
            st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n", b"\xff", "é".encode(), b"\0", b":", b" "]),
            st.binary(max_size=4),
        )
    )
)
def test_any_bytes_in_any_pieces_are_heard_as_another_reader_hears_them(pieces: list[bytes]) -> None:
    ours, theirs = FrameParser(), Parser()

    frames = [frame for piece in pieces for frame in ours.feed(piece)]
    messages = [message for piece in pieces for message in theirs.feed(piece)]

    assert [(frame.event, frame.data, frame.id) for frame in frames] == [(each.event, each.data, each.id) for each in messages]
    assert (ours.last_event_id, ours.retry_ms) == (theirs.last_event_id, theirs.retry_ms)


def test_a_stream_that_is_resumed_keeps_its_cursor_until_there_is_a_newer_one() -> None:
    parser = FrameParser(last_event_id="a-7")
    (hello,) = parser.feed(b"event: hello\ndata: {}\n\n")
    assert (hello.id, parser.last_event_id) == ("a-7", "a-7")

    parser.feed(b"data: x\nid: a-8\n")
    assert parser.last_event_id == "a-7", "the event isn't complete"
    parser.feed(b"\n")
    assert parser.last_event_id == "a-8"


@pytest.mark.parametrize("piece", [b"x" * 65536, b"data: " + b"x" * 65536 + b"\n"], ids=["a line", "an event"])
def test_what_never_ends_is_refused(piece: bytes) -> None:
    parser = FrameParser()
    for _ in range(MAX_EVENT_BYTES // len(piece) - 1):
        parser.feed(piece)

    with pytest.raises(TooLongError):
        parser.feed(piece * 2)
