"""What all containers that are followed have in common: a bound on how many there are at a time, and an outage told once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp_operator.cluster.outages import Outage
from mcp_operator.cluster.podlogs.metrics import FollowingMetrics
from mcp_operator.cluster.podlogs.telling import Origin

logger = logging.getLogger(__name__)


class Slots:
    """At most so many logs are read at a time; who comes later waits for its turn, and that is said once."""

    def __init__(self, most: int, *, metrics: FollowingMetrics) -> None:
        self._most = most
        self._metrics = metrics
        self._free = asyncio.Semaphore(most)
        self._waiting = 0

    @asynccontextmanager
    async def one(self, origin: Origin) -> AsyncIterator[None]:
        """A slot for the duration of the block, as soon as there is one."""
        if self._free.locked():
            self._metrics.refused.inc()
            await self._wait(origin)
        else:
            await self._free.acquire()
        try:
            yield
        finally:
            self._free.release()

    async def _wait(self, origin: Origin) -> None:
        if not self._waiting:
            logger.warning("%d logs are followed, as many as may be: %s and others wait until one ends.", self._most, origin)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1


class Troubles:
    """Whose log can't be read at the moment; the operator's own log says it for all of them together."""

    def __init__(self) -> None:
        self._failing: set[Origin] = set()
        self._outage = Outage("Following the logs of pods")

    def fails(self, origin: Origin, error: Exception) -> None:
        """Reading this log has failed, and will be tried again within seconds."""
        self._failing.add(origin)
        self._outage.fails(error)

    def is_over(self, origin: Origin) -> None:
        """Reading this log works, or is no longer wanted."""
        self._failing.discard(origin)
        if not self._failing:
            self._outage.works()
