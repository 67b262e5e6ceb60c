"""The CustomResourceDefinitions, made from the model.

`make generate` writes each to deploy/crds, `mcp-operator crds` prints them; a test fails when a file is stale.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import yaml

from mcp_operator.model import records
from mcp_operator.model.records import RolloutRecord
from mcp_operator.model.schema import Rule, Schema, structural
from mcp_operator.model.spec import GROUP, KIND, NAME_LENGTH, PLURAL, VERSION, MCPServerSpec
from mcp_operator.model.statuses import MCPServerStatus

_NAME: Final = Rule(
    "self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "must be lower-case letters, digits and -, begin with a letter and not end with -",
)

_Column: TypeAlias = tuple[str, str, str, int]
"""Name, type, path, priority: 0 is always shown, 1 only by `-o wide`."""

_COLUMNS: Final[Sequence[_Column]] = (
    ("Status", "string", ".status.phase", 0),
    ("Instances", "string", ".status.instances", 0),
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Progress", "integer", ".status.operation.percent", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Reason", "string", ".status.reason", 1),
    ("Endpoint", "string", ".status.endpoint", 1),
)

_ROLLOUT_COLUMNS: Final[Sequence[_Column]] = (
    ("Server", "string", ".record.server", 0),
    ("Kind", "string", ".record.kind", 0),
    ("Outcome", "string", ".record.outcome", 0),
    ("Percent", "integer", ".record.percent", 0),
    ("Started", "date", ".record.startedAt", 0),
    ("Ended", "date", ".record.endedAt", 1),
    ("Revision", "string", ".record.revision", 1),
)


def crd() -> dict[str, Any]:
    """The CustomResourceDefinition (apiextensions.k8s.io/v1) of MCPServer."""
    subresources = {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    }
    version = {"schema": {"openAPIV3Schema": _schema()}, "subresources": subresources}
    return _definition(KIND, PLURAL, "mcps", version, columns=_COLUMNS)


def rollout_crd() -> dict[str, Any]:
    """The CustomResourceDefinition of MCPServerRollout."""
    version = {"schema": {"openAPIV3Schema": _rollout_schema()}}
    return _definition(records.KIND, records.PLURAL, "mcpr", version, columns=_ROLLOUT_COLUMNS)


CRDS: Final[Mapping[str, Callable[[], dict[str, Any]]]] = {PLURAL: crd, records.PLURAL: rollout_crd}
"""The makers of all definitions, by the plural of their kind, which is also the file's name in deploy/crds."""


def crd_yaml(plural: str = PLURAL) -> str:
    """A CustomResourceDefinition as the text of its file in deploy/crds."""
    text = yaml.safe_dump(CRDS[plural](), sort_keys=False, width=120, allow_unicode=True)
    return f"# Made from the model in operator/mcp_operator/model by `make generate`: edit it there.\n{text}"


def _definition(
    kind: str, plural: str, short_name: str, version: Mapping[str, Any], *, columns: Sequence[_Column]
) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}", "labels": {"app.kubernetes.io/name": "mcp-operator"}},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short_name],
                "categories": ["mcp"],
            },
            "scope": "Namespaced",
            "versions": [
                {"name": VERSION, "served": True, "storage": True, **version, "additionalPrinterColumns": _shown(columns)}
            ],
        },
    }


def _shown(columns: Sequence[_Column]) -> list[dict[str, Any]]:
    return [{"name": name, "type": kind, "jsonPath": path, "priority": priority} for name, kind, path, priority in columns]


def _rollout_schema() -> Schema:
    return {
        "type": "object",
        "description": "The record of one rollout or scaling of an MCPServer. The operator writes it and deletes the oldest.",
        "required": ["record"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of this schema."},
            "kind": {"type": "string", "description": "MCPServerRollout."},
            "metadata": {"type": "object"},
            # One owner, written as a whole: one entry in managedFields instead of one per field.
            "record": {**structural(RolloutRecord, defaults=False), "x-kubernetes-map-type": "atomic"},
        },
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
