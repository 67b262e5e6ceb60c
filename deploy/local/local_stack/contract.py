"""What a gateway promises in its OpenAPI document, held against what it really sends.

The tests and the demo check every frame and every answer that they see. The published schemas are open, because fields may be
added later; here they are closed, because what is sent today must be described today.

    contract = Contract.of("http://127.0.0.1:8080")
    for message in parser.feed(received):
        contract.check_message(message)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Self, TypeAlias
from urllib.request import urlopen

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import best_match

from local_stack.sse import Message

Schema: TypeAlias = dict[str, Any]

MAX_DATA_BYTES: Final = 60 * 1024
"""A whole frame is never longer."""

_REMEMBERED: Final = 65536
"""Texts that are known to be right: streams tell many subscribers the same."""

_WITHOUT_ID: Final = frozenset({"hello", "reset"})
_ALWAYS_NAMED: Final = frozenset({"hello", "bookmark", "bye"})
_DESCRIPTIVE: Final = frozenset({"description", "examples", "discriminator"})

_FORMATS: Final = FormatChecker(formats=())


@_FORMATS.checks("date-time", raises=ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


class ContractError(AssertionError):
    """Something was sent that the OpenAPI document doesn't allow."""


class Contract:
    """The promises of one OpenAPI document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._paths = [(_path_pattern(path), item) for path, item in document["paths"].items()]
        mapping = document["components"]["schemas"]["Message"]["discriminator"]["mapping"]
        self._messages = {type_: self._validator({"$ref": reference}) for type_, reference in mapping.items()}
        self._answers: dict[str, Draft202012Validator] = {}
        self._check_text = lru_cache(_REMEMBERED)(self._parse_and_check)

    @classmethod
    def of(cls, gateway: str) -> Self:
        """The promises of the gateway at this URL.

        Raises:
            OSError: it doesn't say any.
        """
        with urlopen(f"{gateway}/openapi.json", timeout=10) as answer:  # noqa: S310 - it is the URL of a gateway
            return cls(json.load(answer))

    def check_message(self, message: Message) -> None:
        """Hold a frame to its schema and to the rules of its fields.

        Raises:
            ContractError: it says what is wrong with which frame.
        """
        type_, own_id, in_snapshot = self._check_text(message.data)
        named = message.event != "message"
        _require(message, named or type_ not in _ALWAYS_NAMED, "is without a name")
        _require(message, not named or message.event == type_, f"is named {message.event}")
        without_id = in_snapshot or type_ in _WITHOUT_ID
        _require(message, not (message.has_id_line and without_id), "has an id line")
        _require(message, not message.has_id_line or message.id == own_id, f"has the id {message.id} of something else")
        _require(message, own_id is None or message.has_id_line or without_id or type_ == "dropped", "has no id line")

    def check_event(self, body: Any) -> None:
        """Hold an event's or a control frame's JSON to its schema.

        Raises:
            ContractError: it says what is wrong with it.
        """
        if not isinstance(body, dict) or body.get("type") not in self._messages:
            raise ContractError(f"no type that is known: {_shown(body)}")
        _validate(self._messages[body["type"]], body)

    def check_answer(self, *, method: str, path: str, status: int, content_type: str, body: bytes) -> None:
        """Hold an answer that isn't a stream to what is said of its route and status.

        Args:
            path: without the query.

        Raises:
            ContractError: it says what is wrong with it.
        """
        what = f"{method} {path}: {status} {content_type}"
        response = self._response(method, path, status)
        if response is None:
            raise ContractError(f"{what} is not described")
        content = response.get("content", {})
        if not content and not body:
            return
        if content_type not in content:
            raise ContractError(f"{what}: described are {sorted(content)}")
        if "json" in content_type and method != "HEAD":
            key = f"{path} {status} {content_type}"
            if key not in self._answers:
                self._answers[key] = self._validator(content[content_type].get("schema", {}))
            _validate(self._answers[key], json.loads(body))

    def _response(self, method: str, path: str, status: int) -> Any:
        method = "get" if method == "HEAD" else method.lower()
        item: Mapping[str, Any] = next((item for pattern, item in self._paths if pattern.fullmatch(path)), {})
        if method in item:
            responses = item[method]["responses"]
        elif status >= 400:
            responses = {"default": {"$ref": "#/components/responses/Problem"}}
        else:
            return None
        response = responses.get(str(status), responses.get("default") if status >= 400 else None)
        return self._resolved(response) if response is not None else None

    def _parse_and_check(self, text: str) -> tuple[str, str | None, bool]:
        """The type of a frame's JSON, the id that the frame may have, and whether it is part of a snapshot."""
        if len(text.encode()) > MAX_DATA_BYTES:
            raise ContractError(f"longer than {MAX_DATA_BYTES} bytes: {text[:200]}")
        body = json.loads(text)
        self.check_event(body)
        return body["type"], body.get("id", body.get("cursor")), bool(body.get("snapshot"))

    def _validator(self, schema: Schema) -> Draft202012Validator:
        return Draft202012Validator(self._closed(schema), format_checker=_FORMATS)

    def _closed(self, schema: Any) -> Any:
        """A schema without references, with each object closed: nothing else may stand in it. That is also ten times as fast."""
        if isinstance(schema, list):
            return [self._closed(inner) for inner in schema]
        if not isinstance(schema, dict):
            return schema
        schema = {key: value for key, value in self._resolved(schema).items() if key not in _DESCRIPTIVE}
        if parts := schema.pop("allOf", None):
            schema = _merged([*(self._resolved(part) for part in parts), schema])
        properties = {name: self._closed(field) for name, field in schema.pop("properties", {}).items()}
        closed = {key: self._closed(value) for key, value in schema.items()}
        return {**closed, "properties": properties, "additionalProperties": False} if properties else closed

    def _resolved(self, schema: Schema) -> Schema:
        if "$ref" not in schema:
            return schema
        target: Any = self._document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step.replace("~1", "/").replace("~0", "~")]
        return {**self._resolved(target), **{key: value for key, value in schema.items() if key != "$ref"}}


def _merged(parts: Iterable[Schema]) -> Schema:
    """One object for several that hold together: what a later one says of a field is added."""
    merged: Schema = {"type": "object", "properties": {}, "required": []}
    for part in parts:
        for name, field in part.get("properties", {}).items():
            merged["properties"][name] = {**merged["properties"].get(name, {}), **field}
        merged["required"] += part.get("required", [])
    merged["required"] = sorted(set(merged["required"]))
    return merged


def _path_pattern(path: str) -> re.Pattern[str]:
    return re.compile("".join("[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^}]+\})", path)))


def _require(message: Message, right: bool, wrong: str) -> None:
    if not right:
        raise ContractError(f"the frame {wrong}: {message}")


def _validate(validator: Draft202012Validator, body: Any) -> None:
    if not validator.is_valid(body):
        error = best_match(validator.iter_errors(body))
        raise ContractError(f"{error.json_path}: {error.message[:500]}, in {_shown(body)}")


def _shown(body: Any) -> str:
    return json.dumps(body, ensure_ascii=False)[:1000]
