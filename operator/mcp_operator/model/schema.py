"""From pydantic models to the structural OpenAPI v3 schemas of a CustomResourceDefinition.

Two halves: the annotations by which a model says what only Kubernetes knows (`Rule`, `ListMap`, `INT_OR_STRING` ...), and
`structural()`, which turns a model into a schema that the API server accepts: no references, no nulls, no titles. The rules of
a structural schema are those of the Kubernetes documentation, "Extend the Kubernetes API with CustomResourceDefinitions".
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

Schema: TypeAlias = dict[str, Any]

_RULES: Final = "x-kubernetes-validations"


@dataclass(frozen=True, slots=True)
class Rule:
    """A CEL rule that the API server checks on a field; a class takes its rules by `with_rules()`.

    The message says what is right: the API server puts the field's path and the value found before it.
    """

    rule: str
    message: str
    path: str = ""
    """The field below that a rule over several fields is about, such as `.replicas`."""

    def to_schema(self) -> Schema:
        schema = {"rule": self.rule, "message": self.message}
        return schema | ({"fieldPath": self.path} if self.path else {})

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        return {**schema, _RULES: [*schema.get(_RULES, []), self.to_schema()]}


def with_rules(*rules: Rule) -> Schema:
    """The `json_schema_extra` of a model whose rules look at several of its fields."""
    return {_RULES: [rule.to_schema() for rule in rules]}


@dataclass(frozen=True, slots=True)
class ListMap:
    """A list whose items are told apart by one field: a duplicate is refused, and server-side apply merges it item by item."""

    key: str

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(core), "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}


def int_or_string(**bounds: Any) -> WithJsonSchema:
    """The schema of Kubernetes' IntOrString: `minimum` and the like bound the number, `pattern` and the like the text."""
    return WithJsonSchema({"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}], **bounds})


ANY_OBJECT: Final = WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
"""The schema of an object of any shape."""


def structural(model: type[BaseModel], *, defaults: bool = True) -> Schema:
    """The structural schema of a model, with its descriptions, bounds, rules and (in a spec, not in a status) defaults."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})

    def convert(source: Mapping[str, Any]) -> Schema:
        resolved = _without_null(_without_reference(source, definitions), definitions)
        result = {key: value for key, value in resolved.items() if key not in {"$defs", "title", "default"}}
        if "description" in result:
            result["description"] = _one_line_a_paragraph(result["description"])
        default = _without_empty(resolved.get("default"))
        if defaults and not _is_empty(default):
            result |= _with_default(default, description=result.get("description", ""))
        if "properties" in result:
            result["properties"] = {name: convert(field) for name, field in result["properties"].items()}
        for below in ("items", "additionalProperties"):
            if isinstance(result.get(below), Mapping):
                result[below] = convert(result[below])
            else:
                result.pop(below, None)  # whether other fields are allowed is the API server's business: it prunes them
        return result

    return convert(schema)


def _without_reference(schema: Mapping[str, Any], definitions: Mapping[str, Schema]) -> Schema:
    """The schema with the definition that it points to; what stands beside the reference says more and wins."""
    if "$ref" not in schema:
        return dict(schema)
    own = {key: value for key, value in schema.items() if key != "$ref"}
    target = definitions[schema["$ref"].removeprefix("#/$defs/")]
    return {**_without_reference(target, definitions), **own}


def _without_null(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """The schema of an optional field without its null: Kubernetes leaves such a field out."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    if len(choices) != 1:
        return schema
    own = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**_without_reference(choices[0], definitions), **own}


def _with_default(default: Any, *, description: str) -> Schema:
    """The default, told in the description too, because `kubectl explain` shows no other trace of it."""
    if isinstance(default, Mapping):
        return {"default": default}
    text = default if isinstance(default, str) else json.dumps(default)
    return {"default": default, "description": f"{description} Default: {text}.".strip()}


def _without_empty(default: Any) -> Any:
    """A default without the fields that say nothing: they would stand in every stored object."""
    if not isinstance(default, Mapping):
        return default
    return {name: value for name, field in default.items() if not _is_empty(value := _without_empty(field))}


def _is_empty(default: Any) -> bool:
    return default is None or (isinstance(default, Mapping | Sequence) and not default)


def _one_line_a_paragraph(text: str) -> str:
    """A docstring as `kubectl explain` wants it, which breaks lines by itself."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return "\n".join(paragraph for paragraph in paragraphs if paragraph)
