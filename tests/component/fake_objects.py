"""What an API server does with objects: selecting, patching, owning fields. Pure; `fake_api` calls it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]

KINDS = {
    "mcpservers": ("mcp-operator.dev/v1alpha1", "MCPServer"),
    "mcpserverrollouts": ("mcp-operator.dev/v1alpha1", "MCPServerRollout"),
    "deployments": ("apps/v1", "Deployment"),
    "statefulsets": ("apps/v1", "StatefulSet"),
    "replicasets": ("apps/v1", "ReplicaSet"),
    "horizontalpodautoscalers": ("autoscaling/v2", "HorizontalPodAutoscaler"),
    "services": ("v1", "Service"),
    "pods": ("v1", "Pod"),
    "events": ("v1", "Event"),
}
"""API version and kind by plural: what the fake API server serves."""


def admits_by(namespace: str | None, query: Mapping[str, str]) -> Callable[[Object], bool]:
    parts = [part for part in query.get("labelSelector", "").split(",") if part]
    labels = dict(part.split("=", 1) for part in parts if "!=" not in part)
    other_labels = dict(part.split("!=", 1) for part in parts if "!=" in part)
    fields = dict(part.split("=", 1) for part in query.get("fieldSelector", "").split(",") if part)

    def admits(body: Object) -> bool:
        have = body["metadata"].get("labels", {})
        return (
            namespace in {None, body["metadata"]["namespace"]}
            and all(have.get(name) == value for name, value in labels.items())
            and all(have.get(name) != value for name, value in other_labels.items())
            and all(str(read_path(body, path)) == value for path, value in fields.items())
        )

    return admits


def read_path(body: Any, path: str) -> Any:
    for part in path.split("."):
        body = body.get(part, {})
    return body


def unversioned(body: Object) -> Object:
    metadata = {name: value for name, value in body["metadata"].items() if name not in {"resourceVersion", "generation"}}
    return {**body, "metadata": metadata}


def merged(old: Any, new: Any) -> Any:
    """Objects field by field, all else replaced."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return copy.deepcopy(new)
    return {**copy.deepcopy(old), **{name: merged(old.get(name), value) for name, value in new.items()}}


def merge_patch(old: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def field_set(value: Any) -> Object:
    """The field set of a manifest, lists as leaves."""
    if not isinstance(value, dict):
        return {}
    hidden = {"apiVersion", "kind", "uid", "name", "namespace"}
    return {f"f:{name}": field_set(item) for name, item in value.items() if name not in hidden}


def resource(plural: str, kind: str, *, namespaced: bool = True) -> Object:
    """A kind of objects, as discovery lists it."""
    return {
        "name": plural,
        "kind": kind,
        "singularName": kind.lower(),
        "namespaced": namespaced,
        "verbs": ["list", "watch", "patch"],
    }


def status_body(status: int, reason: str, message: str, causes: Sequence[Object] = ()) -> Object:
    """A metav1.Status of a failure."""
    body: Object = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": status,
        "reason": reason,
        "message": message,
    }
    return body | ({"details": {"causes": list(causes)}} if causes else {})


CRD_GROUP = {"name": "apiextensions.k8s.io", "versions": [{"version": "v1"}], "preferredVersion": {"version": "v1"}}
