"""Which warnings of Kubernetes are told as they are: those of troubles that no cause stands for.

Called by the evaluator. A warning that a rule of `troubles` reads, or that says what a status says, is a cause's matter, whether
or not it has become one. What is left is told when it appears, and then at most once a minute with its new count.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from mcp_operator.model.base import Object
from mcp_operator.model.events import KubernetesPayload
from mcp_operator.rollout.instances import Instance, conditions_of
from mcp_operator.rollout.warned import count_of, in_order, message_of, seen_at, subject_of
from mcp_operator.rollout.wording import word_of

AGAIN_SECONDS = 60
"""So long after it was told, a warning's new count is told at the earliest."""

MOST_A_MINUTE = 20
"""Warnings told of one server within AGAIN_SECONDS; the next ones wait."""

_OF_CAUSES = frozenset(
    {
        *("FailedScheduling", "FailedCreate", "ReplicaSetCreateError", "Evicted", "NodeNotReady"),
        *("Failed", "BackOff", "InspectFailed", "ErrImageNeverPull", "FailedPostStartHook"),
    }
)
_BEFORE_CONTAINERS = frozenset({"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"})
"""A cause's as long as the pod has no containers yet; later a warning about a pod that runs."""


@dataclass(frozen=True, slots=True)
class Noticed:
    """A warning that was told, as it was told last."""

    uid: str
    """Of the Kubernetes Event."""
    payload: KubernetesPayload
    at: datetime


def notice(
    warnings: Iterable[Object], instances: Iterable[Instance], before: Iterable[Noticed], *, now: datetime
) -> tuple[tuple[Noticed, ...], datetime | None]:
    """What has been told of these warnings, now and before, and when time alone will have more of them told."""
    known = {noticed.uid: noticed for noticed in before}
    by_uid = {instance.uid: instance for instance in instances}
    recently = sorted(each.at for each in known.values() if now - each.at < timedelta(seconds=AGAIN_SECONDS))
    room = MOST_A_MINUTE - len(recently)
    # What was told within the last minute counts, even where it is no news any more.
    kept = {uid: noticed for uid, noticed in known.items() if _again(noticed) > now}
    due: list[datetime] = []
    for warning in _unexplained(warnings, by_uid):
        earlier = known.get(warning["metadata"]["uid"])
        payload = _payload(warning)
        if earlier is not None and (earlier.payload.count >= payload.count or _again(earlier) > now):
            kept[earlier.uid] = earlier
            due += [_again(earlier)] if earlier.payload.count < payload.count else []
        elif room > 0:
            room -= 1
            kept[warning["metadata"]["uid"]] = Noticed(warning["metadata"]["uid"], payload, now)
        else:
            kept |= {earlier.uid: earlier} if earlier is not None else {}
            due.append((recently[0] if recently else now) + timedelta(seconds=AGAIN_SECONDS))
    return tuple(kept.values()), min(due, default=None)


def _unexplained(warnings: Iterable[Object], instances: Mapping[str, Instance]) -> Iterator[Object]:
    """Those that no cause stands for, what was seen last at the end."""
    for warning in in_order(warnings):
        reason, instance = warning.get("reason"), instances.get(subject_of(warning))
        if reason in _OF_CAUSES:
            continue
        if reason in _BEFORE_CONTAINERS and (instance is None or not _has_sandbox(instance)):
            continue
        if reason == "Unhealthy" and (instance is None or not _fails_while_ready(instance, warning)):
            continue
        yield warning


def _has_sandbox(instance: Instance) -> bool:
    return conditions_of(instance.pod).get("PodReadyToStartContainers", {}).get("status") == "True"


def _fails_while_ready(instance: Instance, warning: Object) -> bool:
    """Whether a probe failed of an instance that had become ready, and is so still: not yet often enough to matter."""
    seen = seen_at(warning)
    return instance.ready_since is not None and seen is not None and seen > instance.ready_since


def _again(noticed: Noticed) -> datetime:
    return noticed.at + timedelta(seconds=AGAIN_SECONDS)


def _payload(warning: Object) -> KubernetesPayload:
    subject = warning.get("involvedObject", {})
    return KubernetesPayload(
        reason=word_of(warning.get("reason"), otherwise="Warning"),
        message=message_of(warning),
        kind=subject.get("kind") or "",
        name=subject.get("name") or "",
        count=count_of(warning),
    )
