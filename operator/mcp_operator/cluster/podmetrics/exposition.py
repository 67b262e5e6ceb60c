"""What a pod says of its requests: the text format of Prometheus, bytes in, a few numbers out. No I/O.

Of an answer only the lines of known series (`series`) are kept and parsed, because an ordinary answer has thousands of lines that
nobody asks for here, and parsing them all takes longer than everything else that is done for a sample. `scraping` feeds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from mcp_operator.cluster.podmetrics.readings import Missing, Reason, Traffic
from mcp_operator.cluster.podmetrics.series import FAMILIES, KNOWN, Found, Labels, traffic

LINE_LIMIT: Final = 8 * 2**10
"""Bytes of one line."""
KEPT_LIMIT: Final = 512 * 2**10
"""Bytes of all lines of known series; parsing so many takes some tenths of a second."""
_HEAD_LINES: Final = 32
"""By so many lines an answer without known series is judged."""

_WANTED: Final = (
    *(series.encode() for series in KNOWN),
    # Counters whose names lack the _total that the parser then adds: else they would seem to be declared and empty.
    *(f"{family}{end}".encode() for series, family in FAMILIES.items() if series.endswith("_total") for end in " \t{"),
    *(f"# TYPE {family}".encode() for family in FAMILIES.values()),
)
"""How the lines begin that are kept."""
_COUNTING: Final = frozenset({"counter", "histogram", "summary"})


class Exposition:
    """One answer of a Prometheus endpoint, read piece by piece; holds at most `KEPT_LIMIT` bytes and a few lines."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False
        """Within a line that is too long."""
        self._head: list[bytes] = []
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._too_large = False

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._take(line)
        if len(self._rest) > LINE_LIMIT:
            # The beginning says whether the line is wanted; what follows until its end isn't looked at.
            if not self._skipping:
                self._take(self._rest)
            self._skipping = True
            self._rest = b""

    def traffic(self) -> Traffic | Missing:
        """What the answer said after the last piece; Missing if it is no such answer.

        Takes up to some tenths of a second: to be called in a thread.
        """
        self._take(self._rest)
        if self._too_large:
            limit = f"a line of more than {LINE_LIMIT // 1024} KiB, or more than {KEPT_LIMIT // 1024} KiB in all"
            return Missing(Reason.SCRAPE_TOO_LARGE, f"the series about requests have {limit}")
        try:
            families = list(_parse(self._kept))
            if not families:
                list(_parse(self._head))
        except Exception:  # noqa: BLE001 - of what it can't read the parser lets out ValueError, IndexError and others
            return Missing(Reason.SCRAPE_UNREADABLE, "the answer is not the text format of Prometheus")
        return traffic(_found(families))

    def _take(self, line: bytes) -> None:
        if self._skipping:
            self._skipping = False
            return
        line = line.strip()
        if not line:
            return
        if len(self._head) < _HEAD_LINES:
            self._head.append(line[:LINE_LIMIT])
        if not line.startswith(_WANTED):
            return
        self._kept_bytes += len(line)
        if len(line) > LINE_LIMIT or self._kept_bytes > KEPT_LIMIT:
            self._too_large = True
        else:
            self._kept.append(line)


def _parse(lines: Iterable[bytes]) -> Iterable[Metric]:
    # Escaped, two labels that aren't UTF-8 stay two.
    text = b"\n".join(lines).decode(errors="backslashreplace")
    metrics: Iterable[Metric] = text_string_to_metric_families(text)
    return metrics


def _found(families: Iterable[Metric]) -> Found:
    counters, gauges = set(), set()
    values: dict[str, dict[Labels, float]] = {}
    for family in families:
        if family.type in _COUNTING:
            counters.add(family.name)
        elif family.type == "gauge":
            gauges.add(family.name)
        for sample in family.samples:
            # A series that comes twice counts once, with the value that came first, as for Prometheus.
            values.setdefault(sample.name, {}).setdefault(frozenset(sample.labels.items()), sample.value)
    return Found(values, frozenset(counters), frozenset(gauges))
