"""What a person sees of the demo: `mcp-operator watch` on the same gateway, its output passed through as it comes."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

import click

from local_stack.story import EventJson

COMMAND = Path(sys.executable).with_name("mcp-operator")


class Screen:
    """The lines that `watch` has written so far."""

    def __init__(self, lines: IO[str]) -> None:
        self._lines = lines
        self._written = ""
        self._grown = threading.Condition()

    def pass_through(self) -> None:
        """Write each line as it comes, until `watch` ends."""
        for line in self._lines:
            click.echo(f"  {line}", nl=False, color=True)
            with self._grown:
                self._written += line
                self._grown.notify_all()

    def shows(self, event: EventJson, *, within: float) -> bool:
        """Wait until the event's line was written, but not longer than so many seconds."""
        time = event.get("timestamp") or event["time"]
        clock = f"{datetime.fromisoformat(time).astimezone():%H:%M:%S.%f}"[:-3]
        with self._grown:
            return self._grown.wait_for(lambda: clock in self._written, timeout=within)


@contextmanager
def watched(gateway: str) -> Iterator[Screen]:
    """Run `mcp-operator watch` on a gateway while the body runs."""
    colours = {"FORCE_COLOR": "1"} if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else {}
    with subprocess.Popen(
        [COMMAND, "watch", "--gateway", gateway], stdout=subprocess.PIPE, text=True, env={**os.environ, **colours}
    ) as watch:
        assert watch.stdout is not None  # noqa: S101 - for the type checker: it was asked for
        screen = Screen(watch.stdout)
        passing = threading.Thread(target=screen.pass_through, name="watch")
        passing.start()
        try:
            yield screen
        finally:
            watch.terminate()
            passing.join()
