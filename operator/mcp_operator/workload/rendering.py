"""From an MCPServer to its Deployment and its Service, ready for server-side apply: they hold only fields that we own.

`cluster` applies them. The same MCPServer always gives the same objects, so that applying again changes nothing.
"""

from typing import Any, Final

from mcp_operator.model.spec import MCPServer, MCPServerSpec, RolloutSpec, Strategy
from mcp_operator.workload.merging import POD_SPEC, InvalidPodTemplateError, merge
from mcp_operator.workload.naming import CONTAINER, labels, match_labels, owner_reference

RESTARTED_AT: Final = "mcp-operator.dev/restartedAt"
"""Annotation of the pods that carries spec.restartedAt: a new value is a new pod template."""

_STOP_SECONDS: Final = 30
"""What an instance has to stop by itself, once drained; Kubernetes' own default for pods."""

_START_SECONDS: Final = 300
"""What an instance has to open its port, before its container is started again."""

_POD_TEMPLATE: Final = "spec.podTemplate.spec"


def deployment(server: MCPServer) -> dict[str, Any]:
    """The Deployment of a server.

    Raises:
        InvalidSpecError: spec.podTemplate can't be merged over the pod; the error names the field.
    """
    spec = server.spec
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(server, annotations=spec.metadata.annotations),
        "spec": {
            "replicas": 0 if spec.suspend else spec.replicas,
            "selector": {"matchLabels": match_labels(server)},
            "strategy": _strategy(spec.rollout),
            "minReadySeconds": spec.rollout.min_ready_seconds,
            "progressDeadlineSeconds": spec.rollout.progress_deadline_seconds,
            "template": _pod_template(server),
        },
    }


def service(server: MCPServer) -> dict[str, Any]:
    """The Service in front of a server's instances."""
    spec = server.spec
    port = {
        "name": CONTAINER,
        "port": spec.port,
        "targetPort": CONTAINER,
        "protocol": "TCP",
        "appProtocol": spec.service.app_protocol,
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(server, annotations={**spec.metadata.annotations, **spec.service.annotations}),
        "spec": {"type": spec.service.type.value, "selector": match_labels(server), "ports": [port]},
    }


def _metadata(server: MCPServer, *, annotations: dict[str, str]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "namespace": server.metadata.namespace,
        "name": server.metadata.name,
        "labels": labels(server),
        "ownerReferences": [owner_reference(server)],
    }
    return metadata | ({"annotations": dict(annotations)} if annotations else {})


def _strategy(rollout: RolloutSpec) -> dict[str, Any]:
    if rollout.strategy is Strategy.RECREATE:
        return {"type": "Recreate"}
    return {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": rollout.max_surge, "maxUnavailable": rollout.max_unavailable},
    }


def _pod_template(server: MCPServer) -> dict[str, Any]:
    spec = server.spec
    annotations = {**spec.metadata.annotations, **spec.pod_template.metadata.annotations}
    if spec.restarted_at is not None:
        annotations[RESTARTED_AT] = spec.restarted_at
    metadata: dict[str, Any] = {"labels": {**spec.metadata.labels, **spec.pod_template.metadata.labels, **match_labels(server)}}
    if annotations:
        metadata["annotations"] = annotations
    pod_spec = merge(_pod_spec(spec), spec.pod_template.spec, POD_SPEC, path=_POD_TEMPLATE)
    _check_container(pod_spec)
    return {"metadata": metadata, "spec": pod_spec}


def _pod_spec(spec: MCPServerSpec) -> dict[str, Any]:
    """The pod before podTemplate. It keeps to the restricted Pod Security Standard."""
    pod_spec: dict[str, Any] = {
        "containers": [_container(spec)],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": spec.rollout.drain_seconds + _STOP_SECONDS,
        "enableServiceLinks": False,  # a Service called "mcp" would set MCP_PORT, which a server may read as its own setting
    }
    if spec.image_pull_secrets:
        pod_spec["imagePullSecrets"] = [secret.to_json_object() for secret in spec.image_pull_secrets]
    if spec.service_account_name is None:
        pod_spec["automountServiceAccountToken"] = False
    else:
        pod_spec["serviceAccountName"] = spec.service_account_name
    return pod_spec


def _container(spec: MCPServerSpec) -> dict[str, Any]:
    # What people write as in a container is copied as it is; absent fields stay absent, so that we don't own them.
    written = spec.model_dump(
        mode="json",
        by_alias=True,
        exclude_none=True,
        include={"image", "image_pull_policy", "command", "args", "env", "env_from", "resources"},
    )
    container: dict[str, Any] = {
        "name": CONTAINER,
        **{name: value for name, value in written.items() if value},
        "ports": [{"name": CONTAINER, "containerPort": spec.port, "protocol": "TCP"}],
        # Without a probe a pod is ready as soon as its container starts, whether or not anything listens.
        "startupProbe": {**_probe(), "periodSeconds": 1, "failureThreshold": _START_SECONDS},
        "readinessProbe": {**_probe(), "periodSeconds": 5, "failureThreshold": 3},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "terminationMessagePolicy": "FallbackToLogsOnError",  # the pod then tells a crashed container's last lines
    }
    if spec.rollout.drain_seconds:
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": spec.rollout.drain_seconds}}}
    return container


def _probe() -> dict[str, Any]:
    return {"tcpSocket": {"port": CONTAINER}}


def _check_container(pod_spec: dict[str, Any]) -> None:
    """The Service and the operator know the server by the name of its container and of its port: both must have survived."""
    path = f"{_POD_TEMPLATE}.containers"
    container = next((item for item in pod_spec.get("containers", ()) if item["name"] == CONTAINER), None)
    if container is None:
        raise InvalidPodTemplateError(path, f"must keep the container {CONTAINER}, which runs spec.image: change its fields")
    if not any(port.get("name") == CONTAINER for port in container.get("ports", ())):
        raise InvalidPodTemplateError(f"{path}[{CONTAINER}].ports", f"must keep the port {CONTAINER}, which the Service leads to")
