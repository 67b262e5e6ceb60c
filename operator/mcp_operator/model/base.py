"""What all models of the vocabulary have in common: they never change, and they speak camelCase to the outside.

Kubernetes resources and the events' JSON both use camelCase names; Python code uses snake_case ones. The translation lives
here, once, so that no room spells a field name by hand.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

Object: TypeAlias = Mapping[str, Any]
"""A Kubernetes object (or a part of one) as the API server sends it: raw JSON, never a generated client model."""


class Model(BaseModel):
    """An immutable value with camelCase JSON names; unknown fields are an error, because we write these values ourselves."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    def to_json_object(self) -> dict[str, Any]:
        """The value as JSON-ready data with its outside names; times are RFC 3339 strings, unset optional fields are null."""
        return self.model_dump(mode="json", by_alias=True)
