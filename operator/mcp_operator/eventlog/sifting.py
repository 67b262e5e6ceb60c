"""Which events a selection's `level` and `grep` let through: for logs that hold records in memory. Pure functions."""

import json
from functools import lru_cache

from mcp_operator.eventlog.encoding import to_json
from mcp_operator.eventlog.log import Record, Selection
from mcp_operator.model.events import EventType, LogLevel

_RANKS = {level: level.rank for level in LogLevel}
_DECODER = json.JSONDecoder()
_MSG = '"msg":'


def passes(record: Record, selection: Selection) -> bool:
    """Whether level and grep have nothing against a record: they choose among log lines and concern nothing else.

    What is no line (a container's log begins or ends to be followed) doesn't pass a filter of lines, unless it announces a loss.
    """
    if record.type is not EventType.LOG or not sifts(selection):
        return True
    if record.line is None:
        return record.announces_loss
    if selection.level is not None and _RANKS[record.line.level] < _RANKS[selection.level]:
        return False
    return selection.grep is None or message_contains(record.data, selection.grep)


def sifts(selection: Selection) -> bool:
    """Whether the selection filters lines at all."""
    return selection.level is not None or selection.grep is not None


def message_contains(data: bytes, text: str) -> bool:
    """Whether the `msg` of a log event's JSON contains a text literally, once it is decoded.

    Most lines that don't are found out by a search in the bytes: JSON escapes each character by itself, so a text that is in the
    message is in the JSON as its own escaped form.
    """
    if _escaped(text) not in data:
        return False
    event = data.decode()
    # No key or value before `msg` can look like it: a quote inside a string has a backslash before it.
    message, _ = _DECODER.raw_decode(event, event.index(_MSG) + len(_MSG))
    return text in message


@lru_cache(4096)
def _escaped(text: str) -> bytes:
    return to_json(text)[1:-1]
