"""Whatever a payload holds: each event is one frame of the fixed form, for every reader and however the bytes arrive."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from local_stack.sse import Message, Parser
from mcp_operator.cluster.podlogs.parsing import parse
from mcp_operator.eventlog.encoding import encode
from mcp_operator.eventlog.log import EventId, Record, Subject
from mcp_operator.gateway import framing
from mcp_operator.model.events import Event, EventType
from mcp_operator.model.spec import LogFormat
from mcp_operator.terminal.parsing import FrameParser
from tests.events import line, status

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SERVER = "default/weather"
MIB = 1024 * 1024

NASTY = (
    *("\r", "\n", "\r\n", "\n\n", "\0", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1b[2J", "\x9b", "\x7f"),
    *("\ufeff", "\ufffe", "\ufffd", "\ud800", "\udcff", "\ud83d\udca5", "💥", "e\u0301", "\u202e"),
    *("data: x\n\n", "event: bye\n", "id: 1\0\n", "retry: 1\n", ":\n", "id", "\r\n0\r\n\r\n", '"}', "\\", "\\u000a", "</script>"),
)
KEYS = st.text(max_size=5)
TEXTS = st.lists(st.one_of(st.sampled_from(NASTY), st.text(), st.text(st.characters(categories=("Cc", "Cs", "Zl", "Zp"))))).map(
    "".join
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)

CUTS = st.lists(st.integers(0, 100_000), max_size=20)

EVENT_FRAME = re.compile(rb'(event: (?P<name>[a-z]+)\n)?data: (?P<data>\{"[^\r\n\0]*\})\nid: 3f9c-(?P<seq>[0-9]+)\n\n')


def told(text: str) -> str:
    """A text as it arrives: what isn't Unicode (half a pair) becomes a question mark, as in any encoder."""
    return text.encode("utf-8", "replace").decode()


def arrived(value: Any) -> Any:
    """A JSON value as it arrives."""
    match value:
        case str():
            return told(value)
        case list():
            return [arrived(inner) for inner in value]
        case dict():
            return {key: arrived(inner) for key, inner in value.items()}
        case _:
            return value


def recorded(event: Event, seq: int = 1) -> Record:
    event_id = EventId("3f9c", seq)
    data = encode(event, event_id=event_id, time=NOON)
    return Record(id=event_id, type=event.type, subject=Subject(event.server, event.uid), last_word=False, data=data)


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[begin:end] for begin, end in pairwise(edges)]


def read(stream: bytes, cuts: list[int]) -> list[Message]:
    parser = Parser()
    return [message for piece in pieces(stream, cuts) for message in parser.feed(piece)]


@given(text=TEXTS, fields=st.dictionaries(KEYS, VALUES, max_size=3), cuts=CUTS)
def test_an_event_arrives_as_it_was_told(text: str, fields: dict[str, Any], cuts: list[int]) -> None:
    record = recorded(line(SERVER, text, fields=fields))

    (message,) = read(framing.event_frame(record, named=True), cuts)

    assert (message.event, message.id, message.has_id_line) == ("log", "3f9c-1", True)
    assert message.json["msg"] == told(text)
    assert message.json["fields"] == arrived(fields)
    assert not message.json["truncated"]


@given(text=TEXTS, named=st.booleans())
def test_an_event_frame_has_one_form(text: str, named: bool) -> None:
    record = recorded(status(SERVER, message=text), seq=17)

    frame = framing.event_frame(record, named=named)

    match = EVENT_FRAME.fullmatch(frame)
    assert match is not None
    assert match["name"] == (b"status" if named else None)
    assert json.loads(match["data"])["id"] == "3f9c-17"
    assert frame.decode().splitlines() == frame.decode().split("\n")[:-1]  # no reader of lines sees others


@given(text=TEXTS)
def test_unnamed_frames_are_named_frames_without_a_name(text: str) -> None:
    record = recorded(line(SERVER, text))

    for frame_of in (framing.event_frame, framing.snapshot_frame):
        assert frame_of(record, named=True) == b"event: log\n" + frame_of(record, named=False)


@pytest.mark.parametrize("unit", ["x", "é", "💥", "\0", "\n", '"', "\u2028", "\ud800", "data: x\n\n"], ids=ascii)
@pytest.mark.parametrize("size", [59 * 1024, MIB])
def test_a_huge_text_is_shortened_and_never_dropped(unit: str, size: int) -> None:
    record = recorded(line(SERVER, unit * (size // len(unit))))

    frame = framing.event_frame(record, named=True)

    (message,) = read(frame, [])
    assert len(frame) <= framing.MAX_FRAME_BYTES
    assert message.json["truncated"] is True
    cut = message.json["msg"]
    assert cut.endswith("…")
    assert (told(unit) * size).startswith(cut[:-1])
    assert len(cut) > 200


@settings(max_examples=30)
@given(value=VALUES, count=st.integers(1, 1500))
@example(value="x" * 50, count=5000)
def test_a_huge_object_is_shortened_and_never_dropped(value: Any, count: int) -> None:
    many: dict[str, Any] = {"list": [value] * count, "object": {f"key {number}": value for number in range(count)}}

    frame = framing.event_frame(recorded(line(SERVER, "see the fields", fields=many)), named=True)

    (message,) = read(frame, [])
    assert len(frame) <= framing.MAX_FRAME_BYTES
    assert message.json["msg"] == "see the fields"
    assert message.json["truncated"] or message.json["fields"] == arrived(many)


STEPS = st.one_of(
    st.tuples(st.just("event"), TEXTS, st.booleans()),
    st.tuples(st.just("snapshot"), TEXTS, st.booleans()),
    st.tuples(st.just("heartbeat"), st.just(""), st.booleans()),
    st.tuples(st.just("bookmark"), st.just(""), st.booleans()),
    st.tuples(st.just("reset"), TEXTS, st.booleans()),
    st.tuples(st.just("dropped"), st.just(""), st.booleans()),
)


def frame_of(step: tuple[str, str, bool], seq: int) -> bytes:
    kind, text, named = step
    cursor = EventId("3f9c", seq)
    match kind:
        case "event":
            return framing.event_frame(recorded(line(SERVER, text), seq), named=named)
        case "snapshot":
            return framing.snapshot_frame(recorded(line(SERVER, text), seq), named=named)
        case "heartbeat":
            return framing.HEARTBEAT
        case "bookmark":
            return framing.bookmark_frame(time=NOON, cursor=cursor)
        case "reset":
            return framing.reset_frame(time=NOON, cursor=cursor, reason=text, named=named)
        case _:
            return framing.dropped_frame(
                time=NOON, types=[EventType.LOG], count=seq, after=cursor, before=EventId("3f9c", seq + 1), named=named
            )


def expected_of(step: tuple[str, str, bool]) -> str | None:
    """The type by which a frame is heard; None if it isn't."""
    kind, _, named = step
    if kind in {"heartbeat", "bookmark"}:
        return None if kind == "heartbeat" else kind
    return {"event": "log", "snapshot": "log"}.get(kind, kind) if named else "message"


@given(steps=st.lists(STEPS, max_size=20), cuts=CUTS)
def test_a_stream_is_its_frames_however_it_is_cut(steps: list[tuple[str, str, bool]], cuts: list[int]) -> None:
    frames = [framing.hello_frame(time=NOON, retry_ms=1500, heartbeat_seconds=15, cursor=None)]
    frames += [frame_of(step, seq) for seq, step in enumerate(steps, start=1)]
    frames += [framing.bye_frame(time=NOON, retry_ms=2000, cursor=EventId("3f9c", 999), reason="shutdown")]
    stream = b"".join(frames)

    messages = read(stream, cuts)

    names = [name for step in steps if (name := expected_of(step)) is not None]
    assert [message.event for message in messages] == ["hello", *names, "bye"]
    assert b"\r" not in stream
    assert b"\0" not in stream
    assert all(isinstance(message.json, dict) for message in messages)


@given(steps=st.lists(STEPS, max_size=20), cuts=CUTS, seen=st.sampled_from(["", "3f9c-0"]))
def test_the_commands_hear_the_same(steps: list[tuple[str, str, bool]], cuts: list[int], seen: str) -> None:
    stream = b"".join(frame_of(step, seq) for seq, step in enumerate(steps, start=1))
    parser = FrameParser(seen)

    frames = [frame for piece in pieces(stream, cuts) for frame in parser.feed(piece)]

    assert [(frame.event, frame.data, frame.id) for frame in frames] == [
        (message.event, message.data, message.id or seen) for message in read(stream, [])
    ]


@given(steps=st.lists(STEPS, max_size=6), cut=st.integers(0, 100_000))
def test_who_is_cut_off_resumes_behind_the_last_whole_event(steps: list[tuple[str, str, bool]], cut: int) -> None:
    stream = b"".join(frame_of(step, seq) for seq, step in enumerate(steps, start=1))
    cut %= len(stream) + 1
    before, commands = Parser(), FrameParser()

    heard = before.feed(stream[:cut])
    commands.feed(stream[:cut])

    with_id = [message.id for message in read(stream, []) if message.has_id_line]
    heard_with_id = [message.id for message in heard if message.has_id_line]
    assert heard_with_id == with_id[: len(heard_with_id)]
    assert before.last_event_id == commands.last_event_id == (heard_with_id[-1] if heard_with_id else "")
    assert cut < len(stream) or heard_with_id == with_id


LINES = st.one_of(
    st.binary(),
    TEXTS.map(lambda text: text.encode("utf-8", "replace")),
    st.dictionaries(st.sampled_from(["msg", "level", "\ud800", "x"]), VALUES).map(lambda line: json.dumps(line).encode()),
)


@given(printed=LINES)
@example(printed=b'{"a":' * 5000)
@example(printed=b'{"a":' * 900 + b"1" + b"}" * 900)
@example(printed=b'{"msg":"\xff\xfe","\\ud800":"\\udfff"}')
@example(printed=b"\xed\xa0\x80 half a pair in UTF-8, \xc0\xaf too long, \xf0\x9f cut off")
@example(printed=b'{"msg":"' + b"\\u0000" * 12_000 + b'"}')
@example(printed=b"{" + b",".join(b'"k%d":"\\u0001\\u0001"' % number for number in range(4_000)) + b"}")
def test_whatever_a_container_prints_becomes_one_event(printed: bytes) -> None:
    parsed = parse(printed.decode("utf-8", "replace"), LogFormat.AUTO)
    event = line(SERVER, parsed.msg, level=parsed.level, fields=parsed.fields, truncated=parsed.truncated)

    frame = framing.event_frame(recorded(event), named=True)

    (message,) = read(frame, [])
    assert EVENT_FRAME.fullmatch(frame)
    assert len(frame) <= framing.MAX_FRAME_BYTES
    told_whole = message.json["msg"] == parsed.msg and message.json["fields"] == parsed.fields
    assert told_whole or (message.json["truncated"] and parsed.msg.startswith(message.json["msg"].removesuffix("…")))
