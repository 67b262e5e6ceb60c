"""The OpenAPI document: valid by the official schema, whole in itself, and with examples that are what would be sent."""

from __future__ import annotations

import importlib.metadata
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator, ValidationError
from openapi_spec_validator import OpenAPIV32SpecValidator

from local_stack.sse import Parser
from mcp_operator.cli import main
from mcp_operator.gateway.admitting import RefusalReason
from mcp_operator.gateway.describing import document
from mcp_operator.gateway.streaming import RESET_REASONS, EndReason
from mcp_operator.model.events import EventType
from tests.contract import contract, kept

DOCUMENT = document()
OPERATIONS = [(path, method, operation) for path, item in DOCUMENT["paths"].items() for method, operation in item.items()]


def test_it_is_an_openapi_document() -> None:
    OpenAPIV32SpecValidator(json.loads(json.dumps(DOCUMENT))).validate()


def test_its_schemas_are_json_schemas() -> None:
    Draft202012Validator.check_schema({"$schema": DOCUMENT["jsonSchemaDialect"], "$defs": DOCUMENT["components"]["schemas"]})
    assert DOCUMENT["jsonSchemaDialect"] == Draft202012Validator.META_SCHEMA["$id"]


def test_its_references_lead_somewhere() -> None:
    for reference in references(DOCUMENT):
        target: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            assert step in target, reference
            target = target[step]


def test_every_schema_is_used() -> None:
    used = {reference.split("/")[3] for reference in references(DOCUMENT) if reference.startswith("#/components/schemas/")}
    assert used == DOCUMENT["components"]["schemas"].keys()


def test_it_names_its_version_and_where_it_is() -> None:
    assert DOCUMENT["info"]["version"] == importlib.metadata.version("mcp-operator")
    assert (DOCUMENT["$self"], DOCUMENT["servers"][0]["url"]) == ("/openapi.json", "/")


def test_operations_have_names_of_their_own_and_declare_what_their_paths_need() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names)
    for path, _, operation in OPERATIONS:
        declared = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))
        assert set(operation["tags"]) <= {tag["name"] for tag in DOCUMENT["tags"]}


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS, ids=lambda value: value if isinstance(value, str) else "")
def test_examples_of_parameters_are_values_that_they_may_have(path: str, method: str, operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", []):
        schema = {**parameter["schema"], "components": DOCUMENT["components"]}
        Draft202012Validator(schema).validate(parameter["example"])


def test_examples_of_answers_are_as_described() -> None:
    shown = 0
    for path, method, operation in OPERATIONS:
        for status, response in operation["responses"].items():
            for content_type, media in response.get("content", {}).items():
                for example in media.get("examples", {}).values():
                    shown += 1
                    if content_type == "text/event-stream":
                        assert len(kept(Parser().feed(example["serializedValue"].encode()))) > 2
                    else:
                        contract().check_answer(
                            method=method.upper(),
                            path=path.replace("{id}", "default:weather"),
                            status=int(status),
                            content_type=content_type,
                            body=json.dumps(example["dataValue"]).encode(),
                        )
    assert shown >= 4


def test_every_event_and_every_control_frame_has_an_example_that_is_as_described() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    mapping = schemas["Message"]["discriminator"]["mapping"]
    assert mapping.keys() == {*EventType, "hello", "bookmark", "reset", "dropped", "bye"}
    for type_, reference in mapping.items():
        (example,) = schemas[reference.rsplit("/", 1)[1]]["examples"]
        assert example["type"] == type_
        contract().check_event(example)


def test_an_item_of_a_stream_is_told_by_its_name() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    item = Draft202012Validator({**schemas["StreamItem"], "components": DOCUMENT["components"]})
    by_name = {choice["properties"]["event"]["const"]: choice for choice in schemas["StreamItem"]["oneOf"]}
    assert by_name.keys() == {*schemas["Message"]["discriminator"]["mapping"], "message"}
    for name, choice in by_name.items():
        assert choice["properties"]["data"]["contentSchema"]["$ref"].lower().startswith(f"#/components/schemas/{name}")
        assert item.is_valid({"event": name, "data": "{}", "id": "a-1", "retry": 1})
    assert item.is_valid({"data": "{}"})
    assert not item.is_valid({"event": "mood", "data": "{}"})
    assert not item.is_valid({"event": "status"})


def test_every_reason_to_end_or_to_reset_a_stream_is_explained() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for frame, reasons in {"Bye": [*EndReason, *RefusalReason], "Reset": RESET_REASONS}.items():
        named = re.findall("`([a-z-]+)`", schemas[frame]["properties"]["reason"]["description"])
        assert sorted(named) == sorted(str(reason) for reason in reasons if reason not in {EndReason.LEFT, EndReason.STALLED})


def test_the_check_in_the_documents_works(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.setattr("urllib.request.urlopen", lambda _: io.StringIO(json.dumps(DOCUMENT)))
    names: dict[str, Any] = {}
    exec(program, names)  # noqa: S102 - it is this repository's own
    for reference in DOCUMENT["components"]["schemas"]["Message"]["discriminator"]["mapping"].values():
        (example,) = DOCUMENT["components"]["schemas"][reference.rsplit("/", 1)[1]]["examples"]
        names["check"](json.dumps({**example, "field of a later version": 1}))
        with pytest.raises(ValidationError):
            names["check"](json.dumps({**example, "time": "now"}))


def test_the_command_prints_it() -> None:
    result = CliRunner().invoke(main, ["openapi"])
    assert (result.exit_code, json.loads(result.output)) == (0, DOCUMENT)


def references(part: Any) -> Iterator[str]:
    """All references in a part of the document."""
    if isinstance(part, list):
        for inner in part:
            yield from references(inner)
    elif isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for key, inner in part.items():
            if key not in {"examples", "example"}:
                yield from references(inner)
