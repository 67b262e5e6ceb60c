"""What a log in memory keeps of one type of events, and what it knows of those that it has let go. `MemoryLog` has one per type.

The newest events stay within two bounds, their number and the bytes of their JSON. Beyond these stay the "survivors": the newest
event of each server, until a server's last word goes.
"""

from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter

from mcp_operator.eventlog.log import Record, Selection, Subject

seq_of = attrgetter("id.seq")
"""The place of a record in the order of all records."""

_SLACK_SHIFT = 8
"""A 256th part of the list may be records that have gone: taking one from the front of a long list costs as much as many."""


class Retained:
    """The events of one type, in their order. Every `seq` is the log's own, over all types."""

    def __init__(self, *, capacity: int, capacity_bytes: int) -> None:
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._recent: list[Record] = []
        """The newest records within the bounds, and before them a few that have gone."""
        self._first = 0
        """Index of the oldest recent record that is held."""
        self._recent_bytes = 0
        self._survivors: dict[int, Record] = {}
        """Older records that are the newest of their server, by seq, in its order."""
        self._newest: dict[str, Record] = {}
        """By UID."""
        self._lost: dict[str, tuple[Subject, int]] = {}
        """Seq of the newest event that has gone, of each UID that has lost any: a reader who isn't past it has a hole there."""
        self._lost_until = 0
        """Everything after this seq is held."""
        self.horizon = 0
        """Seq of the newest event that has gone of servers that were forgotten: a reader who isn't past it may have a hole
        anywhere."""
        self.newest_seq = 0
        """Seq of the newest event, 0 before the first one."""
        self.evicted = 0
        """Events that have gone."""
        self.bytes = 0
        """What the held events' JSON has."""

    @property
    def held(self) -> int:
        """Events that can still be read."""
        return len(self._recent) - self._first + len(self._survivors)

    def append(self, record: Record) -> list[Record]:
        """Keep a record, newer than all others. Returns those that had to go for it, the oldest of each server first."""
        self.newest_seq = record.id.seq
        self.bytes += len(record.data)
        self._recent_bytes += len(record.data)
        self._recent.append(record)
        gone = self._supersede(record)
        while len(self._recent) - self._first > self._capacity or self._recent_bytes > self._capacity_bytes:
            gone += self._evict()
        return gone

    def after(self, seq: int) -> Iterator[Record]:
        """The held records after a position. Nothing may be appended while it is in use."""
        if seq < next(reversed(self._survivors), 0):
            yield from (record for survivor, record in self._survivors.items() if survivor > seq)
        begin = bisect_right(self._recent, seq, lo=self._first, key=seq_of)
        for index in range(begin, len(self._recent)):
            yield self._recent[index]

    def missing_after(self, seq: int, selection: Selection) -> int | None:
        """Seq of the newest event after a position that the selection covers and that has gone; None if all are held."""
        if seq >= self._lost_until:
            return None
        lost = (lost for subject, lost in self._lost.values() if selection.covers(subject))
        newest = max(self.horizon, *lost, 0)
        return newest if newest > seq else None

    def forget(self, uid: str) -> list[Record]:
        """Know no more of a server than that something of somebody has gone. Returns the survivor that went with it, if any."""
        _, lost = self._lost.pop(uid, (None, 0))
        self.horizon = max(self.horizon, lost)
        newest = self._newest.pop(uid, None)
        if newest is None or self._survivors.pop(newest.id.seq, None) is None:
            return []
        self.horizon = max(self.horizon, newest.id.seq)
        self._let_go(newest)
        return [newest]

    def _supersede(self, record: Record) -> list[Record]:
        """Make a record the newest of its server: the one before it no longer outlives its time."""
        before = self._newest.get(record.uid)
        self._newest[record.uid] = record
        if before is None or self._survivors.pop(before.id.seq, None) is None:
            return []
        self._lose(before)
        return [before]

    def _evict(self) -> list[Record]:
        """Let the oldest recent record go that the bounds no longer have room for, unless it survives."""
        record = self._recent[self._first]
        self._first += 1
        self._recent_bytes -= len(record.data)
        if self._first > len(self._recent) >> _SLACK_SHIFT:
            del self._recent[: self._first]
            self._first = 0
        newest = self._newest.get(record.uid)
        if newest is record and not record.last_word:
            self._survivors[record.id.seq] = record
            return []
        self._lose(record)
        return [record]

    def _lose(self, record: Record) -> None:
        if record.uid in self._newest:
            self._lost[record.uid] = (record.subject, record.id.seq)
        else:
            self.horizon = max(self.horizon, record.id.seq)
        self._let_go(record)

    def _let_go(self, record: Record) -> None:
        self.evicted += 1
        self.bytes -= len(record.data)
        self._lost_until = max(self._lost_until, record.id.seq)
