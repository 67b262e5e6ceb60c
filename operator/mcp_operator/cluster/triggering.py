"""kopf: tells which MCPServers have changed, so that they are reconciled.

kopf runs on an event loop and a thread of its own, because when it ends it cancels every task that was started after it on its
loop: here, the streams of all subscribers. It ends itself on errors that it takes for final (an error line in a watch, an answer
404 while the CustomResourceDefinition is replaced); then it is started again. State, deletions and relists are the reflectors';
kopf's handler only passes a key on, so it needs no finalizer and writes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

import kopf
from kubernetes.aio.client import Configuration

from mcp_operator.apiserver.credentials import authorization, open_session
from mcp_operator.apiserver.kinds import MCP_SERVER
from mcp_operator.cluster.metrics import ClusterMetrics
from mcp_operator.cluster.outages import Backoff, Outage

logger = logging.getLogger(__name__)

_LONGEST_BACKOFF = 2.0
_RESTART_SECONDS = 1.0

_TOLD_BY_US = ("kopf._cogs", "kopf._core")
"""kopf's loggers of each try of each request, of why it ends, and of the signals that it leaves to us."""


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
        self._outage = Outage("Watching MCPServers with kopf")

    async def run(self) -> None:
        """Trigger until cancelled."""
        for name in _TOLD_BY_US:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        ours, its = asyncio.get_running_loop(), asyncio.new_event_loop()
        its.set_exception_handler(_leave_behind)
        stop = asyncio.Event()

        def pass_on(uid: str, generation: int) -> None:
            ours.call_soon_threadsafe(self._on_change, uid, generation)

        def run_its_loop() -> None:
            with asyncio.Runner(loop_factory=lambda: its) as runner:
                runner.run(_until(stop, self._keep_operating(pass_on)))

        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="kopf") as executor:
            thread = ours.run_in_executor(executor, run_its_loop)
            try:
                await asyncio.shield(thread)
            finally:
                if not thread.done():
                    its.call_soon_threadsafe(stop.set)
                    await thread

    async def _keep_operating(self, pass_on: Callable[[str, int], None]) -> None:
        while True:
            try:
                await self._operate(pass_on)
            except Exception as error:  # noqa: BLE001 - kopf lets any exception out, its own private ones among them
                self._outage.fails(error)
            self._metrics.trigger_restarts.inc()
            await asyncio.sleep(_RESTART_SECONDS)

    async def _operate(self, pass_on: Callable[[str, int], None]) -> None:
        registry = kopf.OperatorRegistry()
        group, _, version = MCP_SERVER.api_version.partition("/")
        async with AsyncExitStack() as sessions:

            @kopf.on.login(registry=registry, backoff=_RESTART_SECONDS)
            async def login(**_: Any) -> kopf.AiohttpSession:
                configuration = await self._load()
                session = await sessions.enter_async_context(open_session(configuration, await authorization(configuration)))
                return kopf.AiohttpSession(server=configuration.host, aiohttp_session=session)

            @kopf.on.event(group, version, MCP_SERVER.plural, registry=registry)
            async def changed(body: kopf.Body, **_: Any) -> None:
                self._outage.works()
                pass_on(body["metadata"]["uid"], body["metadata"]["generation"])

            await kopf.operator(
                registry=registry,
                settings=_settings(),
                standalone=True,
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
            )


def _leave_behind(_: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """kopf closes its session before it ends what uses it; what then fails concerns nobody. All else it raises or logs."""
    logger.debug("kopf left behind: %s: %r", context.get("message"), context.get("exception"))


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do the work until told to stop. kopf's own stop flag won't do: its waiter holds up kopf's end for five seconds."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work)
        await stop.wait()
        task.cancel()


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
