"""From two states to what is told about the step between them. Called by `cluster`, after each evaluation."""

from collections.abc import Iterator

from mcp_operator.model.events import Event, Payload, ProgressPayload, StatusPayload
from mcp_operator.model.operations import EndedOperation, Operation, OperationKind, Outcome
from mcp_operator.model.statuses import Condition, Status
from mcp_operator.rollout.state import State
from mcp_operator.rollout.transitions import end_of, parse, start_of
from mcp_operator.rollout.workloads import digest


def tell(previous: State | None, current: State) -> tuple[Event, ...]:
    """The events to append to the log, in order: the end of an operation, the status, warnings of Kubernetes, the progress of the
    open operation.

    The first state after a restart is told whether or not it differs from what the status told, because the log may have gone
    with the process; what does differ happened while the operator was away, and is late. So are starts and ends of operations
    that were persisted, and perhaps not told before the process ended; they have the keys that they had.
    """
    return tuple(_events(previous, current))


def _events(previous: State | None, current: State) -> Iterator[Event]:
    was_away = previous is not None and previous.restored
    if previous is not None and previous.restored:
        yield from _again(previous, current)
    for ended in current.ended:
        if previous is None or previous.operation is None or previous.operation.id != ended.operation.id:
            begun = ended.operation.model_copy(update={"percent": 0})  # nobody has seen it open
            payload = _progress(current, begun, desired=ended.desired)
            yield _event(current, start_of(ended.operation.id), payload, late=was_away)
        payload = _progress(current, ended.operation, desired=ended.desired, outcome=ended.outcome)
        yield _event(current, end_of(ended.operation.id, ended.outcome), payload, late=was_away)
    differs = previous is None or _worth_telling(previous, current)
    if differs or was_away:
        version = _digest(current, current.status, current.reason, current.counts, current.by, *_standing(current))
        yield _event(current, f"status/{version}", _status(previous, current), late=differs and was_away)
    known = previous.noticed if previous else ()
    for noticed in (each for each in current.noticed if each not in known):
        yield _event(current, f"kubernetes/{noticed.uid}/{noticed.payload.count}", noticed.payload, late=was_away)
    if current.operation is None:
        return
    progress = _progress(current, current.operation, desired=current.counts.desired)
    if previous is None or previous.operation is None or previous.operation.id != current.operation.id:
        yield _event(current, start_of(current.operation.id), progress, late=was_away)
    elif was_away or _lasting(progress) != _lasting(_progress(previous, previous.operation, desired=previous.counts.desired)):
        version = _digest(current, progress.percent, current.counts)
        late = was_away and progress.percent != previous.operation.percent
        yield _event(current, f"{current.operation.id}/{progress.percent}/{version}", progress, late=late)


def _again(restored: State, current: State) -> Iterator[Event]:
    """Starts and ends that the operator before a restart persisted and may not have come to tell."""
    ended = {each.id: each for each in restored.last_operations}
    for transition in restored.untold:
        operation, is_start = parse(transition)
        if is_start and restored.operation is not None and restored.operation.id == operation:
            begun = _progress(current, restored.operation, desired=current.counts.desired)
            yield _event(current, transition, begun, late=True)
        elif (end := ended.get(operation)) is not None and end.kind is not None:
            yield _event(current, transition, _recalled(current, end, end.kind, is_start=is_start), late=True)


def _recalled(current: State, end: EndedOperation, kind: OperationKind, *, is_start: bool) -> ProgressPayload:
    """The start or the end of an operation that is over, as far as the status tells: how many instances there are is by now, and
    so is the percent of its start, which may have been told or persisted by any operator before and must not fall.
    """
    operation = Operation(
        id=end.id,
        kind=kind,
        percent=end.percent,
        started_at=end.ended_at,
        progressed_at=end.ended_at,
        base_work=0,
    )
    return _progress(current, operation, desired=end.desired, outcome=None if is_start else end.outcome)


def _worth_telling(previous: State, current: State) -> bool:
    """Whether the status differs in more than the wording or the numbers of its messages.

    Labels are not in it, but streams choose by them: one that has become interested gets to know of the server.
    """
    if not previous.restored and _unwritten(previous) != _unwritten(current):
        return True
    return _essence(previous) != _essence(current)


def _unwritten(state: State) -> tuple[object, ...]:
    """What a status in the API doesn't tell: what terminates, among others."""
    return (state.counts, state.revision, state.labels)


def _event(state: State, transition: str, payload: Payload, *, late: bool) -> Event:
    return Event(server=state.server, uid=state.uid, key=f"{state.uid}/{transition}", payload=payload, late=late)


def _progress(state: State, operation: Operation, *, desired: int, outcome: Outcome | None = None) -> ProgressPayload:
    counts = state.counts
    is_open = state.operation is not None and state.operation.id == operation.id
    stalled = is_open and state.status is Status.FAILED
    return ProgressPayload(
        operation=operation.id,
        kind=operation.kind,
        percent=operation.percent,
        outcome=outcome,
        stalled_since=operation.progressed_at if stalled else None,
        remaining_seconds=state.remaining_seconds if is_open else None,
        desired=desired,
        updated=counts.updated,
        ready=counts.ready,
        available=counts.available,
        old=counts.old,
        terminating=counts.terminating,
        deadline_seconds=state.deadline_seconds,
        revisions=state.revisions,
    )


def _lasting(progress: ProgressPayload) -> ProgressPayload:
    """What of it is worth an event; what changes by time alone isn't."""
    return progress.model_copy(update={"remaining_seconds": None})


def _status(previous: State | None, current: State) -> StatusPayload:
    counts = current.counts
    return StatusPayload(
        status=current.status,
        generation=current.generation,
        instances=counts.ready,
        desired=counts.desired,
        updated=counts.updated,
        available=counts.available,
        terminating=counts.terminating,
        reason=current.reason,
        message=current.message,
        revision=current.revision,
        operation=current.operation.id if current.operation else None,
        by=current.by,
        causes=(*(active.cause for active in current.causes), *current.recovered),
        conditions=_changed(previous, current),
    )


def _changed(previous: State | None, current: State) -> tuple[Condition, ...]:
    """The conditions whose status or reason is another than before; a new count in a message doesn't make a condition new."""

    def changed(condition: Condition) -> bool:
        before = previous.condition(condition.type) if previous else None
        return before is None or (before.status, before.reason) != (condition.status, condition.reason)

    return tuple(condition for condition in current.conditions if changed(condition))


def _essence(state: State) -> tuple[object, ...]:
    counts = state.counts
    return (
        (state.generation, state.status, state.reason, state.operation.id if state.operation else None),
        (counts.desired, counts.replicas, counts.updated, counts.ready, counts.available),
        # A probe that fails may end its container later: then there is an exit code to tell, and lines.
        {(active.cause.id, active.cause.exit_code is None) for active in state.causes},
        state.operation.by if state.operation else None,
        _standing(state),
    )


def _standing(state: State) -> tuple[tuple[str, str, str], ...]:
    """The conditions without their wording and times; always in the same order."""
    return tuple((condition.type, condition.status, condition.reason) for condition in state.conditions)


def _digest(state: State, *parts: object) -> str:
    """Tells apart what is told of different versions of a server's objects, and what time alone made of one version."""
    return digest([state.fingerprint, repr(parts), sorted(active.cause.id for active in state.causes)])
