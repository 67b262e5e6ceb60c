"""Every setting of the operator, with its unit, its default and what it means.

Each is read from an environment variable `MCP_OPERATOR_<NAME>`; the command line overrides it. Rooms get the values that they
need from `app`; only `app` and `cli` know this class as a whole.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """The settings of one process."""

    model_config = SettingsConfigDict(env_prefix="MCP_OPERATOR_", frozen=True, extra="forbid", use_attribute_docstrings=True)

    namespaces: Annotated[tuple[str, ...], NoDecode] = Field(default=())
    """Namespaces whose MCPServers this operator runs, separated by commas; empty means all of the cluster."""

    default_namespace: str = Field(default="default", min_length=1)
    """The namespace of a bare server name in a gateway URL."""

    host: str = "0.0.0.0"  # noqa: S104 - a Service must reach it; in front of it stands what the cluster allows
    """Address that the gateway and the health port listen on."""

    port: Port = 8080
    """Port of the gateway; 0 picks a free one."""

    health_port: Port = 8081
    """Port of /healthz, /readyz and /metrics; 0 picks a free one."""

    heartbeat_seconds: float = Field(default=15, gt=0, le=300)
    """Longest silence on an event stream before a comment line or a bookmark is sent."""

    log_events: int = Field(default=100_000, ge=100)
    """How many events of each type (status, progress, metrics, log) the log in memory keeps. The newest event of each server
    and type is kept beyond that."""

    log_bytes: int = Field(default=32 * 1024 * 1024, ge=1024 * 1024)
    """How many bytes of events of each type the log in memory keeps, counted in the events' JSON; memory holds some 300 bytes
    more of each event. Whichever bound is reached first holds."""

    log_format: Literal["text", "json"] = "text"
    """Form of the operator's own log lines on stderr."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level of the operator's own log lines."""

    @field_validator("namespaces", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part for part in (piece.strip() for piece in value.split(",")) if part)
        return value
