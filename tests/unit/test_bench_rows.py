"""The rows about streams: how their figures follow from what was measured, and what they refuse."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.eventlog.log import Batch, Selection
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.model.servers import ServerName
from tests.bench.figures import TimesAtMost
from tests.bench.ingesting import Ingest, Posted, take_requests
from tests.bench.inside import Arrival
from tests.bench.loading import Delivered, Opened, Pace
from tests.bench.probing import ProbeError
from tests.bench.rows import fanout, filtering, idle, returning, trouble, watch

DELIVERED = Delivered(
    deliveries=1000, bytes=450_000, reads=10, server_cpu=0.01, own_cpu=0.1, seconds=2.0, p50_ms=1.0, p99_ms=5.0, max_ms=9.0
)
OPENED = Opened(streams=5000, seconds=3.0, deliveries=500_000, resets=0, sent_away=7)

MARKED = b'{"id":"x-1","key":"bench/0000000007/00000000000000000042"}'


def posted(path: str, body: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


# --- ingesting --------------------------------------------------------------------------------------------------------------


@given(st.integers(min_value=0, max_value=400))
def test_requests_are_read_wherever_they_are_cut(cut: int) -> None:
    data = posted("/publish/tools", MARKED) + b"GET /cursor HTTP/1.1\r\nHost: bench\r\n\r\n" + posted("/publish/other", MARKED)
    first, rest = take_requests(data[:cut])
    second, rest = take_requests(rest + data[cut:])
    assert [*first, *second] == [Posted("/publish/tools", MARKED), Posted("/cursor", b""), Posted("/publish/other", MARKED)]
    assert rest == b""


@pytest.mark.parametrize("data", [b"DELETE / HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n", b"GET /" + b"x" * 2**21])
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not understood|more than"):
        take_requests(data)


async def test_each_post_appends_an_event_of_the_server_whose_turn_it_is() -> None:
    log = MemoryLog(capacity=100)
    ingest = Ingest(log, servers=5)
    before = log.head
    await ingest.answer(Posted("/publish/tools", MARKED))
    batch = await log.read(before, Selection(servers=frozenset({ServerName("tools", "server-2")})), limit=10)
    assert isinstance(batch, Batch)
    [record] = batch.records
    assert json.loads(record.data)["key"] == "bench/0000000007/00000000000000000042"
    assert json.loads(await ingest.answer(Posted("/cursor", b""))) == {"cursor": str(record.id)}


async def test_a_stall_of_the_loop_is_noticed_and_told_once() -> None:
    ingest = Ingest(MemoryLog(capacity=100), servers=1)
    try:
        assert json.loads(await ingest.answer(Posted("/stalls", b""))) == {"longest_ms": 0}
        due = asyncio.get_running_loop().time() + 0.2
        while asyncio.get_running_loop().time() < due:  # busy: nothing else gets a turn
            pass
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert json.loads(await ingest.answer(Posted("/stalls", b"")))["longest_ms"] > 100
        assert ingest.stalls.longest() == 0
    finally:
        ingest.stalls.stop()


# --- integrity --------------------------------------------------------------------------------------------------------------

LINE: Mapping[str, Any] = {
    "deliveries": 1000,
    "gaps": 0,
    "doubles": 0,
    "drops": 0,
    "resets": 0,
    "bytes": 450_000,
    "reads": 10,
    "cpu_ns": 10_000_000,
    "own_cpu_ns": 100_000_000,
    "wall_ns": 2_000_000_000,
    "p50_ms": 1.0,
    "p99_ms": 5.0,
    "max_ms": 9.0,
}


def test_what_came_whole_is_a_measurement() -> None:
    delivered = Delivered.of(LINE)
    assert delivered == DELIVERED
    assert (delivered.cpu_per_delivery, delivered.events_per_read, delivered.bytes_per_event) == (10, 100, 450)


@pytest.mark.parametrize("wrong", ["gaps", "doubles", "drops", "resets"])
def test_what_did_not_come_whole_is_none(wrong: str) -> None:
    with pytest.raises(ProbeError, match=f"not whole: 1 {wrong}"):
        Delivered.of({**LINE, wrong: 1})


def test_those_who_come_back_with_another_history_are_all_reset() -> None:
    line = {**LINE, "opened": 50, "ms": 3000.0, "sent_away": 2, "resets": 50}
    assert Opened.of(line, resets=50).seconds == 3
    with pytest.raises(ProbeError, match="not whole: 50 resets"):
        Opened.of(line, resets=0)
    with pytest.raises(ProbeError, match="not whole: 49 resets"):
        Opened.of({**line, "resets": 49}, resets=50)


# --- figures ----------------------------------------------------------------------------------------------------------------


def test_each_peer_has_a_figure_with_its_own_goal() -> None:
    goals = {"nchan": TimesAtMost(0.2), "C send() loop": TimesAtMost(1.5)}
    trial = fanout.Trial("bursts", 100, Pace(100, 0, 1, 2), goals)
    found = {
        ("bursts", "gateway"): [DELIVERED] * 3,
        ("bursts", "nchan"): [replace(DELIVERED, server_cpu=cpu) for cpu in (0.1, 0.08, 0.2)],
        ("bursts", "C send() loop"): [replace(DELIVERED, server_cpu=0.005)] * 3,
        ("another", "nchan"): [DELIVERED] * 3,
    }
    nchan, loop = fanout.figures(trial, found, runtime="Python 3, asyncio")
    assert (nchan.value, nchan.peer and nchan.peer.ratio.median, nchan.met) == (10, 0.1, True)
    assert (loop.value, loop.peer and loop.peer.ratio.median, loop.met) == (10, 2.0, False)
    assert "0 gaps, 0 doubles" in nchan.conditions


def test_every_trial_is_held_to_what_it_is_compared_with() -> None:
    for streams in {trial.streams for trial in fanout._TRIALS}:
        alike = [trial for trial in fanout._TRIALS if trial.streams == streams]
        assert alike == sorted(alike, key=lambda trial: trial.pace.burst)
    assert {trial.streams for trial in fanout._TRIALS} == {100, 1000, 5000}


@pytest.mark.parametrize(("tls", "met"), [(False, False), (True, None)])
def test_the_weight_of_a_stream_is_held_to_its_goal_without_tls(tls: bool, met: bool | None) -> None:
    found = {
        "gateway": [idle.Weighed(4000, 8000, "3")] * 3,
        "nchan": [idle.Weighed(10_000, 8000)] * 3,
        "plain aiohttp": [idle.Weighed(16_000, 8000)] * 3,
    }
    nchan, plain = idle.figures(found, tls=tls)
    assert (nchan.value, nchan.met, nchan.peer and nchan.peer.ratio.median) == (4000, met, 0.4)
    assert (plain.value, plain.met, plain.peer and plain.peer.ratio.median) == (4000, met, 0.25)


def test_one_slow_round_misses_the_goal_for_the_others_streams() -> None:
    replay = returning.Return(opened=OPENED, before=DELIVERED, during=replace(DELIVERED, max_ms=90.0), stall_ms=80.0)
    reset = replace(
        replay, opened=replace(OPENED, seconds=6.0, resets=5000), during=replace(DELIVERED, max_ms=60.0), stall_ms=50.0
    )
    quick = returning.Round(replay, reset)
    slow = returning.Round(replay, replace(reset, during=replace(DELIVERED, max_ms=101.0), stall_ms=95.0))
    served, delay, stall, reset_served, reset_delay, reset_stall = returning.figures(
        [quick, slow, quick], runtime="Python 3, asyncio"
    )
    assert [figure.met for figure in (served, delay, stall)] == [True, True, None]
    assert [figure.met for figure in (reset_served, reset_delay, reset_stall)] == [False, False, None]
    assert (served.value, delay.value, stall.value) == (3, 90, 80)
    assert (reset_served.value, reset_delay.value, reset_stall.value) == (6, 101, 95)
    assert "told to come back later: 21 and 21" in served.conditions


def test_what_filters_cost_is_told_beside_one_filter() -> None:
    cpu, lag, stall = filtering.figures(
        [replace(DELIVERED, server_cpu=0.5)] * 3,
        [replace(DELIVERED, p99_ms=4.0)] * 3,
        [7.0, 12.0, 8.0],
        runtime="Python 3, asyncio",
    )
    assert (cpu.value, cpu.unit) == (25, "% of a core")
    assert (lag.value, lag.peer and lag.peer.ratio.median) == (5, 1.25)
    assert stall.value == 12


# --- watch and trouble ------------------------------------------------------------------------------------------------------


async def streams(*lines: Mapping[str, Any]) -> watch.Streams:
    reader = asyncio.StreamReader()
    reader.feed_data(b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines))
    reader.feed_eof()
    return watch.Streams(reader)


def _step(step: str, last: float) -> Mapping[str, Any]:
    return {"first": 1.0, "last": last, "event": {"instances": [{"name": "pod-a", "step": step}]}}


async def test_the_last_subscriber_decides_when_an_event_was_told() -> None:
    told = await streams(
        {"first": 0.5, "last": 0.5, "event": {}}, {"opened": 100}, _step("created", 2.0), _step("available", 3.5)
    )
    await told.opened()
    assert await told.told('{"name":"pod-a","step":"available"}') == 3.5
    with pytest.raises(ProbeError, match="ended"):
        await told.told('{"name":"pod-a","step":"available"}')


def _pod(name: str, *reasons: str) -> bytes:
    waiting = [{"state": {"waiting": {"reason": reason}}} for reason in reasons]
    metadata = {"name": f"{name}-x", "labels": {"app.kubernetes.io/instance": name}}
    return json.dumps({"object": {"metadata": metadata, "status": {"containerStatuses": waiting}}}).encode() + b"\n"


def test_the_watch_tells_trouble_once_and_when_its_line_is_whole() -> None:
    early, late = _pod("a", "ContainerCreating") + _pod("a", "ErrImagePull"), _pod("a", "ImagePullBackOff") + _pod("b")
    arrivals = [Arrival(1.0, early[:-9]), Arrival(2.0, early[-9:]), Arrival(3.0, late)]
    assert trouble.waiting(arrivals) == {"a": 2.0}


def _status(server: str, *causes: str) -> bytes:
    event = {"type": "status", "server": f"bench/{server}", "causes": [{"reason": reason} for reason in causes]}
    return b"event: status\ndata: " + json.dumps(event).encode() + b"\nid: 1-1\n\n"


def test_the_first_event_with_a_cause_names_the_trouble() -> None:
    data = _status("a") + _status("a", "ErrImagePull") + _status("a", "Other")
    assert trouble.named([Arrival(1.0, data[:70]), Arrival(2.0, data[70:])]) == {"a": (2.0, "ErrImagePull")}


def test_the_time_to_a_cause_is_held_to_its_goal() -> None:
    def told(*milliseconds: float) -> Sequence[trouble.Told]:
        return [trouble.Told(10.0, 10.0 + each / 1000, 20.0, "ErrImagePull") for each in milliseconds]

    [quick] = trouble.figures(told(20, 30, 400), python="3")
    [slow] = trouble.figures(told(20, 130, 400), python="3")
    assert (round(quick.value), quick.met, slow.met) == (30, True, False)
    assert "said after 10.0 s" in quick.conditions
