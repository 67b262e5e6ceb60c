"""What a log line says: how grave it is and its message, of JSON as loggers write it and of plain text.

Rules that fit into a table, which docs/logs.md shows: whoever wonders about a level can look it up. Whatever a container prints
is read in linear time, never fails, and becomes an event that can be sent. `interpreting` calls it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mcp_operator.cluster.podlogs.redacting import may_hold_secret, redact, redact_value
from mcp_operator.eventlog.encoding import to_json
from mcp_operator.model.events import LogLevel
from mcp_operator.model.spec import LogFormat

MOST_BYTES = 16 * 1024
"""Of a message, in UTF-8."""

WORDS: Mapping[str, LogLevel] = MappingProxyType(
    {
        word: level
        for level, words in {
            LogLevel.TRACE: "trace trce trc verbose vrb",
            LogLevel.DEBUG: "debug debu dbug dbg",
            LogLevel.INFO: "info information inf notice",
            LogLevel.WARN: "warn warning wrn",
            LogLevel.ERROR: "error err erro eror severe fail",
            LogLevel.FATAL: "fatal fata ftl critical crit panic pani dpanic alert emergency emerg",
        }.items()
        for word in words.split()
    }
)
"""The words for levels that loggers print, in lower case."""

_LEVEL_KEYS = (
    "level",
    "severity",
    "lvl",
    "levelname",
    "loglevel",
    "log_level",
    "log.level",
    "severitytext",
    "severity_text",
    "@l",
)
_MESSAGE_KEYS = ("msg", "message", "event", "short_message", "@m")

_HEAD = 100
"""Characters of a text line that are searched for a level."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_LETTERS = re.compile(r"[A-Za-z]+")
_KLOG = re.compile(r"[IWEF](?=\d{4}(?:\d{4})? \d\d:\d\d:)")
_KLOG_LEVELS = {"I": LogLevel.INFO, "W": LogLevel.WARN, "E": LogLevel.ERROR, "F": LogLevel.FATAL}
_EXCEPTION = re.compile(
    r"\s*(?:\+ Exception Group )?Traceback \(most recent call last\)|(?:Uncaught )?[\w.$]*(?:Error|Exception)(?=:|$| \[)"
    r"|Exception in thread |Unhandled exception\. |thread '[^']{1,60}' (?:\(\d+\) )?panicked at "
    r"|\S{1,90}:\d{1,6}:in [`'][^']{1,80}': "  # Ruby
)
_LEVEL_FIELD = re.compile(r"(?:^|[^\w.-])(?:level|lvl|severity)[\"']?[=:]$", re.IGNORECASE)

_DEEPEST = 20
"""Levels of nesting that are kept of a JSON line: no logger writes as many."""
_SURELY_SMALL = 4 * 1024
"""Characters of a line whose fields fit into an event however they are escaped."""
_MOST_FIELD_BYTES = 32 * 1024
"""Of all fields together, as JSON: with the longest message an event that can still be sent (`encoding.MAX_EVENT_BYTES`)."""
# An escaped character of a JSON string: half a surrogate pair is none that UTF-8 could tell.
_ESCAPED = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a line says."""

    level: LogLevel
    msg: str
    """The line, or the message of a JSON line; at most MOST_BYTES."""
    fields: Mapping[str, Any] | None
    """The other fields of a JSON line as they are; None of any other line."""
    truncated: bool
    """Whether the message was cut, or fields were left out."""


def parse(text: str, format: LogFormat, *, redacted: bool = False) -> Parsed:  # noqa: A002 - it is the name of the spec's field
    """Read one line, without its line break.

    Args:
        text: whatever it is.
        format: of the server's lines, as its spec says.
        redacted: whether secrets are to be left out.
    """
    redacted = redacted and may_hold_secret(text)
    if format is not LogFormat.TEXT and (record := _json_object(text)) is not None:
        return _parse_record(text, record, redacted=redacted)
    level = (None if format is LogFormat.JSON else level_of_text(text)) or LogLevel.INFO
    msg, cut = _cut(redact(text) if redacted else text)
    return Parsed(level=level, msg=msg, fields=None, truncated=cut)


def _json_object(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    if "\\ud" in text or "\\uD" in text:
        text = _ESCAPED.sub(lambda found: "\\ufffd" if found[1] else found[0], text)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # ValueError is also raised for a number of thousands of digits
        return None
    return value if isinstance(value, dict) else None


def _parse_record(text: str, record: dict[str, Any], *, redacted: bool) -> Parsed:
    keys = {key.lower(): key for key in record}
    level_key, level = _level_of_record(record, keys)
    message_key = next((keys[key] for key in _MESSAGE_KEYS if key in keys and isinstance(record[keys[key]], str)), None)
    said = text if message_key is None else record[message_key]
    if redacted:
        said = _without_secrets(record, text) if message_key is None else redact(said)
    msg, cut = _cut(said)
    others = {key: _tidy(value, _DEEPEST) for key, value in record.items() if key not in (level_key, message_key)}
    if redacted:
        others = redact_value(others)
    fields = others if len(text) <= _SURELY_SMALL else _fitting(others)
    return Parsed(level=level, msg=msg, fields=fields, truncated=cut or len(fields) < len(others))


def _without_secrets(record: dict[str, Any], text: str) -> str:
    """A record as the line that it was, or, if it has secrets, as one without them: the names of its fields tell most."""
    whole = _tidy(record, _DEEPEST)
    harmless = redact_value(whole)
    return text if harmless == whole else json.dumps(harmless, ensure_ascii=False, separators=(",", ":"))


def _level_of_record(record: Mapping[str, Any], keys: Mapping[str, str]) -> tuple[str | None, LogLevel]:
    """The level of a JSON line, and the field that says it, which then isn't told again."""
    for key in _LEVEL_KEYS:
        if key in keys and (level := _level_of_value(record[keys[key]])) is not None:
            return keys[key], level
    nested = record.get("log")
    level = _level_of_value(nested.get("level")) if isinstance(nested, dict) else None
    return None, level or LogLevel.INFO


def _level_of_value(value: Any) -> LogLevel | None:
    match value:
        case bool():
            return None
        case int():
            return _level_of_number(value)
        case str():
            said = value.strip()
            if said.isdecimal() and len(said) < 3:
                return _level_of_number(int(said))
            word = _LETTERS.match(said)  # slog writes ERROR+2
            return WORDS.get(word[0].lower()) if word else None
        case _:
            return None


def _level_of_number(number: int) -> LogLevel | None:
    """bunyan's and pino's tens, or syslog's 0 (the gravest) to 7."""
    if 10 <= number < 70:
        return tuple(LogLevel)[number // 10 - 1]
    syslog = (*[LogLevel.FATAL] * 3, LogLevel.ERROR, LogLevel.WARN, LogLevel.INFO, LogLevel.INFO, LogLevel.DEBUG)
    return syslog[number] if 0 <= number < len(syslog) else None


def level_of_text(text: str) -> LogLevel | None:
    """The level that the beginning of a line says; None if it says none."""
    head = _COLOURS.sub("", text[: 2 * _HEAD])[:_HEAD]
    if klog := _KLOG.match(head):
        return _KLOG_LEVELS[klog[0]]
    if _EXCEPTION.match(head):
        return LogLevel.ERROR
    for word in _LETTERS.finditer(head):
        level = WORDS.get(word[0].lower())
        if level is not None and _stands_as_level(word[0], before=head[: word.start()], after=head[word.end() :]):
            return level
    return None


def _stands_as_level(word: str, *, before: str, after: str) -> bool:
    """Whether a level's word is meant as one, and isn't just a word of a sentence."""
    if before[-1:].isalnum() or after[:1].isalnum() or "_" in (before[-1:], after[:1]):
        return False
    if _LEVEL_FIELD.search(before.rstrip(" \"'")):
        return True
    if before[-1:] in {"=", "/", "-", "."}:
        return False  # a value, a path, an option
    opening, closing = before.rstrip(" ")[-1:], after.lstrip(" ")[:1]
    framed = opening in {"[", "(", "<", ":", "|", "\t"} and closing in {"]", ")", ">", "|", "\t"}
    return word.isupper() or after[:1] == ":" or framed


def _cut(text: str) -> tuple[str, bool]:
    """At most MOST_BYTES of a text, and whether that is less than all of it."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= MOST_BYTES:
        return encoded.decode(), False
    return encoded[: MOST_BYTES - len("…".encode())].decode("utf-8", "ignore") + "…", True


def _tidy(value: Any, levels: int) -> Any:
    """A value without what JSON can't say, nor what is nested too deep to be sent: null is in its place."""
    match value:
        case dict():
            return {key: _tidy(item, levels - 1) for key, item in value.items()} if levels else None
        case list():
            return [_tidy(item, levels - 1) for item in value] if levels else None
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def _fitting(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields that fit into an event beside each other, the first ones first."""
    left = _MOST_FIELD_BYTES
    fitting = {}
    for key, value in fields.items():
        size = len(to_json({key: value}))
        if size <= left:
            fitting[key] = value
            left -= size
    return fitting
