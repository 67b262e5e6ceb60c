"""Things in the order of the events that they belong to, where any may go at any time: what `retaining` and `losing` keep.

They lie in chunks, so that taking one from the middle of a hundred thousand moves at most a few hundred, and no clearing up of
the whole ever holds the event loop.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from operator import attrgetter
from typing import Generic, TypeVar

seq_of = attrgetter("id.seq")
"""The place of a record in the order of all records."""

CHUNK = 512
"""Things that a chunk has at most."""

T = TypeVar("T")


class _Chunk(Generic[T]):
    """Neighbours: three lists side by side."""

    __slots__ = ("seqs", "things", "times")

    def __init__(self, seqs: array[int], times: array[float], things: list[T]) -> None:
        self.seqs = seqs
        self.times = times
        self.things = things


class Order(Generic[T]):
    """Things by the seq of an event, each with that event's time (seconds since 1970): times never fall along the seqs."""

    __slots__ = ("_chunks", "_length")

    def __init__(self) -> None:
        self._chunks: list[_Chunk[T]] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def oldest(self) -> T:
        """Raises IndexError if there is nothing."""
        return self._chunks[0].things[0]

    @property
    def oldest_time(self) -> float:
        """Infinity if there is nothing."""
        return self._chunks[0].times[0] if self._chunks else float("inf")

    def append(self, seq: int, time: float, thing: T) -> None:
        """Add a thing at the end."""
        self._length += 1
        chunks = self._chunks
        if not chunks or len(chunks[-1].seqs) >= CHUNK:
            chunks.append(_Chunk(array("Q", (seq,)), array("d", (time,)), [thing]))
        else:
            chunk = chunks[-1]
            chunk.seqs.append(seq)
            chunk.times.append(time)
            chunk.things.append(thing)

    def remove_oldest(self) -> float:
        """Take the first thing away, and return its event's time."""
        self._length -= 1
        chunk = self._chunks[0]
        del chunk.seqs[0], chunk.things[0]
        if not chunk.seqs:
            del self._chunks[0]
        return chunk.times.pop(0)

    def remove(self, seq: int) -> float:
        """Take the thing of an event that is here away, and return the event's time."""
        self._length -= 1
        number = 0 if seq <= self._chunks[0].seqs[-1] else self._chunk_of(seq)
        chunk = self._chunks[number]
        at = bisect_left(chunk.seqs, seq)
        time = chunk.times[at]
        del chunk.seqs[at], chunk.times[at], chunk.things[at]
        if not chunk.seqs:
            del self._chunks[number]
        elif number and len(chunk.seqs) <= CHUNK // 4:
            self._join_with_previous(number)
        return time

    def after(self, seq: int) -> Iterator[T]:
        """What is of later events than this one, in order. Nothing may be added or removed while it is in use."""
        chunks = self._chunks
        if not chunks or chunks[-1].seqs[-1] <= seq:
            return
        number = max(self._chunk_of(seq), 0)
        yield from chunks[number].things[bisect_right(chunks[number].seqs, seq) :]
        for chunk in chunks[number + 1 :]:
            yield from chunk.things

    def newest_before(self, time: float) -> int:
        """Seq of the newest event here from before a time, 0 if there is none."""
        number = bisect_left(self._chunks, time, key=lambda chunk: chunk.times[0]) - 1
        if number < 0:
            return 0
        chunk = self._chunks[number]
        return chunk.seqs[bisect_left(chunk.times, time) - 1]

    def _chunk_of(self, seq: int) -> int:
        """Number of the chunk that has a seq if any has, -1 for one before all."""
        last = len(self._chunks) - 1
        if self._chunks[last].seqs[0] <= seq:
            return last
        return bisect_right(self._chunks, seq, hi=last, key=lambda chunk: chunk.seqs[0]) - 1

    def _join_with_previous(self, number: int) -> None:
        before, chunk = self._chunks[number - 1], self._chunks[number]
        if len(before.seqs) + len(chunk.seqs) <= CHUNK:
            before.seqs.extend(chunk.seqs)
            before.times.extend(chunk.times)
            before.things.extend(chunk.things)
            del self._chunks[number]
