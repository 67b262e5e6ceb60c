"""How long an open operation will still take, judged by how long the server's earlier ones took.

Only operations of the same shape that succeeded without any cause and without a pause are looked at. From them come two
figures: the seconds that the operation took per instance (which tell how many instances go at a time), and the seconds that one
instance took to each step. What is left of an instance is the sum of the steps that it has yet to take, less the time that it
has spent on the next one. All that is left, in whole instances, times the seconds per instance is the estimate; it is never
less than what the slowest instance that is under way has left.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from statistics import median
from types import MappingProxyType
from typing import Final, TypeAlias

from mcp_operator.model.operations import OperationKind, Outcome
from mcp_operator.model.records import RolloutRecord
from mcp_operator.rollout.timing import Times, Timing

_STEPS: Final = ("scheduled", "started", "ready", "available")
"""Without `pulled`, whose time is rarely known: it counts towards `started`."""


class Shape(StrEnum):
    """Operations that can be compared with each other."""

    CREATE = "create"
    """The first instances: all begin at once."""
    REPLACE = "replace"
    """New instances for old ones."""
    GROW = "grow"
    SHRINK = "shrink"
    STOP = "stop"
    """To no instance at all: it isn't over before the last one is gone."""


_DOWN: Final = frozenset({Shape.SHRINK, Shape.STOP})


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast operations of one shape go."""

    per_instance: float
    """Seconds of the operation for each instance that comes, or (SHRINK, STOP) goes."""
    steps: tuple[float, ...]
    """Seconds of one instance to each of the steps, from the one before."""

    @property
    def whole(self) -> float:
        """Seconds of one instance from its creation until it is available."""
        return sum(self.steps)


Paces: TypeAlias = Mapping[Shape, Pace]

NO_PACES: Final[Paces] = MappingProxyType({})


def shape_of(kind: OperationKind, *, before: int, desired: int) -> Shape:
    """The shape of an operation that leads from so many instances to so many."""
    if kind is OperationKind.ROLLOUT:
        return Shape.REPLACE if before else Shape.CREATE
    if desired >= before:
        return Shape.GROW
    return Shape.SHRINK if desired else Shape.STOP


def paces_of(records: Iterable[RolloutRecord]) -> Paces:
    """How fast a server's operations went, by their shape: the medians of those that succeeded undisturbed."""
    groups: dict[Shape, list[RolloutRecord]] = defaultdict(list)
    for record in records:
        undisturbed = not (record.failures or record.paused)
        if record.outcome is Outcome.SUCCEEDED and record.ended_at is not None and undisturbed:
            groups[shape_of(record.kind, before=record.before, desired=record.desired)].append(record)
    return {shape: pace for shape, group in groups.items() if (pace := _pace(shape, group)) is not None}


def remaining_seconds(
    pace: Pace, shape: Shape, timings: Sequence[Timing], *, revision: str | None, desired: int, now: datetime
) -> int:
    """Whole seconds until the operation will probably end; never negative."""
    if shape in _DOWN:
        surplus = sum(shape is Shape.STOP or not each.terminating for each in timings) - desired
        return math.ceil(pace.per_instance * max(surplus, 0))
    coming = [each.times for each in timings if each.revision == revision and not each.terminating]
    left = sorted(_left(times, pace, now) for times in coming)[:desired]
    unfinished = sum(times.available is None for times in coming)
    instances = sum(left) / pace.whole if pace.whole else min(unfinished, desired)
    instances += max(desired - len(coming), 0)
    return math.ceil(max(pace.per_instance * instances, max(left, default=0)))


def _pace(shape: Shape, records: Sequence[RolloutRecord]) -> Pace | None:
    """The medians over several operations; None where they don't tell enough."""
    if shape in _DOWN:
        return Pace(median(_seconds(record) / (record.before - record.desired) for record in records), ())
    told = [record for record in records if _came(record)]
    if not told:
        return None
    per_instance = median(_seconds(record) / _came(record) for record in told)
    return Pace(per_instance, tuple(median(figures) if figures else 0.0 for figures in _figures(told)))


def _came(record: RolloutRecord) -> int:
    """How many instances it brought up to their end; a rollout back to an earlier template may have needed none."""
    return sum(instance.seconds is not None for instance in record.instances) + (record.others.count if record.others else 0)


def _figures(records: Sequence[RolloutRecord]) -> Iterable[Sequence[float]]:
    """The seconds to each step, of all instances of these operations; those of which only the median is kept count with it."""
    for step in _STEPS:
        figures = []
        for record in records:
            for phases in (instance.phases for instance in record.instances):
                seconds: float | None = getattr(phases, step)
                if seconds is not None:
                    figures.append(seconds + ((phases.pulled or 0) if step == "started" else 0))
            if record.others is not None and (spread := getattr(record.others.spreads, step)) is not None:
                figures += [spread.p50] * record.others.count
        yield figures


def _seconds(record: RolloutRecord) -> float:
    return (record.ended_at - record.started_at).total_seconds() if record.ended_at is not None else 0.0


def _left(times: Times, pace: Pace, now: datetime) -> float:
    """Seconds until this instance is available."""
    reached = [getattr(times, step) is not None for step in _STEPS]
    taken = len(_STEPS) - reached[::-1].index(True) if any(reached) else 0
    if taken == len(_STEPS):
        return 0.0
    latest = max((reached for step in _STEPS if (reached := getattr(times, step)) is not None), default=times.created)
    spent = max(0.0, (now - latest).total_seconds())
    return max(0.0, pace.steps[taken] - spent) + sum(pace.steps[taken + 1 :])
