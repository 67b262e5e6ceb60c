"""The gateway as `app` starts and stops it: one port for subscribers, one for the kubelet and Prometheus."""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler

from mcp_operator.eventlog.encoding import to_json
from mcp_operator.eventlog.log import EventLog
from mcp_operator.gateway.admitting import Admission
from mcp_operator.gateway.charting import ChartHandlers
from mcp_operator.gateway.crossing import CrossOrigin
from mcp_operator.gateway.delivering import StreamHandlers
from mcp_operator.gateway.documenting import DocumentHandlers
from mcp_operator.gateway.identity import identity_middleware
from mcp_operator.gateway.listening import Connection, ConnectionLimits, Listener
from mcp_operator.gateway.listing import ListHandlers, json_response
from mcp_operator.gateway.metrics import LogCollector, RefusalCollector, StreamMetrics
from mcp_operator.gateway.options import Engine, HttpOptions, StreamOptions
from mcp_operator.gateway.overviewing import OverviewHandlers
from mcp_operator.gateway.problems import problem_middleware
from mcp_operator.gateway.rollouts import NoRecords, Records, RolloutHandlers
from mcp_operator.gateway.securing import Certificate
from mcp_operator.gateway.stalling import StallMeter
from mcp_operator.gateway.streaming import RESET_REASONS, EndReason

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5
"""How long streams may take to say goodbye when the gateway stops. A connection that is still busy then is cut, after as long
again at most."""

_INDEX = {
    "servers": "/api/servers",
    "server": "/api/servers/{id}",
    "serverRollouts": "/api/servers/{id}/rollouts",
    "serverEvents": "/api/servers/{id}/events",
    "serverMetrics": "/api/servers/{id}/metrics",
    "events": "/api/events",
    "streams": "/api/streams",
    "openapi": "/openapi.json",
    "docs": "/docs",
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
        records: Records | None = None,
        registry: CollectorRegistry,
        http: HttpOptions,
        streams: StreamOptions,
        connections: ConnectionLimits | None = None,
    ) -> None:
        """
        Args:
            synced: whether the log tells of the whole cluster. Until then nothing final is said.
            records: of rollouts and scalings; without them every server's list is empty.
            registry: gets the gateway's metrics; /metrics shows all that is in it.
            connections: bounds of connections that carry no stream, if the usual ones don't fit.
        """
        metrics = StreamMetrics(registry, reset_reasons=RESET_REASONS, end_reasons=tuple(EndReason))
        registry.register(LogCollector(log))
        self._synced = synced
        self._admission = Admission(
            max_streams=streams.max_streams,
            max_per_client=streams.max_streams_per_client,
            new_per_second=streams.new_streams_per_second,
        )
        registry.register(RefusalCollector(lambda: self._admission.refused))
        self._streams = StreamHandlers(
            log=log,
            synced=synced,
            metrics=metrics,
            options=streams,
            admission=self._admission,
            default_namespace=http.default_namespace,
        )
        self._stalls = StallMeter(registry)
        self._measuring: asyncio.Task[None] | None = None
        lists = ListHandlers(log=log, synced=synced, default_namespace=http.default_namespace)
        charts = ChartHandlers(log=log, synced=synced, admission=self._admission, default_namespace=http.default_namespace)
        overview = OverviewHandlers(streams=self._streams.open_streams, log=log)
        rollouts = RolloutHandlers(
            log=log, synced=synced, records=records or NoRecords(), default_namespace=http.default_namespace
        )
        self._http = http
        self._api = _runner(self._api_application(lists, charts, overview, rollouts))
        self._health = _runner(self._health_application(registry))
        self._limits = connections or _connection_limits(streams)

    async def start(self) -> Ports:
        """Listen, and return the ports.

        Raises:
            OSError: an address can't be listened on; nothing listens then.
            CertificateError: the TLS certificate can't be used.
        """
        tls = None
        if self._http.tls_certificate is not None:
            tls = Certificate(self._http.tls_certificate, self._http.tls_key).context
        self._streams.start()
        self._measuring = asyncio.create_task(self._stalls.run(), name="stall meter")
        try:
            return Ports(
                gateway=await self._listen(self._api, self._http.port, tls=tls),
                health=await self._listen(self._health, self._http.health_port),
            )
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Let the streams end with `bye`, then take no new connection and close. The health port goes last."""
        await self._streams.stop()
        await self._api.cleanup()
        await self._health.cleanup()
        if self._measuring is not None:
            self._measuring.cancel()
            with suppress(asyncio.CancelledError):
                await self._measuring

    async def _listen(self, runner: web.AppRunner, port: int, *, tls: ssl.SSLContext | None = None) -> int:
        await runner.setup()
        await Listener(runner, host=self._http.host, port=port, limits=self._limits, tls=tls).start()
        bound: int = runner.addresses[0][1]
        return bound

    def _api_application(
        self, lists: ListHandlers, charts: ChartHandlers, overview: OverviewHandlers, rollouts: RolloutHandlers
    ) -> web.Application:
        cross_origin = CrossOrigin(self._http.cors_origins)
        application = web.Application(
            middlewares=[_log_requests, problem_middleware, cross_origin.answer_options, identity_middleware]
        )
        application.on_response_prepare.append(cross_origin.add_headers)
        application.on_response_prepare.append(_describe_connection)
        application.router.add_get("/", _index)
        application.router.add_get("/api/servers", lists.servers)
        application.router.add_get("/api/servers/{id}", lists.server)
        application.router.add_get("/api/servers/{id}/rollouts", rollouts.rollouts)
        application.router.add_get("/api/servers/{id}/events", self._streams.server_events)
        application.router.add_get("/api/servers/{id}/metrics", charts.metrics)
        application.router.add_get("/api/events", self._streams.cluster_events)
        application.router.add_get("/api/streams", overview.streams)
        documents = DocumentHandlers()
        application.router.add_get("/openapi.json", documents.openapi)
        application.router.add_get("/docs", documents.page)
        return application

    def _health_application(self, registry: CollectorRegistry) -> web.Application:
        application = web.Application(middlewares=[problem_middleware])
        application.router.add_get("/healthz", _healthy)
        application.router.add_get("/readyz", self._ready)
        application.router.add_get("/metrics", make_aiohttp_handler(registry))
        return application

    async def _ready(self, _: web.Request) -> web.Response:
        if self._synced():
            return web.Response(text="ok\n")
        return web.Response(status=503, text="the cluster has not been read yet\n")


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _index(_: web.Request) -> web.Response:
    return json_response(to_json(_INDEX))


async def _describe_connection(request: web.Request, response: web.StreamResponse) -> None:
    """Who answers, and when the connection ends: with a stream, also for a client of HTTP/1.0 that asked to keep it."""
    response.headers[hdrs.SERVER] = "mcp-operator"
    if response.content_type == "text/event-stream" and request.method != hdrs.METH_HEAD:
        response.force_close()
        response.headers[hdrs.CONNECTION] = "close"
        if isinstance(request.protocol, Connection):
            request.protocol.hear_no_more()


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


def _connection_limits(streams: StreamOptions) -> ConnectionLimits:
    """The usual bounds. Where streams stay with aiohttp their connections are counted with the others."""
    usual = ConnectionLimits()
    if streams.engine is Engine.AIOHTTP:
        return replace(usual, connections=usual.connections + streams.max_streams)
    return usual
