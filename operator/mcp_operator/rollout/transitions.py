"""Starts and ends of operations, by the names that they have in the keys of events and in the MCPServer's status.

A subscriber drops by its key what it was told twice, and a restarted operator reads in the status which of them it may not have
told: both need one name for one transition. Called by `evaluating` and `telling`.
"""

from collections.abc import Iterator, Sequence

from mcp_operator.model.operations import Operation, Outcome
from mcp_operator.rollout.state import Ended

_STARTED = "started"


def start_of(operation: str) -> str:
    """The start of the operation with this id."""
    return f"{operation}/{_STARTED}"


def end_of(operation: str, outcome: Outcome) -> str:
    """The end of the operation with this id."""
    return f"{operation}/{outcome}"


def parse(transition: str) -> tuple[str, bool]:
    """The operation's id, and whether it is its start."""
    operation, _, word = transition.rpartition("/")
    return operation, word == _STARTED


def transitions(before: Operation | None, ended: Sequence[Ended], now: Operation | None) -> Iterator[str]:
    """What began and ended between two evaluations, in its order.

    Args:
        before: the operation that was open.
        ended: those that have ended since, among them some that nobody has seen open.
        now: the operation that is open.
    """
    known = before.id if before else None
    for each in ended:
        if each.operation.id != known:
            yield start_of(each.operation.id)
        yield end_of(each.operation.id, each.outcome)
    if now is not None and now.id != known:
        yield start_of(now.id)
