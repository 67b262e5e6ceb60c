"""The kinds of Kubernetes objects that the operator and its commands read and write, and their places in the API."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from mcp_operator.model import records, spec
from mcp_operator.workload.naming import MANAGED_BY

MANAGER = MANAGED_BY
"""Field manager of our writes and source of our Kubernetes Events: the name that our label bears."""

OURS = f"app.kubernetes.io/managed-by={MANAGED_BY}"
"""Label selector of the objects that we made, and of what controllers made of them."""

NOT_OURS = f"app.kubernetes.io/managed-by!={MANAGED_BY}"
"""Label selector of all others."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of namespaced objects."""

    api_version: str
    name: str
    plural: str

    def __str__(self) -> str:
        return self.name

    @property
    def group(self) -> str:
        """The API group; empty for the core."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of one object, or of the collection: of one namespace, or (None) of the cluster."""
        parts = ["/api" if "/" not in self.api_version else "/apis", self.api_version]
        if namespace is not None:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name is not None:
            parts.append(quote(name, safe=""))
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)


MCP_SERVER = Kind(spec.API_VERSION, spec.KIND, spec.PLURAL)
MCP_SERVER_ROLLOUT = Kind(spec.API_VERSION, records.KIND, records.PLURAL)
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
STATEFUL_SET = Kind("apps/v1", "StatefulSet", "statefulsets")
SERVICE = Kind("v1", "Service", "services")
REPLICA_SET = Kind("apps/v1", "ReplicaSet", "replicasets")
POD = Kind("v1", "Pod", "pods")
EVENT = Kind("v1", "Event", "events")
AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
POD_METRICS = Kind("metrics.k8s.io/v1beta1", "PodMetrics", "pods")
