"""What a log in memory knows of events that it has let go: enough to tell each reader whether it misses any.

`retaining` has one of these for each type of events.
"""

from collections.abc import Collection, Iterator
from itertools import takewhile

from mcp_operator.eventlog.log import Selection, Subject
from mcp_operator.model.labels import Labels

REMEMBERED_LABELS = 4
"""Sets of labels under which one server's losses are told apart. Of older ones it is only known that something was lost."""


class _Loss:
    """The newest event that one server has lost, under each set of labels that it had."""

    __slots__ = ("by_labels", "head", "seq", "subject", "time", "unlabelled")

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        """Of the newest one."""
        self.seq = 0
        """Of the newest one, whatever its labels."""
        self.time = 0.0
        """Its time, in seconds since 1970."""
        self.head = 0
        """Seq of the newest event of all when it went."""
        self.by_labels: dict[Labels, tuple[int, float]] | None = None
        """Seq and time of the newest one under labels that the server had before, those given up last at the end."""
        self.unlabelled: tuple[int, float] = (0, 0.0)
        """The same of labels that are forgotten."""

    def change(self, subject: Subject) -> None:
        """Have the next one be under these labels."""
        if subject.labels != self.subject.labels:
            by_labels = self.by_labels = self.by_labels or {}
            by_labels[self.subject.labels] = (self.seq, self.time)
            by_labels.pop(subject.labels, None)
            if len(by_labels) >= REMEMBERED_LABELS:
                self.unlabelled = max(self.unlabelled, by_labels.pop(next(iter(by_labels))))
        self.subject = subject

    def newest(self, selection: Selection) -> int:
        """Seq of the newest one that the selection covers, 0 if it covers none."""
        if not selection.concerns(self.subject.server, self.subject.uid):
            return 0
        selector = selection.selector
        if selector is None or selector.matches(self.subject.labels):
            return self.seq
        older = [seq for labels, (seq, _) in (self.by_labels or {}).items() if selector.matches(labels)]
        return max(*older, self.unlabelled[0]) if older else self.unlabelled[0]

    def before(self, time: float) -> int:
        """Seq of the newest one from before a time, 0 without one."""
        if self.time < time:
            return self.seq
        older = (self.unlabelled, *(self.by_labels or {}).values())
        return max(seq if lost_at < time else 0 for seq, lost_at in older)


class Losses:
    """The newest event of each server that has gone, for servers of which anything is held, and one for all the others."""

    def __init__(self) -> None:
        self._by_uid: dict[str, _Loss] = {}
        """Those that lost something last at the end."""
        self._horizon_time = 0.0
        self.horizon = 0
        """Seq of the newest event that has gone of servers that were forgotten: a reader who isn't past it may have a hole
        anywhere."""
        self.until = 0
        """Everything after this seq is held."""

    def note(self, subject: Subject, *, seq: int, time: float, head: int) -> None:
        """Remember that an event has gone, later than all others of its server that have.

        Args:
            head: seq of the newest event now.
        """
        self.until = max(self.until, seq)
        loss = self._by_uid.pop(subject.uid, None)
        if loss is None:
            loss = _Loss(subject)
        elif loss.subject is not subject:
            loss.change(subject)
        self._by_uid[subject.uid] = loss
        loss.seq, loss.time, loss.head = seq, time, head

    def note_forgotten(self, *, seq: int, time: float) -> None:
        """Remember that an event of a server has gone of which nothing is known any more."""
        self.until = max(self.until, seq)
        if seq > self.horizon:
            self.horizon, self._horizon_time = seq, time

    def forget(self, uid: str) -> None:
        """Know no more of a server than that something of somebody has gone."""
        loss = self._by_uid.pop(uid, None)
        if loss is not None:
            self.note_forgotten(seq=loss.seq, time=loss.time)

    def missing_after(self, seq: int, selection: Selection, uids: Collection[str] | None) -> int | None:
        """Seq of the newest event after a position that the selection covers and that has gone; None if all are held.

        Args:
            uids: the only objects that the selection can be about, if that is known.
        """
        if seq >= self.until:
            return None
        newest = max(seq, self.horizon)
        for loss in self._later_than(seq, uids):
            if loss.seq > newest:
                newest = max(newest, loss.newest(selection))
                if newest == self.until:
                    break
        return newest if newest > seq else None

    def newest_before(self, time: float) -> int:
        """Seq of the newest event known to have gone from before a time, 0 if there is none."""
        horizon = self.horizon if self._horizon_time < time else 0
        return max(horizon, *(loss.before(time) for loss in self._by_uid.values()), 0)

    def _later_than(self, seq: int, uids: Collection[str] | None) -> Iterator[_Loss]:
        """All losses after a position, and some before it."""
        if uids is None:
            # What was lost before another loss is no newer than the head was then.
            yield from takewhile(lambda loss: loss.head > seq, reversed(self._by_uid.values()))
        else:
            for uid in uids:
                loss = self._by_uid.get(uid)
                if loss is not None:
                    yield loss
