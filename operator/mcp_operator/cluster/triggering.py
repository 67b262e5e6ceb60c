"""kopf: tells which MCPServers have changed, so that they are reconciled.

kopf runs on an event loop and a thread of its own, because when it ends it cancels every task that was started after it on its
loop: here, the streams of all subscribers. It ends itself on errors that it takes for final (an error line in a watch, an answer
404 while the CustomResourceDefinition is replaced); then it is started again. State, deletions and relists are the reflectors';
kopf's handler only passes a key on, so it needs no finalizer and writes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import kopf
from kubernetes.aio.client import Configuration

from mcp_operator.cluster.connecting import Backoff
from mcp_operator.cluster.kinds import MCP_SERVER
from mcp_operator.cluster.metrics import ClusterMetrics
from mcp_operator.cluster.outages import Outage

_LONGEST_BACKOFF = 2.0
_RESTART_SECONDS = 1.0

_TOLD_BY_US = ("kopf._cogs.clients", "kopf._core.reactor.orchestration", "kopf._core.reactor.running")
"""kopf's loggers of each try of each request, of why a watch ended it, and of signals that it leaves to us."""


class _Endless:
    """Waiting times for kopf's requests: it gives up when they run out, so they never do."""

    def __iter__(self) -> Iterator[float]:
        backoff = Backoff(first=0.1, longest=_LONGEST_BACKOFF)
        while True:
            yield backoff.next()


class Trigger:
    """kopf, kept running.

    Args:
        namespaces: to look at; none means all.
        load: reads the credentials; called again whenever the API server no longer accepts them.
        on_change: called in the caller's event loop with an MCPServer's UID and generation.
    """

    def __init__(
        self,
        *,
        namespaces: Sequence[str],
        load: Callable[[], Awaitable[Configuration]],
        on_change: Callable[[str, int], None],
        metrics: ClusterMetrics,
    ) -> None:
        self._namespaces = namespaces
        self._load = load
        self._on_change = on_change
        self._metrics = metrics

    async def run(self) -> None:
        """Trigger until cancelled."""
        for name in _TOLD_BY_US:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        ours, its = asyncio.get_running_loop(), asyncio.new_event_loop()
        stop = asyncio.Event()

        def pass_on(uid: str, generation: int) -> None:
            ours.call_soon_threadsafe(self._on_change, uid, generation)

        def run_its_loop() -> None:
            with asyncio.Runner(loop_factory=lambda: its) as runner:
                runner.run(self._supervise(stop, pass_on))

        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="kopf") as executor:
            thread = ours.run_in_executor(executor, run_its_loop)
            try:
                await asyncio.shield(thread)
            finally:
                if not thread.done():
                    its.call_soon_threadsafe(stop.set)
                    await thread

    async def _supervise(self, stop: asyncio.Event, pass_on: Callable[[str, int], None]) -> None:
        outage = Outage("Watching MCPServers with kopf")
        while not stop.is_set():
            try:
                await self._operate(stop, pass_on)
            except Exception as error:  # noqa: BLE001 - kopf lets any exception out, its own private ones among them
                outage.fails(error)
            if not stop.is_set():
                self._metrics.trigger_restarts.inc()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_RESTART_SECONDS):
                        await stop.wait()

    async def _operate(self, stop: asyncio.Event, pass_on: Callable[[str, int], None]) -> None:
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry, backoff=_RESTART_SECONDS)
        async def login(**_: Any) -> kopf.ConnectionInfo:
            return await _connection(await self._load())

        group, _, version = MCP_SERVER.api_version.partition("/")

        @kopf.on.event(group, version, MCP_SERVER.plural, registry=registry)
        async def changed(body: kopf.Body, **_: Any) -> None:
            pass_on(body["metadata"]["uid"], body["metadata"]["generation"])

        await kopf.operator(
            registry=registry,
            settings=_settings(),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=stop,
        )


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.process.ultimate_exiting_timeout = None  # else it kills this process ten minutes after it has ended by itself
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = _Endless()
    settings.watching.chunk_size = 500
    return settings


async def _connection(configuration: Configuration) -> kopf.ConnectionInfo:
    setting = (await configuration.auth_settings()).get("BearerToken")
    scheme, _, token = str(setting["value"]).partition(" ") if setting else ("", "", "")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        ca_data=configuration.ca_cert_data,
        insecure=not configuration.verify_ssl,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        scheme=scheme or None,
        token=token or None,
        proxy_url=configuration.proxy,
        trust_env=True,
    )
