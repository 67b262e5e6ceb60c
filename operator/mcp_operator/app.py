"""The composition root: what is built, started and stopped, in which order. `cli` runs it.

The gateway listens first, so that probes and early subscribers get an answer (not ready, come back) while the cluster is read.
It also stops first: streams say goodbye while there is still a process that can. If the cluster side fails for good, the process
ends with its error, and Kubernetes starts another.
"""

import asyncio
import logging
import resource
import signal
import socket

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from mcp_operator.apiserver.errors import ApiError
from mcp_operator.cluster.running import Cluster
from mcp_operator.collecting import collect_rarely
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.gateway.options import Engine, HttpOptions, StreamOptions
from mcp_operator.gateway.securing import CertificateError
from mcp_operator.gateway.serving import Gateway
from mcp_operator.settings import Settings

logger = logging.getLogger(__name__)


_OTHER_FILES = 1_000
"""For all that isn't a stream: watches, logs that are followed, requests that are just answered."""


class StartError(Exception):
    """The process can't do its work on this machine, in a sentence for whoever started it."""


async def run(settings: Settings) -> None:
    """Run the operator until SIGTERM or SIGINT.

    Raises:
        StartError: a port can't be listened on, the TLS certificate can't be used, or no credentials for a cluster are found.
    """
    _allow_open_files(settings.max_streams)
    registry = _registry()
    log = MemoryLog(capacity=settings.log_events, capacity_bytes=settings.log_bytes, max_age_seconds=settings.log_seconds)
    cluster = Cluster(log=log, namespaces=settings.namespaces, instance=socket.gethostname(), registry=registry)
    gateway = Gateway(
        log=log,
        synced=cluster.synced,
        records=cluster.records,
        registry=registry,
        http=HttpOptions(
            host=settings.host,
            port=settings.port,
            health_port=settings.health_port,
            default_namespace=settings.default_namespace,
            cors_origins=settings.cors_origins,
            tls_certificate=settings.tls_certificate,
            tls_key=settings.tls_key,
        ),
        streams=StreamOptions(
            heartbeat_seconds=settings.heartbeat_seconds,
            max_age_seconds=settings.stream_max_age_seconds,
            backlog_bytes=settings.stream_backlog_bytes,
            backlog_seconds=settings.stream_backlog_seconds,
            stall_seconds=settings.stream_stall_seconds,
            drain_seconds=settings.stream_drain_seconds,
            max_streams=settings.max_streams,
            max_streams_per_client=settings.max_streams_per_client,
            new_streams_per_second=settings.new_streams_per_second,
            engine=Engine(settings.stream_engine),
        ),
    )
    stopping = _stop_signal()
    try:
        ports = await gateway.start()
    except OSError as error:
        raise StartError(f"The gateway can't listen on {settings.host}: {error.strerror or error}") from None
    except CertificateError as error:
        raise StartError(f"The gateway can't speak TLS: {error}") from None
    collect_rarely()
    logger.info("The gateway listens on port %d, health and metrics on port %d.", ports.gateway, ports.health)
    refused: BaseException | None = None
    try:
        await _serve(cluster, gateway, until=stopping)
    except* ApiError as errors:
        refused = errors.exceptions[0]
    if refused is not None:
        raise StartError(f"There is no way to the cluster: {refused}")


async def _serve(cluster: Cluster, gateway: Gateway, *, until: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(cluster.run(), name="cluster")
        try:
            await until.wait()
            logger.info("Stopping: streams end first.")
        finally:
            await gateway.stop()
            following.cancel()


def _allow_open_files(streams: int) -> None:
    """Each stream is an open file, and a process may have 1,024 unless it asks for more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most != resource.RLIM_INFINITY and most < streams + _OTHER_FILES:
        logger.warning("This process may have %d files open: too few for MCP_OPERATOR_MAX_STREAMS=%d streams.", most, streams)


def _registry() -> CollectorRegistry:
    """A registry of our own with what is said of any Python process, so that nothing else ends up on /metrics."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


def _stop_signal() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping
