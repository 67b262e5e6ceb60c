"""From what the API server holds to what is so: the one function that decides how a server is.

`cluster` calls it whenever an object of the server changes, and when the last state said that time alone would change it.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from mcp_operator.model.operations import EndedOperation
from mcp_operator.model.statuses import LAST_OPERATIONS, MOST_UNTOLD, Status
from mcp_operator.rollout.attributing import attribute, credit, spent
from mcp_operator.rollout.conditions import conditions
from mcp_operator.rollout.curing import for_observed
from mcp_operator.rollout.deciding import decide
from mcp_operator.rollout.estimating import Paces, remaining_seconds, shape_of
from mcp_operator.rollout.instances import by_revision
from mcp_operator.rollout.noticing import notice
from mcp_operator.rollout.observation import Observation
from mcp_operator.rollout.progressing import Course, advance, overdue_at
from mcp_operator.rollout.reading import Facts, fingerprint, read
from mcp_operator.rollout.state import State
from mcp_operator.rollout.timing import Timing, read_timings
from mcp_operator.rollout.tracing import Traced, changes_at, trace
from mcp_operator.rollout.transitions import transitions
from mcp_operator.rollout.troubles import find_troubles


def evaluate(observation: Observation, previous: State | None) -> State:
    """Decide how a server is.

    Args:
        observation: all that is known now; its objects may be of slightly different ages, as watches deliver them.
        previous: the state that the last evaluation came to (or that `restore` read); None for a server never seen before.
    """
    facts = read(observation, previous)
    authored = attribute(observation, previous)
    course = credit(advance(facts, previous), facts, observation, previous, authored)
    troubles = find_troubles(observation, facts, course.operation)
    if observation.observes is not None:
        troubles = tuple(replace(trouble, message=for_observed(trouble.message)) for trouble in troubles)
    traced = trace(troubles, previous.causes if previous else (), facts)
    verdict = decide(observation, facts, course, traced)
    noticed, again = notice(observation.warnings, facts.instances, previous.noticed if previous else (), now=facts.now)
    timings = _timings(facts, course)
    disturbed = bool(traced.active) or facts.paused or verdict.status is Status.FAILED
    return State(
        server=observation.name,
        uid=observation.uid,
        generation=facts.generation,
        status=verdict.status,
        reason=verdict.reason,
        message=verdict.message,
        counts=facts.counts,
        conditions=conditions(facts, verdict, observation.applied, previous, observes=observation.observes),
        target=course.target,
        operation=course.operation,
        ended=course.ended,
        last_operations=_last_operations(course, previous, facts),
        untold=_untold(course, previous),
        causes=traced.active,
        recovered=traced.recovered,
        revision=facts.revision,
        revisions=by_revision(facts.instances, facts.revision),
        timings=timings,
        remaining_seconds=None if disturbed else _remaining(course, timings, facts, observation.paces),
        deadline_seconds=facts.deadline_seconds,
        work_left=course.work_left,
        paused=facts.paused,
        due=_due(facts, course, traced, again),
        noticed=noticed,
        authored=spent(authored, course, previous),
        labels=observation.labels,
        fingerprint=fingerprint(observation),
    )


def _last_operations(course: Course, previous: State | None, facts: Facts) -> tuple[EndedOperation, ...]:
    ended = [
        EndedOperation(
            id=each.operation.id,
            outcome=each.outcome,
            percent=each.operation.percent,
            ended_at=facts.now,
            kind=each.operation.kind,
            desired=each.desired,
        )
        for each in reversed(course.ended)
    ]
    return (*ended, *(previous.last_operations if previous else ()))[:LAST_OPERATIONS]


def _untold(course: Course, previous: State | None) -> tuple[str, ...]:
    before = previous.untold if previous is not None and previous.restored else ()
    new = transitions(previous.operation if previous else None, course.ended, course.operation)
    return (*before, *new)[-MOST_UNTOLD:]


def _timings(facts: Facts, course: Course) -> tuple[Timing, ...]:
    if course.operation is None and not course.ended:
        return ()
    return read_timings(facts.instances, min_ready_seconds=facts.min_ready_seconds, now=facts.now)


def _remaining(course: Course, timings: tuple[Timing, ...], facts: Facts, paces: Paces) -> int | None:
    """How long the open operation will still take, where earlier ones of its shape tell."""
    operation, target = course.operation, course.target
    if operation is None or target is None:
        return None
    shape = shape_of(operation.kind, before=operation.before, desired=target.desired)
    if (pace := paces.get(shape)) is None:
        return None
    return remaining_seconds(pace, shape, timings, revision=facts.revision, desired=target.desired - facts.kept, now=facts.now)


def _due(facts: Facts, course: Course, traced: Traced, again: datetime | None) -> datetime | None:
    """The next moment at which time alone changes something; `again`: at which a warning may be told."""
    moments = [*changes_at(traced, facts), *([again] if again else [])]
    min_ready = timedelta(seconds=facts.min_ready_seconds)
    moments += [instance.ready_since + min_ready for instance in facts.instances if instance.ready_since]
    if course.operation and not facts.paused:
        moments.append(overdue_at(course.operation, deadline_seconds=facts.deadline_seconds))
    return min((moment for moment in moments if moment > facts.now), default=None)
