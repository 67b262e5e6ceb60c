"""Who changed what a server shall be, read from the managed fields of its MCPServer. Called by the evaluator.

The API server notes for each field under which name it was written last (`metadata.managedFields`), and when that manager wrote
last; entries of the scale subresource have no time, and who removes a field leaves no trace. So a change is put down to a manager
only if it owns what changed and has written since the last look; else nobody is named. Seen on Kubernetes 1.36: `kubectl scale`
and autoscalers write entries of the scale subresource, as kubectl and kube-controller-manager; `kubectl rollout undo` of a
restart owns nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from mcp_operator.model.authors import Author, AuthorKind
from mcp_operator.model.base import Object
from mcp_operator.model.operations import Operation, OperationKind
from mcp_operator.rollout.autoscalers import decided
from mcp_operator.rollout.instances import REVISION_LABEL
from mcp_operator.rollout.observation import Observation
from mcp_operator.rollout.progressing import Course
from mcp_operator.rollout.reading import Facts
from mcp_operator.rollout.state import Authored, State
from mcp_operator.rollout.wording import tidy

_COUNT = frozenset({"replicas", "suspend"})
_TEMPLATE = frozenset({"template", "updateStrategy"})
"""Of a workload; a lower partition of a StatefulSet is a rollout, too."""
_NO_TEMPLATE = _COUNT | {"logs", "metrics", "service"}

_OPERATOR = "mcp-operator"
_AUTOSCALER = "kube-controller-manager"
_ROLLOUT = "kubectl-rollout"
"""Of `kubectl rollout`: restart, undo, pause and resume."""

_KINDS: Mapping[str, AuthorKind] = {
    "kubectl": AuthorKind.APPLY,
    "kubectl-client-side-apply": AuthorKind.APPLY,
    "kubectl-create": AuthorKind.CREATE,
    "kubectl-edit": AuthorKind.EDIT,
    "kubectl-patch": AuthorKind.PATCH,
    "kubectl-set": AuthorKind.SET,
    _ROLLOUT: AuthorKind.RESTART,
    "mcp-operator-cli": AuthorKind.RESTART,
    "helm": AuthorKind.HELM,
    "argocd-controller": AuthorKind.ARGO_CD,
    "argocd-application-controller": AuthorKind.ARGO_CD,
    "kustomize-controller": AuthorKind.FLUX,
    "helm-controller": AuthorKind.FLUX,
}


def attribute(observation: Observation, previous: State | None) -> Authored | None:
    """Who made the newest generation of what says how a server shall be: the MCPServer, or the workload that it names."""
    before = previous.authored if previous else None
    source = observation.server if observation.observes is None else observation.workload
    if source is None:
        return before
    version = (source["metadata"]["uid"], source["metadata"]["generation"])
    if before is not None and before.version == version:
        return before
    if before is not None and before.version[0] != version[0]:
        before = None
    spec, old = source["spec"], before.spec if before else {}
    changed = frozenset(field for field in {*spec, *old} if spec.get(field) != old.get(field))
    if before is None and _is_unchanged(previous, observation):
        changed = frozenset()
    pods = changed - _NO_TEMPLATE if observation.observes is None else changed & _TEMPLATE
    entries = tuple(entry for entry in source["metadata"].get("managedFields") or () if entry.get("subresource") != "status")
    found = Authored(
        version=version,
        spec=spec,
        managers=tuple(_identity(entry) for entry in entries),
        count=before.count if before else None,
        template=before.template if before else None,
    )
    known = before.managers if before else ()
    if changed & _COUNT:
        author = _author(changed & _COUNT, entries, known)
        count = author.model_copy(update={"from_": _wanted(old) if old else None, "to": _wanted(spec)}) if author else None
        found = replace(found, count=count)
    if pods:
        author = _author(pods, entries, known)
        known_before = bool(old) or version[1] == 1
        found = replace(found, template=_of_template(author, old, spec, images=known_before) if author else None)
    return found


def _is_unchanged(previous: State | None, observation: Observation) -> bool:
    """Whether the operator was away, and nobody has changed the MCPServer meanwhile."""
    if previous is None or not previous.restored or previous.target is None or observation.server is None:
        return False
    return observation.observes is None and previous.generation == observation.server["metadata"]["generation"]


def _of_template(author: Author, old: Object, spec: Object, *, images: bool) -> Author:
    """With the image before and now, if just one is another; `kubectl rollout` writes either a time of restart or old pods.

    Args:
        images: whether those before are known.
    """
    before, now = _images(old), _images(spec)
    changed = [name for name, image in now.items() if image != before.get(name)]
    told = {"from_": before.get(changed[0]), "to": now[changed[0]]} if images and len(changed) == 1 else {}
    restarts = _restarted_at(spec) not in (None, _restarted_at(old))
    undone = {"kind": AuthorKind.UNDO} if author.manager == _ROLLOUT and not restarts else {}
    return author.model_copy(update={**told, **undone})


def credit(course: Course, facts: Facts, observation: Observation, previous: State | None, authored: Authored | None) -> Course:
    """Say who started the open operation, or gave it another target, and who started those that began and ended at once."""
    before = previous.operation if previous else None

    def credited(operation: Operation) -> Operation:
        by = operation.by
        if before is None or before.id != operation.id:
            by = _starter(operation, facts, observation, previous, authored)
        elif _is_retargeted(operation, course, previous):
            first = before.by.from_ if before.by else previous.target.desired if previous and previous.target else None
            by = _counting(authored, from_=first, to=facts.wanted)
        if by is not None and by.kind in (AuthorKind.HPA, AuthorKind.KEDA):
            by = decided(by, observation.autoscalers)
        return operation if by == operation.by else operation.model_copy(update={"by": by})

    return replace(
        course,
        operation=credited(course.operation) if course.operation else None,
        ended=tuple(replace(ended, operation=credited(ended.operation)) for ended in course.ended),
    )


def spent(authored: Authored | None, course: Course, previous: State | None) -> Authored | None:
    """The authors without whoever began a rollout just now: a later one that nobody has asked for isn't theirs."""
    before = previous.operation if previous else None
    operations = (course.operation, *(ended.operation for ended in course.ended))
    begun = any(each and each.kind is OperationKind.ROLLOUT and (before is None or each.id != before.id) for each in operations)
    return replace(authored, template=None) if authored and begun else authored


def _is_retargeted(operation: Operation, course: Course, previous: State | None) -> bool:
    if operation.kind is not OperationKind.SCALE or course.operation is not operation:
        return False
    before = previous.target if previous else None
    return before is not None and course.target is not None and before.desired != course.target.desired


def author_of_count(managed: Object) -> Author | None:
    """Who set the number of instances in an object, if one manager alone did."""
    return _author(frozenset({"replicas"}), managed["metadata"].get("managedFields") or (), ())


def _writer_of_pods(observation: Observation) -> Author | None:
    """Who wrote the pod template of the server's own Deployment last, if that wasn't the operator."""
    if observation.observes is not None or observation.workload is None:
        return None
    author = _author(_TEMPLATE, observation.workload["metadata"].get("managedFields") or (), ())
    return None if author is None or author.manager == _OPERATOR else author


def _starter(
    operation: Operation, facts: Facts, observation: Observation, previous: State | None, authored: Authored | None
) -> Author | None:
    desired = facts.target.desired if facts.target else facts.wanted
    if operation.kind is OperationKind.SCALE:
        workload, from_ = facts.workload, previous.target.desired if previous and previous.target else None
        if workload is not None and from_ == desired != workload.replicas and observation.workload is not None:
            by_hand = author_of_count(observation.workload)
            return by_hand.model_copy(update={"from_": desired, "to": workload.replicas}) if by_hand else None
        return _counting(authored, from_=from_, to=desired)
    author = authored.template if authored else None
    if (behind_our_back := _writer_of_pods(observation)) is not None:
        return behind_our_back
    if _is_back(observation.replica_sets, facts.revision):
        return (author or Author(kind=AuthorKind.UNDO)).model_copy(update={"kind": AuthorKind.UNDO})
    return author


def _counting(authored: Authored | None, *, from_: int | str | None, to: int) -> Author | None:
    author = authored.count if authored else None
    return author.model_copy(update={"from_": from_, "to": to}) if author else None


def _is_back(replica_sets: Iterable[Object], revision: str | None) -> bool:
    """Whether the template is that of an earlier ReplicaSet: one that is newer exists."""
    made = {each["metadata"].get("labels", {}).get(REVISION_LABEL): _made(each) for each in replica_sets}
    return revision in made and any(when > made[revision] for when in made.values())


def _made(replica_set: Object) -> str:
    made: str = replica_set["metadata"].get("creationTimestamp") or ""
    return made


def _author(fields: frozenset[str], entries: Iterable[Object], known: tuple[tuple[str | None, ...], ...]) -> Author | None:
    """The one manager that owns any of these fields of the spec and has written since; of several the one that wrote last."""
    owners = [entry for entry in entries if any(f"f:{field}" in _owned(entry) for field in fields)]
    fresh = [entry for entry in owners if not entry.get("time") or _identity(entry) not in known]
    if not fresh or (len(fresh) > 1 and not all(entry.get("time") for entry in fresh)):
        return None
    entry = max(fresh, key=lambda each: each.get("time") or "")
    if sum(each.get("time") == entry.get("time") for each in fresh) > 1:
        return None
    manager = tidy(entry.get("manager") or "")
    operation = entry.get("operation")
    return Author(
        kind=_kind(manager, entry),
        manager=manager[:1024] or None,
        operation=operation if operation in ("Apply", "Update") else None,
    )


def _kind(manager: str, entry: Object) -> AuthorKind:
    if entry.get("subresource") == "scale":
        return AuthorKind.HPA if manager == _AUTOSCALER else AuthorKind.SCALE
    return _KINDS.get(manager, AuthorKind.OTHER)


def _owned(entry: Object) -> Mapping[str, Any]:
    return (entry.get("fieldsV1") or {}).get("f:spec") or {}


def _identity(entry: Object) -> tuple[str | None, ...]:
    return tuple(entry.get(field) for field in ("manager", "operation", "subresource", "time"))


def _images(spec: Mapping[str, Any]) -> Mapping[str, str | None]:
    """The images of an MCPServer's or a workload's spec, by their containers."""
    if "template" not in spec:
        return {"": spec.get("image")}
    return {each["name"]: each.get("image") for each in spec["template"].get("spec", {}).get("containers") or ()}


def _restarted_at(spec: Mapping[str, Any]) -> str | None:
    annotations = spec.get("template", {}).get("metadata", {}).get("annotations") or {}
    time: str | None = annotations.get("kubectl.kubernetes.io/restartedAt")
    return time


def _wanted(spec: Mapping[str, Any]) -> int:
    return 0 if spec.get("suspend") else int(spec.get("replicas", 1))
