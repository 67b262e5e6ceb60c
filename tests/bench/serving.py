"""The servers in Python that are measured, in a process of their own: `python -m tests.bench.serving JSON` (`servers` starts it).

`gateway` is the operator's gateway over its log in memory as `app` builds them, without a cluster behind it: filters, ids, the
hook for identities, metrics and heartbeats are on. `plain` is the shortest server of Server-Sent Events that aiohttp allows. Each
prints a JSON object with its ports when it listens, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import platform
import resource
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from mcp_operator.collecting import collect_rarely
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.gateway.options import HttpOptions, StreamOptions
from mcp_operator.gateway.serving import Gateway
from mcp_operator.settings import Settings
from tests.bench.ingesting import Ingest, serve

_HOST = "127.0.0.1"
_BACKLOG = 4096
"""Connections that may wait to be accepted: all of a test's come at once."""


@asynccontextmanager
async def gateway(*, servers: int = 100, tls: str | None = None, streams: Mapping[str, Any] | None = None) -> AsyncIterator[Any]:
    """The operator's gateway; its ports.

    Args:
        servers: of each namespace that events are published to.
        tls: a PEM file with certificate and key.
        streams: options that differ from their default.
    """
    settings = Settings()
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    log = MemoryLog(capacity=settings.log_events, capacity_bytes=settings.log_bytes, max_age_seconds=settings.log_seconds)
    http = HttpOptions(host=_HOST, port=0, health_port=0, tls_certificate=None if tls is None else Path(tls))
    serving = Gateway(log=log, synced=lambda: True, registry=registry, http=http, streams=StreamOptions(**(streams or {})))
    ingest = Ingest(log, servers=servers)
    publishing = await asyncio.start_server(partial(serve, ingest.answer), _HOST, 0, limit=2**20)
    ports = await serving.start()
    collect_rarely()
    try:
        yield {"port": ports.gateway, "publish_port": publishing.sockets[0].getsockname()[1], "health_port": ports.health}
    finally:
        publishing.close()
        ingest.stalls.stop()
        await serving.stop()


@asynccontextmanager
async def plain(*, tls: str | None = None) -> AsyncIterator[Any]:
    """An aiohttp `StreamResponse` per subscriber, which sends an opening line and then nothing; its port."""
    application = web.Application()
    application.router.add_get("/events", _plain_stream)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    context = None
    if tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls)
    await web.TCPSite(runner, _HOST, 0, backlog=_BACKLOG, ssl_context=context).start()
    try:
        yield {"port": runner.addresses[0][1]}
    finally:
        await runner.cleanup()


async def _plain_stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    await response.write(b"retry: 2000\n\n")
    await asyncio.Event().wait()
    return response


async def _serve(kind: str, options: Mapping[str, Any]) -> None:
    started = {"gateway": gateway, "plain": plain}[kind]
    async with started(**options) as ports:
        sys.stdout.write(json.dumps({**ports, "runtime": _runtime()}) + "\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def _runtime() -> str:
    """Python's version and the event loop, as figures name them."""
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    return f"Python {platform.python_version()}, {loop}"


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    arguments = json.loads(sys.argv[1])
    asyncio.run(_serve(arguments.pop("kind"), arguments))


if __name__ == "__main__":
    main()
