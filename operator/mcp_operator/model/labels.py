"""Labels of a server, and selectors that choose servers by them, as Kubernetes writes both.

`gateway` reads selectors from queries, `eventlog` asks them about the labels that each event was made with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Keys with their values, in the order of the keys; hashable, so that equal ones can be one object."""

NO_LABELS: Labels = ()

MAX_SELECTOR_CHARACTERS = 4096
MAX_REQUIREMENTS = 32

_NAME_CHARACTERS = 63
_PREFIX_CHARACTERS = 253
_SHOWN_CHARACTERS = 64
"""Of what can't be read."""
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", re.ASCII)
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)

_TOKEN = re.compile(r"[ \t\r\n]*(==|!=|[=!(),<>]|[^ \t\r\n=!(),<>]+)")
_SPACE = " \t\r\n"
_SYMBOLS = frozenset({"==", "!=", "=", "!", "(", ")", ",", "<", ">"})
_END = ""
_SYNTAX = "key=value, key!=value, key in (a,b), key notin (a,b), key or !key, separated by commas"


class Operator(StrEnum):
    """How a requirement judges a key's value."""

    IN = "in"
    """The key is there with one of the values."""
    NOT_IN = "notin"
    """It isn't."""
    EXISTS = "exists"
    ABSENT = "!"


@dataclass(frozen=True, slots=True, order=True)
class Requirement:
    """What labels must have, or mustn't, under one key. `a=b` is `a in (b)`, `a!=b` is `a notin (b)`."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()
    """In their order, each once; none of EXISTS and ABSENT."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it. Without the key they meet NOT_IN, as in Kubernetes."""
        match self.operator:
            case Operator.IN:
                return self.key in labels and labels[self.key] in self.values
            case Operator.NOT_IN:
                return self.key not in labels or labels[self.key] not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.ABSENT:
                return self.key not in labels

    def __str__(self) -> str:
        match self.operator, self.values:
            case Operator.EXISTS, _:
                return self.key
            case Operator.ABSENT, _:
                return f"!{self.key}"
            case Operator.IN, (value,):
                return f"{self.key}={value}"
            case Operator.NOT_IN, (value,):
                return f"{self.key}!={value}"
            case _:
                return f"{self.key} {self.operator} ({','.join(self.values)})"


@dataclass(frozen=True, slots=True)
class Selector:
    """A label selector: requirements that labels meet all of. Two that are written differently and require the same are equal."""

    requirements: tuple[Requirement, ...] = ()
    """In their order, each once."""

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Read a selector as `kubectl --selector` takes it; an empty one selects everything.

        Raises:
            ValueError: it can't be read, or is too long; says why, and what would be right.
        """
        if len(text) > MAX_SELECTOR_CHARACTERS:
            raise ValueError(f"a label selector of {len(text)} characters: at most {MAX_SELECTOR_CHARACTERS} are read")
        requirements = frozenset(_Reading(text).requirements())
        if len(requirements) > MAX_REQUIREMENTS:
            raise ValueError(f"a label selector with {len(requirements)} requirements: it may have at most {MAX_REQUIREMENTS}")
        return cls(tuple(sorted(requirements)))

    @property
    def text(self) -> str:
        """The selector as it can be parsed again; equal ones have the same."""
        return ",".join(map(str, self.requirements))

    def matches(self, labels: Labels) -> bool:
        """Whether labels meet every requirement."""
        found = dict(labels)
        return all(requirement.matches(found) for requirement in self.requirements)


class _Reading:
    """A selector's text on its way to requirements."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = [*_TOKEN.findall(text.rstrip(_SPACE)), _END]
        self._at = 0

    def requirements(self) -> Iterator[Requirement]:
        """What it requires, in its order.

        Raises:
            ValueError: it can't be read.
        """
        while self._next != _END:
            yield self._requirement()
            if self._next == _END:
                return
            self._take(",")
            if self._next == _END:
                raise ValueError("a requirement is missing after the last comma")

    @property
    def _next(self) -> str:
        return self._tokens[self._at]

    def _take(self, expected: str = "") -> str:
        token = self._next
        if expected and token != expected:
            raise ValueError(f"{_found(token)} where {expected!r} is expected: requirements are written {_SYNTAX}")
        self._at += 1
        return token

    def _requirement(self) -> Requirement:
        if self._next == "!":
            self._take()
            return Requirement(self._key(), Operator.ABSENT)
        key = self._key()
        match self._next:
            case "," | "":
                return Requirement(key, Operator.EXISTS)
            case "=" | "==":
                return Requirement(key, Operator.IN, self._one_value())
            case "!=":
                return Requirement(key, Operator.NOT_IN, self._one_value())
            case "in" | "notin" as operator:
                return Requirement(key, Operator(operator), self._values())
            case other:
                raise ValueError(f"{_found(other)} after the key {_shown(key)}: requirements are written {_SYNTAX}")

    def _key(self) -> str:
        key = self._take()
        if key in _SYMBOLS or key == _END:
            raise ValueError(f"{_found(key)} where a label's key is expected: requirements are written {_SYNTAX}")
        prefix, slash, name = key.rpartition("/")
        if slash and not (len(prefix) <= _PREFIX_CHARACTERS and _PREFIX.fullmatch(prefix)):
            raise ValueError(
                f"{_shown(prefix)} can't stand before the slash of a label's key: a DNS name of at most {_PREFIX_CHARACTERS} "
                "lower-case letters, digits, '-' and '.' can"
            )
        if not _is_name(name):
            raise ValueError(f"{_shown(name)} is not a label's key: {_NAME_RULE}")
        return key

    def _one_value(self) -> tuple[str, ...]:
        self._take()
        return (self._value(),)

    def _values(self) -> tuple[str, ...]:
        self._take()
        self._take("(")
        if self._next == ")":
            raise ValueError("nothing is between the parentheses: values stand there, separated by commas")
        values = {self._value()}
        while self._next == ",":
            self._take()
            values.add(self._value())
        self._take(")")
        return tuple(sorted(values))

    def _value(self) -> str:
        """A value, which may be empty: then nothing stands in its place."""
        if self._next in {",", ")", _END}:
            return ""
        value = self._take()
        if not _is_name(value):
            raise ValueError(f"{_shown(value)} is not a label's value: it is empty, or {_NAME_RULE}")
        return value


_NAME_RULE = (
    f"at most {_NAME_CHARACTERS} letters, digits, '-', '_' and '.', of which the first and the last are a letter or a digit"
)


def _is_name(text: str) -> bool:
    return len(text) <= _NAME_CHARACTERS and _NAME.fullmatch(text) is not None


def _found(token: str) -> str:
    return _shown(token) if token else "the end"


def _shown(text: str) -> str:
    """A part of a selector as it stands in a message."""
    if not text:
        return "nothing"
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")
