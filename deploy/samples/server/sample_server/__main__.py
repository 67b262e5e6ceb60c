"""`python -m sample_server`: reads the settings and ends the process the way a container's main process should.

It exits with 0 on SIGTERM and SIGINT, with 2 on a setting that can't be used, with 1 and a traceback on a crash.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from types import FrameType

from .logs import configure_logs
from .serving import run
from .settings import SettingError, Settings

log = logging.getLogger("sample_server")


def main() -> None:
    # Process 1 of a container ignores every signal that it has no handler for.
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, _stop)
    try:
        settings = Settings.read(os.environ)
    except SettingError as error:
        print(error, file=sys.stderr)  # noqa: T201 - no log format is known yet
        sys.exit(2)
    configure_logs(settings.log_format)
    if settings.crash_at_start is not None:
        raise RuntimeError(settings.crash_at_start)
    log.info("starting", extra={"version": settings.version})
    with contextlib.suppress(SystemExit):
        asyncio.run(run(settings))
    log.info("stopped")


def _stop(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


main()
