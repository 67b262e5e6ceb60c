"""How the children of a server are named and found: by its own name, by labels, by an owner reference.

`rendering` writes these into the children, `cluster` finds children by them and reports them in the MCPServer's status.
"""

from typing import Any, Final

from mcp_operator.model.base import Object
from mcp_operator.model.spec import API_VERSION, KIND, MCPServer

MANAGED_BY: Final = "mcp-operator"
"""Value of the label app.kubernetes.io/managed-by on every child."""

_NAME: Final = "app.kubernetes.io/name"
_INSTANCE: Final = "app.kubernetes.io/instance"
_MANAGED_BY: Final = "app.kubernetes.io/managed-by"

CONTAINER: Final = "mcp"
"""Name of the container that runs the MCP server, and of its port."""


def match_labels(server: MCPServer) -> dict[str, str]:
    """The labels that choose the server's instances and nothing else. A Deployment's selector can't be changed: these stay."""
    return {_NAME: "mcp-server", _INSTANCE: server.metadata.name, _MANAGED_BY: MANAGED_BY}


def selector(server: MCPServer) -> str:
    """`match_labels` as a label selector, for the scale subresource and for `kubectl get -l`."""
    return ",".join(f"{name}={value}" for name, value in match_labels(server).items())


def selector_of_servers(*servers: str) -> str:
    """A label selector for the instances of some servers of one namespace, by their names."""
    instance = f"{_INSTANCE}={servers[0]}" if len(servers) == 1 else f"{_INSTANCE} in ({','.join(servers)})"
    return f"{_NAME}=mcp-server,{instance},{_MANAGED_BY}={MANAGED_BY}"


def selector_of(workload: Object | None) -> str:
    """The selector of a Deployment or StatefulSet as text; empty, which chooses nothing here, where there is none."""
    chosen = workload["spec"].get("selector") or {} if workload is not None else {}
    written = [f"{name}={value}" for name, value in (chosen.get("matchLabels") or {}).items()]
    for expression in chosen.get("matchExpressions") or ():
        key, values = expression["key"], ",".join(expression.get("values") or ())
        match expression["operator"]:
            case "Exists":
                written.append(key)
            case "DoesNotExist":
                written.append(f"!{key}")
            case operator:
                written.append(f"{key} {operator.lower()} ({values})")
    return ",".join(written)


def endpoint(server: MCPServer) -> str:
    """URL at which the server is reached inside the cluster."""
    return f"http://{server.metadata.name}.{server.metadata.namespace}.svc:{server.spec.port}{server.spec.path}"


def labels(server: MCPServer) -> dict[str, str]:
    """All labels of a child; those that people wish for can't take the place of the operator's."""
    return {**server.spec.metadata.labels, **match_labels(server)}


def owner_reference(server: MCPServer) -> dict[str, Any]:
    """What makes a child go with its server; it doesn't hold up the server's own deletion (no blockOwnerDeletion)."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": server.metadata.name,
        "uid": server.metadata.uid,
        "controller": True,
    }
