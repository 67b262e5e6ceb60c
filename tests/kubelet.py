"""Container logs as kubelet gives them: what was printed, and what of it is in the answer to a request. Pure.

The rules are those of k8s.io/cri-client/pkg/logs/logs.go: `tailLines` counts from the end, then what is older than `sinceTime` is
left out, and that has whole seconds whatever was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from mcp_operator.cluster.podlogs.lines import Line

START = datetime(2026, 11, 23, 9, 0, 0, tzinfo=UTC)
"""When every log begins, unless it is told otherwise."""


def at(nanoseconds: int) -> str:
    """A timestamp as kubelet writes it: so many nanoseconds after START."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{START + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


@dataclass
class PrintedLog:
    """What one run of a container has printed. A line that is the last one may lack its line feed."""

    lines: list[tuple[str, bytes]] = field(default_factory=list)
    unfinished: bool = False
    """The last line has no line feed."""

    def print(self, *texts: str | bytes, at_ns: int | None = None) -> None:
        """Print lines a millisecond apart, or all at this time."""
        for text in texts:
            timestamp = at(len(self.lines) * 10**6 if at_ns is None else at_ns)
            self.lines.append((timestamp, text if isinstance(text, bytes) else text.encode()))

    def rotate(self, keep: int = 0) -> None:
        """All but the last lines go into a file that kubelet doesn't read."""
        self.lines = self.lines[len(self.lines) - keep :]

    def answer(self, *, since: str | None = None, tail: int | None = None, after: int = 0) -> bytes:
        """What a request is answered, without the first `after` lines of it."""
        lines = self.lines if tail is None else self.lines[max(len(self.lines) - tail, 0) :]
        if since is not None:
            lines = [line for line in lines if line[0] >= since[:19]]
        content = b"".join(timestamp.encode() + b" " + text + b"\n" for timestamp, text in lines[after:])
        return content.removesuffix(b"\n") if self.unfinished else content

    @property
    def as_told(self) -> list[Line]:
        """The lines as they should be read."""
        return [
            Line(timestamp, text.removesuffix(b"\r").decode(errors="replace"), truncated=False) for timestamp, text in self.lines
        ]
