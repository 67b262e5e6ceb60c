"""Log lines for a collector: one record, one line, as JSON or as text."""

import json
import logging
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


class JsonFormatter(logging.Formatter):
    """`{"time": ..., "level": ..., "logger": ..., "msg": ...}` with the fields given as `extra`, and `error` for a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name, "msg": record.getMessage()}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps({**line, **_fields(record)}, default=str)


class TextFormatter(logging.Formatter):
    """`TIME LEVEL message name=value`; a value that could break the line or be misread is written as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        pairs = "".join(f" {name}={_plain(value)}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname:<7} {record.getMessage()}{pairs}"
        line = line.replace("\r", "\\r").replace("\n", "\\n")
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure_logs(log_format: Literal["json", "text"]) -> None:
    """Send every logger's records, from INFO up, to standard output; the SDK and uvicorn keep no handlers of their own."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for noisy in ("mcp", "uvicorn", "sse_starlette"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def log_together(logger: logging.Logger, message: str, each: Iterable[Mapping[str, object]]) -> None:
    """Log one record for each of these fields in a single write: line by line, the container's runtime is the bottleneck."""
    [handler] = logging.getLogger().handlers
    records = [logger.makeRecord(logger.name, logging.INFO, "", 0, message, (), None, extra=extra) for extra in each]
    sys.stdout.write("".join(f"{handler.format(record)}\n" for record in records))
    sys.stdout.flush()


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}


def _plain(value: object) -> str:
    text = str(value)
    return text if text and text.isascii() and text.isprintable() and not set(' ="') & set(text) else json.dumps(text)
