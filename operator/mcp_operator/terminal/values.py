"""Values out of events as a person reads them. Pure functions: any JSON makes some text, and no text reaches into the terminal.

An event comes from a gateway of any version and carries what pods have printed, so nothing is taken for granted: a field may be
missing or of another type, and a string may hold whatever a program can print.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

EventJson: TypeAlias = Mapping[str, Any]
"""One event or control frame, as the gateway sent it."""

NOTHING = "-"
"""What stands for a value that can't be told."""

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINER = "\N{ZERO WIDTH JOINER}"
"""Harmless, and part of many emoji."""
_TAB = "    "
_KIB = 1024


def harmless(text: str) -> str:
    """The text on one line without anything that a terminal obeys or that changes the order of what is read.

    Control characters, separators of lines, invisible formatting characters (such as those that turn the direction of writing)
    and lone surrogates become `\\xNN`, `\\uNNNN` or `\\UNNNNNNNN`; a tab becomes spaces.
    """
    if text.isprintable():
        return text
    return "".join(_harmless(character) for character in text)


def _harmless(character: str) -> str:
    if character == "\t":
        return _TAB
    if character == _JOINER or unicodedata.category(character) not in _UNSAFE:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def text_of(event: EventJson, name: str, *, otherwise: str = NOTHING) -> str:
    """A field as harmless text; `otherwise` where it is missing or null."""
    value = event.get(name)
    match value:
        case None:
            return otherwise
        case str():
            return harmless(value)
        case bool() | int():
            return str(value).lower()
        case _:
            return harmless(json.dumps(value, ensure_ascii=False))


def number_of(event: EventJson, name: str) -> float | None:
    """A field that is a finite number; None otherwise."""
    value = event.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 1e18 else None


def items_of(event: EventJson, name: str) -> Sequence[EventJson]:
    """A field that is a list of objects; what else may be in it is left out."""
    value = event.get(name)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def object_of(event: EventJson, name: str) -> EventJson:
    """A field that is an object; an empty one otherwise."""
    value = event.get(name)
    return value if isinstance(value, Mapping) else {}


def author(by: EventJson) -> str:
    """Who started an operation: `kubectl (scale)`, `autoscaler weather of ScaledObject/weather`."""
    hpa, kind = object_of(by, "hpa"), text_of(by, "kind")
    if hpa:
        owner = f" of {text_of(hpa, 'owner')}" if hpa.get("owner") is not None else ""
        return f"autoscaler {text_of(hpa, 'name')}{owner}"
    manager = text_of(by, "manager", otherwise=kind)
    return manager if kind in (manager, "other", NOTHING) else f"{manager} ({kind})"


def time_of(event: EventJson, name: str) -> datetime | None:
    """A field that is an RFC 3339 time, in this machine's time zone; None otherwise. What is finer than microseconds is cut."""
    value = event.get(name)
    try:
        return datetime.fromisoformat(value).astimezone() if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def clock(time: datetime | None) -> str:
    """The time of day, to the millisecond."""
    return "--:--:--.---" if time is None else time.strftime("%H:%M:%S.") + f"{time.microsecond // 1000:03}"


def age(time: datetime | None, *, now: datetime) -> str:
    """How long ago, as kubectl writes it: 12s, 3m20s, 5h3m, 4d."""
    if time is None:
        return NOTHING
    seconds = max(0, int((now - time).total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 2:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    return f"{hours}h" if hours < 48 else f"{days}d"


def figure(value: float | None, unit: str = "") -> str:
    """A measured number with at most one decimal where it is small."""
    if value is None:
        return NOTHING
    text = f"{value:.1f}" if abs(value) < 10 and value != int(value) else f"{value:.0f}"
    return f"{text} {unit}".rstrip()


def memory(mebibytes: float | None) -> str:
    """Memory in MiB, or in GiB where that is shorter."""
    if mebibytes is None or mebibytes < 10 * _KIB:
        return figure(mebibytes, "MiB")
    return figure(mebibytes / _KIB, "GiB")


def instances(event: EventJson) -> str:
    """Ready of wanted instances: 2/3."""
    return f"{text_of(event, 'instances', otherwise='?')}/{text_of(event, 'desired', otherwise='?')}"


def short_instance(instance: str, server: str) -> str:
    """What tells the instances of one server apart: the end of the pod's name."""
    _, _, name = server.rpartition("/")
    own = instance.removeprefix(f"{name}-")
    return own.rpartition("-")[2] or instance
