"""Loads a server with subscribers and a publisher (`native/sseload.c`), and refuses results that aren't whole.

A subscriber that missed an event, or got one twice, makes the row fail: what such a server needs is no figure.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from mcp_operator.eventlog.encoding import encode
from mcp_operator.eventlog.log import EventId
from tests.bench.building import BUILT, built
from tests.bench.ingesting import MARKER, Source
from tests.bench.probing import ProbeError
from tests.bench.servers import Server

LOADING_CPU = min(1, (os.cpu_count() or 1) - 1)
"""Where the load generator runs: not where the servers do, if there are two."""

PATIENCE_SECONDS = 60.0
_URGENT = -15
_EVENT_ID = EventId("e1c2e98b33", 123_456)


@dataclass(frozen=True, slots=True)
class Pace:
    """Events that are published in bursts."""

    burst: int
    """Events written at once."""
    per_second: float
    """Bursts; 0: the next one when every subscriber has the last."""
    warm_up: int
    """Bursts that come before those that are measured."""
    measured: int

    @property
    def argument(self) -> str:
        return f"{self.burst},{self.per_second},{self.warm_up},{self.measured}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Streams that are open."""

    streams: int
    seconds: float
    """From the first connection until the last stream was open, or had what it came back for."""
    deliveries: int
    resets: int
    sent_away: int
    """How often the server said "come back later"."""

    @classmethod
    def of(cls, line: Mapping[str, Any], *, resets: int) -> Self:
        """From a line of sseload's.

        Raises:
            ProbeError: events were missed or doubled, or there weren't as many resets as there had to be.
        """
        _whole(line, resets=resets)
        return cls(
            streams=line["opened"],
            seconds=line["ms"] / 1000,
            deliveries=line["deliveries"],
            resets=line["resets"],
            sent_away=line["sent_away"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What came of one pace."""

    deliveries: int
    """Events times the subscribers who got them."""
    bytes: int
    reads: int
    server_cpu: float
    """Seconds that the server's processes were on a CPU."""
    own_cpu: float
    """Seconds that the load generator was."""
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, line: Mapping[str, Any], *, resets: int = 0) -> Self:
        """From a line of sseload's.

        Raises:
            ProbeError: events were missed or doubled, or the server began anew with some subscriber.
        """
        _whole(line, resets=resets)
        return cls(
            deliveries=line["deliveries"],
            bytes=line["bytes"],
            reads=line["reads"],
            server_cpu=line["cpu_ns"] / 1e9,
            own_cpu=line["own_cpu_ns"] / 1e9,
            seconds=line["wall_ns"] / 1e9,
            p50_ms=line["p50_ms"],
            p99_ms=line["p99_ms"],
            max_ms=line["max_ms"],
        )

    @property
    def cpu_per_delivery(self) -> float:
        """In microseconds."""
        return 1e6 * self.server_cpu / self.deliveries

    @property
    def events_per_read(self) -> float:
        """How many events came with one read of a subscriber; at least as many shared a write."""
        return self.deliveries / self.reads

    @property
    def bytes_per_event(self) -> float:
        return self.bytes / self.deliveries


def _whole(line: Mapping[str, Any], *, resets: int) -> None:
    wrong = {what: line[what] for what in ("gaps", "doubles", "drops") if line[what]}
    if line["resets"] != resets:
        wrong["resets"] = line["resets"]
    if wrong:
        raise ProbeError(f"not whole: {', '.join(f'{count} {what}' for what, count in wrong.items())}")


class Load:
    """A load generator that runs; it says what it has done in JSON lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def line(self) -> Mapping[str, Any]:
        """What it says next; it says something within its patience, or ends.

        Raises:
            ProbeError: it has ended.
        """
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        if not text:
            raise ProbeError(f"the load generator ended with exit code {self._process.wait()}")
        said: Mapping[str, Any] = json.loads(text)
        return said

    def opened(self, *, resets: int = 0) -> Opened:
        return Opened.of(self.line(), resets=resets)

    def held(self) -> int:
        """End it; how many events its streams got while they were held."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return int(self.line()["deliveries"])

    def delivered(self) -> Delivered:
        return Delivered.of(self.line())


@contextmanager
def loading(
    server: Server,
    *,
    streams: int,
    paces: Sequence[Pace] = (),
    path: str | None = None,
    urgent: bool = False,
    **options: Any,
) -> Iterator[Load]:
    """Subscribers, and a publisher if there are paces, while the body runs.

    Args:
        urgent: it comes before other load generators of this CPU, if this user may say so.
        options: further ones of sseload's, with underscores for hyphens; True for one without a value, a list for several.

    Raises:
        ProbeError: it failed; with its words.
    """
    argv = ["nice", f"--adjustment={_URGENT}"] if urgent and os.geteuid() == 0 else []
    argv += [str(built("sseload")), f"--port={server.port}", f"--path={path or server.path}", f"--streams={streams}"]
    argv += [f"--pace={pace.argument}" for pace in paces]
    argv += [f"--pid={pid}" for pid in server.pids]
    if paces:
        event = f"--event={_event()}"
        options = {"publish_path": server.publish_path, **options}
        argv += [f"--publish-port={server.publish_port}", event]
    if server.tls:
        argv.append("--tls")
    defaults = {"ready_event": server.ready_event, "cpu": LOADING_CPU, "patience": PATIENCE_SECONDS}
    argv += _arguments({**defaults, **options})
    with tempfile.TemporaryFile(mode="w+") as errors:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            yield Load(process)
        except ProbeError as error:
            if not process.poll():  # somebody else's error
                raise
            errors.seek(0)
            raise ProbeError(f"{server.name}: {error}: {errors.read().strip()[-500:]}") from error
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _arguments(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            yield option
        elif value is not None and value is not False:
            for each in value if isinstance(value, list) else [value]:
                yield f"{option}={each}"


def _event() -> Path:
    """An event as every server but ours is told it: the JSON that ours makes of it."""
    key = f"{MARKER.decode()}{0:010}/{0:020}"
    path = BUILT / "event.json"
    data = encode(Source("tools", 1).event(0, key), event_id=_EVENT_ID, time=datetime.now(UTC))
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_bytes(data)
    unfinished.replace(path)
    return path
