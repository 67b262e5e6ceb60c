"""From the states of a server to the records of its operations.

`cluster.records` calls it after each evaluation and keeps what comes of it as MCPServerRollout objects. A draft has every
instance one by one; the record made of it tells of the slowest ones and sums up the others, so that it has a bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from math import ceil

from mcp_operator.model.causes import Cause
from mcp_operator.model.operations import Operation, OperationKind, Outcome
from mcp_operator.model.records import (
    MOST_BYTES,
    MOST_FAILURES,
    MOST_INSTANCES,
    MOST_MESSAGE,
    Failure,
    InstanceRecord,
    OtherInstances,
    RolloutRecord,
    Spread,
    Spreads,
)
from mcp_operator.model.servers import ServerName
from mcp_operator.rollout.state import State
from mcp_operator.rollout.timing import Times, Timing, earliest, phases_of, times_from

_MOST_NOTED = 2000
"""Instances of a draft; of an operation whose instances are evicted and made anew for days the first ones are kept."""
_MOST_CAUSES = 100
_AHEAD = timedelta(seconds=3)
"""An instance that is younger when an operation begins has come with it: creation times are whole seconds, and watches differ."""


@dataclass(frozen=True, slots=True)
class Noted:
    """One instance that an operation has brought."""

    times: Times
    gone: bool = False
    late: bool = False
    """Whether its images were there when it was first seen: then nobody knows since when."""

    def seen(self, times: Times) -> Noted:
        """The same with what a later look tells."""
        return replace(self, times=earliest(self.times, replace(times, pulled=None) if self.late else times))


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """The record of one operation in the making."""

    server: ServerName
    uid: str
    operation: Operation
    desired: int
    revision: str | None = None
    outcome: Outcome | None = None
    ended_at: datetime | None = None
    standing: frozenset[str] = frozenset()
    """Names of instances that were there before."""
    instances: Mapping[str, Noted] = field(default_factory=dict)
    """By the pod's name."""
    failures: Mapping[str, Failure] = field(default_factory=dict)
    """By the cause's id, the oldest first."""
    paused: bool = False
    """Whether it was seen to stand still in somebody's hands."""


def note(drafts: Mapping[str, Draft], previous: State | None, current: State, *, now: datetime) -> Sequence[Draft]:
    """What an evaluation says about operations: those that ended with it, and the open one.

    Args:
        drafts: the drafts so far, by the operation's id; one that is missing is begun.
    """
    return tuple(_noted(drafts, previous, current, now))


def _noted(drafts: Mapping[str, Draft], previous: State | None, current: State, now: datetime) -> Iterator[Draft]:
    opened = current.operation
    for ended in current.ended:
        draft = drafts.get(ended.operation.id) or _begin(previous, current, ended.operation, ended.desired)
        # The revision is by now that of what came after it, if anything did.
        revision = draft.revision or (current.revision if opened is None else None)
        ended_at = next((last.ended_at for last in current.last_operations if last.id == ended.operation.id), now)
        draft = replace(draft, operation=ended.operation, desired=ended.desired, revision=revision)
        draft = replace(_with_instances(draft, current.timings), outcome=ended.outcome, ended_at=ended_at)
        yield _with_failures(draft, (), current.recovered, now)
    if opened is not None:
        desired = current.target.desired if current.target is not None else current.counts.desired
        draft = drafts.get(opened.id) or _begin(previous, current, opened, desired)
        revision, paused = current.revision or draft.revision, draft.paused or current.paused
        draft = replace(draft, operation=opened, desired=desired, revision=revision, paused=paused)
        draft = _with_instances(draft, current.timings)
        yield _with_failures(draft, (active.cause for active in current.causes), current.recovered, now)


def continued(draft: Draft, record: RolloutRecord) -> Draft:
    """The draft of a restarted operator, with what the record tells from before."""
    instances = dict(draft.instances)
    for each in record.instances:
        before, known = times_from(each.created_at, each.phases), instances.get(each.name)
        instances[each.name] = Noted(before, gone=True) if known is None else replace(known, times=earliest(before, known.times))
    failures = {failure.id: failure for failure in record.failures}
    for cause, failure in draft.failures.items():
        since = min(failure.since, failures[cause].since) if cause in failures else failure.since
        failures[cause] = failure.model_copy(update={"since": since})
    return replace(
        draft,
        instances=instances,
        failures=failures,
        revision=draft.revision or record.revision,
        paused=draft.paused or record.paused,
    )


def record_of(draft: Draft) -> RolloutRecord:
    """The record within its bounds."""
    slowest_first = sorted(draft.instances.items(), key=_slowness)
    shown = min(len(slowest_first), MOST_INSTANCES)
    record = _record(draft, slowest_first, shown)
    while shown and len(record.model_dump_json(by_alias=True).encode()) > MOST_BYTES:
        shown -= 1
        record = _record(draft, slowest_first, shown)
    return record


def _begin(previous: State | None, current: State, operation: Operation, desired: int) -> Draft:
    return Draft(
        server=current.server,
        uid=current.uid,
        operation=operation,
        desired=desired,
        standing=frozenset(_standing(previous, current, operation)),
    )


def _standing(previous: State | None, current: State, operation: Operation) -> Iterator[str]:
    """The instances that were there before the operation.

    Those that were seen before it began and are older; a watch of pods may run ahead of that of what made them. After a restart
    age alone tells, unless the operation is a rollout that began meanwhile: all instances of its revision are its own.
    """
    if previous is None or (previous.restored and previous.operation is None and operation.kind is OperationKind.ROLLOUT):
        return
    seen = {instance.name for revision in previous.revisions for instance in revision.instances}
    begin = operation.started_at - _AHEAD
    for timing in current.timings:
        if timing.times.created < begin and (previous.restored or timing.name in seen):
            yield timing.name


def _with_instances(draft: Draft, timings: Iterable[Timing]) -> Draft:
    """The draft with what the instances tell now."""
    seen = {timing.name: timing for timing in timings}
    instances = {name: replace(noted, gone=name not in seen or seen[name].terminating) for name, noted in draft.instances.items()}
    for name, timing in seen.items():
        known = instances.get(name)
        if known is not None and known.times.created == timing.times.created:
            instances[name] = known.seen(timing.times)
        elif timing.revision == draft.revision and not timing.terminating and not _stood(draft, timing):
            late = timing.times.pulled is not None
            instances[name] = Noted(replace(timing.times, pulled=None), late=late)
    return replace(draft, instances=dict(islice(instances.items(), _MOST_NOTED)))


def _stood(draft: Draft, timing: Timing) -> bool:
    """Whether it was there before the operation; one of a StatefulSet bears the name of the one that it replaces."""
    return timing.name in draft.standing and timing.times.created < draft.operation.started_at - _AHEAD


def _with_failures(draft: Draft, active: Iterable[Cause], recovered: Iterable[Cause], now: datetime) -> Draft:
    failures = dict(draft.failures)
    for cause in active:
        known = failures.get(cause.id)
        if known is None and (len(failures) >= _MOST_CAUSES or not _concerns(cause, draft)):
            continue
        failures[cause.id] = _failure(cause, known)
    for cause in recovered:
        if cause.id in failures:
            failures[cause.id] = failures[cause.id].model_copy(update={"until": now})
    return replace(draft, failures=failures)


def _concerns(cause: Cause, draft: Draft) -> bool:
    """Whether a cause is one of this operation: that of an older revision, from before it, isn't."""
    return cause.since >= draft.operation.started_at or cause.revision in {None, draft.revision}


def _failure(cause: Cause, known: Failure | None) -> Failure:
    return Failure(
        id=cause.id,
        reason=cause.reason,
        message=cause.message[:MOST_MESSAGE],
        instance=cause.instance,
        container=cause.container,
        exit_code=cause.exit_code,
        signal=cause.signal,
        count=max(cause.count, known.count if known else 0),
        since=known.since if known else cause.since,
    )


def _slowness(named: tuple[str, Noted]) -> tuple[bool, float, datetime, str]:
    """Orders the slowest first: those that never became available, then by their seconds."""
    name, noted = named
    seconds = noted.times.seconds
    return (seconds is not None, -(seconds or 0.0), noted.times.created, name)


def _record(draft: Draft, slowest_first: Sequence[tuple[str, Noted]], shown: int) -> RolloutRecord:
    operation, failures = draft.operation, tuple(draft.failures.values())
    rest = [noted.times for _, noted in slowest_first[shown:]]
    return RolloutRecord(
        id=operation.id,
        kind=operation.kind,
        server=str(draft.server),
        uid=draft.uid,
        revision=draft.revision,
        by=draft.operation.by,
        before=operation.before,
        desired=draft.desired,
        started_at=operation.started_at,
        ended_at=draft.ended_at,
        outcome=draft.outcome,
        percent=operation.percent,
        instances=tuple(_instance(name, noted) for name, noted in slowest_first[:shown]),
        others=_others(rest) if rest else None,
        failures=failures[:MOST_FAILURES],
        failures_omitted=len(failures[MOST_FAILURES:]),
        paused=draft.paused,
    )


def _instance(name: str, noted: Noted) -> InstanceRecord:
    times = noted.times
    return InstanceRecord(name=name, created_at=times.created, phases=phases_of(times), seconds=times.seconds, gone=noted.gone)


def _others(rest: Sequence[Times]) -> OtherInstances:
    phases = [phases_of(times) for times in rest]
    spreads = {step: _spread([getattr(each, step) for each in phases]) for step in Spreads.model_fields if step != "seconds"}
    whole = _spread([times.seconds for times in rest])
    return OtherInstances(count=len(rest), spreads=Spreads(**spreads, seconds=whole))


def _spread(figures: Iterable[float | None]) -> Spread | None:
    known = sorted(figure for figure in figures if figure is not None)
    if not known:
        return None
    return Spread(min=known[0], p50=_percentile(known, 0.5), p90=_percentile(known, 0.9), max=known[-1])


def _percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank: a figure that really occurs."""
    return ordered[ceil(share * len(ordered)) - 1]
