"""Work by key: at most one run per key at a time, requests coalesced, failures tried again.

Evaluating, reconciling and status writes all go through such a queue, keyed by the server's UID. A queue holds keys, never
changes, so it is bounded by the number of servers, and a run always works from the newest state.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from mcp_operator.apiserver.errors import ApiError
from mcp_operator.cluster.outages import Backoff

logger = logging.getLogger(__name__)


class TryAgain(Exception):  # noqa: N818 - it is a request, not an error
    """Raised by work that came to an end which may not last: run it again after a while, or at once when the key is added."""


class WorkQueue:
    """Runs `work(key)` for keys that were added.

    Args:
        name: what a run does, for log lines: "evaluating".
        work: a coroutine function; what it raises is logged and tried again with growing back-off.
        title: what a key is called in log lines.
        concurrency: keys in work at the same time.
        longest_backoff: seconds.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[str], Awaitable[None]],
        *,
        title: Callable[[str], str],
        concurrency: int,
        longest_backoff: float,
    ) -> None:
        self._name = name
        self._work = work
        self._title = title
        self._concurrency = concurrency
        self._longest_backoff = longest_backoff
        self._due: dict[str, float] = {}
        self._order: list[tuple[float, str]] = []
        """A heap of `_due` without the keys in work; an entry that differs from `_due` is out of date."""
        self._running: set[str] = set()
        self._backoffs: dict[str, Backoff] = {}
        self._changed = asyncio.Event()

    def add(self, key: str, *, after: float = 0) -> None:
        """Run the key's work after so many seconds, or earlier if it is due earlier; during a run: once more after it."""
        due = time.monotonic() + after
        if due < self._due.get(key, math.inf):
            self._due[key] = due
            if key not in self._running:
                heapq.heappush(self._order, (due, key))
                self._changed.set()
                self._tidy()

    def discard(self, key: str) -> None:
        """Don't run the key's work again, unless it is added again."""
        self._due.pop(key, None)
        self._backoffs.pop(key, None)

    def due_within(self, seconds: float) -> list[str]:
        """The keys whose turn comes so soon; those that are late already are among them."""
        latest = time.monotonic() + seconds
        return [key for key, due in self._due.items() if due <= latest]

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._changed.clear()
                while (key := self._take()) is not None:
                    tasks.create_task(self._run(key), name=f"{self._name} {key}")
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._seconds_to_next()):
                        await self._changed.wait()

    def _take(self) -> str | None:
        """The next key that is due, marked as running."""
        if len(self._running) >= self._concurrency or self._seconds_to_next() != 0:
            return None
        _, key = heapq.heappop(self._order)
        del self._due[key]
        self._running.add(key)
        return key

    def _seconds_to_next(self) -> float | None:
        """Time until a key is due; None when none is, or no more can run now."""
        while self._order and self._due.get(self._order[0][1]) != self._order[0][0]:
            heapq.heappop(self._order)
        if not self._order or len(self._running) >= self._concurrency:
            return None
        return max(0.0, self._order[0][0] - time.monotonic())

    def _tidy(self) -> None:
        """Drop entries out of date once they are most of the heap: a key that is due late and added often leaves many."""
        if len(self._order) > 2 * len(self._due) + 64:
            self._order = [(due, key) for key, due in self._due.items() if key not in self._running]
            heapq.heapify(self._order)

    async def _run(self, key: str) -> None:
        try:
            await self._work(key)
        except TryAgain as wish:
            seconds = self._again(key)
            logger.debug("%s %s: %s; again in %.1f s.", self._name, self._title(key), wish, seconds)
        except ApiError as error:
            seconds = self._again(key)
            logger.warning("%s %s failed, trying again in %.1f s: %s", self._name, self._title(key), seconds, error)
        except Exception:
            seconds = self._again(key)
            logger.exception("%s %s failed, trying again in %.1f s.", self._name, self._title(key), seconds)
        else:
            self._backoffs.pop(key, None)
        finally:
            self._running.discard(key)
            if key in self._due:
                heapq.heappush(self._order, (self._due[key], key))
            self._changed.set()

    def _again(self, key: str) -> float:
        """Have the key's work run again after a while that grows with each failure; the seconds."""
        backoff = self._backoffs.setdefault(key, Backoff(first=0.25, longest=self._longest_backoff))
        seconds = backoff.next()
        self.add(key, after=seconds)
        return seconds
