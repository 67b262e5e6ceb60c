"""The CustomResourceDefinition: what is in deploy/crds, what Kubernetes wants of its schema, what people read in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import ConfigDict, Field

from mcp_operator.model.base import Model
from mcp_operator.model.crd import CRDS, crd, crd_yaml, rollout_crd
from mcp_operator.model.schema import ListMap, Rule, int_or_string, structural, with_rules

ROOT = Path(__file__).parents[2]
VERSION = crd()["spec"]["versions"][0]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]

LARGEST_ANNOTATION = 262144
"""Bytes: `kubectl apply` keeps the whole manifest in an annotation."""


def fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below this one with its path."""
    for name, below in schema.get("properties", {}).items():
        yield f"{path}.{name}", below
        yield from fields(below, f"{path}.{name}")
    for key, suffix in (("items", "[]"), ("additionalProperties", "{}")):
        if key in schema:
            yield f"{path}{suffix}", schema[key]
            yield from fields(schema[key], f"{path}{suffix}")


SPEC = dict(fields(SCHEMA["properties"]["spec"], "spec"))
STATUS = dict(fields(SCHEMA["properties"]["status"], "status"))
ROLLOUT_VERSION = rollout_crd()["spec"]["versions"][0]
RECORD = dict(fields(ROLLOUT_VERSION["schema"]["openAPIV3Schema"]["properties"]["record"], "record"))


@pytest.mark.parametrize("plural", CRDS)
def test_the_file_in_deploy_is_what_the_model_says(plural: str) -> None:
    assert (ROOT / f"deploy/crds/{plural}.yaml").read_text() == crd_yaml(plural), "deploy/crds is stale: run `make generate`"
    assert f"- {plural}.yaml" in (ROOT / "deploy/crds/kustomization.yaml").read_text()


def test_it_is_known_by_its_names() -> None:
    assert crd()["metadata"]["name"] == "mcpservers.mcp-operator.dev"
    assert crd()["spec"]["names"] == {
        "kind": "MCPServer",
        "listKind": "MCPServerList",
        "plural": "mcpservers",
        "singular": "mcpserver",
        "shortNames": ["mcps"],
        "categories": ["mcp"],
    }


def test_records_are_known_by_their_names() -> None:
    assert rollout_crd()["metadata"]["name"] == "mcpserverrollouts.mcp-operator.dev"
    names = rollout_crd()["spec"]["names"]
    assert (names["kind"], names["shortNames"], names["categories"]) == ("MCPServerRollout", ["mcpr"], ["mcp"])


def test_it_is_scaled_like_a_deployment() -> None:
    assert VERSION["subresources"] == {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    }
    assert SPEC["spec.replicas"]["default"] == 1


def test_kubectl_get_shows_columns() -> None:
    columns = [(column["name"], column["priority"]) for column in VERSION["additionalPrinterColumns"]]

    assert columns == [
        ("Status", 0),
        ("Instances", 0),
        ("Ready", 0),
        ("Progress", 0),
        ("Age", 0),
        ("Reason", 1),
        ("Endpoint", 1),
    ]


def test_its_columns_show_fields_that_exist() -> None:
    paths = [column["jsonPath"].partition("[")[0].removeprefix(".") for column in VERSION["additionalPrinterColumns"]]

    paths += [column["jsonPath"].removeprefix(".") for column in ROLLOUT_VERSION["additionalPrinterColumns"]]

    assert [path for path in paths if path not in STATUS | RECORD and not path.startswith("metadata.")] == []


def test_it_stays_far_below_what_kubectl_apply_can_carry() -> None:
    assert len(crd_yaml().encode()) < LARGEST_ANNOTATION / 4


@pytest.mark.parametrize("known", [SPEC, STATUS, RECORD], ids=["spec", "status", "record"])
def test_its_schema_is_structural(known: dict[str, dict[str, Any]]) -> None:
    forbidden = {"$ref", "$defs", "allOf", "oneOf", "title", "const", "exclusiveMinimum"}

    assert [path for path, schema in known.items() if forbidden & schema.keys()] == []
    assert [path for path, schema in known.items() if "type" not in schema and "x-kubernetes-int-or-string" not in schema] == []
    assert [path for path, schema in known.items() if "anyOf" in schema and "x-kubernetes-int-or-string" not in schema] == []


@pytest.mark.parametrize("known", [SPEC, STATUS, RECORD], ids=["spec", "status", "record"])
def test_everything_in_it_is_bounded(known: dict[str, dict[str, Any]]) -> None:
    def bounded(schema: dict[str, Any]) -> bool:
        if "x-kubernetes-int-or-string" in schema:
            return "maxLength" in schema
        match schema["type"]:
            case "string":
                return bool(schema.keys() & {"maxLength", "enum", "format"})
            case "array":
                return "maxItems" in schema
            case "object":
                return "additionalProperties" not in schema or "maxProperties" in schema
        return True

    assert [path for path, schema in known.items() if not bounded(schema)] == []


def test_every_number_that_people_write_has_a_range() -> None:
    numbers = {path: schema for path, schema in SPEC.items() if schema.get("type") == "integer"}

    assert numbers
    assert [path for path, schema in numbers.items() if not {"minimum", "maximum"} <= schema.keys()] == []


def test_every_field_that_people_write_is_explained() -> None:
    named = {path: schema for path, schema in SPEC.items() if not path.endswith(("[]", "{}"))}

    assert [path for path, schema in named.items() if not schema.get("description", "").endswith(".")] == []


def test_lists_of_named_things_are_maps() -> None:
    maps = {
        path: schema["x-kubernetes-list-map-keys"]
        for path, schema in (SPEC | STATUS).items()
        if schema.get("x-kubernetes-list-type") == "map"
    }

    assert maps == {
        "spec.env": ["name"],
        "spec.imagePullSecrets": ["name"],
        "status.causes": ["id"],
        "status.conditions": ["type"],
        "status.operation.by.hpa.metrics": ["name"],
        "status.lastOperations": ["id"],
    }


def test_a_status_may_be_written_in_part_and_gets_no_defaults() -> None:
    assert "required" not in SCHEMA["properties"]["status"]
    assert [path for path, schema in STATUS.items() if "default" in schema] == []


class Leaf(Model):
    """A leaf."""

    size: int = 3
    """How large it is."""
    note: str | None = None
    """What is said of it."""


class Tree(Model):
    """A tree.

    It has
    leaves.
    """

    model_config = ConfigDict(json_schema_extra=with_rules(Rule("has(self.first)", "must have a first leaf")))

    leaves: Annotated[tuple[Leaf, ...], ListMap("note")] = ()
    """All of them."""
    first: Leaf = Leaf(size=5)
    """The first one."""
    other: Annotated[Leaf | None, Field(description="Another one.")] = None
    height: Annotated[int | str, int_or_string(maxLength=4), Rule("self != 'low'", "must not be low")] = "high"
    """How high it is."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Its labels."""


def test_a_model_becomes_a_structural_schema() -> None:
    leaf = {
        "description": "A leaf.",
        "properties": {
            "size": {"type": "integer", "description": "How large it is. Default: 3.", "default": 3},
            "note": {"type": "string", "description": "What is said of it."},
        },
        "type": "object",
    }

    assert structural(Tree) == {
        "description": "A tree.\nIt has leaves.",
        "type": "object",
        "properties": {
            "leaves": {
                "description": "All of them.",
                "type": "array",
                "items": leaf,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["note"],
            },
            "first": {**leaf, "description": "The first one.", "default": {"size": 5}},
            "other": {**leaf, "description": "Another one."},
            "height": {
                "description": "How high it is. Default: high.",
                "anyOf": [{"type": "integer"}, {"type": "string"}],
                "x-kubernetes-int-or-string": True,
                "maxLength": 4,
                "default": "high",
                "x-kubernetes-validations": [{"rule": "self != 'low'", "message": "must not be low"}],
            },
            "labels": {"description": "Its labels.", "type": "object", "additionalProperties": {"type": "string"}},
        },
        "x-kubernetes-validations": [{"rule": "has(self.first)", "message": "must have a first leaf"}],
    }
