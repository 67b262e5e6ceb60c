"""Followed logs on a real cluster, line for line against `kubectl logs --timestamps`, over everything that interrupts them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp

from local_stack.sse import Parser
from tests.e2e.acting import User
from tests.e2e.installation import Installation
from tests.e2e.printing import Kubectl, ended, figure, instance_of, is_line, line_after, markers, program, told
from tests.e2e.side_by_side import side_by_side
from tests.e2e.subscribing import EventJson
from tests.waiting import until

TICKING = """
import itertools, time
for number in itertools.count():
    print(number, flush=True)
    time.sleep(0.01)
"""

LAST_WORDS = """
import itertools, os, signal, sys, time
def stop(*_):
    for number in range(500):
        os.write(1 + number % 2, b"shutting down %d\\n" % number)
    time.sleep(1)
    os.write(1, b"last words")
    os._exit(3)
signal.signal(signal.SIGTERM, stop)
for number in itertools.count():
    os.write(1, b"%d\\n" % number)
    time.sleep(0.1)
"""

ODD = rb"""
import os, threading, time
def out(content, to=1):
    os.write(to, content)
out(b"plain\n\n   \nfrom windows\r\n10%\r20%\r30%\n\x1b[31mred\x1b[0m\a\b\n[1, 2]\n{\"a\": \n")
out(b"\xff\xfe\x00bin\nhalf \xc3"); out(b"\xa9\n")
def flood(to):
    if to == 1: out(b"x" * 2**20 + b"\n")
    for number in range(3000):
        out(b"%d of %d\n" % (number, to), to)
threads = [threading.Thread(target=flood, args=(to,)) for to in (1, 2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
out(b"done\n")
time.sleep(600)
"""


TOO_MANY = 40_000
"""Lines that no buffer on the way to a subscriber has room for, and the operator's history has."""


def flooded(event: EventJson) -> int:
    """The number of a line that the sample server floods its log with; 0 of anything else."""
    return int((event.get("fields") or {}).get("line", 0))


@side_by_side
async def test_over_a_rolling_update_each_line_of_each_instance_is_told(user: User, installed: Installation) -> None:
    env = [{"name": "LOG_FORMAT", "value": "text"}, {"name": "FLOOD_LINES_PER_SECOND", "value": "50"}]
    user.apply_server("weather", image=installed.sample, replicas=2, env=env, logs={"format": "text"})
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running", instances=2)
        old = {
            name: asyncio.create_task(Kubectl(user, installed, name).printed_until_it_is_gone())
            for name in (pod["metadata"]["name"] for pod in user.pods("weather"))
        }
        user.patch_server("weather", {"image": installed.sample_next})
        await stream.until_status("deploying")
        await stream.until_status("running", instances=2)
        for name, following in old.items():
            printed = await following
            await ended(stream, name)
            assert told(stream.events, name) == printed, "an old instance, to its last line"
        new = {pod["metadata"]["name"] for pod in user.pods("weather")} - set(old)
        assert len(new) == 2
        for name in new:
            printed = await Kubectl(user, installed, name).printed()
            assert "starting" in printed[0][1]
            await line_after(stream, name, printed[-1])
            assert told(stream.events, name)[: len(printed)] == printed, "a new instance, from its first line"
        assert not any(dropped for _, dropped in markers(stream))


@side_by_side
async def test_whatever_is_printed_is_told(user: User, installed: Installation) -> None:
    user.apply_server("odd", image=installed.sample, **program(ODD))
    async with installed.stream(user, "odd") as stream:
        await stream.until(lambda event: is_line(event) and event["msg"] == "done")
        instance = await instance_of(user, "odd")
        printed = await Kubectl(user, installed, instance).printed()
        await line_after(stream, instance, printed[-1])
    events = {event["key"]: event for event in stream.events if is_line(event, instance)}
    lines = list(events.values())[: len(printed)]
    assert [line["timestamp"] for line in lines] == [time for time, _ in printed]
    assert [(line["msg"], text) for line, (_, text) in zip(lines, printed, strict=True) if is_other(line, text)] == []
    # What goes to standard error meanwhile comes between the pieces of the long line, in kubelet's answer as well.
    assert sum(text.count("x") for _, text in printed) == 2**20
    assert any(line["truncated"] for line in lines), "a line of 1 MiB is cut"


def is_other(line: EventJson, text: str) -> bool:
    """Whether a line isn't told as it was printed: whole, or its beginning if it is said to be cut."""
    if not line["truncated"]:
        return bool(line["msg"] != text)
    begun = line["msg"].removesuffix("…")
    return len(begun) < 1000 or len(begun) >= len(text) or not text.startswith(begun)


@side_by_side
async def test_a_deleted_pod_is_followed_to_its_last_line(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample, **program(LAST_WORDS))
    async with installed.stream(user, "weather") as stream:
        await stream.until(is_line)
        instance = await instance_of(user, "weather")
        following = asyncio.create_task(Kubectl(user, installed, instance).printed_until_it_is_gone())
        user.delete("pod", instance)
        printed = await following
        assert not (await ended(stream, instance))["dropped"]
        assert told(stream.events, instance) == printed
        assert printed[-1][1] == "last words"


async def test_no_line_is_lost_or_told_twice_when_the_api_server_is_killed(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample, **program(TICKING))
    async with installed.stream(user, "weather") as stream:
        await stream.until(is_line)
        before = figure(installed, "log_reconnects_total")
        installed.cluster.kill("kube-apiserver")
        await until(installed.api_ready, "the API server is back", every=0.05)
        instance = await instance_of(user, "weather")
        await until(lambda: figure(installed, "log_reconnects_total") > before, "the log is asked for again")
        printed = await Kubectl(user, installed, instance).printed()
        await line_after(stream, instance, printed[-1])
        lines = [event for event in stream.events if is_line(event)]
        assert len({event["key"] for event in lines}) == len(lines)
        assert told(lines, instance)[: len(printed)] == printed
        assert markers(stream) == [("started", False)]


async def test_an_operator_that_was_killed_tells_lines_anew_once_somebody_listens_under_the_same_keys(
    user: User, installed: Installation
) -> None:
    source = program(TICKING)
    source["logs"] = {"format": "text", "tailLines": 10_000}
    user.apply_server("weather", image=installed.sample, **source)
    async with installed.stream(user, "weather") as first:
        await first.until(is_line)
        instance = await instance_of(user, "weather")
        await installed.kill_operator()
        await until(lambda: first.ended, "the stream of the killed operator has ended")
    assert figure(installed, "log_follows_begun_total") == 0, "nobody listens to the one that has come"
    async with installed.cluster_stream(user, last_event_id=first.last_event_id) as second:
        await second.until_control("reset")
        printed = await Kubectl(user, installed, instance).printed()
        await line_after(second, instance, printed[-1])
    assert told([*first.events, *second.events], instance)[: len(printed)] == printed
    assert {event["key"] for event in first.events if is_line(event)} <= {
        event["key"] for event in second.events if is_line(event)
    }


@side_by_side
async def test_a_subscriber_who_comes_back_after_ten_seconds_has_missed_no_line(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample, **program(TICKING))
    async with installed.stream(user, "weather") as first:
        await first.until(is_line)
    await asyncio.sleep(10)  # that long nobody listens
    async with installed.cluster_stream(user, last_event_id=first.last_event_id) as second:
        instance = await instance_of(user, "weather")
        printed = await Kubectl(user, installed, instance).printed()
        await line_after(second, instance, printed[-1])
    assert told([*first.events, *second.events], instance)[: len(printed)] == printed
    assert "reset" not in [frame["type"] for frame in second.control]


async def test_what_a_slow_subscriber_misses_of_5000_lines_a_second_is_counted_to_the_line(
    user: User, installed: Installation
) -> None:
    env = [{"name": "FLOOD_LINES_PER_SECOND", "value": "5000"}]
    user.apply_server("flooding", image=installed.sample, env=env, resources={"requests": {"cpu": "500m"}})
    async with installed.stream(user, "flooding") as known:
        await known.until(lambda event: flooded(event) > 0)
    url = f"{installed.gateway}/api/servers/{user.namespace}:flooding/events?types=log"
    frames: list[EventJson] = []
    parser = Parser()
    async with aiohttp.ClientSession() as session, session.get(url) as response:

        async def read(until_told: Callable[[], bool]) -> None:
            while not until_told():
                frames.extend(frame.json for frame in parser.feed(await response.content.readany()))

        await asyncio.wait_for(read(lambda: any(flooded(frame) for frame in frames)), 60)
        before = figure(installed, "log_lines_total")
        await until(lambda: figure(installed, "log_lines_total") > before + TOO_MANY, "it is too slow", every=1)
        await asyncio.wait_for(read(lambda: any(frame["type"] == "dropped" for frame in frames)), 60)
        end = len(frames) + 1000
        await asyncio.wait_for(read(lambda: len(frames) > end), 60)
    last, missed = 0, 0
    for frame in frames:
        if frame["type"] == "dropped":
            missed += frame["count"]
        elif number := flooded(frame):
            assert not last or number == last + missed + 1, f"{missed} lines are said to be missing"
            last, missed = number, 0
