"""Every setting of the operator, with its unit, its default and what it means.

Each is read from an environment variable `MCP_OPERATOR_<NAME>`; the command line overrides it. Rooms get the values that they
need from `app`; only `app` and `cli` know this class as a whole.
"""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Port = Annotated[int, Field(ge=0, le=65535)]


_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
_DEFAULT_PORTS = {"http": 80, "https": 443}


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

    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(default=())
    """Origins (scheme://host:port, separated by commas) whose web pages may use the gateway, with credentials."""

    tls_certificate: Path | None = None
    """PEM file with a certificate and its chain: the gateway's port then speaks TLS (the health port doesn't)."""

    tls_key: Path | None = None
    """PEM file with the certificate's private key, if it isn't in the same file."""

    heartbeat_seconds: float = Field(default=15, gt=0, le=300)
    """Longest silence on an event stream before a comment line or a bookmark is sent."""

    stream_max_age_seconds: float = Field(default=3600, ge=0)
    """A stream ends after a random 80 to 100 % of this, so that clients spread over replicas and over time; its client comes
    back and goes on where it was. 0: streams end only with their reason."""

    stream_backlog_bytes: int = Field(default=1024 * 1024, ge=64 * 1024)
    """How much a slow client may be behind, in bytes of the events' JSON, before metrics and progress are thinned out for it
    and log lines are dropped and counted."""

    stream_backlog_seconds: float = Field(default=30, gt=0)
    """The same by age: how old the oldest event may be that it hasn't taken."""

    stream_stall_seconds: float = Field(default=120, ge=1, le=86400)
    """A client that acknowledges nothing of what was sent for so long is let go."""

    stream_drain_seconds: float = Field(default=10, ge=0)
    """When the operator stops, the ends of its streams are spread over so much time. The pod's terminationGracePeriodSeconds has
    to be longer."""

    stream_engine: Literal["socket", "aiohttp"] = "socket"
    """What carries streams: `socket` writes to their connections directly, `aiohttp` through the web framework, at a higher
    cost."""

    max_streams: int = Field(default=25_000, ge=1)
    """Streams that may be open at once; one more is told to come back later."""

    max_streams_per_client: int = Field(default=12_500, ge=1)
    """Streams of one client: of one identity, or of one address while clients have none."""

    new_streams_per_second: float = Field(default=2_000, gt=0)
    """How many streams may begin in a second: more wait for a moment, many more are told to come back later."""

    log_events: int = Field(default=100_000, ge=100)
    """How many events of each type (status, progress, metrics, log, response, kubernetes) the log in memory keeps. The newest
    event of each server and type is kept beyond that; where room is short, a server that takes more than twice its even share
    loses its oldest first."""

    log_bytes: int = Field(default=32 * 1024 * 1024, ge=1024 * 1024)
    """How many bytes of events of each type the log in memory keeps, counted in the events' JSON; memory holds some 400 bytes
    more of each event. Whichever bound is reached first holds."""

    log_seconds: float = Field(default=24 * 3600, gt=0)
    """How long the log in memory keeps an event that a newer one of its server and type has followed."""

    log_format: Literal["text", "json"] = "text"
    """Form of the operator's own log lines on stderr."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level of the operator's own log lines."""

    @field_validator("namespaces", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part for part in (piece.strip() for piece in value.split(",")) if part)
        return value

    @field_validator("cors_origins")
    @classmethod
    def _as_browsers_write_them(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_origin(origin) for origin in origins)

    @field_validator("tls_key")
    @classmethod
    def _key_of_a_certificate(cls, key: Path | None, others: ValidationInfo) -> Path | None:
        if key is not None and others.data.get("tls_certificate") is None:
            raise ValueError("a key without a certificate: set tls_certificate as well")
        return key


def _origin(text: str) -> str:
    """An origin as browsers put it into `Origin`: lower case, without the scheme's own port.

    Raises:
        ValueError: it isn't one; the message names it.
    """
    wrong = ValueError(f"{text!r} is no origin: expected scheme://host or scheme://host:port and nothing after it")
    try:
        parts = urlsplit(text.lower())
        port = parts.port
    except ValueError:
        raise wrong from None
    host = parts.netloc if port is None else parts.netloc.rpartition(":")[0]
    if parts != SplitResult(parts.scheme, parts.netloc, "", "", "") or parts.geturl() != text.lower():
        raise wrong
    if parts.scheme not in _DEFAULT_PORTS or not _HOST.fullmatch(host):
        raise wrong
    return f"{parts.scheme}://{host}" if port in {None, _DEFAULT_PORTS[parts.scheme]} else f"{parts.scheme}://{host}:{port}"
