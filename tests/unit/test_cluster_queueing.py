"""Work by key: one run per key at a time, requests merged, failures tried again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from mcp_operator.apiserver.errors import ApiError
from mcp_operator.cluster.queueing import TryAgain, WorkQueue
from tests.component.fake_api import running, until


def queue_of(work: Callable[[str], Awaitable[None]], *, concurrency: int = 4) -> WorkQueue:
    return WorkQueue("testing", work, title=str.upper, concurrency=concurrency, longest_backoff=0.02)


def working(queue: WorkQueue) -> AbstractAsyncContextManager[None]:
    return running(queue.run())


async def test_keys_added_during_a_run_are_run_once_more_after_it() -> None:
    runs: Counter[str] = Counter()
    open_door = asyncio.Event()
    at_once: Counter[str] = Counter()

    async def work(key: str) -> None:
        runs[key] += 1
        at_once[key] += 1
        assert at_once[key] == 1, "one run per key at a time"
        await open_door.wait()
        at_once[key] -= 1

    queue = queue_of(work)
    async with working(queue):
        queue.add("a")
        queue.add("a")
        await until(lambda: runs["a"] == 1)
        for _ in range(10):
            queue.add("a")
        queue.add("b")
        await until(lambda: runs["b"] == 1)
        assert runs["a"] == 1
        open_door.set()
        await until(lambda: runs["a"] == 2)
        queue.add("c")
        await until(lambda: runs["c"] == 1)
        assert runs["a"] == 2


async def test_no_more_keys_are_in_work_than_allowed() -> None:
    in_work: set[str] = set()
    most = 0
    done = 0

    async def work(key: str) -> None:
        nonlocal most, done
        in_work.add(key)
        most = max(most, len(in_work))
        await asyncio.sleep(0)
        in_work.discard(key)
        done += 1

    queue = queue_of(work, concurrency=3)
    for number in range(50):
        queue.add(str(number))
    async with working(queue):
        await until(lambda: done == 50)
    assert most == 3


async def test_a_later_time_gives_way_to_an_earlier_one() -> None:
    runs: list[str] = []

    async def work(key: str) -> None:
        runs.append(key)

    queue = queue_of(work)
    async with working(queue):
        queue.add("a", after=3600)
        queue.add("b", after=0.05)
        queue.add("a", after=0.02)
        queue.add("a", after=60)
        await until(lambda: runs == ["a", "b"])


async def test_a_discarded_key_is_not_run() -> None:
    runs: list[str] = []

    async def work(key: str) -> None:
        runs.append(key)

    queue = queue_of(work)
    async with working(queue):
        queue.add("a", after=0.01)
        queue.discard("a")
        queue.add("b", after=0.02)
        await until(lambda: runs == ["b"])


@pytest.mark.parametrize(
    ("error", "level", "said"),
    [
        pytest.param(TryAgain("it is going"), "DEBUG", "testing WEATHER: it is going", id="wait"),
        pytest.param(ApiError(status=503, reason="Busy", message="etcd"), "WARNING", "503 Busy: etcd", id="api"),
        pytest.param(KeyError("spec"), "ERROR", "testing WEATHER failed", id="a defect"),
    ],
)
async def test_failed_work_is_tried_again_and_told(
    error: Exception, level: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "mcp_operator")
    runs: Counter[str] = Counter()

    async def work(key: str) -> None:
        runs[key] += 1
        if key == "weather" and runs[key] < 4:
            raise error

    queue = queue_of(work)
    async with working(queue):
        queue.add("weather")
        queue.add("other")
        await until(lambda: runs == {"weather": 4, "other": 1})
    assert [record.levelname for record in caplog.records] == [level] * 3
    assert all(said in record.getMessage() for record in caplog.records)


async def test_a_key_that_is_added_often_takes_the_room_of_one() -> None:
    runs: Counter[str] = Counter()

    async def work(key: str) -> None:
        runs[key] += 1
        queue.add(key, after=3600)

    queue = queue_of(work)
    async with working(queue):
        queue.add("b", after=1800)
        for number in range(1, 501):
            queue.add("a")
            await until(lambda count=number: runs["a"] == count)  # type: ignore[misc]  # a lambda's default has no type of its own
    assert len(queue._order) < 100
