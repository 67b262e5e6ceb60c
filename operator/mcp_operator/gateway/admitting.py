"""Who gets a stream: bounds on open streams, in total and of each client, and on how many begin in a second.

The handlers of event streams ask here before they send a byte. After a restart of a proxy thousands of subscribers come back at
once: those that fit into the next seconds wait their turn in the order in which they came, so that opening streams never takes
the loop away from the streams that are open; the others are told to come back later, the later the more they are.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

MOST_WAITING_SECONDS = 3
"""How long a newcomer may wait for its turn. Fewer clients than the quickest proxies give up after so long."""

_BURST_SECONDS = 0.05
"""Streams that may begin at the same moment after a quiet time, as seconds of the rate."""

_BEGIN_AT_ONCE = 16
"""Of those that wait, so many begin between two turns of the event loop: streams that are open wait for no more than these."""

_LEAST_RETRY_MS = 5_000
_USUAL_RETRY_MS = 15_000
_MOST_RETRY_MS = 120_000


class RefusalReason(StrEnum):
    """Why a stream wasn't opened; the reason in its `bye` frame."""

    TOO_MANY_STREAMS = "too-many-streams"
    """The gateway holds as many as it may."""
    TOO_MANY_OF_CLIENT = "too-many-of-client"
    """This client holds as many as one may."""
    TOO_FAST = "too-fast"
    """More begin at once than can be served within seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """No: and after how long to try again, as a range of which each client gets a random value of its own."""

    reason: RefusalReason
    least_retry_ms: int
    most_retry_ms: int


class Admitted:
    """A place among the open streams, held until `release`."""

    __slots__ = ("_release",)

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        """Give the place back; once is enough, more do no harm."""
        release, self._release = self._release, None
        if release is not None:
            release()


class Timers(Protocol):
    """What is needed of an event loop."""

    def time(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> object: ...


class Admission:
    """Decides for one gateway. Not for use from several threads."""

    def __init__(
        self, *, max_streams: int, max_per_client: int, new_per_second: float, timers: Callable[[], Timers] | None = None
    ) -> None:
        """
        Args:
            timers: gives the clock; the running loop's by default.
        """
        self._max_streams = max_streams
        self._max_per_client = max_per_client
        self._rate = new_per_second
        self._burst = max(1.0, new_per_second * _BURST_SECONDS)
        self._timers = timers or asyncio.get_running_loop
        self._tokens = self._burst
        self._filled_at: float | None = None
        self._waiting: deque[tuple[asyncio.Future[bool], float]] = deque()
        """Those in the queue, and when their patience ends. Those that left are still in it, done."""
        self._alarm_set = False
        self._open = 0
        self._of_client: Counter[str] = Counter()
        self._refused = Counter(dict.fromkeys(RefusalReason, 0))
        self._turned_away = 0.0
        """How many of the refused would still be waiting had they been let in at the rate."""
        self._turned_away_at = 0.0

    @property
    def open(self) -> int:
        """Places that are taken, by open streams and by those waiting to open."""
        return self._open

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return sum(not future.done() for future, _ in self._waiting)

    @property
    def refused(self) -> Mapping[RefusalReason, int]:
        """How many were refused since the start, by reason."""
        return MappingProxyType(self._refused)

    async def admit(self, client: str) -> Admitted | Refusal:
        """A place for one stream of this client, perhaps after a moment's wait.

        Cancelling the wait gives up the place, and the turn goes to the next.
        """
        if self._open >= self._max_streams:
            return self._refuse(RefusalReason.TOO_MANY_STREAMS)
        if self._of_client[client] >= self._max_per_client:
            return self._refuse(RefusalReason.TOO_MANY_OF_CLIENT)
        place = self._take(client)
        try:
            in_time = await self._turn()
        except asyncio.CancelledError:
            place.release()
            raise
        if in_time:
            return place
        place.release()
        return self._refuse(RefusalReason.TOO_FAST)

    def _take(self, client: str) -> Admitted:
        self._open += 1
        self._of_client[client] += 1

        def release() -> None:
            self._open -= 1
            self._of_client[client] -= 1
            if not self._of_client[client]:
                del self._of_client[client]

        return Admitted(release)

    async def _turn(self) -> bool:
        """Wait for one's turn. False: it would take, or has taken, too long."""
        self._fill()
        if not self._waiting and self._tokens >= 1:
            self._tokens -= 1
            return True
        if self._queue_seconds() > MOST_WAITING_SECONDS:
            self._waiting = deque(waiter for waiter in self._waiting if not waiter[0].done())
        if self._queue_seconds() > MOST_WAITING_SECONDS:
            return False
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, self._timers().time() + MOST_WAITING_SECONDS))
        self._set_alarm()
        return await future

    def _serve_waiting(self) -> None:
        self._alarm_set = False
        self._fill()
        begun = 0
        while self._waiting and self._tokens >= 1 and begun < _BEGIN_AT_ONCE:
            future, _ = self._waiting.popleft()
            if not future.done():
                begun += 1
                self._tokens -= 1
                future.set_result(True)
        now = self._timers().time()
        while self._waiting and (self._waiting[0][0].done() or self._waiting[0][1] <= now):
            future, _ = self._waiting.popleft()
            if not future.done():
                future.set_result(False)
        if self._waiting:
            self._set_alarm()

    def _set_alarm(self) -> None:
        if not self._alarm_set:
            self._alarm_set = True
            self._timers().call_later(max(0.001, (1 - self._tokens) / self._rate), self._serve_waiting)

    def _fill(self) -> None:
        now = self._timers().time()
        if self._filled_at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now

    def _queue_seconds(self) -> float:
        """When one more in the queue would have its turn."""
        return (len(self._waiting) + 1 - self._tokens) / self._rate

    def _refuse(self, reason: RefusalReason) -> Refusal:
        """Count it. Those refused come back, and can't be let in quicker than at the rate: so much time they are given."""
        self._refused[reason] += 1
        now = self._timers().time()
        self._turned_away = max(0.0, self._turned_away - (now - self._turned_away_at) * self._rate) + 1
        self._turned_away_at = now
        seconds = self._turned_away / self._rate
        most = min(_MOST_RETRY_MS, _USUAL_RETRY_MS + round(2000 * seconds))
        return Refusal(reason=reason, least_retry_ms=_LEAST_RETRY_MS, most_retry_ms=most)
