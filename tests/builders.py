"""Kubernetes objects for tests, as the API server would send them: a sensible object plus the modifiers that the story needs.

    pod("weather-7d4b9-x2x7q", scheduled(), started(), ready(at(12)))
    deployment("weather", counting(wanted=3, updated=1, ready=3, available=3), observed(2), generation(2))

A builder gives a new object each time. A modifier is a function that changes an object in place; a test that needs a field
that no modifier knows writes `having("spec.paused", True)`. Objects that belong together find each other: pods, ReplicaSets and
Deployments of one server carry its labels, and `owned_by(parent)` links them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]
Modifier: TypeAlias = Callable[[Object], None]

START = datetime(2026, 11, 23, 9, 0, 0, tzinfo=UTC)
"""When every story begins."""

NAMESPACE = "default"
IMAGE = "registry.example/weather:1.0"


def at(seconds: float) -> str:
    """A time of the story as Kubernetes writes it (RFC 3339, whole seconds): so many seconds after START."""
    return (START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def uid_of(kind: str, name: str, namespace: str = NAMESPACE) -> str:
    """The UID that a builder gives to an object unless `uid()` gives another."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}/{namespace}/{name}"))


def server_labels(server: str) -> dict[str, str]:
    """The labels by which children of a server are found."""
    return {
        "app.kubernetes.io/name": "mcp-server",
        "app.kubernetes.io/instance": server,
        "app.kubernetes.io/managed-by": "mcp-operator",
    }


# --- builders ---------------------------------------------------------------------------------------------------------------


def mcpserver(name: str = "weather", *modifiers: Modifier, spec: Mapping[str, Any] | None = None) -> Object:
    """An MCPServer; `spec` goes over the one required field, the image."""
    return _object(
        "mcp-operator.dev/v1alpha1", "MCPServer", name, {"spec": {"image": IMAGE, "replicas": 1, **(spec or {})}}, modifiers
    )


def observer(name: str = "weather", *modifiers: Modifier, of: Mapping[str, Any] | None = None, **spec: Any) -> Object:
    """An MCPServer that observes a workload, by default the Deployment of its own name."""
    reference = {"kind": of["kind"], "name": of["metadata"]["name"]} if of else {"kind": "Deployment", "name": name}
    body = {"spec": {"workloadRef": reference, "replicas": 1, **spec}}
    return _object("mcp-operator.dev/v1alpha1", "MCPServer", name, body, modifiers)


def deployment(name: str = "weather", *modifiers: Modifier) -> Object:
    """The Deployment of the server of the same name: one instance wanted, nothing observed yet."""
    body = {
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": server_labels(name)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "progressDeadlineSeconds": 600,
            "template": _template(name),
        },
        "status": {},
    }
    return _object("apps/v1", "Deployment", name, body, (labelled(server_labels(name)), owned_by(mcpserver(name)), *modifiers))


def replicaset(name: str = "weather-7d4b9", *modifiers: Modifier) -> Object:
    """The ReplicaSet `<server>-<pod-template-hash>`: one instance wanted, none made yet."""
    server, _, revision = name.rpartition("-")
    labels = {**server_labels(server), "pod-template-hash": revision}
    template = _template(server)
    template["metadata"]["labels"] = labels
    body = {"spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}, "status": {"replicas": 0}}
    defaults = (labelled(labels), annotated({"deployment.kubernetes.io/revision": "1"}), owned_by(deployment(server)))
    return _object("apps/v1", "ReplicaSet", name, body, (*defaults, *modifiers))


def pod(name: str = "weather-7d4b9-x2x7q", *modifiers: Modifier) -> Object:
    """The pod `<server>-<pod-template-hash>-<suffix>`, just created: not scheduled yet."""
    parent = name.rpartition("-")[0]
    server, _, revision = parent.rpartition("-")
    body = {
        "spec": {"containers": [{"name": "mcp", "image": IMAGE}]},
        "status": {"phase": "Pending", "conditions": [], "containerStatuses": []},
    }
    labels = labelled({**server_labels(server), "pod-template-hash": revision})
    return _object("v1", "Pod", name, body, (labels, owned_by(replicaset(parent)), *modifiers))


def autoscaler(name: str = "weather", *modifiers: Modifier, least: int = 1, most: int = 10) -> Object:
    """The HorizontalPodAutoscaler of the server of the same name, by CPU at 50 % of what is requested."""
    body = {
        "spec": {
            "scaleTargetRef": {"apiVersion": "mcp-operator.dev/v1alpha1", "kind": "MCPServer", "name": name},
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
            ],
        },
        "status": {},
    }
    return _object("autoscaling/v2", "HorizontalPodAutoscaler", name, body, modifiers)


def statefulset(name: str = "weather", *modifiers: Modifier) -> Object:
    """Somebody else's StatefulSet: one instance wanted, nothing observed yet."""
    body = {
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "podManagementPolicy": "OrderedReady",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": _template(name)["spec"]},
        },
        "status": {},
    }
    return _object("apps/v1", "StatefulSet", name, body, modifiers)


def stateful_pod(name: str, revision: str, *modifiers: Modifier) -> Object:
    """The pod `<StatefulSet>-<ordinal>` of a revision, just created; a later one of the same name has a UID of its own."""
    parent = name.rpartition("-")[0]
    identity = (uid(f"{name}/{revision}"), labelled({"app": parent, "controller-revision-hash": revision}))
    return pod(name, having("metadata.labels", {}), owned_by(statefulset(parent)), *identity, *modifiers)


def service(name: str = "weather", *modifiers: Modifier) -> Object:
    """The Service of the server of the same name."""
    ports = [{"name": "mcp", "port": 8080, "targetPort": "mcp", "protocol": "TCP"}]
    body = {"spec": {"type": "ClusterIP", "selector": server_labels(name), "ports": ports}}
    return _object("v1", "Service", name, body, (labelled(server_labels(name)), owned_by(mcpserver(name)), *modifiers))


def kubernetes_event(reason: str, message: str, *modifiers: Modifier, about: Mapping[str, Any], count: int = 1) -> Object:
    """A Kubernetes Event of type Warning about another object, seen `count` times."""
    metadata = about["metadata"]
    involved = {"kind": about["kind"], "apiVersion": about["apiVersion"]}
    involved |= {field: metadata[field] for field in ("namespace", "name", "uid")}
    body = {
        "type": "Warning",
        "reason": reason,
        "message": message,
        "count": count,
        "involvedObject": involved,
        "firstTimestamp": at(0),
        "lastTimestamp": at(0),
        "source": {"component": "kubelet"},
    }
    return _object("v1", "Event", f"{metadata['name']}.{reason.lower()}", body, modifiers)


# --- modifiers of any object ------------------------------------------------------------------------------------------------


def having(path: str, value: Any) -> Modifier:
    """Set one field by its dotted path; objects on the way are made where they are missing."""
    *parents, field = path.split(".")

    def modify(target: Object) -> None:
        for parent in parents:
            target = target.setdefault(parent, {})
        target[field] = value

    return modify


def uid(value: str) -> Modifier:
    """Another object of the same name."""
    return having("metadata.uid", value)


def generation(value: int) -> Modifier:
    """The spec has been changed `value - 1` times."""
    return having("metadata.generation", value)


def observed(value: int) -> Modifier:
    """The controller of this kind has acted on this generation."""
    return having("status.observedGeneration", value)


def created(time: str) -> Modifier:
    return having("metadata.creationTimestamp", time)


def deleting(time: str) -> Modifier:
    """The object is on its way out."""
    return having("metadata.deletionTimestamp", time)


def labelled(labels: Mapping[str, str]) -> Modifier:
    def modify(target: Object) -> None:
        target["metadata"].setdefault("labels", {}).update(labels)

    return modify


def annotated(annotations: Mapping[str, str]) -> Modifier:
    def modify(target: Object) -> None:
        target["metadata"].setdefault("annotations", {}).update(annotations)

    return modify


def written_by(
    manager: str, *fields: str, time: str | None = None, operation: str = "Update", subresource: str | None = None
) -> Modifier:
    """A field manager that has written these fields of the spec, at this time; each call adds one."""

    def modify(target: Object) -> None:
        entry = {"manager": manager, "operation": operation, "fieldsV1": {"f:spec": {f"f:{field}": {} for field in fields}}}
        entry |= {"time": time} if time else {}
        entry |= {"subresource": subresource} if subresource else {}
        target["metadata"].setdefault("managedFields", []).append(entry)

    return modify


def owned_by(parent: Mapping[str, Any]) -> Modifier:
    """The parent is the object's controller."""
    metadata = parent["metadata"]
    reference = {"apiVersion": parent["apiVersion"], "kind": parent["kind"], "name": metadata["name"], "uid": metadata["uid"]}
    return having("metadata.ownerReferences", [{**reference, "controller": True}])


def condition(kind: str, status: str, reason: str = "", message: str = "", *, since: str | None = None) -> Modifier:
    """Set the condition of this type."""
    value = {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since or at(0)}

    def modify(target: Object) -> None:
        conditions = target.setdefault("status", {}).setdefault("conditions", [])
        conditions[:] = [other for other in conditions if other["type"] != kind] + [value]

    return modify


# --- modifiers of Deployments and ReplicaSets -------------------------------------------------------------------------------


def counting(*, wanted: int, updated: int = 0, ready: int = 0, available: int = 0, total: int | None = None) -> Modifier:
    """The counts of a Deployment or ReplicaSet; zero ones are absent, as Kubernetes leaves them out. Where they make a Deployment
    complete it says so, unless it says something else already.
    """
    counts = {
        "replicas": updated if total is None else total,
        "updatedReplicas": updated,
        "readyReplicas": ready,
        "availableReplicas": available,
        "unavailableReplicas": max(wanted - available, 0),
    }

    def modify(target: Object) -> None:
        target["spec"]["replicas"] = wanted
        status = target.setdefault("status", {})
        for field, count in counts.items():
            status.pop(field, None)
            if count:
                status[field] = count
        is_complete = target["kind"] == "Deployment" and counts["replicas"] == updated == available == wanted
        if is_complete and not any(each["type"] == "Progressing" for each in status.get("conditions", ())):
            condition("Progressing", "True", "NewReplicaSetAvailable")(target)

    return modify


def templated(**container: Any) -> Modifier:
    """Change fields of the main container in the pod template: `templated(image="registry.example/weather:2.0")`."""

    def modify(target: Object) -> None:
        target["spec"]["template"]["spec"]["containers"][0].update(container)

    return modify


# --- modifiers of pods ------------------------------------------------------------------------------------------------------


def scheduled(node: str = "local", *, since: str | None = None) -> Modifier:
    def modify(target: Object) -> None:
        target["spec"]["nodeName"] = node
        condition("PodScheduled", "True", since=since)(target)

    return modify


def unschedulable(message: str = "0/1 nodes are available: 1 Insufficient cpu.") -> Modifier:
    return condition("PodScheduled", "False", "Unschedulable", message)


def started(*, since: str | None = None, restarts: int = 0, container: str = "mcp") -> Modifier:
    """The container runs; it isn't ready yet."""
    return _container(
        container, restarts=restarts, phase="Running", started=True, state={"running": {"startedAt": since or at(0)}}
    )


def ready(since: str | None = None, *, container: str = "mcp") -> Modifier:
    """The container is ready, and so is the pod."""

    def modify(target: Object) -> None:
        _status(target, container)["ready"] = True
        condition("ContainersReady", "True", since=since)(target)
        condition("Ready", "True", since=since)(target)

    return modify


def waiting(reason: str, message: str = "", *, restarts: int = 0, container: str = "mcp") -> Modifier:
    """The container can't start: ErrImagePull, ImagePullBackOff, CreateContainerConfigError, CrashLoopBackOff ..."""
    return _container(container, restarts=restarts, state={"waiting": {"reason": reason, "message": message}})


def crashed(
    exit_code: int = 1, *, reason: str = "Error", restarts: int = 0, container: str = "mcp", finished: str | None = None
) -> Modifier:
    """The container has ended; a later `waiting()` or `started()` keeps this as its last state."""
    terminated = {"exitCode": exit_code, "reason": reason, "startedAt": at(0), "finishedAt": finished or at(1)}
    return _container(container, restarts=restarts, state={"terminated": terminated})


# --- how they are made ------------------------------------------------------------------------------------------------------


def _object(api_version: str, kind: str, name: str, body: Object, modifiers: tuple[Modifier, ...]) -> Object:
    metadata = {"namespace": NAMESPACE, "name": name, "uid": uid_of(kind, name), "generation": 1, "creationTimestamp": at(0)}
    target: Object = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}
    for modify in modifiers:
        modify(target)
    return target


def _template(server: str) -> Object:
    container = {"name": "mcp", "image": IMAGE, "ports": [{"name": "mcp", "containerPort": 8080, "protocol": "TCP"}]}
    return {"metadata": {"labels": server_labels(server)}, "spec": {"containers": [container]}}


def _status(target: Object, container: str) -> Object:
    """The status of one container, made where it is missing."""
    statuses: list[Object] = target["status"].setdefault("containerStatuses", [])
    for status in statuses:
        if status["name"] == container:
            return status
    status = {"name": container, "image": IMAGE, "imageID": "", "ready": False, "started": False, "restartCount": 0, "state": {}}
    statuses.append(status)
    return status


def _container(name: str, *, restarts: int, state: Object, phase: str | None = None, started: bool = False) -> Modifier:
    def modify(target: Object) -> None:
        status = _status(target, name)
        if "terminated" in status["state"]:
            status["lastState"] = status["state"]
        status |= {"state": state, "restartCount": restarts, "ready": False, "started": started}
        if phase:
            target["status"]["phase"] = phase
        if "running" in state or "terminated" in state:
            status["imageID"] = f"sha256:{'0' * 64}"

    return modify
