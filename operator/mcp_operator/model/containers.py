"""The parts of an MCPServer's spec that Kubernetes defines for every container: environment, resources, references.

Names, shapes and rules are those of core/v1 (k8s.io/api/core/v1/types.go), so that people can move a container's lines from a
Deployment into an MCPServer as they are; `workload` copies them back as they are. The bounds are ours.
"""

from typing import Annotated, Final, TypeAlias

from pydantic import ConfigDict, Field

from mcp_operator.model.base import SpecModel
from mcp_operator.model.schema import ListMap, Rule, int_or_string, with_rules

ObjectName: TypeAlias = Annotated[str, Field(min_length=1, max_length=253)]

Argument: TypeAlias = Annotated[str, Field(max_length=131072)]
"""One string of a command line or an environment: Linux takes at most 128 KiB (MAX_ARG_STRLEN)."""

_QUANTITY: Final = Rule("isQuantity(string(self))", "must be a quantity such as 500m or 256Mi")
Quantity: TypeAlias = Annotated[int | str, int_or_string(maxLength=32), _QUANTITY]

_ENV_NAME: Final = Rule(
    r"self.matches('^[ -<>-~]+$')",
    "must be printable ASCII without =",
)


class LocalObjectReference(SpecModel):
    """A reference to an object of the same namespace."""

    name: ObjectName
    """Name of the object."""


class KeySelector(SpecModel):
    """One key of a Secret or ConfigMap of the same namespace."""

    name: ObjectName
    """Name of the Secret or ConfigMap."""
    key: Annotated[str, Field(min_length=1, max_length=253)]
    """The key whose value is taken."""
    optional: bool | None = None
    """Whether the instance may start without the object or the key."""


class ObjectFieldSelector(SpecModel):
    """A field of the pod itself."""

    api_version: Annotated[str, Field(max_length=63)] | None = None
    """Version of the pod's schema that fieldPath is written in, v1 by default."""
    field_path: Annotated[str, Field(min_length=1, max_length=512)]
    """Path of the field, for instance metadata.name or status.podIP."""


class ResourceFieldSelector(SpecModel):
    """A resource limit or request of a container."""

    container_name: Annotated[str, Field(max_length=63)] | None = None
    """Name of the container, by default the MCP server's own (mcp)."""
    resource: Annotated[str, Field(min_length=1, max_length=253)]
    """The resource, for instance limits.memory."""
    divisor: Quantity | None = None
    """The unit of the value, 1 by default."""


class EnvVarSource(SpecModel):
    """Where the value of an environment variable comes from; exactly one of the fields."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            Rule(
                "[has(self.fieldRef), has(self.resourceFieldRef), has(self.secretKeyRef), has(self.configMapKeyRef)]"
                ".exists_one(given, given)",
                "must have exactly one of fieldRef, resourceFieldRef, secretKeyRef and configMapKeyRef",
            )
        )
    )

    field_ref: ObjectFieldSelector | None = None
    """A field of the pod."""
    resource_field_ref: ResourceFieldSelector | None = None
    """A resource of a container."""
    secret_key_ref: KeySelector | None = None
    """A key of a Secret."""
    config_map_key_ref: KeySelector | None = None
    """A key of a ConfigMap."""


class EnvVar(SpecModel):
    """One environment variable."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            Rule(
                "!(has(self.value) && has(self.valueFrom))",
                "a variable must have value or valueFrom, never both",
            )
        )
    )

    name: Annotated[str, Field(max_length=512), _ENV_NAME]
    """Name of the variable."""
    value: Argument | None = None
    """Its value; $(NAME) stands for a variable defined before it."""
    value_from: EnvVarSource | None = None
    """Where its value comes from, instead of value."""


class EnvSource(SpecModel):
    """A whole Secret or ConfigMap of the same namespace."""

    name: ObjectName
    """Name of the Secret or ConfigMap."""
    optional: bool | None = None
    """Whether the instance may start without the object."""


class EnvFromSource(SpecModel):
    """All keys of a ConfigMap or of a Secret as environment variables; exactly one of the two."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            Rule(
                "has(self.configMapRef) != has(self.secretRef)",
                "must have exactly one of configMapRef and secretRef",
            )
        )
    )

    prefix: Annotated[str, Field(max_length=253)] | None = None
    """Put before each name."""
    config_map_ref: EnvSource | None = None
    """The ConfigMap."""
    secret_ref: EnvSource | None = None
    """The Secret."""


Resources: TypeAlias = Annotated[dict[str, Quantity], Field(max_length=16)]


class ResourceRequirements(SpecModel):
    """What an instance may use and what is kept for it."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            Rule(
                "!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits)"
                " || !isQuantity(string(self.requests[name])) || !isQuantity(string(self.limits[name]))"
                " || quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)",
                "a request must be at most the limit of the same name",
            )
        )
    )

    limits: Resources | None = None
    """The most of each resource that an instance may use, for instance memory: 256Mi."""
    requests: Resources | None = None
    """What the scheduler keeps for an instance; a missing request equals the limit."""


Env: TypeAlias = Annotated[tuple[EnvVar, ...], Field(max_length=256), ListMap("name")]
EnvFrom: TypeAlias = Annotated[tuple[EnvFromSource, ...], Field(max_length=64)]
ImagePullSecrets: TypeAlias = Annotated[tuple[LocalObjectReference, ...], Field(max_length=16), ListMap("name")]
