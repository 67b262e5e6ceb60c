"""Serving until told to stop, or failing the way the settings ask: what runs when, and how it ends. `__main__` calls this."""

import asyncio
import contextlib
import logging
import signal
import socket
import time
from typing import TYPE_CHECKING

from .logs import log_together
from .settings import Settings

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

log = logging.getLogger("sample_server")

GRACE_SECONDS = 1
"""How long a stop waits for calls under way."""

STOPS = frozenset({signal.SIGTERM, signal.SIGINT})
"""The signals that end a server. Whoever calls `run` holds them back until then."""


async def run(settings: Settings) -> None:
    """Serve until a signal says stop.

    Raises:
        RuntimeError: the crash that CRASH_AFTER_SECONDS asks for.
    """
    stop = asyncio.Event()
    for each in STOPS:
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(settings.start_delay):
            await stop.wait()
    if stop.is_set():
        return
    serving = _silence(stop) if settings.never_ready else _serve(_application(settings), settings.port, stop)
    try:
        async with asyncio.timeout(settings.crash_after), asyncio.TaskGroup() as tasks:
            flood = tasks.create_task(_flood(settings.flood))
            await serving
            flood.cancel()
    except TimeoutError:
        raise RuntimeError(f"crashed after {settings.crash_after:g} s, as CRASH_AFTER_SECONDS asks") from None


async def _silence(stop: asyncio.Event) -> None:
    log.warning("not listening, as NEVER_READY asks")
    await stop.wait()


def _application(settings: Settings) -> "Starlette":
    # The SDK takes most of a second to import, which a server that crashes at once or never listens need not wait for.
    from .tools import application  # noqa: PLC0415

    return application(settings.version)


async def _serve(app: "Starlette", port: int, stop: asyncio.Event) -> None:
    import uvicorn  # noqa: PLC0415 - see above

    config = uvicorn.Config(
        app,
        lifespan="off",  # uvicorn would run it in a task of its own, which a crash ends with an error in the log
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("", port), backlog=config.backlog) as listener:
        async with app.router.lifespan_context(app), asyncio.TaskGroup() as tasks:
            log.info("listening", extra={"port": listener.getsockname()[1]})
            ending = tasks.create_task(_end(server, stop))
            await server.serve(sockets=[listener])
            ending.cancel()


async def _end(server: "uvicorn.Server", stop: asyncio.Event) -> None:
    """uvicorn handles signals by itself, but those that come before it serves are not told to it."""
    await stop.wait()
    server.should_exit = True


async def _flood(lines_per_second: int) -> None:
    """Write that many lines a second in bursts of some milliseconds; time lost to a slow reader of the log is not made up for."""
    if lines_per_second == 0:
        return
    written = 0.0
    then = time.monotonic()
    while True:
        await asyncio.sleep(max(0.02, 1 / lines_per_second))
        now = time.monotonic()
        due = written + min(lines_per_second * (now - then), lines_per_second)
        log_together(log, "flood", ({"line": number} for number in range(int(written), int(due))))
        written, then = due, now
