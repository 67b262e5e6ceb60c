"""What a log in memory keeps of one type of events, and what it knows of those that it has let go. `MemoryLog` has one per type.

The newest events stay within three bounds: their number, the bytes of their JSON and their age. Beyond these stay the survivors:
the newest event of each server, until a server's last word goes.
"""

from collections.abc import Iterable
from itertools import chain
from operator import attrgetter

from mcp_operator.eventlog.finding import Objects
from mcp_operator.eventlog.log import Record, Selection
from mcp_operator.eventlog.losing import Losses
from mcp_operator.eventlog.ordering import Order
from mcp_operator.eventlog.sharing import Held, Share

_EXPIRED_AT_ONCE = 1000
"""Events that go by age between two turns of others: very many of one moment go bit by bit."""


class Retained:
    """The events of one type, in their order. Each `seq` is the log's own, over all types; times are in seconds since 1970."""

    def __init__(self, *, capacity: int, capacity_bytes: int) -> None:
        self._recent: Order[Record] = Order()
        """The newest records, within the bounds."""
        self._survivors: Order[Record] = Order()
        """Older records that are the newest of their server."""
        self._servers: dict[str, Held] = {}
        """The same records by UID, of each server of which any is held."""
        self.objects = Objects()
        """Of the same servers."""
        self._losses = Losses()
        self._count = Share(capacity, attrgetter("count"))
        self._bytes = Share(capacity_bytes, attrgetter("bytes"))
        self._shares = (self._count, self._bytes)
        self.newest_seq = 0
        """Seq of the newest event, 0 before the first one."""
        self.evicted = 0
        """Events that have gone."""
        self.bytes = 0
        """What the held events' JSON has."""

    @property
    def held(self) -> int:
        """Events that can still be read."""
        return len(self._recent) + len(self._survivors)

    @property
    def horizon(self) -> int:
        """Seq of the newest event that has gone of servers that were forgotten."""
        return self._losses.horizon

    def append(self, record: Record, time: float) -> list[Record]:
        """Keep a record, newer than all others. Returns those that had to go for it, the oldest of each server first."""
        held = self._servers.get(record.uid)
        if held is None:
            held = self._servers[record.uid] = Held()
            self.objects.add(record.server, record.uid)
        held.forgotten = False
        held.append(record)
        self._recent.append(record.id.seq, time, record)
        self.newest_seq = record.id.seq
        self.bytes += len(record.data)
        gone = [self._lose(held)] if held.spared else []
        self._count_in(held, record)
        servers = len(self._servers)
        for share in self._shares:
            share.watch(held, servers)
            while share.exceeded:
                greediest = share.greediest(self._servers.values())
                gone += self._evict_oldest() if greediest is None else [self._lose(greediest)]
        return gone

    def expire(self, before: float) -> list[Record]:
        """Let events go that are from before a time, the oldest first: all, or as many as may go at once."""
        gone: list[Record] = []
        for _ in range(_EXPIRED_AT_ONCE):
            if self._recent.oldest_time >= before:
                break
            gone += self._evict_oldest()
        return gone

    def after(self, seq: int, selection: Selection) -> list[Iterable[Record]]:
        """The held records after a position, but for such of servers that the selection doesn't name: each iterable in order,
        to be used before anything is appended."""
        if self.newest_seq <= seq:
            return []
        uids = self.objects.selected(selection)
        if uids is None:
            return [chain(self._survivors.after(seq), self._recent.after(seq))]
        named = (self._servers.get(uid) for uid in uids)
        return [held.after(seq) for held in named if held is not None and held.newest.id.seq > seq]

    def missing_after(self, seq: int, selection: Selection) -> int | None:
        """Seq of the newest event after a position that the selection covers and that has gone; None if all are held."""
        if seq >= self._losses.until:
            return None
        return self._losses.missing_after(seq, selection, self.objects.selected(selection))

    def newest_before(self, time: float) -> int:
        """Seq of the newest event known to be from before a time, held or gone; 0 if there is none."""
        held = (order.newest_before(time) for order in (self._recent, self._survivors))
        return max(*held, self._losses.newest_before(time))

    def forget(self, uid: str) -> list[Record]:
        """Know no more of a server than that something of somebody has gone. Returns the survivor that went with it, if any."""
        held = self._servers.get(uid)
        if held is None:
            return []
        held.forgotten = True
        self._losses.forget(uid)
        return [self._lose(held)] if held.spared else []

    def _evict_oldest(self) -> list[Record]:
        """Make room by letting the oldest recent record go, unless it survives: then it no longer counts."""
        record = self._recent.oldest
        held = self._servers[record.uid]
        if held.newest is not record or record.last_word or held.forgotten:
            return [self._lose(held)]
        time = self._recent.remove_oldest()
        self._survivors.append(record.id.seq, time, record)
        self._count_out(held, record)
        held.spared = True
        return []

    def _lose(self, held: Held) -> Record:
        """Let a server's oldest record go."""
        newest = held.newest
        record = held.remove_oldest()
        seq = record.id.seq
        if held.spared:
            held.spared = False
            time = self._survivors.remove(seq)
        else:
            time = self._recent.remove(seq)
            self._count_out(held, record)
        self.evicted += 1
        self.bytes -= len(record.data)
        if record is not newest and not held.forgotten:
            self._losses.note(record.subject, seq=seq, time=time, head=self.newest_seq)
        else:
            self._losses.forget(record.uid)
            self._losses.note_forgotten(seq=seq, time=time)
        if record is newest:
            self._dismiss(held, record)
        return record

    def _dismiss(self, held: Held, last: Record) -> None:
        """Forget a server of which nothing is held any more."""
        del self._servers[last.uid]
        self.objects.remove(last.server, last.uid)
        for share in self._shares:
            share.dismiss(held, len(self._servers))

    def _count_in(self, held: Held, record: Record) -> None:
        size = len(record.data)
        held.count += 1
        held.bytes += size
        self._count.taken += 1
        self._bytes.taken += size

    def _count_out(self, held: Held, record: Record) -> None:
        size = len(record.data)
        held.count -= 1
        held.bytes -= size
        self._count.taken -= 1
        self._bytes.taken -= size
