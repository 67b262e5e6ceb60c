"""The log lines that a log in memory holds, by container: so that the newest few of each are found without looking at all."""

import asyncio
import heapq
from collections import deque
from collections.abc import Collection, Iterator
from itertools import islice
from typing import TypeAlias

from mcp_operator.eventlog.log import Record, Selection
from mcp_operator.eventlog.ordering import seq_of
from mcp_operator.eventlog.sifting import passes, sifts

_Container: TypeAlias = tuple[str, str]
"""The names of an instance of a server and of one of its containers."""

_TURN_LINES = 1000
"""Lines looked at between two turns of others."""


class Lines:
    """An index of the lines among the records of a log, which adds and removes them in their order."""

    def __init__(self) -> None:
        self._by_uid: dict[str, dict[_Container, deque[Record]]] = {}

    def add(self, record: Record) -> None:
        """Take note of a record, newer than all others; what is no line is left out."""
        if record.line is not None:
            container = (record.line.instance, record.line.container)
            self._by_uid.setdefault(record.uid, {}).setdefault(container, deque()).append(record)

    def remove(self, record: Record) -> None:
        """Leave a record out that the log has let go: the oldest of its container."""
        if record.line is not None:
            container = (record.line.instance, record.line.container)
            containers = self._by_uid[record.uid]
            lines = containers[container]
            lines.popleft()
            if not lines:
                del containers[container]
                if not containers:
                    del self._by_uid[record.uid]

    async def newest(self, selection: Selection, count: int, uids: Collection[str] | None) -> tuple[Record, ...]:
        """The newest `count` selected lines of each container as they are now, in the log's order.

        Args:
            selection: which lines.
            count: how many.
            uids: the only objects that the selection can be about, if that is known.

        They may be many, and with a filter of lines it may have to look at many more: it takes them all at once, and gives others
        a turn while it looks.
        """
        all_wanted = selection.selector is None and not sifts(selection)
        candidates = [list(islice(reversed(lines), count if all_wanted else None)) for lines in self._concerned(selection, uids)]
        looked = 0
        tails: list[list[Record]] = []
        for lines in candidates:
            tail: list[Record] = []
            for record in lines:
                looked += 1
                if looked % _TURN_LINES == 0:
                    await asyncio.sleep(0)
                if selection.covers(record.subject) and passes(record, selection):
                    tail.append(record)
                    if len(tail) == count:
                        break
            tails.append(tail)
        in_order = heapq.merge(*map(reversed, tails), key=seq_of)
        found: list[Record] = []
        while part := list(islice(in_order, _TURN_LINES)):
            found += part
            await asyncio.sleep(0)
        return tuple(found)

    def _concerned(self, selection: Selection, uids: Collection[str] | None) -> Iterator[deque[Record]]:
        """The lines of each container whose server the selection is about, whatever its labels were."""
        for uid in self._by_uid if uids is None else uids:
            for lines in self._by_uid.get(uid, {}).values():
                if selection.concerns(lines[-1].server, uid):
                    yield lines
