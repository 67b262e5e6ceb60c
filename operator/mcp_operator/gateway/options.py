"""What the gateway can be told about streams and its HTTP side; `app` fills it from the settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Engine(StrEnum):
    """What carries a stream's bytes once its headers are out."""

    SOCKET = "socket"
    """The connection leaves aiohttp and is written to directly."""
    AIOHTTP = "aiohttp"
    """aiohttp's own response: slower and larger, and nothing of it is bent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """Bounds and times of event streams."""

    heartbeat_seconds: float = 15
    """Longest silence."""
    max_age_seconds: float = 3600
    """A stream ends after 80 to 100 % of this, and its client comes back; 0: never."""
    backlog_bytes: int = 1024 * 1024
    """What has happened since a stream was opened and isn't sent yet, in bytes of JSON; beyond it is thinned out."""
    backlog_seconds: float = 30
    """The same by age of what is to be sent next."""
    stall_seconds: float = 120
    """A client that acknowledges nothing for so long is let go."""
    drain_seconds: float = 10
    """Over how much time the ends of all streams are spread when the gateway stops."""
    max_streams: int = 25_000
    max_streams_per_client: int = 12_500
    new_streams_per_second: float = 2_000
    engine: Engine = Engine.SOCKET


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """Where the gateway listens, and who may use it from a browser."""

    host: str
    port: int
    """0 picks a free one, as does `health_port`."""
    health_port: int
    default_namespace: str = "default"
    """Namespace of a server named in a URL without one."""
    cors_origins: Sequence[str] = ()
    """Origins (scheme://host:port) whose pages may use the API with credentials."""
    tls_certificate: Path | None = None
    """PEM file with the certificate chain; the gateway's port speaks TLS with it."""
    tls_key: Path | None = None
    """PEM file with its private key, where that isn't in the same file."""
