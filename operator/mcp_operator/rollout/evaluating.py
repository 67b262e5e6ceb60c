"""From what the API server holds to what is so: the one function that decides how a server is.

`cluster` calls it whenever an object of the server changes, and when the last state said that time alone would change it.
"""

from datetime import datetime, timedelta

from mcp_operator.rollout.conditions import conditions
from mcp_operator.rollout.deciding import decide
from mcp_operator.rollout.instances import by_revision
from mcp_operator.rollout.observation import Observation
from mcp_operator.rollout.progressing import Course, advance, overdue_at
from mcp_operator.rollout.reading import Facts, fingerprint, read
from mcp_operator.rollout.state import State
from mcp_operator.rollout.tracing import Traced, changes_at, trace
from mcp_operator.rollout.troubles import find_troubles


def evaluate(observation: Observation, previous: State | None) -> State:
    """Decide how a server is.

    Args:
        observation: all that is known now; its objects may be of slightly different ages, as watches deliver them.
        previous: the state that the last evaluation came to (or that `restore` read); None for a server never seen before.
    """
    facts = read(observation, previous)
    course = advance(facts, previous)
    troubles = find_troubles(observation, facts, course.operation)
    traced = trace(troubles, previous.causes if previous else (), facts)
    verdict = decide(observation, facts, course, traced)
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
        causes=traced.active,
        recovered=traced.recovered,
        revision=facts.revision,
        revisions=by_revision(facts.instances, facts.revision),
        deadline_seconds=facts.deadline_seconds,
        work_left=course.work_left,
        paused=facts.paused,
        due=_due(facts, course, traced),
        labels=observation.labels,
        fingerprint=fingerprint(observation),
    )


def _due(facts: Facts, course: Course, traced: Traced) -> datetime | None:
    """The next moment at which time alone changes something."""
    moments = list(changes_at(traced, facts))
    min_ready = timedelta(seconds=facts.min_ready_seconds)
    moments += [instance.ready_since + min_ready for instance in facts.instances if instance.ready_since]
    if course.operation and not facts.paused:
        moments.append(overdue_at(course.operation, deadline_seconds=facts.deadline_seconds))
    return min((moment for moment in moments if moment > facts.now), default=None)
