"""The supervisor of a node's components: starts them in order, restarts what ends, tells their process ids.

Runs as process 1 of the node (`node`), so it also reaps whatever the components orphan (containerd's shims). It is one loop that
sleeps in sigtimedwait; no thread, no handler.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from local_cluster.plan import Component

RESTART_SECONDS = 0.5
"""From a component's end to its next start."""

API_PROBE_SECONDS = 0.05
"""Between two looks at an API server that isn't ready yet."""

IDLE_SECONDS = 3600.0
"""A sleep's length while nothing is due; only a signal ends it earlier."""

_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)

_SIGNALS = {signal.SIGCHLD, signal.SIGTERM}


@dataclass
class _Process:
    component: Component
    pid: int | None = None
    starts: int = 0
    due: float | None = 0.0
    """When it is to be started, by the monotonic clock; None while it runs or waits for the API server."""


class Supervisor:
    """Keeps `components` running until SIGTERM."""

    def __init__(self, components: Sequence[Component], *, logs: Path, report: Path, api_ready: Callable[[], bool]) -> None:
        """
        Args:
            components: What to run. Those that need the API server start when `api_ready` first says true.
            logs: The folder of their output, NAME.log each.
            report: Where {name: {pid, restarts}} is kept, process ids as this process sees them, null between two starts.
            api_ready: Asked again and again until it says true, then never again.
        """
        self._processes = [_Process(each, due=None if each.needs_api else 0.0) for each in components]
        self._logs = logs
        self._report = report
        self._api_ready = api_ready
        self._api_awaited = any(each.needs_api for each in components)

    def run(self) -> None:
        """Supervise until SIGTERM, then end every component."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        while True:
            self._release()
            self._start()
            received = signal.sigtimedwait(_SIGNALS, self._pause())
            self._reap()
            if received is not None and received.si_signo == signal.SIGTERM:
                self._end()
                return

    def _release(self) -> None:
        """Let what waits for the API server start, once it answers."""
        if self._api_awaited and self._api_ready():
            self._api_awaited = False
            for process in self._processes:
                if process.component.needs_api:
                    process.due = 0.0

    def _start(self) -> None:
        due = [each for each in self._processes if each.due is not None and each.due <= time.monotonic()]
        for process in due:
            process.pid = self._spawn(process.component)
            process.starts += 1
            process.due = None
        if due:
            self._write_report()

    def _spawn(self, component: Component) -> int:
        log = os.open(self._logs / f"{component.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return os.posix_spawnp(
                component.argv[0],
                component.argv,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, log, 1),
                    (os.POSIX_SPAWN_DUP2, log, 2),
                    # Onto itself: that clears close-on-exec in this child alone.
                    *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in component.sockets),
                ],
                setsigmask=(),
                setsigdef=_PYTHON_IGNORES,  # else containers would inherit it
            )
        finally:
            os.close(log)

    def _pause(self) -> float:
        """Seconds to sleep when no signal comes."""
        now = time.monotonic()
        pauses = [each.due - now for each in self._processes if each.due is not None]
        if self._api_awaited:
            pauses.append(API_PROBE_SECONDS)
        return max(0.0, min(pauses, default=IDLE_SECONDS))

    def _reap(self) -> None:
        ended = set()
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            ended.add(pid)
        gone = [process for process in self._processes if process.pid in ended]
        for process in gone:
            process.pid = None
            process.due = time.monotonic() + RESTART_SECONDS
        if gone:
            self._write_report()

    def _end(self) -> None:
        for process in reversed(self._processes):
            if process.pid is not None:
                os.kill(process.pid, signal.SIGKILL)
                os.waitpid(process.pid, 0)

    def _write_report(self) -> None:
        states = {each.component.name: {"pid": each.pid, "restarts": max(0, each.starts - 1)} for each in self._processes}
        fresh = self._report.with_suffix(".new")
        fresh.write_text(json.dumps(states))
        fresh.rename(self._report)
