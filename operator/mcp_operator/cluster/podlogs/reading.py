"""Follows one container's log over all of its runs, each line told once, whatever happens to the connection.

An answer that ends doesn't say why: the container may have ended, kubelet's connection to the API server may be cut (then the
answer ends as if it were whole), or the API server is gone. So what was read of a run counts as all only once the pod's status
says that the run has ended, or the pod is gone, and reading it again from the last line brings nothing new. `gathering` owns
these.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.errors import ApiError
from mcp_operator.cluster.outages import Backoff
from mcp_operator.cluster.podlogs.containers import Container, Read, Run, next_read
from mcp_operator.cluster.podlogs.interpreting import Interpreter
from mcp_operator.cluster.podlogs.lines import WHOLE_SECONDS, Line, LogLines
from mcp_operator.cluster.podlogs.metrics import FollowingMetrics
from mcp_operator.cluster.podlogs.resuming import Answer, Position, Told
from mcp_operator.cluster.podlogs.sharing import Slots, Troubles
from mcp_operator.cluster.podlogs.telling import Origin, tell_ended, tell_line, tell_started
from mcp_operator.cluster.telling import Teller
from mcp_operator.model.spec import LogsSpec

logger = logging.getLogger(__name__)

_FIRST_BACKOFF = 0.1
_LONGEST_BACKOFF = 2.0
_FOLLOW_SILENCE_SECONDS = 300.0
"""A container may print nothing for days, but a connection that gives nothing for this long may be dead: it is made anew."""
_READ_SILENCE_SECONDS = 15.0
_TURN_SECONDS = 0.002
"""How long one container's lines may keep the event loop to themselves."""
_STATUS_LAG_SECONDS = 11.0
"""How late a pod's status may be: kubelet repeats one that the API server couldn't take after 10 s (status_manager.go)."""
_TRIES = 3
"""Refusals in a row after which what an ended run has printed counts as gone."""


class _RestartedError(Exception):
    """The answer is that of another run than the one that is read."""


class _RefusedError(Exception):
    """kubelet has no log to give, for a reason that it names: not yet, or not any more."""


class _SilentError(Exception):
    """Nothing has come for so long that the connection may be dead."""


class ContainerLog:
    """One container's log on its way into the event log.

    Args:
        tail: how many lines are wanted of what the container has printed until now; None for all of them.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        api: Api,
        teller: Teller,
        metrics: FollowingMetrics,
        slots: Slots,
        troubles: Troubles,
        tail: int | None,
    ) -> None:
        self.origin = origin
        self._api = api
        self._teller = teller
        self._metrics = metrics
        self._slots = slots
        self._troubles = troubles
        self._tail = tail
        self._whole = tail is None
        self._container: Container | None = Container(name=origin.container)
        self._spec = LogsSpec()
        self._news = asyncio.Event()
        self._turn = 0.0
        self._run: Run | None = None
        """The run that is read, or was read last. What follows is about this one."""
        self._done = True
        """Whether it was told to its end."""
        self._superseded = False
        """Whether there is a newer one, though the status doesn't know it yet."""
        self._told = Told()
        self._interpreter = Interpreter()
        self._rest: Line | None = None
        """The last line, as long as it has no end."""
        self._unsure = True
        """Whether there may be more than was read: the last answer didn't end as it should."""
        self._refusals = 0
        self._missing = False
        """Whether lines before the next one can't be told."""
        self._started = False
        """Whether it was told that lines come, and not yet that they end."""

    def see(self, container: Container | None, spec: LogsSpec) -> None:
        """The pod's status says this now (None: the pod is gone), and the server wants this of its logs."""
        self._spec = spec
        if container != self._container:
            self._container = container
            self._news.set()

    async def run(self) -> None:
        """Tell lines until the container is gone and all are told."""
        while True:
            if self._next() is not None:
                async with self._slots.one(self.origin):
                    if (read := self._next()) is not None:
                        await self._follow(read.run)
            elif self._container is None:
                return
            else:
                await self._wait(None)

    async def stop(self, why: str) -> None:
        """Say that lines are no longer told; `run` must have been cancelled. Another `run` goes on from here."""
        self._troubles.is_over(self.origin)
        await self._end(why, missing=False)

    def _next(self) -> Read | None:
        read = next_read(self._container, self._run, done=self._done, whole=self._whole)
        if read is not None and self._superseded and self._run is not None and read.run.id == self._run.id and not read.gone:
            return Read(run=read.run, previous=True)
        return read

    async def _follow(self, run: Run) -> None:
        """Read one run until it is done, or something else is to be read first."""
        self._metrics.begun.inc()
        if self._run is None or self._run.id != run.id:
            await self._begin(run)
        backoff = Backoff(first=_FIRST_BACKOFF, longest=_LONGEST_BACKOFF)
        while not self._done and (read := self._next()) is not None and read.run.id == run.id:
            self._run = read.run
            if await self._try(read):
                backoff.reset()
            if not self._done:
                await self._wait(backoff.next())
                self._metrics.reconnects.inc()
        self._troubles.is_over(self.origin)

    async def _begin(self, run: Run) -> None:
        before = self._run
        unfinished = not self._done  # nobody gives the log of a run before the last two
        if unfinished and self._started:
            await self._finish(missing=True)
        if before is not None:
            self._tail = None
            self._missing = unfinished or run.number > before.number + 1
        else:
            self._missing = self._whole and run.number > 0
        self._run, self._done, self._superseded = run, False, False
        self._told, self._interpreter, self._rest, self._unsure, self._refusals = Told(), Interpreter(), None, True, 0

    async def _try(self, read: Read) -> bool:
        """Ask for what there is and tell it; whether there was anything new."""
        position, unsure = self._told.position, self._unsure
        try:
            if self._tail is not None:
                await self._read_past(read, self._tail)
                await self._read_on(read)
            else:
                await self._read_on(read, set_back=await self._is_set_back(read))
        except (_RestartedError, _SilentError) as news:
            logger.debug("The log of %s is asked for again: %s", self.origin, news.__doc__)
        except _RefusedError as refusal:
            self._unsure = unsure or self._told.position is not position
            await self._refused(read, str(refusal))
        except ApiError as error:
            await self._failed(read, error)
        except Exception as error:
            logger.exception("Following the log of %s failed and is tried again.", self.origin)
            self._troubles.fails(self.origin, error)
        return self._told.position is not position

    async def _read_past(self, read: Read, tail: int) -> None:
        """Tell the last lines of what was printed until now; with a tail of 0 only find out where that ends."""
        answer = Answer(None)
        async with self._open(read, tailLines=str(max(tail, 1))) as chunks:
            await self._start()
            async for chunk in chunks:
                for line in answer.read(chunk):
                    self._tail = None  # if it is cut off now, reading goes on from this line
                    await self._tell(line, silently=tail == 0)
        answer.end()
        if answer.remark:
            raise _RefusedError(answer.remark)
        self._tail = None

    async def _is_set_back(self, read: Read) -> bool:
        """Whether the node's clock was set back, so that the newest line is earlier than where the log would be asked for from.

        kubelet leaves out every line that is earlier, also while it is followed.
        """
        position, unsure = self._told.position, self._unsure
        if position is None:
            return False
        lines = LogLines()
        async with self._open(read, tailLines="1") as chunks:
            newest = [line async for chunk in chunks for line in lines.read(chunk)] + list(lines.end())
        self._unsure = unsure  # one line says nothing about those after the last one told
        return any(line.timestamp and line.timestamp[:WHOLE_SECONDS] < position.since[:WHOLE_SECONDS] for line in newest)

    async def _read_on(self, read: Read, *, set_back: bool = False) -> None:
        """Tell what comes after the last line told, until the answer ends.

        Args:
            set_back: the times of the lines don't rise; so the log is asked for from its beginning.
        """
        position = self._told.position
        answer = Answer(position)
        if set_back and not await self._has_last_line(read):
            answer.found = False
        since = {} if set_back else _since(position)
        follow = {} if read.over else {"follow": "true"}
        async with self._open(read, **since, **follow) as chunks:
            if answer.found:
                await self._start()
            async for chunk in chunks:
                await self._take(read, answer, answer.read(chunk))
        answer.end()
        if answer.remark:
            raise _RefusedError(answer.remark)
        self._unsure = False
        if read.over and self._told.position is position and answer.rest == self._rest:
            await self._finish(missing=not answer.found)
        else:
            self._rest = answer.rest

    async def _take(self, read: Read, answer: Answer, new: Sequence[Line]) -> None:
        """Tell new lines of an answer, and first whether they are next to the last line told.

        Raises:
            _RestartedError: they are another run's.
        """
        if answer.found:
            await self._start()
        elif new and read.gone:  # a StatefulSet's next pod has the name of the one that is gone: this is its log
            await self._finish(missing=True)
            raise _RestartedError
        elif new:
            await self._check_whose(read)
            answer.accept_gap()
            self._missing = True
            self._interpreter = Interpreter()
            await self._start()
        for line in new:
            await self._tell(line)

    async def _check_whose(self, read: Read) -> None:
        """Find out why an answer goes on without the last line told: the log was rotated, or it is another run's.

        Raises:
            _RestartedError: it is another run's.
        """
        if not read.previous and await self._has_last_line(replace(read, previous=True), **_since(self._told.position)):
            self._superseded = True
            raise _RestartedError
        if self._started:  # it was cut off just now, perhaps by what keeps the status from being up to date
            with suppress(TimeoutError):
                async with asyncio.timeout(_STATUS_LAG_SECONDS):
                    while self._is_next(read):
                        self._news.clear()
                        await self._news.wait()
        if not self._is_next(read):
            raise _RestartedError

    def _is_next(self, read: Read) -> bool:
        now = self._next()
        return now is not None and (now.run.id, now.previous, now.gone) == (read.run.id, read.previous, read.gone)

    async def _has_last_line(self, read: Read, **query: str) -> bool:
        """Whether the last line told is in the log that the API server gives for this, whatever the status says."""
        answer = Answer(self._told.position)
        try:
            async with self._open(read, **query) as chunks:
                async for chunk in chunks:
                    answer.read(chunk)
                    if answer.found is not None:
                        break
        except ApiError as error:
            if error.status != 400:
                raise
        return answer.found is True

    @asynccontextmanager
    async def _open(self, read: Read, **query: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Ask for the log of a run.

        Raises:
            ApiError: it can't be asked for, or was cut off.
            _SilentError: as it says.
        """
        query |= {"container": self.origin.container, "timestamps": "true"} | ({"previous": "true"} if read.previous else {})
        silence = _FOLLOW_SILENCE_SECONDS if "follow" in query else _READ_SILENCE_SECONDS
        namespace, instance = self.origin.server.namespace, self.origin.instance
        begun = False
        try:
            with self._metrics.open.track_inprogress():
                async with self._api.pod_log(namespace, instance, query=query, silence=silence) as chunks:
                    begun = self._unsure = True
                    self._troubles.is_over(self.origin)
                    yield chunks
        except ApiError as error:
            if begun and error.reason == "TimedOut":
                raise _SilentError from None
            raise

    async def _tell(self, line: Line, *, silently: bool = False) -> None:
        if not silently:
            nth = self._told.nth(line)
            await self._teller.tell(tell_line(self.origin, line, nth=nth, spec=self._spec, interpreter=self._interpreter))
            self._metrics.lines.inc()
        self._told.took(line)
        if time.monotonic() - self._turn > _TURN_SECONDS:
            await asyncio.sleep(0)
            self._turn = time.monotonic()

    async def _start(self) -> None:
        """Tell that lines come, unless that was told and none is missing since."""
        if self._run is None or (self._started and not self._missing):
            return
        dropped, self._started, self._missing = self._missing, True, False
        again = self._told.position is not None
        await self._teller.tell(tell_started(self.origin, restarts=self._run.number, again=again, dropped=dropped, key=_now()))

    async def _finish(self, *, missing: bool) -> None:
        """All of the run is told that can be."""
        self._done = True
        if self._rest is not None:
            await self._tell(self._rest)
        if missing and not self._started:
            self._missing = True
            await self._start()
        why = self._run.ended if self._run is not None else None
        if why is None:
            gone = f"Instance {self.origin.instance} is gone"
            why = gone if self._container is None else f"Container {self.origin.container} was restarted"
        await self._end(why, missing=missing)

    async def _end(self, why: str, *, missing: bool) -> None:
        if self._started:
            self._started = False
            await self._teller.tell(tell_ended(self.origin, why=why, dropped=missing, key=_now()))

    async def _failed(self, read: Read, error: ApiError) -> None:
        if error.gone:
            if read.gone:
                await self._finish(missing=self._unsure)
        elif error.status == 400:
            await self._refused(read, error.message)
        else:
            self._troubles.fails(self.origin, error)

    async def _refused(self, read: Read, remark: str) -> None:
        logger.debug("The log of %s: %s", self.origin, remark)
        self._refusals = self._refusals + 1 if read.over else 0
        if self._refusals == _TRIES:
            await self._finish(missing=self._unsure)

    async def _wait(self, seconds: float | None) -> None:
        """Wait until the pod's status has changed, or so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()


def _since(position: Position | None) -> dict[str, str]:
    """The part of a request that has it answered from a line on."""
    return {"sinceTime": position.since} if position is not None else {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
