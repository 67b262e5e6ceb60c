"""What the event log in memory weighs after a million events of 100 servers, against a plain list of the same JSON.

Each is filled in a fresh process; the process's resident memory before and after tells what it came to. The list holds the JSON
of as many of the newest events as the log has kept, and nothing that would find one of them.
"""

from __future__ import annotations

import gc
import os
import platform
import resource
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from local_cluster.progress import step
from mcp_operator.eventlog.encoding import encode
from mcp_operator.eventlog.log import EventId
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.settings import Settings
from tests.bench.figures import Figure, Peer, Spread
from tests.bench.mixing import MIX, SERVERS, mixed
from tests.bench.running import Lab

EVENTS = 1_000_000
_ROUNDS = 2
"""Memory hardly differs between two runs of the same program."""
_SECONDS = 600.0
_WARM_UP = 200
"""Events that are made before anything is measured: they load what is loaded on first use."""


def measure(lab: Lab) -> Sequence[Figure]:
    logs, lists = [], []
    for number in range(1, _ROUNDS + 1):
        with step(f"memory: {EVENTS:,} events into the log, round {number} of {_ROUNDS}"):
            logs.append(lab.apart("memory", seconds=_SECONDS, events=EVENTS))
        with step(f"memory: the same into a list, round {number} of {_ROUNDS}"):
            lists.append(lab.apart("memory", seconds=_SECONDS, events=EVENTS, kept=logs[-1]["held"]))
    return figures(logs, lists)


def figures(logs: Sequence[Mapping[str, Any]], lists: Sequence[Mapping[str, Any]]) -> Sequence[Figure]:
    """From what the probes returned, one of each a round."""
    held = sum(logs[-1]["held"].values())
    length = lists[-1]["bytes"] / sum(lists[-1]["held"].values())
    conditions = (
        f"Python {logs[-1]['python']}, default bounds, {EVENTS:,} events of {SERVERS} servers ({MIX}), {held:,} of them held, "
        f"{length:.0f} bytes of JSON each"
    )
    peer = "a list of the same JSON"

    def compared(name: str, unit: str, value: Callable[[Mapping[str, Any]], float]) -> Figure:
        ours, theirs = [value(each) for each in logs], [value(each) for each in lists]
        against = Peer.compared(peer, ours=ours, theirs=theirs)
        return Figure(name=name, value=Spread.of(ours).median, unit=unit, peer=against, conditions=conditions)

    return (
        compared("memory after 1 million events", "MiB", lambda each: _growth(each) / 2**20),
        compared("memory per retained event", "bytes", lambda each: _growth(each) / sum(each["held"].values())),
    )


def _growth(probed: Mapping[str, Any]) -> float:
    return float(probed["after"] - probed["before"])


async def probe(*, events: int, kept: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Fill the log, or a list of the newest events of each type, in this process.

    Args:
        kept: how many of each type the list holds.
    """
    fill = _fill_log if kept is None else partial(_fill_list, kept=kept)
    await fill(_WARM_UP)
    before = _resident()
    content, held, size = await fill(events)
    after = _resident()
    del content  # only now: it had to live until it was measured
    return {"before": before, "after": after, "held": held, "bytes": size, "python": platform.python_version()}


async def _fill_log(events: int) -> tuple[object, dict[str, int], int]:
    settings = Settings()
    log = MemoryLog(capacity=settings.log_events, capacity_bytes=settings.log_bytes)
    for event in mixed(events):
        await log.append(event)
    return log, {str(type_): held for type_, held in log.statistics().held.items()}, 0


async def _fill_list(events: int, *, kept: Mapping[str, int]) -> tuple[object, dict[str, int], int]:
    newest: dict[str, deque[bytes]] = {type_: deque(maxlen=most) for type_, most in kept.items()}
    for number, event in enumerate(mixed(events), start=1):
        newest[event.type].append(encode(event, event_id=EventId("e1c2e98b33", number), time=datetime.now(UTC)))
    content = [data for each in newest.values() for data in each]
    return content, {type_: len(each) for type_, each in newest.items()}, sum(len(data) for data in content)


def _resident() -> int:
    """Bytes of this process in memory (proc(5): statm counts pages)."""
    gc.collect()
    pages = int(Path(f"/proc/{os.getpid()}/statm").read_text().split()[1])
    return pages * resource.getpagesize()
