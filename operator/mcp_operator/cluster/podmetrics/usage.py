"""What pods use and may use: PodMetrics as metrics.k8s.io lists them, and limits as pods have them. No I/O."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

from mcp_operator.cluster.podmetrics.quantities import read_quantity
from mcp_operator.cluster.podmetrics.readings import Limits, Usage
from mcp_operator.model.base import Object

_DURATION = re.compile(r"(?=.)(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,6}(?:\.\d{1,9})?)s)?", re.ASCII)
"""As Go writes times of seconds to hours: 1m0.5s."""


def read_usages(answer: object) -> dict[str, Usage]:
    """The usage of each pod in a list of PodMetrics, by the pod's name; containers are summed, as `kubectl top pod` does.

    A pod whose figures can't be read is left out, as one that has none.

    Raises:
        ValueError: it is no list of objects, whatever answered.
    """
    items = answer.get("items", ...) if isinstance(answer, dict) else ...
    if not (items is None or isinstance(items, list)):
        raise ValueError("the answer is not a list of PodMetrics")
    usages: dict[str, Usage] = {}
    for item in items or ():
        try:
            usages[str(item["metadata"]["name"])] = _usage(item)
        except (KeyError, TypeError, ValueError):
            continue
    return usages


def limits_of(pod: Object) -> Limits:
    """What a pod may use: its own limits, else those of the containers that run all its life together."""
    return Limits(cpu=_limit(pod["spec"], "cpu"), memory=_limit(pod["spec"], "memory"))


def _usage(item: Object) -> Usage:
    containers = item["containers"]
    cpu = [read_quantity(container["usage"]["cpu"]) for container in containers]
    memory = [read_quantity(container["usage"]["memory"]) for container in containers]
    if not cpu or min(cpu) < 0 or min(memory) < 0:
        raise ValueError("no usage")
    return Usage(
        cpu=sum(cpu, start=Decimal(0)),
        memory=int(sum(memory, start=Decimal(0))),
        measured_at=_time(item.get("timestamp")),
        window_seconds=_seconds(item.get("window")),
    )


def _time(value: object) -> datetime | None:
    """An RFC 3339 time; None for anything else."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        return time.astimezone(UTC) if time is not None and time.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _seconds(value: object) -> float | None:
    """A duration of Go; None for anything else."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    hours, minutes, seconds = match.groups(default="0")
    return round(3600 * int(hours) + 60 * int(minutes) + float(seconds), 3)


def _limit(spec: Object, resource: str) -> Decimal | None:
    of_pod = _limit_of(spec, resource)
    if of_pod is not None:
        return of_pod
    # A sidecar is an init container that is restarted for ever (KEP-753); the other ones have ended.
    sidecars = [container for container in spec.get("initContainers") or () if container.get("restartPolicy") == "Always"]
    limits = [_limit_of(container, resource) for container in [*spec["containers"], *sidecars]]
    known = [limit for limit in limits if limit is not None]
    return sum(known, start=Decimal(0)) if len(known) == len(limits) else None


def _limit_of(part: Object, resource: str) -> Decimal | None:
    """The limit of a pod or of a container; 0 is none, as for the kernel."""
    try:
        limit = read_quantity(part["resources"]["limits"][resource])
    except (KeyError, TypeError, ValueError):
        return None
    return limit if limit > 0 else None
