"""What the API server sends of a pod's log, as lines. No I/O: `reading` and `crashing` feed it.

The log is always asked for with timestamps. kubelet writes each line as its time, a space, and what the container printed up to a
line feed; and where it can't go on, a sentence of its own without a time, after everything else and without a line feed
(pkg/kubelet/server/server.go, getContainerLogs: the answer has begun with status 200 by then).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

MOST_BYTES = 64 * 1024
"""Of a line, without its timestamp; the rest of a longer one is skipped."""

WHOLE_SECONDS = len("2026-11-23T09:00:00")
"""Characters of a timestamp without its fraction."""

_LONGEST_TIMESTAMP = 64
_TIMESTAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)(?: |\Z)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Line:
    """One line that a container has printed, or a remark of kubelet's."""

    timestamp: str
    """RFC 3339, UTC, nanoseconds, so that timestamps sort as text; empty of a remark, which no container has printed."""
    text: str
    """Without line break; bytes that are no UTF-8 are replaced."""
    truncated: bool
    """Whether it was longer than MOST_BYTES."""


class LogLines:
    """Bytes in, lines out, in bounded memory whatever comes."""

    def __init__(self) -> None:
        self._begun = bytearray()
        self._truncated = False

    def read(self, chunk: bytes) -> Sequence[Line]:
        """Take the next bytes; the lines that they complete."""
        first, *others = chunk.split(b"\n")
        self._grow(first)
        lines = []
        for piece in others:
            lines.append(self._line())
            self._grow(piece)
        return lines

    def end(self) -> Sequence[Line]:
        """The answer has ended; what it has left of a line, if anything.

        That is the last line of a container that ended without a line feed, a remark of kubelet's, or a part of a line that was
        cut off: which one, the caller has to know.
        """
        return [self._line()] if self._begun else []

    def _grow(self, piece: bytes) -> None:
        room = MOST_BYTES + _LONGEST_TIMESTAMP - len(self._begun)
        self._begun += piece[:room]
        self._truncated = self._truncated or len(piece) > room

    def _line(self) -> Line:
        begun, truncated = bytes(self._begun), self._truncated
        self._begun.clear()
        self._truncated = False
        timestamp, content = _split(begun)
        if truncated or len(content) > MOST_BYTES:
            text = content[:MOST_BYTES].decode(errors="replace").rstrip("\ufffd")  # half a character is none
            return Line(timestamp, text, truncated=True)
        return Line(timestamp, content.removesuffix(b"\r").decode(errors="replace"), truncated=False)


def _split(line: bytes) -> tuple[str, bytes]:
    """The timestamp, normalised, and what comes after it."""
    found = _TIMESTAMP.match(line)
    if found is None:
        return "", line
    second, fraction, zone = (part.decode() if part else "" for part in found.groups())
    try:
        moment = datetime.fromisoformat(second + zone)
        if zone != "Z":
            second = moment.astimezone(UTC).isoformat()[:19]
    except (ValueError, OverflowError):
        return "", line
    return f"{second}.{fraction:0<9}Z", line[found.end() :]
