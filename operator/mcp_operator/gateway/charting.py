"""The recent history of a server's metrics, as few points as a chart has room for: GET /api/servers/{id}/metrics.

    {"server": "<namespace>/<name>", "uid": "<uid>",
     "from": time, "to": time,           what was asked for
     "sliceSeconds": null,               each sample is a point; or each point sums up the samples of so many seconds
     "points": [{"time", "samples", figures ..., "max": {figures ...}} ...],
     "dropped": [{"types", "count", "after", "before"} ...],
     "cursor": "<epoch>-<seq>"}          a stream with it as last_event_id goes on behind the last point

It is read out of the log's metrics events of that one server, in short turns: others wait for no more than one of them. Of each
event only its beginning is parsed, where the figures of the whole server stand.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pydantic_core
from aiohttp import web

from mcp_operator.eventlog.encoding import timestamp, to_json
from mcp_operator.eventlog.log import EventId, EventLog, Gap, Record, Selection
from mcp_operator.gateway.admitting import Admission, Refusal
from mcp_operator.gateway.identity import client_of
from mcp_operator.gateway.listing import json_response
from mcp_operator.gateway.naming import current, selection_of, unknown_server
from mcp_operator.gateway.problems import not_ready, overloaded
from mcp_operator.gateway.querying import number_of, read_parameters
from mcp_operator.gateway.subscribing import Earliest, Since, since_of
from mcp_operator.model.events import EventType

HISTORY_PARAMETERS: Final = ("since", "points")
USUAL_SINCE: Final = timedelta(minutes=15)
USUAL_POINTS: Final = 300
MOST_POINTS: Final = 1000

AVERAGED: Final = ("cpu", "cpuMillicores", "memory", "memoryBytes", "memoryPercent", "requestsPerSecond", "inFlight")
"""Figures of a moment: a point of several samples has their mean, and their maximum beside it."""
COUNTED: Final = ("requests", "errors")
"""Counters: a point of several samples has the newest one."""

_TURN_EVENTS: Final = 128
"""Events read and parsed in one turn of the event loop; that takes about a millisecond."""
_RETRY_AFTER_SECONDS: Final = 2
_AFTER_FIGURES: Final = b',"perInstance":'
"""Ends the figures of the whole server in a metrics event's JSON. In a string its quotes would be escaped."""

_DIGITS: Final[Mapping[str, int | None]] = {"cpuMillicores": 6, "memoryBytes": None}
"""Decimals of a mean, where it isn't three."""
_METRICS: Final = frozenset({EventType.METRICS})


class ChartHandlers:
    """The handler of the metrics' history."""

    def __init__(self, *, log: EventLog, synced: Callable[[], bool], admission: Admission, default_namespace: str) -> None:
        self._log = log
        self._synced = synced
        self._admission = admission
        self._default_namespace = default_namespace
        self._turn = asyncio.Lock()
        """Held for a turn of the event loop by one of those that read."""

    async def metrics(self, request: web.Request) -> web.Response:
        """GET /api/servers/{id}/metrics: what the server has used lately. It takes a stream's place as long as it is read.

        Raises:
            ProblemError: 400 for a parameter that it can't have, 404 for a server that there isn't, 503 before the cluster is
                known or if there is too much to do.
        """
        parameters = read_parameters(request.query, HISTORY_PARAMETERS)
        said = since_of(parameters)
        since = USUAL_SINCE if said is None else said
        points = number_of(parameters, "points", least=2, most=MOST_POINTS, default=USUAL_POINTS, meaning="a number of points")
        server_id = request.match_info["id"]
        selection = selection_of(server_id, default_namespace=self._default_namespace)
        admitted = await self._admission.admit(client_of(request))
        if isinstance(admitted, Refusal):
            raise overloaded(admitted)
        try:
            if not self._synced():
                raise not_ready(retry_after_seconds=_RETRY_AFTER_SECONDS)
            return json_response(await self._history(server_id, selection, since, points))
        finally:
            admitted.release()

    async def _history(self, server_id: str, selection: Selection, since: Since, points: int) -> bytes:
        server = current(await self._log.snapshot(selection))
        if server is None or server.deleted:
            raise unknown_server(server_id)
        begin = _begin(since, datetime.now(UTC))
        records, dropped, cursor = await self._read(begin, Selection(types=_METRICS, uid=server.uid))
        now = datetime.now(UTC)
        chart = _Chart(len(records), points)
        for start in range(0, len(records), _TURN_EVENTS):
            async with self._turn:
                for record in records[start : start + _TURN_EVENTS]:
                    chart.add(_figures(record), span_end=now)
                await asyncio.sleep(0)
        history = {
            "server": str(server.server),
            "uid": server.uid,
            "from": timestamp(min(begin or chart.first or now, now)),
            "to": timestamp(now),
            "sliceSeconds": chart.slice_seconds,
            "points": chart.points(),
            "dropped": dropped,
            "cursor": str(cursor),
        }
        return to_json(history)

    async def _read(self, begin: datetime | None, selection: Selection) -> tuple[Sequence[Record], list[dict[str, Any]], EventId]:
        """The server's metrics events that are held since a time, what is missing of them, and how far the log was read."""
        position = first = await self._log.position(begin, selection)
        records: list[Record] = []
        newest_missing: EventId | None = None
        while True:
            async with self._turn:
                batch = await self._log.read(position, selection, limit=_TURN_EVENTS)
            if isinstance(batch, Gap):  # the server was forgotten meanwhile
                break
            records += batch.records
            newest_missing = batch.dropped.get(EventType.METRICS, newest_missing)
            before, position = position, batch.position
            if batch.ended or position == before or position.seq >= self._log.head.seq:
                break
        return records, _dropped(first, newest_missing), position


class _Chart:
    """The points of one answer: samples are added in the order of their times."""

    def __init__(self, samples: int, most: int) -> None:
        self.first: datetime | None = None
        """Time of the first sample."""
        self.slice_seconds: int | None = None
        """How long a slice is; None where each sample has a point of its own."""
        self._sliced = samples > most
        self._most = most
        self._points: list[dict[str, Any]] = []
        self._slice: list[dict[str, Any]] = []
        self._number = -1

    def add(self, sample: dict[str, Any], *, span_end: datetime) -> None:
        """Take the next sample.

        Args:
            span_end: no sample of the chart is later.
        """
        time = datetime.fromisoformat(sample["time"])
        if self.first is None:
            self.first = time
            if self._sliced:
                # So many slices on the grid of the clock touch no more than `most` of them, wherever the first one begins.
                self.slice_seconds = max(1, math.ceil((span_end - time).total_seconds() / (self._most - 1)))
        number = int(time.timestamp() // self.slice_seconds) if self.slice_seconds else self._number + 1
        if number != self._number:
            self._close()
            self._number = number
        self._slice.append(sample)

    def points(self) -> Sequence[dict[str, Any]]:
        """All points, once all samples are added."""
        self._close()
        return self._points

    def _close(self) -> None:
        if self._slice:
            self._points.append(point(self._slice))
            self._slice = []


def point(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What samples of one slice of time say together."""
    averages: dict[str, float | None] = {}
    maxima: dict[str, float | None] = {}
    for name in AVERAGED:
        known = list(_known(samples, name))
        maxima[name] = max(known, default=None)
        averages[name] = _mean(known, digits=_DIGITS.get(name, 3))
    counters = {name: next(_known(reversed(samples), name), None) for name in COUNTED}
    return {"time": samples[-1]["time"], "samples": len(samples), **averages, **counters, "max": maxima}


def _mean(known: Sequence[float], *, digits: int | None) -> float | None:
    if len(known) < 2:
        return known[0] if known else None
    return round(math.fsum(known) / len(known), digits)


def _known(samples: Any, name: str) -> Iterator[float]:
    return (value for sample in samples if (value := sample[name]) is not None)


def _figures(record: Record) -> dict[str, Any]:
    """The figures of the whole server in a metrics event, and the envelope."""
    sample: dict[str, Any] = pydantic_core.from_json(record.data.partition(_AFTER_FIGURES)[0] + b"}")
    return sample


def _begin(since: Since, now: datetime) -> datetime | None:
    match since:
        case Earliest():
            return None
        case timedelta():
            return now - since
        case time:
            return time


def _dropped(after: EventId, newest: EventId | None) -> list[dict[str, Any]]:
    if newest is None:
        return []
    before = EventId(newest.epoch, newest.seq + 1)
    return [{"types": [EventType.METRICS], "count": None, "after": str(after), "before": str(before)}]
