"""Recorded stories: their form, and how the evaluator is taken through one.

A table is a list of moments. Each says what changed, and what was told:

    - at: 3.217                                 seconds since `began`
      seen:                                     objects as JSON merge patches (RFC 7386) to what was seen of them before
      - {kind: Pod, name: weather-7d4b9-x2x7q, spec: {nodeName: local}}
      gone: [Pod/weather-7d4b9-aaaaa]
      applied: {server_generation: 2, deployment_generation: 2}
      told: [rollout 33%]

A moment without a change is one at which time alone brought something about. Objects keep only what an evaluation reads.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from mcp_operator.cluster.objects import observed_by
from mcp_operator.model.causes import CauseState
from mcp_operator.model.events import Event, KubernetesPayload, ProgressPayload, StatusPayload
from mcp_operator.model.servers import ServerName
from mcp_operator.rollout.evaluating import evaluate
from mcp_operator.rollout.instances import REVISION_LABEL, STATEFUL_REVISION_LABEL
from mcp_operator.rollout.observation import Applied, Observation
from mcp_operator.rollout.state import State
from mcp_operator.rollout.telling import tell
from mcp_operator.rollout.workloads import digest

Json: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, str]

DIRECTORY = Path(__file__).parents[1] / "unit" / "rollout"


@dataclass
class Table:
    """One recorded story."""

    story: str
    recorded: str
    """On which Kubernetes."""
    began: datetime
    moments: list[Json] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "Table":
        raw = load(path)
        return cls(raw["story"], raw["recorded"], datetime.fromisoformat(raw["began"]), raw["moments"])

    def write(self, path: Path) -> None:
        raw = {
            "story": self.story,
            "recorded": self.recorded,
            "began": self.began.isoformat(),
            "moments": [{name: value for name, value in moment.items() if value or name == "at"} for moment in self.moments],
        }
        path.write_text(yaml.safe_dump(raw, sort_keys=False, default_flow_style=None, width=130, allow_unicode=True))


def load(path: Path) -> Any:
    """A YAML file, read the fast way where there is one."""
    return yaml.load(path.read_text(), yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader)  # noqa: S506 - both are safe loaders


class Replay:
    """The evaluator, taken through moments one by one."""

    def __init__(self, began: datetime) -> None:
        self.began = began
        self.objects: dict[Key, Json] = {}
        self.applied: Json | None = None
        self.state: State | None = None
        self.events: list[Event] = []
        """All that was told."""

    def take(self, moment: Mapping[str, Any]) -> list[str]:
        """Observe what changed, and say what is told of it."""
        for patch in moment.get("seen", ()):
            key = (patch["kind"], patch["name"])
            self.objects[key] = merged(self.objects.get(key, {}), patch)
        for each in moment.get("gone", ()):
            kind, _, name = each.partition("/")
            self.objects.pop((kind, name), None)
        self.applied = moment.get("applied", self.applied)
        observation = self.observation(self.began + timedelta(seconds=moment["at"]))
        state = evaluate(observation, self.state)
        told = tell(self.state, state)
        self.state = state
        self.events += told
        return [in_words(event) for event in told]

    def observation(self, now: datetime) -> Observation:
        server = next(self._of("MCPServer"), None)
        name = ServerName(self.state.server.namespace, self.state.server.name) if self.state else None
        uid = self.state.uid if self.state else ""
        if server is not None:
            name = ServerName(server["metadata"]["namespace"], server["metadata"]["name"])
            uid = server["metadata"]["uid"]
        assert name is not None, "a story begins with its server"
        return Observation(
            name=name,
            uid=uid,
            server=server,
            observes=observed_by(server),
            workload=next(self._of("StatefulSet"), None) or next(self._of("Deployment"), None),
            replica_sets=tuple(self._of("ReplicaSet")),
            pods=tuple(self._of("Pod")),
            warnings=tuple(self._of("Event")),
            applied=Applied(**self.applied) if self.applied else None,
            now=now,
        )

    def _of(self, kind: str) -> Iterator[Json]:
        return (each for (other, _), each in sorted(self.objects.items()) if other == kind)


def in_words(event: Event) -> str:
    """An event on one line: `status failed (ImagePullBackOff) 3/3, +ImagePullBackOff`, `rollout 57%`, `scale 100% succeeded`."""
    payload = event.payload
    if isinstance(payload, StatusPayload):
        words = f"status {payload.status} ({payload.reason}) {payload.instances}/{payload.desired}"
        words += f", {payload.terminating} terminating" if payload.terminating else ""
        marks = {CauseState.ACTIVE: "+", CauseState.RECOVERED: "-"}
        return words + "".join(f", {marks[cause.state]}{cause.reason}" for cause in payload.causes)
    if isinstance(payload, KubernetesPayload):
        return f"kubernetes {payload.reason} of {payload.kind}"
    assert isinstance(payload, ProgressPayload), "the evaluator tells of nothing else"
    return f"{payload.kind} {payload.percent}%" + (f" {payload.outcome}" if payload.outcome else "")


def patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> Json:
    """The merge patch that leads from one object to the other; empty if they are equal."""
    changes: Json = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := patch(old, value):
                changes[name] = inner
        elif value != old:
            changes[name] = value
    return changes


def merged(before: Mapping[str, Any], changes: Mapping[str, Any]) -> Json:
    """The object that a merge patch makes of another."""
    after = dict(before)
    for name, value in changes.items():
        if value is None:
            after.pop(name, None)
        elif isinstance(value, dict) and isinstance(before.get(name), dict):
            after[name] = merged(before[name], value)
        else:
            after[name] = value
    return after


# --- what is kept of an object ----------------------------------------------------------------------------------------------

_KEPT: Mapping[str, Iterable[str]] = {
    "MCPServer": ("spec.image", "spec.workloadRef", "spec.replicas", "spec.suspend", "spec.rollout.progressDeadlineSeconds"),
    "Deployment": (
        *(f"spec.{name}" for name in ("replicas", "paused", "strategy", "minReadySeconds", "progressDeadlineSeconds")),
        *("spec.template", "status"),
    ),
    "StatefulSet": (
        *(f"spec.{name}" for name in ("replicas", "updateStrategy", "minReadySeconds", "podManagementPolicy", "ordinals")),
        *("spec.template", "status"),
    ),
    "ReplicaSet": ("spec.replicas", "spec.template", "status.conditions"),
    "Pod": (
        *(f"spec.{name}" for name in ("nodeName", "terminationGracePeriodSeconds", "containers", "initContainers")),
        *(
            f"status.{name}"
            for name in ("phase", "reason", "message", "conditions", "initContainerStatuses", "containerStatuses")
        ),
    ),
    "Event": ("involvedObject", "reason", "message", "count", "series", "eventTime", "lastTimestamp"),
}
_METADATA = ("namespace", "name", "uid", "creationTimestamp", "deletionTimestamp")
_CONDITIONS = frozenset({"Progressing", "ReplicaFailure", "PodScheduled", "PodReadyToStartContainers", "Ready"})
_CONDITION = ("type", "status", "reason", "lastTransitionTime")
_EXPLAINED = frozenset({"ReplicaFailure", "PodScheduled"})
"""Conditions whose message is read."""
_CONTAINER = ("name", "image", "imageID", "state", "lastState", "restartCount", "started", "ready")
_CONTAINER_SPEC = ("name", "image", "restartPolicy", "ports", "startupProbe", "readinessProbe", "livenessProbe")


def trimmed(target: Mapping[str, Any]) -> Json:
    """What an evaluation reads of an object, with its kind and name in front."""
    kind, metadata = target["kind"], target["metadata"]
    kept: Json = {"kind": kind, "name": metadata["name"], "metadata": _fields(metadata, _METADATA)}
    if kind in ("MCPServer", "Deployment", "StatefulSet"):
        kept["metadata"]["generation"] = metadata["generation"]
    labels = metadata.get("labels", {})
    if revisions := _fields(labels, (REVISION_LABEL, STATEFUL_REVISION_LABEL)):
        kept["metadata"]["labels"] = revisions
    for path in _KEPT[kind]:
        *parents, name = path.split(".")
        source, place = target, kept
        for parent in parents:
            source = source.get(parent) or {}
            place = place.setdefault(parent, {})
        if name in source:
            place[name] = _lean(name, source[name])
    return kept


def _lean(name: str, value: Any) -> Any:
    match name:
        case "template":
            # An evaluation only compares templates: a digest stands for what isn't shown.
            labels = {label: each for label, each in value["metadata"]["labels"].items() if label != REVISION_LABEL}
            whole = {**value["metadata"], "labels": labels, "creationTimestamp": None, "spec": value["spec"]}
            kinds = ("containers", "initContainers")
            containers = {kind: [_fields(each, ("name", "image")) for each in value["spec"].get(kind) or ()] for kind in kinds}
            return {
                "metadata": {"labels": value["metadata"]["labels"], "annotations": {"digest": digest(whole)}},
                "spec": {kind: names for kind, names in containers.items() if names},
            }
        case "status":
            return {field: _lean(field, each) for field, each in value.items()}
        case "conditions":
            read = sorted((each for each in value if each["type"] in _CONDITIONS), key=lambda each: str(each["type"]))
            return [_fields(each, (*_CONDITION, "message") if each["type"] in _EXPLAINED else _CONDITION) for each in read]
        case "containerStatuses" | "initContainerStatuses" | "containers" | "initContainers":
            return [_fields(each, _CONTAINER if name.endswith("Statuses") else _CONTAINER_SPEC) for each in value]
        case "involvedObject":
            return _fields(value, ("kind", "name", "uid", "fieldPath"))
        case _:
            return value


def _fields(target: Mapping[str, Any], names: Iterable[str]) -> Json:
    return {name: target[name] for name in names if target.get(name) not in (None, "", {})}
