"""JSON Schemas (draft 2020-12) of what is told: of every payload, and of every event as it stands in a stream.

Made from the models that the events are made from, with the strings under their fields as descriptions. `gateway.describing` puts
them into the OpenAPI document; tests hold every event that they see to them.

Objects are open: a later version may add fields, so a client that refuses what it doesn't know would break with it. What is
written today, though, is all there: no field is ever left out but those of `OPTIONAL`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BaseModel, Field, WithJsonSchema
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from pydantic_core import core_schema

from mcp_operator.model.base import Model
from mcp_operator.model.events import (
    EventType,
    KubernetesPayload,
    LogPayload,
    MetricsPayload,
    Payload,
    ProgressPayload,
    ResponsePayload,
    StatusPayload,
)

Schema: TypeAlias = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

PAYLOADS: Final[Mapping[EventType, type[Payload]]] = {
    payload.type: payload
    for payload in (StatusPayload, ProgressPayload, MetricsPayload, LogPayload, ResponsePayload, KubernetesPayload)
}
"""The payload of each type of events."""

OPTIONAL: Final = frozenset({"late", "snapshot", "truncated"})
"""Fields of the envelope that stand in an event only if they say something."""

EventIdText: TypeAlias = Annotated[str, Field(pattern="^[0-9a-z]{1,32}-(0|[1-9][0-9]{0,18})$", max_length=52)]
"""An event id, as `EventId.parse` reads it."""

Timestamp: TypeAlias = Annotated[
    datetime,
    WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$",
        }
    ),
]
"""A time that the log or the gateway gives out: RFC 3339, UTC, milliseconds."""


class Envelope(Model):
    """What every event has, whatever its type; the payload's fields stand beside it."""

    id: EventIdText
    """Its place in the one order of all events, `<epoch>-<number>`: a cursor to resume from. The frame's `id:` is the same."""
    type: EventType
    """What kind of event it is; the frame's `event:` is the same."""
    server: Annotated[str, Field(pattern="^[^/]+/[^/]+$")]
    """Whom it is about: `namespace/name` of the MCPServer."""
    uid: str
    """UID of the MCPServer object. A server that is created again under the same name has another."""
    time: Timestamp
    """When it was told: RFC 3339, UTC, milliseconds; never falls from one event to the next."""
    key: str
    """The same if the same fact is told again after a crash of the operator: drop what you have seen."""
    late: Annotated[bool, WithJsonSchema({"const": True})]
    """True if it happened while the operator was away; else absent."""
    snapshot: Annotated[bool, WithJsonSchema({"const": True})]
    """True if it is part of a snapshot: what is known, not what happens now; else absent. Such a frame has no `id:` line."""
    truncated: bool
    """True if long texts or lists were shortened so that the frame stays under 60 KiB; else absent, or false in `log` events."""


class _Written(GenerateJsonSchema):
    """Schemas of what is written: every field is there, those with a default too."""

    def field_is_required(
        self,
        field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField,
        total: bool,
    ) -> bool:
        return True


def definitions(models: Sequence[type[BaseModel]], *, at: str) -> dict[str, Schema]:
    """The schemas of these models and of all that they are made of, by the names of their classes.

    Args:
        at: the place that references between them point into, with its last slash: `#/$defs/`.
    """
    _, generated = models_json_schema(
        [(model, "serialization") for model in models],
        by_alias=True,
        ref_template=at + "{model}",
        schema_generator=_Written,
    )
    return {name: _tidy(schema) for name, schema in sorted(generated["$defs"].items())}


def event_definitions(*, at: str) -> dict[str, Schema]:
    """`Envelope`, the payloads and what they are made of, an event of each type (`StatusEvent` ...), and `Event`: any of them."""
    envelope = definitions([Envelope], at=at)
    envelope["Envelope"]["required"] = [name for name in envelope["Envelope"]["required"] if name not in OPTIONAL]
    events = {event_name(type_): _event(type_, at=at) for type_ in PAYLOADS}
    any_event = one_of({type_.value: at + event_name(type_) for type_ in PAYLOADS}, "One fact about one server at one time.")
    return {"Event": any_event, **events, **envelope, **definitions(list(PAYLOADS.values()), at=at)}


def event_name(type_: EventType) -> str:
    """The name of the schema of events of this type."""
    return f"{type_.value.capitalize()}Event"


def one_of(references: Mapping[str, str], description: str) -> Schema:
    """The schema of an object that is one of several, told apart by its `type`."""
    return {
        "description": description,
        "oneOf": [{"$ref": reference} for reference in references.values()],
        "discriminator": {"propertyName": "type", "mapping": dict(references)},
    }


def _event(type_: EventType, *, at: str) -> Schema:
    payload = PAYLOADS[type_]
    return {
        "type": "object",
        "description": one_line_a_paragraph(payload.__doc__ or ""),
        "allOf": [{"$ref": f"{at}Envelope"}, {"$ref": at + payload.__name__}],
        "properties": {"type": {"const": type_.value}},
        "required": ["type"],
    }


def _tidy(schema: Any) -> Any:
    """A generated schema as a person would write it: no titles that repeat names, no defaults of what is never left out, open
    objects, `["string", "null"]` for what may be null."""
    if isinstance(schema, list):
        return [_tidy(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    tidied = {key: _tidy(inner) for key, inner in schema.items() if key not in {"title", "default", "properties"}}
    if "properties" in schema:
        tidied["properties"] = {name: _tidy(field) for name, field in schema["properties"].items()}
    if tidied.get("additionalProperties") is False:
        del tidied["additionalProperties"]
    if "description" in tidied:
        tidied["description"] = one_line_a_paragraph(tidied["description"])
    return _nullable(tidied)


def _nullable(schema: Schema) -> Schema:
    choices = schema.get("anyOf", [])
    if len(choices) != 2 or choices[1] != {"type": "null"} or "enum" in choices[0]:  # null would not be one of the values
        return schema
    if isinstance(kind := choices[0].get("type"), str):
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        return {**choices[0], "type": [kind, "null"], **rest}
    return schema


def one_line_a_paragraph(text: str) -> str:
    """A docstring without the line breaks within its paragraphs."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip()))
