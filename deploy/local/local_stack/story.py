"""The demo's story: the steps that a server goes through, found again in the recorded event stream alone.

`demo` acts and waits until a step shows in the recording; the closing table is computed from the same recording. Nothing here
knows what kubectl said: a step that the stream doesn't tell has not happened.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

EventJson: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One step of the story; it ends with the first event after which `told` is true of the step's events."""

    title: str
    told: Callable[[Sequence[EventJson]], bool]


@dataclass(frozen=True)
class Chapter:
    """A step with the events that belong to it, in order; `complete` when its end was told."""

    step: Step
    events: tuple[EventJson, ...]
    complete: bool
    cause: str | None
    """The first cause that this step is the first to tell, with its message."""

    @property
    def seconds(self) -> float:
        """From the step's first event to the one that ends it."""
        if not self.events:
            return 0.0
        first, last = (datetime.fromisoformat(self.events[i]["time"]) for i in (0, -1))
        return (last - first).total_seconds()

    @property
    def counts(self) -> Counter[str]:
        return Counter(event["type"] for event in self.events)

    @property
    def percents(self) -> list[int]:
        """The distinct percents told, in order."""
        return list(dict.fromkeys(event["percent"] for event in self.events if event["type"] == "progress"))


def chapters(steps: Sequence[Step], events: Iterable[EventJson]) -> list[Chapter]:
    """Cut the events into the story's steps; what comes after the last step belongs to none."""
    remaining = iter(events)
    known: set[str] = set()
    result = []
    for step in steps:
        taken: list[EventJson] = []
        complete = False
        for event in remaining:
            taken.append(event)
            if step.told(taken):
                complete = True
                break
        new = [cause for event in taken for cause in event.get("causes", ()) if cause["id"] not in known]
        known.update(cause["id"] for cause in new)
        first = f"{new[0]['reason']}: {new[0]['message']}" if new else None
        result.append(Chapter(step, tuple(taken), complete, first))
    return result


def _last(events: Sequence[EventJson], **expected: object) -> bool:
    return all(events[-1].get(field) == value for field, value in expected.items())


def _running(events: Sequence[EventJson], *, after: str, desired: int) -> bool:
    """The newest event says running, and an operation of that kind has succeeded within the step."""
    succeeded = any(
        event["type"] == "progress" and event["kind"] == after and event["outcome"] == "succeeded" for event in events
    )
    return succeeded and _last(events, type="status", status="running", desired=desired, instances=desired)


def _called(events: Sequence[EventJson]) -> bool:
    """The newest event is the line that the server printed when a client called its tool."""
    return _last(events, type="log", msg="request") and (events[-1]["fields"] or {}).get("method") == "tools/call"


def _measured(events: Sequence[EventJson]) -> bool:
    """The newest event has every figure of the server."""
    figures = ("cpu", "memory", "requests")
    return _last(events, type="metrics") and all(events[-1][figure] is not None for figure in figures)


def _cause_told(events: Sequence[EventJson]) -> bool:
    return any(cause["state"] == "active" for cause in events[-1].get("causes", ()))


def _repaired(events: Sequence[EventJson]) -> bool:
    return _running(events, after="rollout", desired=3) and all(c["state"] != "active" for c in events[-1]["causes"])


STORY = (
    Step("create", lambda events: _last(events, type="status", status="deploying")),
    Step("ready", lambda events: _running(events, after="rollout", desired=1)),
    Step("log lines", _called),
    Step("metrics", _measured),
    Step("scale 1 to 3", lambda events: _running(events, after="scale", desired=3)),
    Step("new image", lambda events: _running(events, after="rollout", desired=3)),
    Step("broken image", _cause_told),
    Step("repair", _repaired),
    Step("delete", lambda events: _last(events, type="status", status="deleted")),
)
