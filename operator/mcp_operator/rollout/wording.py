"""Words of messages: those from outside (kubelet, registries, admission webhooks) made fit to be told, and those of our own."""

import re

_MOST_CHARACTERS = 1024
_WORD = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")


def tidy(text: str) -> str:
    """A message: white space becomes one space, what can't be printed a replacement character; at most 1,024 characters."""
    line = " ".join(text.split())
    line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
    return line if len(line) <= _MOST_CHARACTERS else line[: _MOST_CHARACTERS - 1] + "…"


def word_of(reason: str | None, *, otherwise: str) -> str:
    """A reason: one CamelCase word, because people write switch statements on it."""
    return reason if reason and _WORD.fullmatch(reason) else otherwise


def instances(count: int) -> str:
    """So many instances, as a message says it."""
    return "1 instance" if count == 1 else f"{count} instances"
