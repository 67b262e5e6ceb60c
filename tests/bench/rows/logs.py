"""5,000 log lines a second from one pod to one subscriber, against `kubectl logs --follow` of the same pod at the same moment.

The sample server numbers the lines that it floods its log with, so that what is lost or doubled shows. A process inside the node
reads the stream and kubectl's output side by side. A line's lag is the time from the timestamp that the container's runtime gave
it (the same for both) to the moment at which its bytes were read; all clocks are the machine's.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

import aiohttp

from local_cluster.progress import step
from local_stack.sse import Parser
from local_stack.stack import NAMESPACE as SYSTEM
from local_stack.stack import Stack
from tests.bench.figures import ROUNDS, AtLeast, AtMost, Figure, Peer, Spread, number, percentile
from tests.bench.inside import ApiServer, Arrival, api_server
from tests.bench.running import NAMESPACE, Lab
from tests.waiting import until

SERVER = "flooding"
LINES_PER_SECOND = 5000
_CONTAINER = "mcp"
_WINDOW_SECONDS = 5.0
_WARM_UP_SECONDS = 1.0
"""Both readers run this long before the window begins: what happens while they start is not what is measured."""
_PROBE_SECONDS = 120.0
_READY_SECONDS = 120
_PEER = "kubectl logs --follow"


@dataclass(frozen=True, slots=True)
class Line:
    """One numbered line as it came to a reader."""

    number: int
    taken: float
    """When the container's runtime took it in; seconds since 1970, as `read` is."""
    read: float
    """When its bytes were read."""

    @classmethod
    def of(cls, number: int, *, timestamp: str, read: float) -> Line:
        return cls(number, datetime.fromisoformat(timestamp).timestamp(), read)

    @property
    def lag(self) -> float:
        """In milliseconds."""
        return 1000 * (self.read - self.taken)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reader got within the window."""

    lines: int
    written: float
    """How many lines a second the container printed, by their numbers and timestamps."""
    lost: int
    doubled: int
    lag_median: float
    """In milliseconds."""
    lag_99: float
    cpu_percent: float
    """Of one core: what it took on the side of the machine that reads, which for us is the operator."""

    @classmethod
    def of(cls, lines: Sequence[Line], *, cpu_seconds: float) -> Reading:
        numbers = {line.number for line in lines}
        lags = [line.lag for line in lines]
        first, last = min(lines, key=lambda line: line.number), max(lines, key=lambda line: line.number)
        return cls(
            lines=len(lines),
            written=(last.number - first.number) / (last.taken - first.taken),
            lost=last.number - first.number + 1 - len(numbers),
            doubled=len(lines) - len(numbers),
            lag_median=percentile(lags, 50),
            lag_99=percentile(lags, 99),
            cpu_percent=100 * cpu_seconds / _WINDOW_SECONDS,
        )


def measure(lab: Lab) -> Sequence[Figure]:
    ours, theirs = [], []
    stack = lab.stack
    environment = [{"name": "FLOOD_LINES_PER_SECOND", "value": str(LINES_PER_SECOND)}]
    # Without a request the kernel lets a pod wait for everything else, and it can't print what is asked of it.
    with lab.server(SERVER, env=environment, resources={"requests": {"cpu": "500m"}}):
        with step("logs: the server that floods its log"):
            what = (f"mcpserver/{SERVER}", f"--namespace={NAMESPACE}", f"--timeout={_READY_SECONDS}s")
            stack.kubectl("wait", "--for=condition=Ready", *what)
        pod = _name(stack, NAMESPACE, f"app.kubernetes.io/instance={SERVER}")
        operator = _name(stack, SYSTEM, "app.kubernetes.io/name=mcp-operator")
        for turn in range(1, ROUNDS + 1):
            with step(f"logs: {LINES_PER_SECOND:,} lines a second for {_WINDOW_SECONDS:g} s, round {turn} of {ROUNDS}"):
                gateway = lab.gateway_inside
                probed = lab.inside("logs", seconds=_PROBE_SECONDS, gateway=gateway, pod=pod, operator=operator)
            ours.append(Reading(**probed["ours"]))
            theirs.append(Reading(**probed["theirs"]))
    return figures(ours, theirs, conditions=f"operator on Python {lab.operator_python}, asyncio, no TLS to subscribers")


def figures(ours: Sequence[Reading], theirs: Sequence[Reading], *, conditions: str) -> Sequence[Figure]:
    """From what both readers got, one of each a round."""
    rates = [each.lines / _WINDOW_SECONDS for each in ours]
    peer_rates = [each.lines / _WINDOW_SECONDS for each in theirs]
    peer_lost = sum(each.lost + each.doubled for each in theirs)

    def compared(name: str, unit: str, field: str) -> Figure:
        mine, peers = ([float(getattr(each, field)) for each in readings] for readings in (ours, theirs))
        peer = Peer.compared(_PEER, ours=mine, theirs=peers)
        return Figure(name=name, value=median(mine), unit=unit, peer=peer, conditions=conditions)

    return (
        Figure(
            name=f"log lines delivered, of {LINES_PER_SECOND:,} a second",
            value=median(rates),
            unit="/s",
            peer=Peer.compared(_PEER, ours=rates, theirs=peer_rates),
            # What is on its way at the two ends of the window may differ.
            goal=AtLeast(0.99 * LINES_PER_SECOND),
            conditions=f"{conditions}; the container printed {number(median(each.written for each in ours))} a second",
        ),
        Figure(
            name="log lines lost or doubled",
            value=sum(each.lost + each.doubled for each in ours),
            unit="lines",
            spread=Spread.of([each.lost + each.doubled for each in ours]),
            goal=AtMost(0),
            conditions=f"{conditions}; of {sum(each.lines for each in ours):,} lines; {_PEER}: {peer_lost}",
        ),
        compared("lag of a log line, median", "ms", "lag_median"),
        compared("lag of a log line, 99th percentile", "ms", "lag_99"),
        compared("CPU for it, operator", "% of a core", "cpu_percent"),
    )


def _name(stack: Stack, namespace: str, selector: str) -> str:
    """The name of the one pod that the selector finds."""
    what = (f"--namespace={namespace}", f"--selector={selector}", "--output=jsonpath={.items[0].metadata.name}")
    return stack.kubectl("get", "pods", *what)


async def probe(*, gateway: str, pod: str, operator: str) -> Mapping[str, Mapping[str, float]]:
    """Read both for one window; a `Reading` of each."""
    streamed: list[Arrival] = []
    printed: list[Arrival] = []
    async with api_server() as api, _kubectl(pod, printed.append) as kubectl, asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(_stream(f"{gateway}/api/servers/{NAMESPACE}:{SERVER}/events?types=log", streamed.append))
        await until(lambda: _numbered(streamed) and _numbered(printed), "lines come by both ways")
        await asyncio.sleep(_WARM_UP_SECONDS)
        cpu_before = await _operator_seconds(api, operator), _process_seconds(kubectl)
        begin = time.time()
        await asyncio.sleep(_WINDOW_SECONDS)
        end = begin + _WINDOW_SECONDS
        cpu_after = await _operator_seconds(api, operator), _process_seconds(kubectl)
        reading.cancel()
    ours, theirs = (after - before for after, before in zip(cpu_after, cpu_before, strict=True))
    return {
        "ours": asdict(Reading.of(_within(told_lines(streamed), begin, end), cpu_seconds=ours)),
        "theirs": asdict(Reading.of(_within(printed_lines(printed), begin, end), cpu_seconds=theirs)),
    }


async def _stream(url: str, into: Callable[[Arrival], None]) -> None:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
        response.raise_for_status()
        async for piece in response.content.iter_any():
            into(Arrival(time.time(), piece))
    raise ConnectionError(f"{url} ended")


@asynccontextmanager
async def _kubectl(pod: str, into: Callable[[Arrival], None]) -> AsyncIterator[int]:
    """`kubectl logs` while the body runs; its process id."""
    argv = ("logs", f"--namespace={NAMESPACE}", pod, f"--container={_CONTAINER}", "--follow", "--timestamps", "--tail=1")
    process = await asyncio.create_subprocess_exec("kubectl", *argv, stdout=asyncio.subprocess.PIPE)
    reading = asyncio.create_task(_pipe(process.stdout, into))
    try:
        yield process.pid
    finally:
        process.kill()
        await process.wait()
        await reading


async def _pipe(pipe: asyncio.StreamReader | None, into: Callable[[Arrival], None]) -> None:
    assert pipe is not None
    while piece := await pipe.read(2**16):
        into(Arrival(time.time(), piece))


def _numbered(arrivals: Iterable[Arrival]) -> bool:
    return any(b'"line":' in arrival.data for arrival in arrivals)


def told_lines(arrivals: Iterable[Arrival]) -> Iterator[Line]:
    """The numbered lines of a stream."""
    parser = Parser()
    for arrival in arrivals:
        for message in parser.feed(arrival.data):
            event = message.json
            if event["type"] == "log" and (line := (event.get("fields") or {}).get("line")) is not None:
                yield Line.of(line, timestamp=event["timestamp"], read=arrival.at)


def printed_lines(arrivals: Iterable[Arrival]) -> Iterator[Line]:
    """The numbered lines of kubectl's output."""
    rest = b""
    for arrival in arrivals:
        *printed, rest = (rest + arrival.data).split(b"\n")
        for text in printed:
            timestamp, _, body = text.decode().partition(" ")
            if (line := json.loads(body).get("line")) is not None:
                yield Line.of(line, timestamp=timestamp, read=arrival.at)


def _within(lines: Iterable[Line], begin: float, end: float) -> Sequence[Line]:
    return [line for line in lines if begin <= line.read < end]


async def _operator_seconds(api: ApiServer, operator: str) -> float:
    """CPU that the operator has used since it started."""
    text = await api.text(f"/api/v1/namespaces/{SYSTEM}/pods/{operator}:8081/proxy/metrics")
    [line] = [line for line in text.splitlines() if line.startswith("process_cpu_seconds_total ")]
    return float(line.split()[1])


def _process_seconds(pid: int) -> float:
    """CPU that a process has used since it started (proc_pid_stat(5): utime and stime, behind the name in parentheses)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
