"""How long the event loop keeps those waiting whose turn it is: the one figure in which everything that takes too long shows.

Streams, watches and requests share one loop, so a piece of work that doesn't pause delays them all. `serving` runs it.
"""

import asyncio

from prometheus_client import CollectorRegistry, Histogram

_PERIOD_SECONDS = 0.1
"""Often enough that no stall of a tenth of a second goes unseen, and of shorter ones a share that fits their length."""

_DELAY_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class StallMeter:
    """Has itself woken at agreed times, and measures by how much that is late."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._delay = Histogram(
            "mcp_operator_event_loop_delay_seconds",
            "By how much the event loop was late for what was due, measured ten times a second.",
            buckets=_DELAY_SECONDS,
            registry=registry,
        )

    async def run(self) -> None:
        """Measure until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + _PERIOD_SECONDS
            await asyncio.sleep(_PERIOD_SECONDS)
            self._delay.observe(max(0.0, clock() - due))
