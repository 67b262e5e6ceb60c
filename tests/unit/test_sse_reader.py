"""The tests' own reader of event streams, against the examples and rules of WHATWG HTML, section "Server-sent events"."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_stack.sse import Parser


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


def test_retry_takes_digits_only() -> None:
    parser = Parser()
    parser.feed(b"retry: 100ms\n\n")
    assert parser.retry_ms is None
    parser.feed(b"retry: 2500\n\n")
    assert parser.retry_ms == 2500


@given(stream=st.text(alphabet="dataiev:\r\n 1é").map(str.encode), cut=st.integers(0, 200))
def test_it_does_not_matter_how_bytes_are_cut(stream: bytes, cut: int) -> None:
    whole, pieces = Parser(), Parser()

    assert whole.feed(stream) == pieces.feed(stream[:cut]) + pieces.feed(stream[cut:])
