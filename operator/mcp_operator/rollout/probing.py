"""What probes say of a container: that it fails one for longer than a start takes, or that kubelet ended it for that (or for its
postStart hook, which kubelet tells in the same way).

No status names a probe that fails: kubelet tells it in warnings ("Unhealthy"), of which it writes at most 25 about a pod in a
row, and then one in five minutes. So a warning's last time and the container's own state are read together. `troubles` calls
this.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mcp_operator.model.base import Object
from mcp_operator.rollout.instances import conditions_of, parse_time, spec_of
from mcp_operator.rollout.warned import count_of, first_seen_at, is_about, message_of, newest, seen_at
from mcp_operator.rollout.wording import tidy

HOOK_FAILED = "FailedPostStartHook"
"""Kubelet's warning that it ends a container because its postStart hook failed."""

SLOW_START_SECONDS = 60
"""For so long a container may fail its startup probe and merely be starting."""

_GATED = "ReadinessGatesNotReady"
_FAILED = re.compile(r"(Readiness|Liveness|Startup) probe (?:failed|errored)")
_FIELDS: Mapping[str, str] = {"Readiness": "readinessProbe", "Liveness": "livenessProbe", "Startup": "startupProbe"}
_KILLED = frozenset({137, 143})
_ROUNDING = timedelta(seconds=1)
"""Kubernetes' times have whole seconds."""
_TOLD_OF_A_SERIES = 20
"""So many failures in a row are told before kubelet's warnings about a pod are held back, at the latest."""
_GRACE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class FailedProbe:
    """A probe that a container doesn't pass."""

    reason: str
    """ReadinessProbeFailed, LivenessProbeFailed, StartupProbeFailed, PostStartHookError or ReadinessGatesNotReady."""
    message: str
    """What kubelet said last, or that it said nothing yet."""


def failing(pod: Object, container: Object, warnings: Sequence[Object], *, now: datetime) -> FailedProbe | None:
    """The probe that a running container fails although it had the time to pass it.

    Readiness: it failed for as long as the probe needs to give up, counted from the container's start, or after it had passed.
    Startup: for SLOW_START_SECONDS. A failing liveness probe ends the container, which `killed_by` tells.

    Args:
        container: its status.
        warnings: those about the pod.
    """
    began = _began(container)
    spec = spec_of(pod, container["name"])
    if began is None or container.get("ready"):
        return None
    if (hook := _failed_hook(container, warnings, since=began, until=now)) is not None:
        return hook
    if container.get("started") is False:
        if "startupProbe" not in spec or now < began + timedelta(seconds=SLOW_START_SECONDS):
            return None
        return _failed("Startup", container, warnings)
    probe = spec.get("readinessProbe")
    if probe is None:
        return None
    patience = began + _patience(probe)
    unready = conditions_of(pod).get("Ready", {})
    told = newest(_of("Readiness", container, warnings))
    seen = seen_at(told) if told else None
    failed_for_long = seen is not None and seen >= patience - _ROUNDING
    was_ready = unready.get("status") == "False" and _time(unready, "lastTransitionTime") >= patience
    return _failed("Readiness", container, warnings) if failed_for_long or was_ready else None


def killed_by(pod: Object, container: Object, ended: Mapping[str, Any], warnings: Sequence[Object]) -> FailedProbe | None:
    """The probe or hook for which kubelet ended a container's run; None if it ended for another reason.

    Args:
        ended: the end of the run, from the container's status.
    """
    spec = spec_of(pod, container["name"])
    if not ended.get("startedAt") or not ended.get("finishedAt") or ended.get("reason") == "OOMKilled":
        return None
    began, finished = parse_time(ended["startedAt"]), parse_time(ended["finishedAt"])
    if (hook := _failed_hook(container, warnings, since=began, until=finished)) is not None:
        return hook
    for name in ("Liveness", "Startup"):
        probe = spec.get(_FIELDS[name])
        told = _of(name, container, warnings)
        last = newest(told)
        seen = seen_at(last) if last else None
        if probe is None or seen is None or finished - began < _patience(probe) - _ROUNDING:
            continue
        grace = probe.get("terminationGracePeriodSeconds") or pod["spec"].get("terminationGracePeriodSeconds", _GRACE_SECONDS)
        until_the_end = finished - seen <= timedelta(seconds=grace + _period(probe)) + _ROUNDING
        in_a_row = sum(count_of(each) for each in told) >= min(_threshold(probe), _TOLD_OF_A_SERIES)
        if in_a_row and began - _ROUNDING <= seen and (until_the_end or ended.get("exitCode") in _KILLED):
            return _failed(name, container, told)
    return None


def gated(pod: Object, *, now: datetime) -> FailedProbe | None:
    """The readiness gate that has kept a pod from being ready, though its containers were, for SLOW_START_SECONDS."""
    since = _gated_since(pod)
    if since is None or now < since + timedelta(seconds=SLOW_START_SECONDS):
        return None
    said = tidy(conditions_of(pod)["Ready"].get("message") or "a readiness gate of the pod isn't True")
    return FailedProbe(_GATED, said)


def _failed_hook(container: Object, warnings: Iterable[Object], *, since: datetime, until: datetime) -> FailedProbe | None:
    """A postStart hook that failed within this time: kubelet then ends the container, which may take its whole grace period."""
    told = newest(each for each in warnings if each.get("reason") == HOOK_FAILED and is_about(each, container["name"]))
    seen = seen_at(told) if told is not None else None
    # Seen last in a later run is no objection: kubelet tells of a run's end after the next one's hook.
    warned = told and seen and first_seen_at(told) <= until + _ROUNDING and seen >= since - _ROUNDING
    if not warned and (container.get("state", {}).get("waiting") or {}).get("reason") != "PostStartHookError":
        return None
    return FailedProbe("PostStartHookError", "its postStart hook failed")


def slow_at(pod: Object) -> Iterable[datetime]:
    """The moments from which a pod that starts now starts slowly, with which time alone makes a trouble."""
    if (since := _gated_since(pod)) is not None:
        yield since + timedelta(seconds=SLOW_START_SECONDS)
    status = pod.get("status", {})
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        began = _began(container)
        if began is not None and container.get("started") is False and "startupProbe" in spec_of(pod, container["name"]):
            yield began + timedelta(seconds=SLOW_START_SECONDS)


def _gated_since(pod: Object) -> datetime | None:
    """Since when nothing but a readiness gate keeps the pod from being ready."""
    conditions = conditions_of(pod)
    ready, containers = conditions.get("Ready", {}), conditions.get("ContainersReady", {})
    if ready.get("reason") != _GATED or containers.get("status") != "True" or not containers.get("lastTransitionTime"):
        return None
    return max(_time(ready, "lastTransitionTime"), _time(containers, "lastTransitionTime"))


def _failed(name: str, container: Object, warnings: Iterable[Object]) -> FailedProbe:
    told = newest(_of(name, container, warnings))
    said = message_of(told) if told else f"{name} probe fails"
    return FailedProbe(f"{name}ProbeFailed", said)


def _of(name: str, container: Object, warnings: Iterable[Object]) -> list[Object]:
    """The warnings about a container's probe of this name."""
    unhealthy = (each for each in warnings if each.get("reason") == "Unhealthy" and is_about(each, container["name"]))
    found = ((each, _FAILED.match(message_of(each))) for each in unhealthy)
    return [each for each, match in found if match is not None and match.group(1) == name]


def _began(container: Object) -> datetime | None:
    """Since when it runs; None if it doesn't."""
    running = container.get("state", {}).get("running") or {}
    return parse_time(running["startedAt"]) if running.get("startedAt") else None


def _patience(probe: Mapping[str, Any]) -> timedelta:
    """From the container's start to the last of as many failures as the probe takes to give up."""
    return timedelta(seconds=probe.get("initialDelaySeconds", 0) + (_threshold(probe) - 1) * _period(probe))


def _period(probe: Mapping[str, Any]) -> int:
    return int(probe.get("periodSeconds", 10))


def _threshold(probe: Mapping[str, Any]) -> int:
    return int(probe.get("failureThreshold", 3))


def _time(condition: Object, field: str) -> datetime:
    return parse_time(condition[field])
