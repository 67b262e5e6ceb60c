"""From the readings of the instances to the figures of the server: the metrics event's payload. No I/O.

A sum is over the instances whose part is known, and `unavailable` names the others; without any known part it is null, never 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from mcp_operator.cluster.podmetrics.readings import Count, Missing, Reading, Reason, Traffic, Usage
from mcp_operator.model.events import InstanceMetrics, MetricsPayload, RequestsSource, Unavailable

MOST_INSTANCES: Final = 128
"""Instances that are listed one by one: as many as an event has room for. The sums are over all."""
MOST_TROUBLES: Final = 20

_USAGE: Final[tuple[str, ...]] = ("cpu", "cpuMillicores", "memory", "memoryBytes", "memoryPercent")
_TRAFFIC: Final[tuple[str, ...]] = ("requests", "requestsPerSecond", "errors", "inFlight")
_MEMORY_PERCENT: Final[tuple[str, ...]] = ("memoryPercent",)
_OF_IMAGE: Final = frozenset({Reason.NO_REQUEST_COUNTER, Reason.NO_ERROR_COUNTER, Reason.NO_IN_FLIGHT_GAUGE})
"""What mostly all instances lack, because their program has no such figure."""
_MIB: Final = 2**20
_ONE_CORE: Final = Decimal(1)


def summarise(readings: Sequence[Reading], *, sampled_at: datetime) -> MetricsPayload:
    """One sample of a server.

    Args:
        readings: of its instances, in the order in which they are to be listed.
        sampled_at: when they were read.
    """
    measured = [(reading, reading.usage) for reading in readings if isinstance(reading.usage, Usage)]
    sums = _sums(readings)
    cores = sum((usage.cpu for _, usage in measured), start=Decimal(0))
    used = sum(usage.memory for _, usage in measured)
    memory_limits = [reading.limits.memory for reading, _ in measured]
    known = bool(measured)
    return MetricsPayload(
        cpu=_percent(cores, sum((reading.limits.cpu or _ONE_CORE for reading, _ in measured), start=Decimal(0))),
        cpu_millicores=_millicores(cores) if known else None,
        memory=_mebibytes(used) if known else None,
        memory_bytes=used if known else None,
        memory_percent=_memory_percent(used, memory_limits),
        requests=sums["requests"],
        requests_per_second=_rounded(sums["requestsPerSecond"]),
        errors=sums["errors"],
        in_flight=sums["inFlight"],
        requests_source=RequestsSource.POD if sums["requests"] is not None else None,
        per_instance=tuple(map(_instance, readings[:MOST_INSTANCES])),
        unavailable=_bounded([*_troubles(readings), *_unlisted(len(readings))]),
        sampled_at=sampled_at,
    )


def nothing(missing: Missing, *, sampled_at: datetime) -> MetricsPayload:
    """A sample of a server of which nothing can be read, for one reason."""
    return summarise((), sampled_at=sampled_at).model_copy(update={"unavailable": (_unavailable(missing, _USAGE + _TRAFFIC),)})


def _figures(reading: Reading) -> Mapping[str, float | Missing]:
    """What is known of an instance's requests, by the names of the event's fields."""
    traffic = reading.traffic
    if isinstance(traffic, Missing):
        return dict.fromkeys(_TRAFFIC, traffic)
    requests = traffic.requests
    figures = (requests.value if isinstance(requests, Count) else requests, reading.rate, traffic.errors, traffic.in_flight)
    return dict(zip(_TRAFFIC, figures, strict=True))


def _sums(readings: Sequence[Reading]) -> Mapping[str, float | None]:
    known: dict[str, list[float]] = {name: [] for name in _TRAFFIC}
    for reading in readings:
        for name, figure in _figures(reading).items():
            if not isinstance(figure, Missing):
                known[name].append(figure)
    return {name: math.fsum(figures) if figures else None for name, figures in known.items()}


def _instance(reading: Reading) -> InstanceMetrics:
    usage = reading.usage if isinstance(reading.usage, Usage) else None
    limits = reading.limits
    figures = {name: None if isinstance(figure, Missing) else figure for name, figure in _figures(reading).items()}
    return InstanceMetrics(
        name=reading.instance,
        cpu=_percent(usage.cpu, limits.cpu or _ONE_CORE) if usage else None,
        cpu_millicores=_millicores(usage.cpu) if usage else None,
        memory=_mebibytes(usage.memory) if usage else None,
        memory_bytes=usage.memory if usage else None,
        memory_percent=_memory_percent(usage.memory, [limits.memory]) if usage else None,
        requests=figures["requests"],
        requests_per_second=_rounded(figures["requestsPerSecond"]),
        errors=figures["errors"],
        in_flight=figures["inFlight"],
        sampled_at=usage.measured_at if usage else None,
        window_seconds=usage.window_seconds if usage else None,
    )


def _troubles(readings: Sequence[Reading]) -> Iterator[Unavailable]:
    """What is missing and why: first what concerns the server, then instance by instance."""
    missing = [_missing(reading) for reading in readings]
    scraped = sum(isinstance(reading.traffic, Traffic) for reading in readings)
    lacking = Counter(each for fields in missing for each in fields)
    of_server: dict[Missing, dict[str, None]] = {}
    of_instances: list[Unavailable] = []
    for reading, fields in zip(readings, missing, strict=True):
        for each, names in fields.items():
            if each.of_server or (each.reason in _OF_IMAGE and lacking[each] == scraped):
                of_server.setdefault(each, {}).update(dict.fromkeys(names))
            else:
                of_instances.append(_unavailable(each, names, reading.instance))
    yield from (_unavailable(each, tuple(names)) for each, names in of_server.items())
    yield from of_instances
    yield from _unlimited(readings)


def _missing(reading: Reading) -> Mapping[Missing, tuple[str, ...]]:
    """The fields that an instance lacks, those that it lacks for one reason together."""
    fields: dict[Missing, tuple[str, ...]] = {}
    if isinstance(reading.usage, Missing):
        fields[reading.usage] = _USAGE
    for name, figure in _figures(reading).items():
        if isinstance(figure, Missing):
            fields[figure] = (*fields.get(figure, ()), name)
    return fields


def _unlimited(readings: Iterable[Reading]) -> Iterator[Unavailable]:
    """Instances that are measured and have no memory limit; where none has one it is said once, of the server."""
    measured = [reading for reading in readings if isinstance(reading.usage, Usage)]
    lacking = [reading for reading in measured if reading.limits.memory is None]
    missing = Missing(Reason.NO_MEMORY_LIMIT, "Not all of its containers have a memory limit")
    if lacking and len(lacking) == len(measured):
        yield _unavailable(Missing(Reason.NO_MEMORY_LIMIT, "The instances have no memory limit"), _MEMORY_PERCENT)
    else:
        yield from (_unavailable(missing, _MEMORY_PERCENT, reading.instance) for reading in lacking)


def _unlisted(instances: int) -> Iterator[Unavailable]:
    if instances > MOST_INSTANCES:
        message = f"{instances - MOST_INSTANCES} more instances are not listed; the sums are over all of them"
        yield Unavailable(fields=("perInstance",), reason=Reason.TOO_MANY_INSTANCES.value, message=message)


def _bounded(troubles: Sequence[Unavailable]) -> tuple[Unavailable, ...]:
    if len(troubles) <= MOST_TROUBLES:
        return tuple(troubles)
    told, untold = troubles[: MOST_TROUBLES - 1], troubles[MOST_TROUBLES - 1 :]
    fields = tuple(dict.fromkeys(field for trouble in untold for field in trouble.fields))
    message = f"{len(untold)} more troubles are not listed"
    return (*told, Unavailable(fields=fields, reason=Reason.TOO_MANY_TROUBLES.value, message=message))


def _unavailable(missing: Missing, fields: tuple[str, ...], instance: str | None = None) -> Unavailable:
    return Unavailable(fields=fields, reason=missing.reason.value, message=missing.message, instance=instance)


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 3)


def _percent(part: Decimal, whole: Decimal) -> float | None:
    return round(float(100 * part / whole), 3) if whole else None


def _memory_percent(used: int, limits: Sequence[Decimal | None]) -> float | None:
    known = [limit for limit in limits if limit is not None]
    return _percent(Decimal(used), sum(known, start=Decimal(0))) if known and len(known) == len(limits) else None


def _millicores(cores: Decimal) -> float:
    return round(float(1000 * cores), 6)


def _mebibytes(size: int) -> float:
    return round(size / _MIB, 3)
