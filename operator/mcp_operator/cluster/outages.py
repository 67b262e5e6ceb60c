"""Log lines about something that fails again and again: told when it begins, then once a minute, and when it is over."""

import logging
import time

logger = logging.getLogger(__name__)

_REPEAT_SECONDS = 60.0


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
