"""Figures: what a row has measured, what it was measured against, and the goal that it is held to. No I/O."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

ROUNDS = 7
"""The least number of rounds of anything that is timed. Ours and the peer take turns, or run at the same moment: one round is
what both did under the same conditions."""


@dataclass(frozen=True, slots=True)
class AtMost:
    """A goal that a larger value misses."""

    limit: float

    def met(self, value: float) -> bool:
        return value <= self.limit

    def text(self, unit: str) -> str:
        return f"at most {number(self.limit)} {unit}"


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A goal that a smaller value misses."""

    limit: float

    def met(self, value: float) -> bool:
        return value >= self.limit

    def text(self, unit: str) -> str:
        return f"at least {number(self.limit)} {unit}"


@dataclass(frozen=True, slots=True)
class TimesAtMost:
    """A goal for the median ratio to the peer."""

    limit: float

    def met(self, ratio: float) -> bool:
        return ratio <= self.limit

    def text(self, unit: str) -> str:
        return f"at most {number(self.limit)} times the peer's"


Goal: TypeAlias = AtMost | AtLeast | TimesAtMost


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of what the rounds came to, and between which values they lay."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, rounds: Sequence[float]) -> Spread:
        return cls(statistics.median(rounds), min(rounds), max(rounds))


@dataclass(frozen=True, slots=True)
class Peer:
    """What was measured beside it."""

    name: str
    value: float
    """In the figure's unit."""
    ratio: Spread
    """Ours divided by the peer's, round by round."""

    @classmethod
    def compared(cls, name: str, *, ours: Sequence[float], theirs: Sequence[float]) -> Peer:
        """Of one value a round each.

        Raises:
            ValueError: the rounds don't pair up, or one of the peer's is not above zero: nothing can be divided by it.
        """
        if min(theirs) <= 0:
            raise ValueError(f"{name}: {min(theirs)} in a round is nothing to compare with")
        ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
        return cls(name, statistics.median(theirs), Spread.of(ratios))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table."""

    name: str
    value: float
    unit: str
    spread: Spread | None = None
    """Of the value over the rounds, where there is no peer to be compared with."""
    peer: Peer | None = None
    goal: Goal | None = None
    """None where the figure is only stated; for the value, but `TimesAtMost` is for the ratio and needs a peer."""
    conditions: str
    """What the figure depends on beside the machine: Python's version, the event loop, TLS, sizes."""

    @property
    def met(self) -> bool | None:
        if isinstance(self.goal, TimesAtMost):
            return self.peer is not None and self.goal.met(self.peer.ratio.median)
        return None if self.goal is None else self.goal.met(self.value)

    @property
    def range(self) -> Spread | None:
        """Of the ratio, or of the value where there is none."""
        return self.spread if self.peer is None else self.peer.ratio

    def to_json_object(self, machine: str) -> dict[str, Any]:
        """As .local/bench.json has it."""
        return {
            "name": self.name,
            "value": _rounded(self.value),
            "unit": self.unit,
            "peer": self.peer and self.peer.name,
            "peerValue": self.peer and _rounded(self.peer.value),
            "ratio": self.peer and _rounded(self.peer.ratio.median),
            "range": self.range and [_rounded(self.range.lowest), _rounded(self.range.highest)],
            "goal": "stated" if self.goal is None else self.goal.text(self.unit),
            "met": self.met,
            "conditions": f"{self.conditions}; {machine}",
        }


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that came to no figures."""

    row: str
    error: str

    def to_json_object(self) -> dict[str, Any]:
        """The same fields as a figure's, so that a reader of the list can't take a missing row for a measured one."""
        absent = dict.fromkeys(("value", "unit", "peer", "peerValue", "ratio", "range", "goal"))
        return {"name": self.row, **absent, "met": False, "conditions": "", "error": self.error}


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that so many percent of them don't exceed (nearest rank).

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values to take a percentile of")
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]


def number(value: float) -> str:
    """For people: a whole number as it is, another with three significant digits; thousands apart."""
    digits = 0 if value == int(value) else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def _rounded(value: float) -> float:
    """Without digits that no measurement has."""
    return float(f"{value:.6g}")
