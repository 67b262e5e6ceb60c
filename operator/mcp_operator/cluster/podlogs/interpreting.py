"""What the lines of one run of a container say, where one line alone doesn't: `telling` asks it, line by line in their order."""

from __future__ import annotations

from mcp_operator.cluster.podlogs.continuing import Continuations
from mcp_operator.cluster.podlogs.lines import Line
from mcp_operator.cluster.podlogs.parsing import Parsed, parse
from mcp_operator.cluster.podlogs.redacting import MARK, KeyLines
from mcp_operator.model.events import LogLevel
from mcp_operator.model.spec import LogsSpec


class Interpreter:
    """Remembers of the lines before what the next one needs: a few words, however many there were."""

    def __init__(self) -> None:
        self._continuations = Continuations()
        self._key_lines = KeyLines()

    def read(self, line: Line, spec: LogsSpec, *, key: str) -> tuple[Parsed, str | None]:
        """What the next line says, and the key of the line that it continues.

        Args:
            spec: what the server wants of its logs now.
            key: of the line's event.
        """
        if self._key_lines.has(line.text) and spec.redact:
            return Parsed(level=LogLevel.INFO, msg=MARK, fields=None, truncated=False), None
        parsed = parse(line.text, spec.format, redacted=spec.redact)
        if parsed.fields is not None:
            self._continuations.interrupt()
            return parsed, None
        belongs = self._continuations.take(line, parsed.level, key=key)
        if belongs is None:
            return parsed, None
        first, level = belongs
        return Parsed(level=level, msg=parsed.msg, fields=None, truncated=parsed.truncated), first
