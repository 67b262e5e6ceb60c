"""The parameters of a query and the values that they may have: what `filtering` and `subscribing` read them with. No I/O.

Every value is text of a stranger: it is bounded in length and in number before anything is made of it, and what can't be used is
refused with what would be right.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping

from multidict import MultiMapping

from mcp_operator.gateway.problems import bad_parameter

MAX_VALUES = 100
"""Values in one parameter, separated by commas."""

_DIGITS = 10
"""Digits of a number that could be meant; more are refused without counting."""


def read_parameters(query: MultiMapping[str], known: Collection[str]) -> dict[str, str]:
    """The query's parameters that have a value: an empty one counts as absent.

    Raises:
        ProblemError: 400 for an unknown parameter, or one given twice.
    """
    expected = f"one of the parameters {', '.join(known)}, once" if known else "no parameters"
    for name in query:
        if name not in known or len(query.getall(name)) > 1:
            raise bad_parameter(name, ",".join(query.getall(name)), expected=expected)
    return {name: value for name, value in query.items() if value}


def values_of(parameters: Mapping[str, str], name: str, *, expected: str) -> list[str] | None:
    """The values of a parameter that may have several, separated by commas; None if it isn't given.

    Raises:
        ProblemError: 400, there are too many, or one of them is empty.
    """
    if name not in parameters:
        return None
    values = parameters[name].split(",")
    if len(values) > MAX_VALUES:
        raise bad_parameter(name, parameters[name], expected=f"at most {MAX_VALUES} {expected}")
    if not all(values):
        raise bad_parameter(name, parameters[name], expected=expected)
    return values


def text_of(parameters: Mapping[str, str], name: str, *, most: int) -> str | None:
    """A parameter that may be any short text; None if it isn't given.

    Raises:
        ProblemError: 400, it is too long, or a character of it controls something or is none. A tab is a character of a text.
    """
    text = parameters.get(name)
    if text is not None and (len(text) > most or not all(map(_is_text, text))):
        raise bad_parameter(name, text, expected=f"a text of at most {most} characters, none of them a control character")
    return text


def _is_text(character: str) -> bool:
    return character == "\t" or unicodedata.category(character) not in {"Cc", "Cs"}


def number_of(parameters: Mapping[str, str], name: str, *, least: int, most: int, default: int, meaning: str) -> int:
    """A whole number.

    Raises:
        ProblemError: 400, it is none, or out of bounds.
    """
    value = parameters.get(name)
    if value is None:
        return default
    if re.fullmatch(f"[0-9]{{1,{_DIGITS}}}", value) is None or not least <= int(value) <= most:
        raise bad_parameter(name, value, expected=f"{meaning} from {least} to {most}")
    return int(value)


def flag_of(parameters: Mapping[str, str], name: str, *, default: bool) -> bool:
    """0 or 1.

    Raises:
        ProblemError: 400, it is neither.
    """
    value = parameters.get(name, str(int(default)))
    if value not in {"0", "1"}:
        raise bad_parameter(name, value, expected="0 or 1")
    return value == "1"
