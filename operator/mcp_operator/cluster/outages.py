"""Bearing what fails again and again: how long to wait before the next try, and what to say about it.

Reflectors, work queues and kopf wait by it; an outage is told when it begins, then once a minute, and when it is over.
"""

import logging
import random
import time

logger = logging.getLogger(__name__)

_REPEAT_SECONDS = 60.0


class Backoff:
    """Waiting times between tries: doubled each time up to a longest one, each shortened at random by up to a half."""

    def __init__(self, *, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def next(self) -> float:
        """Seconds to wait before the next try."""
        seconds = self._next
        self._next = min(self._next * 2, self._longest)
        return seconds * random.uniform(0.5, 1)  # noqa: S311 - it spreads load and protects nothing

    def reset(self) -> None:
        """Start over, because a try worked."""
        self._next = self._first


class Outage:
    """Whether something works, for the log.

    Args:
        what: "Following pods of all namespaces".
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._since: float | None = None
        self._told = 0.0

    def fails(self, error: Exception) -> None:
        """It has failed, and will be tried again within seconds."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        elif now - self._told < _REPEAT_SECONDS:
            return
        self._told = now
        logger.warning("%s fails and is tried again: %s", self._what, error)

    def works(self) -> None:
        """It works."""
        if self._since is not None:
            logger.info("%s works again after %.1f s.", self._what, time.monotonic() - self._since)
        self._since = None
