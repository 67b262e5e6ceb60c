"""The last lines of crashed containers, told with the cause that they explain, while they can still be read.

A container that crashes again takes the log of its last run along, and a pod that goes takes all. So as soon as a crash becomes a
cause, the dead run's last lines are read once, whoever listens, and told as `previous` log events after it; not again for every
restart, but again when the cause was over and comes back. `observing` says when.

Which run's log the API server gives is kubelet's knowledge, which is ahead of what it has written into the pod's status
(pkg/kubelet/kubelet_pods.go, validateContainerLogStatus; what it answers was tried on Kubernetes 1.36):

| container's state | log | with previous=true |
|---|---|---|
| terminated | of the run that ended | of the run before that: never what we want |
| waiting, after a run | of the run that ended | the same |
| running | of the running one | of the run that ended, until the running one ends: then that one's is the only log that is kept |
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.errors import ApiError
from mcp_operator.cluster.grouping import Families, Family
from mcp_operator.cluster.metrics import ClusterMetrics
from mcp_operator.cluster.objects import uid_of
from mcp_operator.cluster.podlogs.interpreting import Interpreter
from mcp_operator.cluster.podlogs.lines import WHOLE_SECONDS, Line, LogLines
from mcp_operator.cluster.podlogs.telling import Origin, logs_spec, tell_last_line
from mcp_operator.cluster.queueing import TryAgain, WorkQueue
from mcp_operator.cluster.telling import Teller
from mcp_operator.model.base import Object
from mcp_operator.model.causes import Cause
from mcp_operator.model.events import Event
from mcp_operator.model.servers import ServerName
from mcp_operator.model.spec import LogsSpec
from mcp_operator.rollout.state import State

logger = logging.getLogger(__name__)

MOST_LINES = 20
MOST_BYTES = 16 * 1024
"""Of all lines of one crash together; the last line is told even if it is longer."""

_READ_SECONDS = 10.0
_CONCURRENCY = 4
_WAITING = 1000
"""Crashes that are waiting to be read; those that come on top are given up."""
_LONGEST_BACKOFF = 5.0
_TRIES = 20
"""About a minute: a container that crashes again and again is soon left lying for longer than the time between two tries."""
_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")


class _UnreadableError(Exception):
    """The dead run's lines can't be read now, in a sentence."""


class _GoneError(_UnreadableError):
    """Nor will they be."""


@dataclass(slots=True, eq=False)
class _Crash:
    """A cause whose lines have yet to be told."""

    server: ServerName
    uid: str
    cause: Cause
    """As it is now: its instance may be another than at first."""
    over: bool = False
    """Whether the cause is over: its lines are read as long as they are there, and given up with the instance."""
    tries: int = 0


@dataclass(frozen=True, slots=True)
class _Run:
    """The newest run of a container that has ended, as the pod's status tells it."""

    id: str
    finished_at: str
    previous: bool
    """Whether its log is that of the previous run, in the words of the API."""


class CrashReader:
    """Reads the lines of crashes that have become causes, a few at a time.

    Args:
        tries: readings of one crash, before it is given up.
    """

    def __init__(self, api: Api, families: Families, *, teller: Teller, metrics: ClusterMetrics, tries: int = _TRIES) -> None:
        self._api = api
        self._families = families
        self._teller = teller
        self._metrics = metrics
        self._tries = tries
        self._crashes: dict[str, _Crash] = {}
        self._queue = WorkQueue(
            "reading last lines", self._read, title=str, concurrency=_CONCURRENCY, longest_backoff=_LONGEST_BACKOFF
        )

    def evaluated(self, previous: State | None, current: State) -> None:
        """Have the lines of crashes read that have become causes between two states of a server.

        After a restart every crash is new: the log may have gone with the process.
        """
        before = previous.causes if previous is not None and not previous.restored else ()
        known = {active.cause.id for active in before if _is_crash(active.cause)}
        crashes = {_key(current.uid, active.cause): active.cause for active in current.causes if _is_crash(active.cause)}
        for key, crash in self._crashes.items():
            if crash.uid == current.uid:
                crash.cause, crash.over = crashes.get(key, crash.cause), key not in crashes
        for key, cause in crashes.items():
            if key not in self._crashes and cause.id not in known:
                self._add(key, _Crash(current.server, current.uid, cause))

    async def run(self) -> None:
        """Read and tell until cancelled."""
        await self._queue.run()

    def _add(self, key: str, crash: _Crash) -> None:
        if len(self._crashes) >= _WAITING:
            self._give_up(crash, f"{_WAITING} others are waiting to be read")
            return
        self._crashes[key] = crash
        self._queue.add(key)

    def _give_up(self, crash: _Crash, why: object) -> None:
        self._metrics.crashes.labels(result="failed").inc()
        logger.warning("The last lines of a crash of %s can't be read: %s", _title(crash), why)

    async def _read(self, key: str) -> None:
        crash = self._crashes[key]
        crash.tries += 1
        try:
            events = await self._last_lines(crash)
        except (ApiError, _UnreadableError) as error:
            lost = crash.over and isinstance(error, _GoneError)
            if crash.tries < self._tries and not lost:
                raise TryAgain(str(error)) from error
            self._give_up(crash, error)
        else:
            for event in events:
                await self._teller.tell(event)
            self._metrics.crashes.labels(result="told" if events else "empty").inc()
        del self._crashes[key]

    async def _last_lines(self, crash: _Crash) -> Sequence[Event]:
        """The events that tell a crash's lines; none if it printed nothing.

        Raises:
            ApiError, _UnreadableError: another time perhaps.
        """
        family = self._families.family(crash.uid)
        pod = _instance(family, crash.cause)
        if family is None or pod is None:
            raise _GoneError("its instance is gone")
        container = str(crash.cause.container)
        run = _last_run(pod, container)
        if run is None:
            raise _UnreadableError("no run of its container has ended")
        origin = Origin(
            server=crash.server, uid=crash.uid, instance=pod["metadata"]["name"], pod_uid=uid_of(pod), container=container
        )
        lines = await self._tail(origin, run)
        if not run.previous:
            self._check_whose(lines, run, pod_now=_instance(self._families.family(crash.uid), crash.cause), container=container)
        spec, interpreter = logs_spec(family.server) or LogsSpec(), Interpreter()
        return [
            tell_last_line(origin, line, nth=nth, spec=spec, interpreter=interpreter, cause=crash.cause.id)
            for line, nth in _numbered(_newest(lines))
        ]

    async def _tail(self, origin: Origin, run: _Run) -> Sequence[Line]:
        query = {
            "container": origin.container,
            "previous": str(run.previous).lower(),
            "tailLines": str(MOST_LINES),
            "timestamps": "true",
        }
        reader = LogLines()
        lines: deque[Line] = deque(maxlen=MOST_LINES)
        try:
            async with (
                asyncio.timeout(_READ_SECONDS),
                self._api.pod_log(origin.server.namespace, origin.instance, query=query, silence=None) as chunks,
            ):
                async for chunk in chunks:
                    lines.extend(reader.read(chunk))
        except TimeoutError:
            raise _UnreadableError(f"its log can't be read within {_READ_SECONDS:.0f} s") from None
        lines.extend(reader.end())
        remark = next((line.text for line in lines if not line.timestamp), None)
        if remark is not None:
            raise _UnreadableError(remark)
        return lines

    def _check_whose(self, lines: Sequence[Line], run: _Run, *, pod_now: Object | None, container: str) -> None:
        """Make sure that what was read is not the next run's log, which may have begun before the pod's status says so.

        Raises:
            _UnreadableError: it may be.
        """
        later = not lines or lines[-1].timestamp[:WHOLE_SECONDS] > run.finished_at[:WHOLE_SECONDS]
        if later or pod_now is None or _last_run(pod_now, container) != run:
            raise _UnreadableError("what was read may be of a later run")


def _key(uid: str, cause: Cause) -> str:
    return f"{uid}/{cause.id}"


def _is_crash(cause: Cause) -> bool:
    ended = cause.exit_code is not None or cause.signal is not None
    return ended and cause.instance is not None and cause.container is not None


def _title(crash: _Crash) -> str:
    return f"{crash.server} (container {crash.cause.container} of {crash.cause.instance})"


def _instance(family: Family | None, cause: Cause) -> Object | None:
    pods = family.pods if family is not None else ()
    return next((pod for pod in pods if pod["metadata"]["name"] == cause.instance), None)


def _last_run(pod: Object, container: str) -> _Run | None:
    status = pod.get("status", {})
    of_container = (each for field in _STATUSES for each in status.get(field) or () if each["name"] == container)
    found: Mapping[str, Object] = next(of_container, {})
    for field, previous in (("state", False), ("lastState", True)):
        if ended := found.get(field, {}).get("terminated"):
            return _Run(ended.get("containerID") or "", ended.get("finishedAt") or "", previous)
    return None


def _newest(lines: Sequence[Line]) -> Sequence[Line]:
    """The last lines that are MOST_BYTES together."""
    taken: deque[Line] = deque()
    size = 0
    for line in reversed(lines):
        size += len(line.text.encode())
        if taken and size > MOST_BYTES:
            break
        taken.appendleft(line)
    return taken


def _numbered(lines: Iterable[Line]) -> Iterable[tuple[Line, int]]:
    """Lines, and which line of its timestamp each is."""
    seen: Counter[str] = Counter()
    for line in lines:
        seen[line.timestamp] += 1
        yield line, seen[line.timestamp]
