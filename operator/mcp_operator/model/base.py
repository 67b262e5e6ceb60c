"""What all models of the vocabulary have in common: they never change, and they speak camelCase to the outside.

Kubernetes resources and the events' JSON both use camelCase names; Python code uses snake_case ones. The translation lives
here, once, so that no room spells a field name by hand.
"""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Object: TypeAlias = Mapping[str, Any]
"""A Kubernetes object (or a part of one) as the API server sends it: raw JSON, never a generated client model."""

LONGEST_WORD = 1024

Word: TypeAlias = Annotated[str, Field(max_length=LONGEST_WORD)]
"""A name, id, reason or digest; bounded as a condition's reason is (metav1.Condition)."""

Sentence: TypeAlias = Annotated[str, Field(max_length=32768)]
"""Text for people; bounded as a condition's message is (metav1.Condition)."""

Count: TypeAlias = Annotated[int, Field(ge=0)]


class Model(BaseModel):
    """An immutable value with camelCase JSON names; unknown fields are an error, because we write these values ourselves.

    A string under a field is the field's documentation: `kubectl explain` shows it.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )

    def to_json_object(self) -> dict[str, Any]:
        """The value as JSON-ready data with its outside names; times are RFC 3339 strings, unset optional fields are null."""
        return self.model_dump(mode="json", by_alias=True)


class SpecModel(Model):
    """A part of what people write into a resource. Unknown fields are ignored: the API server has refused misspelt ones, and
    what is left belongs to a newer version of the CustomResourceDefinition.
    """

    model_config = ConfigDict(extra="ignore")
