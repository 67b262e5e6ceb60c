"""The gateway as `app` starts and stops it: one port for subscribers, one for the kubelet and Prometheus."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler

from mcp_operator.eventlog.encoding import to_json
from mcp_operator.eventlog.log import EventLog
from mcp_operator.gateway.delivering import StreamHandlers
from mcp_operator.gateway.identity import identity_middleware
from mcp_operator.gateway.listing import ListHandlers, json_response
from mcp_operator.gateway.metrics import LogCollector, StreamMetrics
from mcp_operator.gateway.options import HttpOptions, StreamOptions
from mcp_operator.gateway.problems import problem_middleware
from mcp_operator.gateway.streaming import RESET_REASONS

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5
"""How long streams may take to say goodbye when the gateway stops. A connection that is still busy then is cut, after as long
again at most."""

_INDEX = {
    "servers": "/api/servers",
    "server": "/api/servers/{id}",
    "serverEvents": "/api/servers/{id}/events",
    "events": "/api/events",
}


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that the gateway listens on."""

    gateway: int
    health: int


class Gateway:
    """Serves the event log over HTTP."""

    def __init__(
        self,
        *,
        log: EventLog,
        synced: Callable[[], bool],
        registry: CollectorRegistry,
        http: HttpOptions,
        streams: StreamOptions,
    ) -> None:
        """
        Args:
            synced: whether the log tells of the whole cluster. Until then nothing final is said.
            registry: gets the gateway's metrics; /metrics shows all that is in it.
        """
        metrics = StreamMetrics(registry, reset_reasons=RESET_REASONS)
        registry.register(LogCollector(log))
        self._synced = synced
        self._streams = StreamHandlers(
            log=log,
            synced=synced,
            metrics=metrics,
            default_namespace=http.default_namespace,
            heartbeat_seconds=streams.heartbeat_seconds,
        )
        lists = ListHandlers(log=log, synced=synced, default_namespace=http.default_namespace)
        self._api = _runner(self._api_application(lists))
        self._health = _runner(self._health_application(registry))
        self._http = http

    async def start(self) -> Ports:
        """Listen, and return the ports.

        Raises:
            OSError: an address can't be listened on; nothing listens then.
        """
        try:
            return Ports(
                gateway=await _listen(self._api, self._http.host, self._http.port),
                health=await _listen(self._health, self._http.host, self._http.health_port),
            )
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Take no new connection, let the streams end with `bye`, then close. The health port goes last."""
        await self._api.cleanup()
        await self._health.cleanup()

    def _api_application(self, lists: ListHandlers) -> web.Application:
        application = web.Application(middlewares=[_log_requests, problem_middleware, identity_middleware])
        application.router.add_get("/", _index)
        application.router.add_get("/api/servers", lists.servers)
        application.router.add_get("/api/servers/{id}", lists.server)
        application.router.add_get("/api/servers/{id}/events", self._streams.server_events, allow_head=False)
        application.router.add_get("/api/events", self._streams.cluster_events, allow_head=False)
        application.on_shutdown.append(self._end_streams)
        return application

    def _health_application(self, registry: CollectorRegistry) -> web.Application:
        application = web.Application(middlewares=[problem_middleware])
        application.router.add_get("/healthz", _healthy)
        application.router.add_get("/readyz", self._ready)
        application.router.add_get("/metrics", make_aiohttp_handler(registry))
        return application

    async def _end_streams(self, _: web.Application) -> None:
        self._streams.end()

    async def _ready(self, _: web.Request) -> web.Response:
        if self._synced():
            return web.Response(text="ok\n")
        return web.Response(status=503, text="the cluster has not been read yet\n")


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _index(_: web.Request) -> web.Response:
    return json_response(to_json(_INDEX))


@web.middleware
async def _log_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """One line per request when it ends. The query stays out of it: it may come to carry secrets."""
    begin = time.monotonic()
    outcome = "cut"
    try:
        response = await handler(request)
        outcome = str(response.status)
        return response
    finally:
        seconds = time.monotonic() - begin
        logger.debug("%s %.200r from %s: %s after %.3f s", request.method, request.path, request.remote, outcome, seconds)


def _runner(application: web.Application) -> web.AppRunner:
    # A handler whose client is gone is cancelled, so that its stream ends now and not with the next heartbeat.
    return web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=GRACE_SECONDS)


async def _listen(runner: web.AppRunner, host: str, port: int) -> int:
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    bound: int = runner.addresses[0][1]
    return bound
