"""Causes: troubles that have a beginning and an end.

A trouble that shows for the first time begins a cause; more instances with the same trouble only raise its count. That it stops
showing isn't its end: a crashed container runs for a moment before it crashes again. A cause ends when each instance that had
it has been ready for a while, is gone, or belongs to a revision that is no longer wanted. That an instance was taken away (by a
drain, for instance) is over when the server is whole again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from mcp_operator.model.causes import Cause, CauseState
from mcp_operator.rollout.losing import LOST_SECONDS, is_whole
from mcp_operator.rollout.probing import slow_at
from mcp_operator.rollout.reading import Facts
from mcp_operator.rollout.state import ActiveCause
from mcp_operator.rollout.troubles import Trouble, Urgency

LASTING_SECONDS = 10
"""After this time a trouble that could have been momentary (a refusal by quota or admission) needs a person."""

_MOST_CAUSES = 20


@dataclass(frozen=True, slots=True)
class Traced:
    """The causes after an evaluation."""

    active: tuple[ActiveCause, ...] = ()
    recovered: tuple[Cause, ...] = ()


def trace(troubles: Iterable[Trouble], before: Iterable[ActiveCause], facts: Facts) -> Traced:
    """Continue the causes of the evaluation before with the troubles of this one."""
    known = {active.cause.id: active for active in before}
    unproven = {instance.name: instance.revision for instance in facts.unsettled}
    showing: dict[str, list[Trouble]] = {}
    for trouble in troubles:
        showing.setdefault(trouble.cause, []).append(trouble)
    active = [_continue(group, known.get(cause), unproven, facts.now) for cause, group in showing.items()]
    recovered = []
    for cause, earlier in known.items():
        if cause in showing:
            continue
        # In the order of the instances' age; of the cause's revision, for a later one may have an instance of the same name.
        remaining = [
            name for name, revision in unproven.items() if name in earlier.instances and revision == earlier.cause.revision
        ]
        if earlier.takes_instance and not remaining and _is_missed(earlier, facts):
            active.append(replace(earlier, present=False))
        elif remaining:
            lingering = earlier.cause.model_copy(update={"instance": remaining[0], "count": len(remaining)})
            active.append(ActiveCause(lingering, frozenset(remaining), present=False))
        else:
            recovered.append(earlier.cause.model_copy(update={"state": CauseState.RECOVERED}))
    return Traced(tuple(active[:_MOST_CAUSES]), tuple(recovered))


def changes_at(traced: Traced, facts: Facts) -> tuple[datetime, ...]:
    """The moments at which time alone may change a cause: an instance has proved itself, a trouble has lasted, a start has
    become a slow one."""
    settling = timedelta(seconds=facts.settling_seconds)
    affected = frozenset().union(*(active.instances for active in traced.active))
    lost = affected - {each.name for each in facts.instances}
    proofs = [each.ready_since + settling for each in facts.unsettled if each.ready_since and (lost or each.name in affected)]
    lasts = [active.cause.since + timedelta(seconds=LASTING_SECONDS) for active in traced.active if not active.blocking]
    losses = [active.cause.since + timedelta(seconds=LOST_SECONDS) for active in traced.active if active.instances & lost]
    slow = [moment for each in facts.unsettled for moment in slow_at(each.pod)]
    return (*proofs, *lasts, *losses, *slow)


def _is_missed(lost: ActiveCause, facts: Facts) -> bool:
    """Whether an instance that was taken away has yet to be replaced."""
    recent = facts.now - lost.cause.since < timedelta(seconds=LOST_SECONDS)
    return recent and lost.cause.revision == facts.revision and not facts.going and not is_whole(facts)


def _continue(group: list[Trouble], earlier: ActiveCause | None, unproven: Mapping[str, str], now: datetime) -> ActiveCause:
    first = group[0]
    since = earlier.cause.since if earlier else now
    names = {trouble.instance for trouble in group if trouble.instance}
    lasted = now - since >= timedelta(seconds=LASTING_SECONDS)
    blocking = any(trouble.urgency is Urgency.PERSON or (trouble.urgency is Urgency.LASTS and lasted) for trouble in group)
    cause = Cause(
        id=first.cause,
        reason=first.reason,
        message=first.message,
        instance=first.instance,
        container=first.container,
        revision=first.revision,
        exit_code=first.exit_code,
        signal=first.signal,
        count=max(len(names), 1),
        since=since,
    )
    still_unproven = {name for name in earlier.instances if name in unproven} if earlier else set()
    went_on = earlier is not None and earlier.present and earlier.blocking
    takes_instance = any(trouble.takes_instance for trouble in group)
    return ActiveCause(cause, frozenset(names | still_unproven), blocking=blocking or went_on, takes_instance=takes_instance)
