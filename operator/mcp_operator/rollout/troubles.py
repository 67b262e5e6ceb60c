"""What is wrong right now, classified: one trouble per instance and container that has one, and those of the server as a whole.

Reasons are Kubernetes' own words. Where Kubernetes alternates between two words for one trouble (ErrImagePull and
ImagePullBackOff, Error and CrashLoopBackOff), one of them stands for both, so that it is told once. `tracing` makes causes of
troubles, which have a beginning and an end.
"""

import re
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from mcp_operator.model.base import Object
from mcp_operator.model.operations import InstanceStep, Operation
from mcp_operator.rollout.instances import NEVER_RAN, Instance, conditions_of
from mcp_operator.rollout.observation import Applied, Observation
from mcp_operator.rollout.progressing import overdue_at
from mcp_operator.rollout.reading import Facts
from mcp_operator.rollout.wording import tidy, word_of
from mcp_operator.rollout.workloads import digest

SETTLING_SECONDS = 10
"""How long an instance has to be ready before its trouble counts as over, where the server has no minReadySeconds."""

RESTARTS_OF_A_LOOP = 3
"""From this restart on, a container that keeps ending needs a person."""

_IMAGE_PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"})
_STILL_STARTING = frozenset({"ContainerCreating", "PodInitializing"})
_VOLUME_WARNINGS = frozenset({"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"})
_BEFORE_ITS_CONTAINERS = frozenset({InstanceStep.CREATED, InstanceStep.SCHEDULED})

# What registries and container runtimes answer when asking again won't help; a registry whose name no DNS server knows is one.
_REGISTRY_SAYS_NO = re.compile(
    r"not ?found|manifest unknown|does not exist|denied|unauthorized|forbidden|authorization failed|authentication required"
    r"|no basic auth|no such host|server misbehaving",
    re.IGNORECASE,
)
# What kubelet says when an object or key that a container refers to is missing, or its user isn't allowed.
_CONFIGURATION_IS_WRONG = re.compile(r"not found|couldn't find key|runAsNonRoot|invalid", re.IGNORECASE)

_MISSING_OBJECT = re.compile(r'(configmap|secret|persistentvolumeclaim) "[^"]*" not found')

_ROOT_CURE = (
    "give it a user by podTemplate: {spec: {securityContext: {runAsUser: 1000}}}, "
    "or let it be root by podTemplate: {spec: {securityContext: {runAsNonRoot: false}}}"
)


class Urgency(Enum):
    """Whether waiting may help."""

    HEALS = "it may heal by itself, and the deadline limits the waiting"
    LASTS = "it needs a person once it has lasted a while"
    PERSON = "it needs a person"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """Something is wrong now, with one instance or with the server as a whole."""

    reason: str
    message: str
    urgency: Urgency
    detail: str = ""
    """What tells it from another trouble of the same reason, free of counts, times and pod names."""
    instance: str | None = None
    container: str | None = None
    revision: str | None = None
    exit_code: int | None = None
    signal: int | None = None

    @property
    def cause(self) -> str:
        """Id of the cause that it belongs to: the same for each instance that has it, and whenever it comes back."""
        return digest([self.reason, self.container, self.revision, self.detail])


def find_troubles(observation: Observation, facts: Facts, operation: Operation | None) -> tuple[Trouble, ...]:
    """All that is wrong now with what the server is meant to become; older revisions are on their way out and don't count.

    The most specific ones come first: a failed operation is explained by the first that needs a person.
    """
    if facts.going:
        return ()
    refusals: tuple[Trouble, ...] = (_refusal(facts.refusal),) if facts.refusal else ()
    if facts.missing:
        refusals += (Trouble(reason="TargetNotFound", message=tidy(facts.missing), urgency=Urgency.LASTS),)
    if not facts.wanted:
        return refusals
    of_instances = tuple(
        replace(trouble, instance=instance.name, revision=instance.revision)
        for instance in unsettled(facts)
        for trouble in _instance_troubles(instance, observation.warnings)
    )
    special = (
        *refusals,
        *of_instances,
        *_creation_troubles(observation.replica_sets, facts),
        *_refused_creation(observation.warnings, facts),
    )
    if operation is None or not _is_overdue(facts, operation):
        return special
    why = special[0].message if special else _failing_probe(observation.warnings, facts)
    return (*special, _overdue(facts, operation, why))


def unsettled(facts: Facts) -> tuple[Instance, ...]:
    """Instances of the current revision that have yet to prove themselves by staying ready for a while.

    Of a StatefulSet those of older revisions, too: they stay below its partition, and one in trouble holds up all that follow.
    """
    in_place = facts.workload is not None and facts.workload.in_place
    return tuple(
        instance
        for instance in facts.instances
        if (in_place or instance.revision == facts.revision)
        and not instance.terminating
        and not instance.ready_for(settling_seconds(facts), now=facts.now)
    )


def settling_seconds(facts: Facts) -> int:
    """How long an instance of this server has to be ready before its trouble counts as over."""
    return facts.min_ready_seconds or SETTLING_SECONDS


def _refusal(applied: Applied) -> Trouble:
    reason, message = word_of(applied.reason, otherwise="Refused"), tidy(applied.message or "the Deployment can't be applied")
    never_heals = reason.startswith("Invalid") or reason == "ForeignObject"
    return Trouble(reason=reason, message=message, detail=message, urgency=Urgency.PERSON if never_heals else Urgency.LASTS)


def _instance_troubles(instance: Instance, warnings: Iterable[Object]) -> Iterator[Trouble]:
    conditions, status = conditions_of(instance.pod), instance.pod.get("status", {})
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        message = tidy(scheduled.get("message") or "no node takes the pod")
        yield Trouble(
            reason=word_of(scheduled.get("reason"), otherwise="Unschedulable"),
            message=message,
            urgency=Urgency.PERSON if _MISSING_OBJECT.search(message) else Urgency.HEALS,
        )
    about = [warning for warning in warnings if warning.get("involvedObject", {}).get("uid") == instance.uid]
    if instance.step in _BEFORE_ITS_CONTAINERS and conditions.get("PodReadyToStartContainers", {}).get("status") != "True":
        yield from _volume_troubles(about)
    probe = _latest(about, "Unhealthy")
    init_containers = instance.pod.get("spec", {}).get("initContainers") or ()
    sidecars = {container["name"] for container in init_containers if container.get("restartPolicy") == "Always"}
    for container in status.get("initContainerStatuses") or ():
        yield from _container_troubles(container, probe, once=container["name"] not in sidecars)
    for container in status.get("containerStatuses") or ():
        yield from _container_troubles(container, probe, once=False)


def _container_troubles(container: Object, probe: str, *, once: bool) -> Iterator[Trouble]:
    """The trouble of one container, if it has one; `once`: it is meant to run to its end, as init containers are."""
    state = container.get("state", {})
    waiting = state.get("waiting", {})
    reason, said = waiting.get("reason") or "", tidy(waiting.get("message") or "")
    ended = state.get("terminated") or container.get("lastState", {}).get("terminated")
    name = container["name"]
    if reason in _IMAGE_PULL:
        yield _image_pull(container, said, backs_off=reason == "ImagePullBackOff")
    elif reason in ("InvalidImageName", "ErrImageNeverPull"):
        yield Trouble(container=name, reason=reason, message=said or reason, urgency=Urgency.PERSON)
    elif reason == "CreateContainerConfigError":
        yield _configuration(name, said)
    elif ended and not (once and ended.get("exitCode") == 0):
        yield _crash(container, ended, probe)
    elif reason and reason not in _STILL_STARTING:
        word = word_of(reason, otherwise="ContainerWaiting")
        yield Trouble(container=name, reason=word, message=said or word, urgency=Urgency.LASTS)


def _image_pull(container: Object, said: str, *, backs_off: bool) -> Trouble:
    answer = re.sub(r'^(Back-off pulling image "[^"]*"(: )?)?(ErrImagePull: )?', "", said)
    message = f"image {container.get('image', '')} can't be pulled" + (f": {answer}" if answer else "")
    refused = backs_off and _REGISTRY_SAYS_NO.search(answer)
    return Trouble(
        container=container["name"],
        reason="ImagePullBackOff",
        message=tidy(message),
        urgency=Urgency.PERSON if refused else Urgency.HEALS,
    )


def _configuration(container: str, said: str) -> Trouble:
    message = re.sub(r' \(pod: "[^"]*", container: [^)]*\)', "", said)
    if "runAsNonRoot" in message:
        message = f"{message}; {_ROOT_CURE}"
    wrong = _CONFIGURATION_IS_WRONG.search(message)
    return Trouble(
        container=container,
        reason="CreateContainerConfigError",
        message=message,
        detail=message,
        urgency=Urgency.PERSON if wrong else Urgency.LASTS,
    )


def _crash(container: Object, ended: Mapping[str, Any], probe: str) -> Trouble:
    """A container that ended and is started again: a loop only from the third restart on, but the same cause from the first."""
    name, exit_code = container["name"], int(ended.get("exitCode", 0))
    killed_by = _signal_of(exit_code)
    if ended.get("reason") in NEVER_RAN:
        reason, message = "RunContainerError", f"container {name} can't be run: {ended.get('message') or ended['reason']}"
    elif ended.get("reason") == "OOMKilled":
        reason, message = "OOMKilled", f"container {name} was killed: it used more memory than its limit"
    else:
        reason, message = "CrashLoopBackOff", f"container {name} exited with code {exit_code}"
        message += f" ({killed_by.name})" if killed_by else ""
        message += f"; {probe}" if killed_by and probe else ""
    return Trouble(
        container=name,
        reason=reason,
        message=tidy(message),
        exit_code=exit_code,
        signal=killed_by,
        urgency=Urgency.PERSON if container.get("restartCount", 0) >= RESTARTS_OF_A_LOOP else Urgency.HEALS,
    )


def _signal_of(exit_code: int) -> signal.Signals | None:
    """The signal that an exit code above 128 stands for, by the convention of shells and container runtimes."""
    return next((each for each in signal.Signals if each == exit_code - 128), None)


def _volume_troubles(about: Iterable[Object]) -> Iterator[Trouble]:
    newest = {warning["reason"]: warning for warning in sorted(about, key=_seen) if warning.get("reason") in _VOLUME_WARNINGS}
    for reason, warning in newest.items():
        message = tidy(warning.get("message") or reason)
        missing = _MISSING_OBJECT.search(message)
        yield Trouble(
            reason=reason,
            message=message,
            detail=missing.group() if missing else "",
            urgency=Urgency.PERSON if missing else Urgency.HEALS,
        )


def _creation_troubles(replica_sets: Iterable[Object], facts: Facts) -> Iterator[Trouble]:
    """Pods that the API server refuses: quota, Pod Security, an admission webhook, a missing service account."""
    for replica_set in replica_sets:
        failure = conditions_of(replica_set).get("ReplicaFailure", {})
        is_current = replica_set["metadata"].get("labels", {}).get("pod-template-hash") == facts.revision
        if is_current and failure.get("status") == "True":
            reason = word_of(failure.get("reason"), otherwise="FailedCreate")
            message = re.sub(r'pods "[^"]*" is forbidden', "pods are forbidden", failure.get("message") or reason)
            yield Trouble(reason=reason, message=tidy(message), revision=facts.revision, urgency=Urgency.LASTS)


def _refused_creation(warnings: Iterable[Object], facts: Facts) -> Iterator[Trouble]:
    """Pods of a StatefulSet that the API server refuses. It has no condition for that: only its warnings say so, and they stay.

    One counts while instances are missing, and none has been created since.
    """
    workload = facts.workload
    if workload is None or not workload.in_place or len(facts.instances) >= workload.replicas:
        return
    about = [each for each in warnings if each.get("involvedObject", {}).get("uid") == workload.uid]
    newest = max((each for each in about if each.get("reason") == "FailedCreate"), key=_seen, default=None)
    created = max((each.pod["metadata"].get("creationTimestamp") or "" for each in facts.instances), default="")
    if newest is None or _seen(newest) < created:
        return
    said = re.sub(r"^[Cc]reate Pod \S+ in StatefulSet \S+ failed error: ", "", newest.get("message") or "FailedCreate")
    said = re.sub(r'pods "[^"]*" is forbidden', "pods are forbidden", said)
    yield Trouble(reason="FailedCreate", message=tidy(said), urgency=Urgency.LASTS)


def _is_overdue(facts: Facts, operation: Operation) -> bool:
    """Whether the deadline has passed, by the Deployment controller's clock or our own.

    The controller keeps none for a scale, nor for a rollout back to a template whose ReplicaSet still exists. There its word
    may be left over from the operation before: only what it said since this one began counts.
    """
    if facts.workload is None or facts.paused:
        return False
    said = facts.workload.deadline_exceeded_since
    began = operation.started_at.replace(microsecond=0)  # Kubernetes' times have whole seconds
    return (said is not None and said >= began) or overdue_at(operation, deadline_seconds=facts.deadline_seconds) <= facts.now


def _overdue(facts: Facts, operation: Operation, why: str) -> Trouble:
    counts = facts.counts
    message = f"no progress for {facts.deadline_seconds} s: {counts.available} of {counts.desired} instances are available"
    return Trouble(
        reason="ProgressDeadlineExceeded",
        message=tidy(f"{message}; {why}" if why else message),
        detail=operation.id,
        revision=facts.revision,
        urgency=Urgency.PERSON,
    )


def _failing_probe(warnings: Iterable[Object], facts: Facts) -> str:
    """What kubelet last said of a probe of an instance that isn't ready; empty if nothing."""
    uids = {instance.uid for instance in unsettled(facts)}
    return _latest((each for each in warnings if each.get("involvedObject", {}).get("uid") in uids), "Unhealthy")


def _latest(warnings: Iterable[Object], reason: str) -> str:
    """The message of the newest warning of this reason, empty without one."""
    newest = max((warning for warning in warnings if warning.get("reason") == reason), key=_seen, default=None)
    return tidy(newest.get("message") or "") if newest else ""


def _seen(warning: Object) -> str:
    """When it was last seen, in an order of text: Kubernetes writes all times in UTC and one form."""
    series = warning.get("series") or {}
    return series.get("lastObservedTime") or warning.get("lastTimestamp") or warning.get("eventTime") or ""
