"""Spreads what comes all at once over turns of the event loop. `listening` takes requests by it.

After a restart thousands of clients send their requests at the same moment, and one turn of the loop would read them all before
anything else happens. The streams that are open shall not wait for that.
"""

import asyncio
from collections import deque
from collections.abc import Callable


class Turns:
    """So many of something in each turn of the loop; the others in later ones, in the order in which they came."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, at_once: int) -> None:
        self._loop = loop
        self._at_once = at_once
        self._taken = 0
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self) -> bool:
        """Whether one more may happen in this turn; if not, it has to `wait`."""
        if self._waiting or self._taken >= self._at_once:
            return False
        if not self._taken:
            self._loop.call_soon(self._next)
        self._taken += 1
        return True

    def wait(self, go_on: Callable[[], None]) -> None:
        """Have something called when its turn has come."""
        self._waiting.append(go_on)

    def _next(self) -> None:
        self._taken = 0
        if not self._waiting:
            return
        for _ in range(min(self._at_once, len(self._waiting))):
            self._loop.call_soon(self._waiting.popleft())
        self._taken = self._at_once  # whoever comes in this turn comes behind these
        self._loop.call_soon(self._next)
