"""What is wrong right now, classified: one trouble per instance and container that has one, and those of the server as a whole.

Reasons are Kubernetes' own words. Where Kubernetes alternates between two words for one trouble (ErrImagePull and
ImagePullBackOff, Error and CrashLoopBackOff), one of them stands for both, so that it is told once. `tracing` makes causes of
troubles, which have a beginning and an end.
"""

import re
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from typing import Any

from mcp_operator.model.base import Object
from mcp_operator.model.operations import InstanceStep, Operation
from mcp_operator.rollout.curing import ROOT_CURE, cure_of_crash, explain_refusal
from mcp_operator.rollout.instances import NEVER_RAN, Instance, conditions_of, parse_time, spec_of
from mcp_operator.rollout.losing import Loss, losses
from mcp_operator.rollout.observation import Applied, Observation
from mcp_operator.rollout.probing import FailedProbe, failing, gated, killed_by
from mcp_operator.rollout.progressing import overdue_at
from mcp_operator.rollout.reading import TARGET_FORBIDDEN, Facts
from mcp_operator.rollout.warned import by_subject, in_order, message_of, newest, seen_at
from mcp_operator.rollout.wording import tidy, word_of
from mcp_operator.rollout.workloads import Workload, digest

RESTARTS_OF_A_LOOP = 3
"""From this restart on, a container that keeps ending needs a person."""

_IMAGE_PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"})
_STILL_STARTING = frozenset({"ContainerCreating", "PodInitializing"})
_OF_AN_END = frozenset({"", "CrashLoopBackOff", "RunContainerError", "PostStartHookError", *_STILL_STARTING})
"""What a container waits for because of how it ended; what else it waits for is a trouble of its own."""
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

_RETRIED_SECONDS = 1500
"""Controllers try again after 1,000 seconds at the latest, and warn at least every 300 as long as they fail."""

_MISSING_OBJECT = re.compile(r'(configmap|secret|persistentvolumeclaim) "[^"]*" not found')

_FORBIDDEN_POD = re.compile(r'pods "[^"]*" is forbidden')


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
    takes_instance: bool = False
    """The instance doesn't come back: another has to take its place."""

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
    if facts.forbidden:
        return (*refusals, Trouble(reason=TARGET_FORBIDDEN, message=facts.forbidden, urgency=Urgency.LASTS))
    if not facts.wanted:
        return refusals
    about = by_subject(observation.warnings)
    of_instances = tuple(
        replace(trouble, instance=instance.name, revision=instance.revision)
        for instance in facts.unsettled
        for trouble in _instance_troubles(instance, about.get(instance.uid, ()), facts)
    )
    creation = _creation_troubles(observation, about, facts)
    special = (*refusals, *of_instances, *creation, *map(_loss, losses(observation.pods, facts)))
    if operation is None or not _is_overdue(facts, operation):
        return special
    why = special[0].message if special else _failing_probe(about, facts)
    return (*special, _overdue(facts, operation, why))


def _refusal(applied: Applied) -> Trouble:
    reason, message = word_of(applied.reason, otherwise="Refused"), tidy(applied.message or "the Deployment can't be applied")
    never_heals = reason.startswith("Invalid") or reason == "ForeignObject"
    return Trouble(reason=reason, message=message, detail=message, urgency=Urgency.PERSON if never_heals else Urgency.LASTS)


def _instance_troubles(instance: Instance, about: Sequence[Object], facts: Facts) -> Iterator[Trouble]:
    """The troubles of one instance; `about`: the warnings about its pod."""
    conditions, status = conditions_of(instance.pod), instance.pod.get("status", {})
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        message = tidy(scheduled.get("message") or "no node takes the pod")
        yield Trouble(
            reason=word_of(scheduled.get("reason"), otherwise="Unschedulable"),
            message=message,
            urgency=Urgency.PERSON if _MISSING_OBJECT.search(message) else Urgency.HEALS,
        )
    if instance.step in _BEFORE_ITS_CONTAINERS and conditions.get("PodReadyToStartContainers", {}).get("status") != "True":
        yield from _volume_troubles(about)
    if _node_is_silent(conditions, status):
        node = instance.pod.get("spec", {}).get("nodeName")
        yield Trouble(
            reason="NodeNotReady", message=f"node {node} doesn't answer: how the instance is isn't known", urgency=Urgency.HEALS
        )
        return
    init_containers = instance.pod.get("spec", {}).get("initContainers") or ()
    sidecars = {container["name"] for container in init_containers if container.get("restartPolicy") == "Always"}
    for container in status.get("initContainerStatuses") or ():
        once = container["name"] not in sidecars
        yield from _container_troubles(
            instance.pod, container, about, facts, once=once, what="init container" if once else "container"
        )
    for container in status.get("containerStatuses") or ():
        yield from _container_troubles(instance.pod, container, about, facts, once=False, what="container")
    gate = gated(instance.pod, now=facts.now)
    if gate is not None:
        yield Trouble(reason=gate.reason, message=gate.message, urgency=Urgency.HEALS)


def _node_is_silent(conditions: Mapping[str, Object], status: Object) -> bool:
    """Whether the node controller has marked the pod because its kubelet says nothing: it changes nothing but Ready."""
    ready = conditions.get("Ready", {})
    containers = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    as_kubelet_left_it = bool(containers) and all(container.get("ready") for container in containers)
    return as_kubelet_left_it and ready.get("status") in ("False", "Unknown") and not ready.get("reason")


def _container_troubles(
    pod: Object, container: Object, about: Sequence[Object], facts: Facts, *, once: bool, what: str
) -> Iterator[Trouble]:
    """The troubles of one container.

    Args:
        about: the warnings about the pod.
        once: it is meant to run to its end, as init containers are.
        what: what messages call it.
    """
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
    elif ended and reason in _OF_AN_END and not (once and ended.get("exitCode") == 0) and not _is_past(pod, container, facts):
        spec = spec_of(pod, name)
        cure = cure_of_crash(spec, ended.get("message") or "")
        limited = "resources" not in spec or "memory" in (spec["resources"].get("limits") or {})
        yield _crash(container, ended, killed_by(pod, container, ended, about), what=what, cure=cure, limited=limited)
    elif reason and reason not in _STILL_STARTING:
        word = word_of(reason, otherwise="ContainerWaiting")
        yield Trouble(container=name, reason=word, message=said or word, urgency=Urgency.LASTS)
    probe = failing(pod, container, about, now=facts.now)
    if probe is not None:
        message = f"{what} {name} isn't ready: {probe.message}"
        yield Trouble(container=name, reason=probe.reason, message=message, urgency=Urgency.HEALS)


def _is_past(pod: Object, container: Object, facts: Facts) -> bool:
    """Whether the container has run again for long, and been ready, since it ended."""
    running, ready = container.get("state", {}).get("running") or {}, conditions_of(pod).get("Ready", {})
    if not running.get("startedAt") or ready.get("status") == "True" or not ready.get("lastTransitionTime"):
        return False
    proved = parse_time(running["startedAt"]) + timedelta(seconds=facts.settling_seconds)
    if container.get("ready") and proved <= facts.now:
        return True  # another container keeps the pod from being ready
    return parse_time(ready["lastTransitionTime"]) >= proved


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
        message = f"{message}; {ROOT_CURE}"
    wrong = _CONFIGURATION_IS_WRONG.search(message)
    return Trouble(
        container=container,
        reason="CreateContainerConfigError",
        message=message,
        detail=message,
        urgency=Urgency.PERSON if wrong else Urgency.LASTS,
    )


def _crash(
    container: Object, ended: Mapping[str, Any], probe: FailedProbe | None, *, what: str, cure: str, limited: bool
) -> Trouble:
    """A container that ended and is started again: a loop only from the third restart on, but the same cause from the first.

    Args:
        probe: the one for which kubelet ended it.
        what: what the message calls it.
        cure: what may be done about it.
        limited: it has a memory limit.
    """
    name, exit_code = f"{what} {container['name']}", int(ended.get("exitCode", 0))
    killed_by = _signal_of(exit_code)
    if ended.get("reason") in NEVER_RAN:
        reason, message = "RunContainerError", f"{name} can't be run: {ended.get('message') or ended['reason']}"
    elif ended.get("reason") == "OOMKilled":
        reason, message = "OOMKilled", _out_of_memory(name, exit_code, limited=limited)
    elif probe is not None:
        reason, message = probe.reason, f"{name} was ended by kubelet: {probe.message}"
    else:
        reason, message = "CrashLoopBackOff", f"{name} exited with code {exit_code}"
        message += f" ({killed_by.name})" if killed_by else ""
        message += f"; {cure}" if cure else ""
    return Trouble(
        container=container["name"],
        reason=reason,
        message=tidy(message),
        exit_code=exit_code,
        signal=killed_by,
        urgency=Urgency.PERSON if container.get("restartCount", 0) >= RESTARTS_OF_A_LOOP else Urgency.HEALS,
    )


def _out_of_memory(name: str, exit_code: int, *, limited: bool) -> str:
    """What happened: the kernel kills one process, mostly the container's own; without a limit the node had no memory left."""
    why = "it used more memory than its limit" if limited else "memory ran out, and it has no limit of its own"
    if exit_code == 128 + signal.SIGKILL:
        return f"{name} was killed: {why}"
    return f"a process of {name} was killed: {why}; then it exited with code {exit_code}"


def _signal_of(exit_code: int) -> signal.Signals | None:
    """The signal that an exit code above 128 stands for, by the convention of shells and container runtimes."""
    return next((each for each in signal.Signals if each == exit_code - 128), None)


def _volume_troubles(about: Iterable[Object]) -> Iterator[Trouble]:
    told = {warning["reason"]: warning for warning in in_order(about) if warning.get("reason") in _VOLUME_WARNINGS}
    for reason, warning in told.items():
        message = message_of(warning) or reason
        missing = _MISSING_OBJECT.search(message)
        yield Trouble(
            reason=reason,
            message=message,
            detail=missing.group() if missing else "",
            urgency=Urgency.PERSON if missing else Urgency.HEALS,
        )


def _creation_troubles(observation: Observation, about: Mapping[str, Sequence[Object]], facts: Facts) -> Iterator[Trouble]:
    """Pods, or the ReplicaSet, that the API server refuses: quota, Pod Security, admission, a missing service account."""
    for replica_set in observation.replica_sets:
        failure = conditions_of(replica_set).get("ReplicaFailure", {})
        is_current = replica_set["metadata"].get("labels", {}).get("pod-template-hash") == facts.revision
        if is_current and failure.get("status") == "True":
            yield _refused(failure, replica_set["spec"].get("template") or {}, facts, otherwise="FailedCreate")
    progressing = facts.workload.conditions.get("Progressing", {}) if facts.workload and facts.workload.observed else {}
    if progressing.get("status") == "False" and progressing.get("reason") == "ReplicaSetCreateError":
        yield _refused(progressing, {}, facts, otherwise="ReplicaSetCreateError")
    if facts.workload is not None:
        yield from _refused_creation(facts.workload, about.get(facts.workload.uid, ()), facts)


def _refused(condition: Object, template: Object, facts: Facts, *, otherwise: str) -> Trouble:
    reason = word_of(condition.get("reason"), otherwise=otherwise)
    message = _FORBIDDEN_POD.sub("pods are forbidden", explain_refusal(condition.get("message") or reason, template))
    return Trouble(reason=reason, message=tidy(message), revision=facts.revision, urgency=Urgency.LASTS)


def _loss(loss: Loss) -> Trouble:
    return Trouble(
        reason=loss.reason,
        message=loss.message,
        instance=loss.instance,
        revision=loss.revision,
        urgency=Urgency.HEALS,
        takes_instance=True,
    )


def _refused_creation(workload: Workload, about: Iterable[Object], facts: Facts) -> Iterator[Trouble]:
    """Pods of a StatefulSet that the API server refuses. It has no condition for that: only its warnings say so, and they stay.

    One counts while instances are missing, and none has been created since.
    """
    if not workload.in_place or len(facts.instances) >= workload.replicas:
        return
    told = newest(each for each in about if each.get("reason") == "FailedCreate")
    seen = seen_at(told) if told is not None else None
    created = [parse_time(each.pod["metadata"]["creationTimestamp"]) for each in facts.instances]
    if told is None or seen is None or any(seen < each for each in created):
        return
    if facts.now - seen > timedelta(seconds=_RETRIED_SECONDS):
        return
    said = re.sub(r"^[Cc]reate Pod \S+ in StatefulSet \S+ failed error: ", "", message_of(told) or "FailedCreate")
    said = _FORBIDDEN_POD.sub("pods are forbidden", said)
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


def _failing_probe(about: Mapping[str, Sequence[Object]], facts: Facts) -> str:
    """What kubelet last said of a probe of an instance that isn't ready; empty if nothing."""
    warnings = (each for instance in facts.unsettled for each in about.get(instance.uid, ()))
    told = newest(each for each in warnings if each.get("reason") == "Unhealthy")
    return message_of(told) if told else ""
