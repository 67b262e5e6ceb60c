"""Steps that are shown while they run, so that nobody waits in front of a silent terminal.

On a terminal a running step is one line whose seconds count up; elsewhere (CI logs) a long step repeats itself now and then.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

QUIET_SECONDS = 2.0
"""A step shorter than this shows its end only."""

HEARTBEAT_SECONDS = 15.0
"""How often a running step repeats itself where lines can't be rewritten."""


@contextmanager
def step(title: str) -> Iterator[None]:
    """Show `title` with its elapsed time on standard error while the body runs, then whether it succeeded."""
    terminal = sys.stderr.isatty()
    started = time.monotonic()
    finished = threading.Event()
    ticker = threading.Thread(target=_tick, args=(title, started, finished, terminal), name="progress")
    ticker.start()
    mark, colour = "✗", "31"
    try:
        yield
        mark, colour = "✓", "32"
    finally:
        finished.set()
        ticker.join()
        if terminal and "NO_COLOR" not in os.environ:
            mark = f"\033[{colour}m{mark}\033[0m"
        _show(f"{mark} {title} {_elapsed(started)}", rewrite=terminal)


def _tick(title: str, started: float, finished: threading.Event, terminal: bool) -> None:
    wait = QUIET_SECONDS
    while not finished.wait(wait):
        if terminal:
            _show(f"· {title} {_elapsed(started)}", rewrite=True, end="")
            wait = 1.0
        else:
            _show(f"· {title} {_elapsed(started)}", rewrite=False)
            wait = HEARTBEAT_SECONDS


def _elapsed(started: float) -> str:
    seconds = time.monotonic() - started
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def _show(line: str, *, rewrite: bool, end: str = "\n") -> None:
    start = "\r\033[K" if rewrite else ""
    sys.stderr.write(f"{start}{line}{end}")
    sys.stderr.flush()
