"""The CustomResourceDefinition of MCPServer, made from the model.

`make generate` writes `crd_yaml()` to deploy/crds, `mcp-operator crds` prints it; a test fails when the file is stale.
"""

from typing import Any, Final

import yaml

from mcp_operator.model.schema import Rule, Schema, structural
from mcp_operator.model.spec import GROUP, KIND, NAME_LENGTH, PLURAL, VERSION, MCPServerSpec
from mcp_operator.model.statuses import MCPServerStatus

_NAME: Final = Rule(
    "self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "must be lower-case letters, digits and -, begin with a letter and not end with -",
)

_COLUMNS: Final[tuple[tuple[str, str, str, int], ...]] = (
    # Name, type, path, priority: 0 is always shown, 1 only by `-o wide`.
    ("Status", "string", ".status.phase", 0),
    ("Instances", "string", ".status.instances", 0),
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Progress", "integer", ".status.operation.percent", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Reason", "string", ".status.reason", 1),
    ("Endpoint", "string", ".status.endpoint", 1),
)


def crd() -> dict[str, Any]:
    """The CustomResourceDefinition (apiextensions.k8s.io/v1)."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}", "labels": {"app.kubernetes.io/name": "mcp-operator"}},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["mcps"],
                "categories": ["mcp"],
            },
            "scope": "Namespaced",
            "versions": [_version()],
        },
    }


def crd_yaml() -> str:
    """The CustomResourceDefinition as the text of deploy/crds/mcpservers.yaml."""
    text = yaml.safe_dump(crd(), sort_keys=False, width=120, allow_unicode=True)
    return f"# Made from the model in operator/mcp_operator/model by `make generate`: edit it there.\n{text}"


def _version() -> dict[str, Any]:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _schema()},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path, "priority": priority} for name, kind, path, priority in _COLUMNS
        ],
    }


def _schema() -> Schema:
    status = structural(MCPServerStatus, defaults=False)
    del status["required"]  # an object has none of it before it is seen
    return {
        "type": "object",
        "description": "An MCP server that the operator runs and whose deployments, scaling and troubles it tells as events.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of this schema."},
            "kind": {"type": "string", "description": "MCPServer."},
            "metadata": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": NAME_LENGTH, "x-kubernetes-validations": [_NAME.to_schema()]},
                },
            },
            "spec": structural(MCPServerSpec),
            "status": status,
        },
    }
