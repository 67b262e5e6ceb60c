"""Frames on the wire: exact bytes, and what an independent reader makes of them."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_stack.sse import Message, Parser
from mcp_operator.eventlog.encoding import MAX_EVENT_BYTES
from mcp_operator.eventlog.log import EventId, Record, Selection, Subject
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.gateway import framing
from mcp_operator.model.events import Event, EventType
from mcp_operator.model.servers import ServerName
from tests.events import progress, status

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
NOON_JSON = b'"time":"2026-11-23T12:00:00.000Z"'
CURSOR = EventId("3f9c", 42)
LATER = EventId("3f9c", 99)


def record(data: bytes = b'{"id":"3f9c-42","type":"status"}') -> Record:
    return Record(
        id=CURSOR,
        type=EventType.STATUS,
        subject=Subject(ServerName("default", "weather"), "u"),
        last_word=False,
        data=data,
    )


async def recorded(event: Event) -> Record:
    log = MemoryLog(capacity=10)
    await log.append(event)
    servers = (await log.snapshot(Selection())).servers
    newest = servers[0].status or servers[0].progress
    assert newest is not None
    return newest


def read(stream: bytes) -> list[Message]:
    return Parser().feed(stream)


@pytest.mark.parametrize(
    ("frame", "wire"),
    [
        (framing.event_frame(record(), named=True), b'event: status\ndata: {"id":"3f9c-42","type":"status"}\nid: 3f9c-42\n\n'),
        (framing.event_frame(record(), named=False), b'data: {"id":"3f9c-42","type":"status"}\nid: 3f9c-42\n\n'),
        (
            framing.snapshot_frame(record(), named=True),
            b'event: status\ndata: {"id":"3f9c-42","type":"status","snapshot":true}\n\n',
        ),
        (framing.snapshot_frame(record(), named=False), b'data: {"id":"3f9c-42","type":"status","snapshot":true}\n\n'),
        (
            framing.hello_frame(time=NOON, retry_ms=1500, heartbeat_seconds=15, cursor=CURSOR),
            b'event: hello\nretry: 1500\ndata: {"type":"hello",%b,"cursor":"3f9c-42","heartbeatSeconds":15}\n\n' % NOON_JSON,
        ),
        (
            framing.bookmark_frame(time=NOON, cursor=CURSOR),
            b'event: bookmark\ndata: {"type":"bookmark",%b,"cursor":"3f9c-42"}\nid: 3f9c-42\n\n' % NOON_JSON,
        ),
        (
            framing.reset_frame(time=NOON, cursor=CURSOR, reason="epoch", named=True),
            b'event: reset\ndata: {"type":"reset",%b,"cursor":"3f9c-42","reason":"epoch"}\n\n' % NOON_JSON,
        ),
        (
            framing.reset_frame(time=NOON, cursor=CURSOR, reason="epoch", named=False),
            b'data: {"type":"reset",%b,"cursor":"3f9c-42","reason":"epoch"}\n\n' % NOON_JSON,
        ),
        (
            framing.dropped_frame(
                time=NOON, types=(EventType.METRICS, EventType.LOG), count=None, after=CURSOR, before=LATER, named=True
            ),
            b'event: dropped\ndata: {"type":"dropped",%b,"cursor":"3f9c-42","types":["log","metrics"],"count":null,'
            b'"after":"3f9c-42","before":"3f9c-99"}\n\n' % NOON_JSON,
        ),
        (
            framing.dropped_frame(time=NOON, types=(EventType.LOG,), count=7, after=CURSOR, before=LATER, named=False),
            b'data: {"type":"dropped",%b,"cursor":"3f9c-42","types":["log"],"count":7,"after":"3f9c-42","before":"3f9c-99"}\n\n'
            % NOON_JSON,
        ),
        (
            framing.bye_frame(time=NOON, retry_ms=2000, cursor=CURSOR, reason="shutdown"),
            b'event: bye\nretry: 2000\ndata: {"type":"bye",%b,"cursor":"3f9c-42","reason":"shutdown"}\nid: 3f9c-42\n\n'
            % NOON_JSON,
        ),
        (
            framing.bye_frame(time=NOON, retry_ms=9000, cursor=None, reason="starting"),
            b'event: bye\nretry: 9000\ndata: {"type":"bye",%b,"cursor":null,"reason":"starting"}\n\n' % NOON_JSON,
        ),
        (framing.HEARTBEAT, b":\n"),
    ],
    ids=lambda value: value.decode()[:24].replace("\n", " ") if isinstance(value, bytes) else None,
)
def test_a_frame_on_the_wire(frame: bytes, wire: bytes) -> None:
    assert frame == wire


def test_a_frame_is_made_once_for_all_who_get_it() -> None:
    shared = record()

    assert framing.event_frame(shared, named=True) is framing.event_frame(shared, named=True)
    assert framing.event_frame(shared, named=True) is not framing.event_frame(shared, named=False)
    assert framing.event_frame(record(), named=True) is not framing.event_frame(shared, named=True)


def test_the_largest_event_fits_a_frame() -> None:
    largest = record(b'{"x":"' + b"y" * (MAX_EVENT_BYTES - 8) + b'"}')

    assert len(largest.data) == MAX_EVENT_BYTES
    assert len(framing.event_frame(largest, named=True)) <= framing.MAX_FRAME_BYTES
    assert len(framing.snapshot_frame(largest, named=True)) <= framing.MAX_FRAME_BYTES


async def test_a_huge_event_stays_under_the_bound_of_a_frame() -> None:
    huge = await recorded(status("default/weather", message="💥" * 1_000_000))

    frame = framing.snapshot_frame(huge, named=True)

    assert len(frame) <= framing.MAX_FRAME_BYTES
    assert read(frame)[0].json["truncated"] is True


@given(text=st.text(), cuts=st.lists(st.integers(0, 2000)))
async def test_no_text_breaks_a_frame_however_the_bytes_arrive(text: str, cuts: list[int]) -> None:
    event = await recorded(status("default/weather", message=text, reason=text))
    stream = (
        framing.event_frame(event, named=True)
        + framing.HEARTBEAT
        + framing.snapshot_frame(event, named=False)
        + framing.event_frame(await recorded(progress("default/weather", 40)), named=False)
    )
    parser = Parser()
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})

    messages = [message for begin, end in pairwise(edges) for message in parser.feed(stream[begin:end])]

    assert [message.event for message in messages] == ["status", "message", "message"]
    assert [message.has_id_line for message in messages] == [True, False, True]
    assert messages[0].json["message"] == text
    assert messages[1].json["snapshot"] is True
    assert parser.comments == 1


@given(frames=st.lists(st.binary(max_size=40_000), max_size=12))
def test_frames_are_written_together_but_not_too_many(frames: list[bytes]) -> None:
    chunks = list(framing.coalesce(frames))

    assert b"".join(chunks) == b"".join(frames)
    assert all(len(chunk) < framing.CHUNK_BYTES + 40_000 for chunk in chunks)
