"""`python -m sample_server`: reads the settings and ends the process the way a container's main process should.

It exits with 0 on SIGTERM and SIGINT, with 2 on a setting that can't be used, with 1 and a traceback on a crash.
"""

import asyncio
import logging
import os
import signal
import sys

from .logs import configure_logs
from .serving import STOPS, run
from .settings import SettingError, Settings

log = logging.getLogger("sample_server")


def main() -> None:
    # Process 1 of a container ignores every signal that it has no handler for: until `run` has one, a stop waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        settings = Settings.read(os.environ)
    except SettingError as error:
        print(error, file=sys.stderr)  # noqa: T201 - no log format is known yet
        sys.exit(2)
    configure_logs(settings.log_format)
    if settings.crash_at_start is not None:
        raise RuntimeError(settings.crash_at_start)
    log.info("starting", extra={"version": settings.version})
    asyncio.run(run(settings))
    log.info("stopped")


main()
