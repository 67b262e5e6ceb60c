"""The operator's own log lines: one line each on stderr, as text for people or as JSON for collectors.

Messages carry text from outside (object names, API answers, header values), so control characters are escaped here once, for
every logger of the process: no message can forge a second line or reach into a terminal.
"""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Literal

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def printable(text: str) -> str:
    """The text with every control character and line separator escaped as `\\xNN` or `\\uNNNN`."""
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), text)


def configure_logging(*, form: Literal["text", "json"], level: str) -> None:
    """Send the process' log lines to stderr in one form.

    kopf tells each handler's success at INFO, and aiohttp's access log would repeat the gateway's own lines: both are kept to
    warnings.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("kopf", "aiohttp.access", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _utc(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = f"{_utc(record)} {record.levelname:<7} {record.name}: {printable(record.getMessage())}"
        if record.exc_info:
            line += "\n  " + "\n  ".join(printable(part) for part in self.formatException(record.exc_info).splitlines())
        return line


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {"time": _utc(record), "level": record.levelname.lower(), "logger": record.name, "msg": record.getMessage()}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)
