"""How many requests per second an instance serves: from one sample of a counter to the next. No I/O; `sampling` calls it.

A rate is made per instance and then summed, never of the sum: instances come and go between two samples. A counter begins at 0
again when its process does, so a fall means that all it shows was served since the restart, if the pod tells of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mcp_operator.cluster.podmetrics.readings import Count, Missing, Reason

_LEAST_SECONDS: Final = 0.1
"""Between two samples; what is less than that says nothing about a second."""

_FIRST_SAMPLE: Final = Missing(
    Reason.NOT_YET_MEASURED, "A rate needs two samples, and this is the first one of the server", of_server=True
)
_FIRST_OF_INSTANCE: Final = Missing(
    Reason.NOT_YET_MEASURED, "A rate needs two samples, and this is the first one of the instance"
)
_RESET: Final = Missing(
    Reason.COUNTER_RESET,
    "The counter of requests has fallen though the pod tells of no restart: the next sample has a rate again",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A counter at one time."""

    count: Count
    at: float
    """Seconds of a clock that never steps."""
    restarts: int
    """How often containers of the instance had been restarted."""


class Rates:
    """Remembers the last counter of each instance of one server."""

    def __init__(self) -> None:
        self._last: dict[str, Sighting] = {}
        """By the pod's UID: the instances of a StatefulSet have the same names after a restart."""

    def take(self, seen: Mapping[str, Sighting | Missing], *, longest_seconds: float) -> Mapping[str, float | Missing]:
        """The rate of each instance up to this sample, or why it can't be told.

        An instance whose counter couldn't be read now keeps its last one, so that the next rate covers both intervals.

        Args:
            seen: all instances that there are now, by the pod's UID.
            longest_seconds: a counter older than this is no beginning of a rate: it would say little about now.
        """
        last = {uid: sighting for uid, sighting in self._last.items() if uid in seen}
        now = {uid: sighting for uid, sighting in seen.items() if isinstance(sighting, Sighting)}
        newest = max((sighting.at for sighting in now.values()), default=0.0)
        usable = {uid: sighting for uid, sighting in last.items() if newest - sighting.at <= longest_seconds}
        absent = _FIRST_OF_INSTANCE if usable else _FIRST_SAMPLE
        self._last = {**last, **now}
        return {
            uid: sighting if isinstance(sighting, Missing) else _rate(usable.get(uid), sighting, absent=absent)
            for uid, sighting in seen.items()
        }


def _rate(before: Sighting | None, now: Sighting, *, absent: Missing) -> float | Missing:
    if before is None or before.count.series != now.count.series or now.at - before.at < _LEAST_SECONDS:
        return absent
    served = now.count.value - before.count.value
    if served < 0:
        if now.restarts == before.restarts:
            return _RESET
        served = now.count.value
    return served / (now.at - before.at)
