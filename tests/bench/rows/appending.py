"""What it costs to encode an event and to append it to the log, by type, against `json.dumps` of the same object.

CPU time of one thread, so that what else runs on the machine disturbs it little. Appending includes encoding. The events are made
before; the log is at its bound, so that each append also evicts, as it does in an operator that has run for a while.
"""

from __future__ import annotations

import gc
import json
import platform
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any, TypeAlias, TypeVar

from local_cluster.progress import step
from mcp_operator.eventlog.encoding import encode
from mcp_operator.eventlog.log import EventId
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.model.events import Event
from tests.bench.figures import ROUNDS, Figure, Peer, Spread
from tests.bench.mixing import MIX, OF_TYPE, mixed
from tests.bench.running import Lab

_EVENTS = 2000
"""Events of one type in a round."""
_CAPACITY = 2000
"""Of each type."""
_SECONDS = 300.0

_ID = EventId("e1c2e98b33", 123_456)
_TIME = datetime(2026, 11, 23, 9, tzinfo=UTC)

T = TypeVar("T")

Costs: TypeAlias = dict[str, dict[str, list[float]]]
"""What -> by which way (append, encode, dumps) -> microseconds per event, one value a round."""


def measure(lab: Lab) -> Sequence[Figure]:
    with step(f"appending: {ROUNDS} rounds of {_EVENTS:,} events of each type"):
        probed = lab.apart("appending", seconds=_SECONDS, rounds=ROUNDS, events=_EVENTS)
    return figures(probed["costs"], python=probed["python"])


def figures(costs: Costs, *, python: str) -> Sequence[Figure]:
    """Of each type the cost of encoding and appending; of the mix how many go through a second."""
    conditions = f"Python {python}, CPU time"
    found = []
    for what, ways in costs.items():
        if what == "mix":
            continue
        for way, name in (("encode", "encode"), ("append", "encode and append")):
            peer = Peer.compared("json.dumps", ours=ways[way], theirs=ways["dumps"])
            found.append(
                Figure(name=f"{name} a {what} event", value=median(ways[way]), unit="µs", peer=peer, conditions=conditions)
            )
    rates = [1e6 / cost for cost in costs["mix"]["append"]]
    found.append(
        Figure(
            name="events appended a second, on one core",
            value=median(rates),
            unit="/s",
            spread=Spread.of(rates),
            conditions=f"{conditions}, {MIX}",
        )
    )
    return found


async def probe(*, rounds: int, events: int) -> dict[str, Any]:
    """Time each way in turn, round by round."""
    stories = {str(type_): [make(number) for number in range(events)] for type_, make in OF_TYPE.items()}
    stories["mix"] = list(mixed(events))
    objects = {what: [json.loads(_encode(event)) for event in story] for what, story in stories.items()}
    costs: Costs = {what: {"append": [], "encode": [], "dumps": []} for what in stories}
    log = MemoryLog(capacity=_CAPACITY)
    for story in stories.values():  # fills the log to its bound, and loads what is loaded on first use
        await _append(log, story)
    gc.freeze()  # else each collection would look through the stories, which no operator holds
    for _ in range(rounds):
        for what, story in stories.items():
            costs[what]["encode"].append(_cost(_encode, story))
            costs[what]["dumps"].append(_cost(_dump, objects[what]))
            costs[what]["append"].append(await _append(log, story))
    return {"costs": costs, "python": platform.python_version()}


def _encode(event: Event) -> bytes:
    return encode(event, event_id=_ID, time=_TIME)


def _dump(value: object) -> bytes:
    """As sparing as the log's own JSON, but without a look at what is in the texts."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _cost(work: Callable[[T], bytes], of: Sequence[T]) -> float:
    """Microseconds of CPU for each."""
    begin = time.thread_time_ns()
    for each in of:
        work(each)
    return (time.thread_time_ns() - begin) / 1e3 / len(of)


async def _append(log: MemoryLog, story: Sequence[Event]) -> float:
    """Microseconds of CPU for each."""
    begin = time.thread_time_ns()
    for event in story:
        await log.append(event)
    return (time.thread_time_ns() - begin) / 1e3 / len(story)
