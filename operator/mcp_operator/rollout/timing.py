"""When each instance reached which step: read from the pod's own timestamps, and from what the evaluator has seen.

`evaluating` reads the timings while an operation is open or ends; `estimating` and `recording` work with them. Kubernetes' times
are whole seconds. It keeps none for the end of an image pull: that is the moment of the evaluation that saw it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from mcp_operator.model.base import Object
from mcp_operator.model.operations import InstanceStep
from mcp_operator.model.records import Phases
from mcp_operator.rollout.instances import NEVER_RAN, Instance, conditions_of, parse_time


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """When an instance reached each step for the first time; None: not reached, or not known."""

    created: datetime
    scheduled: datetime | None = None
    pulled: datetime | None = None
    started: datetime | None = None
    ready: datetime | None = None
    available: datetime | None = None

    @property
    def latest(self) -> datetime:
        """When it took its last step so far."""
        known = (self.scheduled, self.pulled, self.started, self.ready, self.available)
        return max(self.created, *(time for time in known if time is not None)) if any(known) else self.created

    @property
    def seconds(self) -> float | None:
        """From its creation until it was available."""
        return None if self.available is None else _seconds(self.created, self.available)


@dataclass(frozen=True, slots=True)
class Timing:
    """One instance with its times."""

    name: str
    revision: str
    terminating: bool
    times: Times


def read_timings(instances: Iterable[Instance], *, min_ready_seconds: int, now: datetime) -> tuple[Timing, ...]:
    """The times of these instances, in their order."""
    return tuple(
        Timing(each.name, each.revision, each.terminating, _times(each, min_ready_seconds=min_ready_seconds, now=now))
        for each in instances
    )


def earliest(before: Times, after: Times) -> Times:
    """What two readings of one instance tell together: a container that starts again has started before."""
    known = {field.name: getattr(before, field.name) or getattr(after, field.name) for field in fields(Times)}
    return Times(**known)


def phases_of(times: Times) -> Phases:
    """The seconds between the steps that are known."""
    last, phases = times.created, {}
    for step in Phases.model_fields:
        reached: datetime | None = getattr(times, step)
        if reached is not None:
            phases[step] = _seconds(last, reached)
            last = max(last, reached)
    return Phases(**phases)


def times_from(created: datetime, phases: Phases) -> Times:
    """The way back from a record's phases."""
    last, times = created, {}
    for step in Phases.model_fields:
        seconds: float | None = getattr(phases, step)
        if seconds is not None:
            last += timedelta(seconds=seconds)
            times[step] = last
    return Times(created=created, **times)


def _seconds(begin: datetime, end: datetime) -> float:
    return round(max(0.0, (end - begin).total_seconds()), 3)


def _times(instance: Instance, *, min_ready_seconds: int, now: datetime) -> Times:
    pod = instance.pod
    conditions = conditions_of(pod)
    ready = _since(conditions.get("Ready", {}))
    available = None if ready is None else ready + timedelta(seconds=min_ready_seconds)
    return Times(
        created=parse_time(created) if (created := pod["metadata"].get("creationTimestamp")) else now,
        scheduled=_since(conditions.get("PodScheduled", {})),
        pulled=now if instance.step is InstanceStep.PULLED and _has_images(pod) else None,
        started=_started(pod),
        ready=ready,
        available=available if available is not None and (available <= now or not min_ready_seconds) else None,
    )


def _since(condition: Object) -> datetime | None:
    """Since when a condition is true."""
    since = condition.get("lastTransitionTime") if condition.get("status") == "True" else None
    return parse_time(since) if since else None


def _has_images(pod: Object) -> bool:
    return all(container.get("imageID") for container in pod.get("status", {}).get("containerStatuses") or ())


def _started(pod: Object) -> datetime | None:
    """When the last of its containers was started for the first time, as far as the pod still tells."""
    starts = [_first_start(container) for container in pod.get("status", {}).get("containerStatuses") or ()]
    known = [start for start in starts if start is not None]
    return max(known) if known and len(known) == len(starts) else None


def _first_start(container: Mapping[str, Any]) -> datetime | None:
    """The earliest start of a container that its status still tells of; what could never be run hasn't started."""
    ends = [state["terminated"] for key in ("lastState", "state") if (state := container.get(key) or {}).get("terminated")]
    runs = [end for end in ends if end.get("reason") not in NEVER_RAN]
    runs += [running] if (running := (container.get("state") or {}).get("running")) is not None else []
    starts = [parse_time(run["startedAt"]) for run in runs if run.get("startedAt")]
    return min(starts, default=None)
