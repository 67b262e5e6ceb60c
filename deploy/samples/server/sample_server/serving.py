"""Serving until told to stop, or failing the way the settings ask: what runs when, and how it ends. `__main__` calls this."""

import asyncio
import contextlib
import logging
import socket
import time
from typing import TYPE_CHECKING

from .settings import Settings

if TYPE_CHECKING:
    from starlette.applications import Starlette

log = logging.getLogger("sample_server")

GRACE_SECONDS = 1
"""How long a stop waits for calls under way."""


async def run(settings: Settings) -> None:
    """Serve until a signal ends the process.

    Raises:
        RuntimeError: the crash that CRASH_AFTER_SECONDS asks for.
    """
    await asyncio.sleep(settings.start_delay)
    serving = _silence() if settings.never_ready else _serve(_application(settings), settings.port)
    try:
        async with asyncio.timeout(settings.crash_after), asyncio.TaskGroup() as tasks:
            flood = tasks.create_task(_flood(settings.flood))
            await serving
            flood.cancel()
    except TimeoutError:
        raise RuntimeError(f"crashed after {settings.crash_after:g} s, as CRASH_AFTER_SECONDS asks") from None


async def _silence() -> None:
    log.warning("not listening, as NEVER_READY asks")
    await asyncio.Event().wait()


def _application(settings: Settings) -> "Starlette":
    # The SDK takes most of a second to import, which a server that crashes at once or never listens need not wait for.
    from .tools import application  # noqa: PLC0415

    return application(settings.version)


async def _serve(app: "Starlette", port: int) -> None:
    import uvicorn  # noqa: PLC0415 - see above

    config = uvicorn.Config(
        app,
        lifespan="off",  # uvicorn would run it in a task of its own, which a crash ends with an error in the log
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    with socket.create_server(("", port), backlog=config.backlog) as listener:
        async with app.router.lifespan_context(app):
            log.info("listening", extra={"port": listener.getsockname()[1]})
            with contextlib.suppress(SystemExit):  # uvicorn repeats the signal that ended it, and here is no place for that
                await uvicorn.Server(config).serve(sockets=[listener])


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
        for number in range(int(written), int(due)):
            log.info("flood", extra={"line": number})
        written, then = due, now
