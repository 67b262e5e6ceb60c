"""Who gives something up where room is short: one bound of `retaining`, and who takes more than twice an even share of it.

Without this the oldest would go, whoever it is of; one server in a crash loop would then push out what was said about all others.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from itertools import islice

from mcp_operator.eventlog.log import Record
from mcp_operator.eventlog.ordering import seq_of

_SLACK_SHIFT = 8
"""A 256th part of the list may be records that have gone: taking one from the front of a long list costs as much as many."""
_GROWTH_SHIFT = 3
"""When there are an eighth more servers, and so smaller shares, everybody is looked at again."""


class Held:
    """The events of one type that are held of one server, in order."""

    __slots__ = ("_first", "_records", "bytes", "count", "forgotten", "spared")

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._first = 0
        """Index of the oldest that is held."""
        self.count = 0
        """How many count towards the bounds."""
        self.bytes = 0
        """What their JSON has."""
        self.spared = False
        """Whether there is only one, for which the bounds have no room and which stays all the same."""
        self.forgotten = False
        """Whether the log knows no more of this server: then none is spared."""

    @property
    def newest(self) -> Record:
        return self._records[-1]

    def append(self, record: Record) -> None:
        self._records.append(record)

    def remove_oldest(self) -> Record:
        record = self._records[self._first]
        self._first += 1
        if self._first > len(self._records) >> _SLACK_SHIFT:
            del self._records[: self._first]
            self._first = 0
        return record

    def after(self, seq: int) -> Iterator[Record]:
        """Those after a position. Nothing may be appended while it is in use."""
        return islice(self._records, bisect_right(self._records, seq, lo=self._first, key=seq_of), None)


class Share:
    """A bound that servers share: how much of it is taken, and by whom too much."""

    def __init__(self, limit: int, taken_by: Callable[[Held], int]) -> None:
        self._limit = limit
        self._taken_by = taken_by
        self.taken = 0
        self._suspects: dict[Held, None] = {}
        """Servers that were seen to take too much, the one to be asked first at the end."""
        self._asked = 0
        """How often since they were put in order."""
        self._looked_at = 0
        """How many servers there were when all were looked at, or fewer that there have been since."""

    @property
    def exceeded(self) -> bool:
        return self.taken > self._limit

    def watch(self, held: Held, servers: int) -> None:
        """Take note of a server that has just got more, as one of so many."""
        if self._taken_by(held) * servers > 2 * self._limit:
            self._suspects[held] = None

    def dismiss(self, held: Held, servers: int) -> None:
        """Leave out a server of which nothing is held any more; so many are left."""
        self._suspects.pop(held, None)
        self._looked_at = min(self._looked_at, servers)

    def greediest(self, everybody: Collection[Held]) -> Held | None:
        """The server that has to give something up because it takes more than twice its even share: among several such the one
        with most, or nearly so. None if there is none."""
        servers = len(everybody)
        if servers > self._looked_at + (self._looked_at >> _GROWTH_SHIFT):
            self._looked_at = servers
            for held in everybody:
                self.watch(held, servers)
        if self._asked > len(self._suspects):
            self._asked = 0
            greedy = [held for held in self._suspects if self._is_greedy(held, servers)]
            self._suspects = dict.fromkeys(sorted(greedy, key=self._taken_by))
        while self._suspects:
            held = next(reversed(self._suspects))
            if self._is_greedy(held, servers):
                self._asked += 1
                return held
            self._suspects.popitem()
        return None

    def _is_greedy(self, held: Held, servers: int) -> bool:
        # A server's newest event stays, so it has nothing to give up without a second one.
        return held.count > 1 and self._taken_by(held) * servers > 2 * self._limit
