"""Operations: when one starts, what becomes of it, and how far it is.

Percent is measured in steps. Each wanted instance has six to take, from created to available; each instance that has to go has
one, its deletionTimestamp. The steps that are left are a pure function of the instances; what share of the steps at the start
they are is the percent. When the target moves within an operation, the percent that was reached stays, and the steps that are
left now spread over the rest.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from mcp_operator.model.operations import InstanceStep, Operation, OperationKind, Outcome, Target
from mcp_operator.model.workload_ref import WorkloadKind
from mcp_operator.rollout.instances import Instance, parse_time
from mcp_operator.rollout.reading import TARGET_FORBIDDEN, Facts, is_done
from mcp_operator.rollout.state import Ended, State
from mcp_operator.rollout.workloads import Workload

_STEPS_TAKEN: Mapping[InstanceStep, int] = {
    step: taken for taken, step in enumerate(InstanceStep, start=1) if step is not InstanceStep.TERMINATING
}

HIGHEST_OPEN_PERCENT = 99
"""What instances alone can reach: 100 comes only with the end, which the Deployment's status has to confirm."""


@dataclass(frozen=True, slots=True)
class Course:
    """Where a server is on its way."""

    target: Target | None = None
    operation: Operation | None = None
    ended: tuple[Ended, ...] = ()
    work_left: int | None = None
    """The fewest steps that were ever left to the open operation; None when none is open."""


def advance(facts: Facts, previous: State | None) -> Course:
    """Start, retarget, measure and end operations."""
    course = Course()
    if previous is not None:
        course = Course(target=previous.target, operation=previous.operation, work_left=previous.work_left)
    if facts.going or facts.missing:
        return _close(course, Outcome.CANCELLED)
    if facts.target is not None and facts.workload is not None:
        settled = is_done(facts.workload, facts.target, facts.counts) or _came_late(facts, facts.workload)
        if settled and _is_first_sight(previous):
            return Course(target=facts.target)  # The first sight of a server that is as it should be: nothing has happened.
        course = _redirect(course, facts.target, facts.workload, facts)
    course = _measure(course, facts, was_paused=previous is not None and previous.paused)
    return _close(course, Outcome.SUCCEEDED) if is_done(facts.workload, course.target, facts.counts) else course


def work_left(instances: Iterable[Instance], *, revision: str | None, desired: int, kept: int = 0) -> int:
    """Steps that are left until `desired` instances of this revision are available and all others are on their way out.

    Args:
        kept: so many instances of older revisions stay as well, in the place of new ones.
    """
    alive = [instance for instance in instances if not instance.terminating]
    taken = sorted((_STEPS_TAKEN[each.step] for each in alive if each.revision == revision), reverse=True)
    of_old = sorted((_STEPS_TAKEN[each.step] for each in alive if each.revision != revision), reverse=True)
    to_stay = taken[:desired]
    to_stay += of_old[: min(kept, desired - len(to_stay))]
    return len(_STEPS_TAKEN) * desired - sum(to_stay) + len(alive) - len(to_stay)


def percent_of(work: int, *, base_percent: int, base_work: int) -> int:
    """How far an operation is with so many steps left, when `base_work` were left at `base_percent`; at most 99."""
    if work <= 0 or base_work <= 0:
        return HIGHEST_OPEN_PERCENT
    done = max(base_work - work, 0)
    return base_percent + (HIGHEST_OPEN_PERCENT - base_percent) * done // base_work


def overdue_at(operation: Operation, *, deadline_seconds: int) -> datetime:
    """When the operation will have gone without progress for too long, unless an instance takes a step before."""
    return operation.progressed_at + timedelta(seconds=deadline_seconds)


def _redirect(course: Course, target: Target, workload: Workload, facts: Facts) -> Course:
    """Follow the target to where the Deployment is being led now."""
    before, operation = course.target, course.operation
    rolls = operation is not None and operation.kind is OperationKind.ROLLOUT
    new_template = before is None or target.template != before.template
    new_count = before is None or target.desired != before.desired
    if facts.suspended and operation is not None and new_count:
        return _open(_close(course, Outcome.CANCELLED), OperationKind.SCALE, target, workload, facts)
    # A new template that nothing runs and nothing shall run is no rollout: it is waiting for the next scale.
    if new_template and (target.desired > 0 or rolls):
        return _open(_close(course, Outcome.SUPERSEDED), OperationKind.ROLLOUT, target, workload, facts)
    if operation is None and not new_count and workload.in_place and facts.observed and facts.counts.old > facts.kept:
        # The same template, and yet there is more to replace: its partition was lowered, or OnDelete given up.
        return _open(course, OperationKind.ROLLOUT, target, workload, facts)
    if operation is None:
        # Somebody may have scaled the Deployment itself; instances come and go until it is put back.
        moves = new_count or workload.replicas != target.desired
        opened = _open(course, OperationKind.SCALE, target, workload, facts)
        return opened if moves and before is not None else replace(course, target=target)
    if not new_count:
        return replace(course, target=target)
    work = _work_left(facts, target)
    changes: dict[str, object] = {"base_percent": operation.percent, "base_work": work}
    if overdue_at(operation, deadline_seconds=facts.deadline_seconds) <= facts.now:
        changes["progressed_at"] = facts.now  # what was asked for in vain is asked for no longer
    rebased = operation.model_copy(update=changes)
    return replace(course, target=target, operation=rebased, work_left=work)


def _open(course: Course, kind: OperationKind, target: Target, workload: Workload, facts: Facts) -> Course:
    work = _work_left(facts, target)
    operation = Operation(
        id=f"{workload.uid}-{workload.generation}",
        kind=kind,
        percent=0,
        started_at=facts.now,
        progressed_at=facts.now,
        # Pods may have been seen before the Deployment that made them: the steps that they have taken belong to it.
        base_work=max(work, _whole_work(kind, course.target, target, facts)),
        before=_before(kind, course.target, facts),
    )
    return replace(course, target=target, operation=operation, work_left=work)


def _before(kind: OperationKind, before: Target | None, facts: Facts) -> int:
    """Instances that an operation begins from: a Deployment that is made anew has none, however many the old one had."""
    wanted = before.desired if before else 0
    return min(wanted, facts.counts.replicas) if kind is OperationKind.ROLLOUT else wanted


def _whole_work(kind: OperationKind, before: Target | None, target: Target, facts: Facts) -> int:
    """Steps of an operation from its very beginning, as far as the instances still tell."""
    each = len(_STEPS_TAKEN)
    if kind is OperationKind.ROLLOUT and before is not None and before.template == target.template:
        return 0  # what the instances have done was an earlier operation's
    if kind is OperationKind.ROLLOUT:
        old = sum(instance.revision != facts.revision for instance in facts.instances)
        return each * (target.desired - facts.kept) + old - facts.kept
    more = target.desired - (before.desired if before else 0)
    return each * more if more > 0 else -more


def _work_left(facts: Facts, target: Target) -> int:
    return work_left(facts.instances, revision=facts.revision, desired=target.desired, kept=facts.kept)


def _is_first_sight(previous: State | None) -> bool:
    """Whether nothing was known of the workload, and not because there was none."""
    return previous is None or (previous.target is None and previous.reason == TARGET_FORBIDDEN)


def _came_late(facts: Facts, workload: Workload) -> bool:
    """Whether a workload seen for the first time had come to the end of its rollout long before, and has lost instances since."""
    is_paused_at_rest = workload.paused and facts.counts.available == workload.replicas
    was_complete = workload.was_complete or is_paused_at_rest  # a paused Deployment has forgotten to say so
    if not was_complete or facts.counts.replicas != workload.replicas or facts.counts.old:
        return False
    if workload.kind is WorkloadKind.DEPLOYMENT:
        return True
    # A StatefulSet doesn't tell its first rollout from a later trouble: one that is older than its deadline is no rollout.
    newest = max((parse_time(each.pod["metadata"]["creationTimestamp"]) for each in facts.instances), default=facts.now)
    return newest + timedelta(seconds=workload.deadline_seconds) <= facts.now


def _measure(course: Course, facts: Facts, *, was_paused: bool) -> Course:
    """How far the open operation is now: never less far than before, however instances come and go."""
    operation, target = course.operation, course.target
    if operation is None or target is None:
        return course
    work = _work_left(facts, target)
    fewest = work if course.work_left is None else min(work, course.work_left)
    percent = percent_of(fewest, base_percent=operation.base_percent, base_work=operation.base_work)
    changes: dict[str, object] = {}
    if percent > operation.percent:
        changes["percent"] = percent
    moved = changes or (course.work_left is not None and fewest < course.work_left)
    resumed = was_paused and not facts.paused
    if moved or resumed:
        changes["progressed_at"] = facts.now
    return replace(course, operation=operation.model_copy(update=changes), work_left=fewest)


def _close(course: Course, outcome: Outcome) -> Course:
    """End the open operation, if one is."""
    operation, target = course.operation, course.target
    if operation is None or target is None:
        return course
    if outcome is Outcome.SUCCEEDED:
        operation = operation.model_copy(update={"percent": 100})
    ended = Ended(operation, outcome, desired=target.desired)
    return Course(target=target, ended=(*course.ended, ended))
