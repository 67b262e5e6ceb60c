"""The server's settings: environment variables, read once at the start and checked before anything else happens."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

T = TypeVar("T")


class SettingError(ValueError):
    """A variable's value can't be used; the message names the variable, the value and what would be right."""


@dataclass(frozen=True)
class Settings:
    """What the environment asks for. Everything but the first three is trouble on demand.

    port: PORT, where the server listens on every address; 0 takes a free one.
    version: VERSION, told to clients as the server's version.
    log_format: LOG_FORMAT, one JSON object a line or plain text.
    crash_at_start: CRASH_AT_START, a message to die with at once.
    crash_after: CRASH_AFTER_SECONDS, seconds that it runs, once started, before it dies.
    start_delay: START_DELAY_SECONDS, seconds before the server listens.
    never_ready: NEVER_READY, run without ever listening.
    flood: FLOOD_LINES_PER_SECOND, lines of log for nothing.
    """

    port: int
    version: str
    log_format: Literal["json", "text"]
    crash_at_start: str | None
    crash_after: float | None
    start_delay: float
    never_ready: bool
    flood: int

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """Raises `SettingError` for the first value that can't be used. An empty variable counts as absent."""

        def value(name: str, default: T, parse: Callable[[str], T], right: str) -> T:
            text = environment.get(name, "").strip()
            try:
                return parse(text) if text else default
            except (ValueError, KeyError):
                raise SettingError(f"{name}={text[:100]!r} can't be used: give {right}.") from None

        return cls(
            port=value("PORT", 8080, _whole(65535), "a port number from 0 to 65535"),
            version=value("VERSION", "1.0.0", _version, "up to 64 letters, digits and the signs . _ + -"),
            log_format=value("LOG_FORMAT", "json", _FORMATS.__getitem__, "json or text"),
            crash_at_start=value("CRASH_AT_START", None, str, "a message"),
            crash_after=value("CRASH_AFTER_SECONDS", None, _seconds, "seconds from 0 to 86400, such as 5 or 0.5"),
            start_delay=value("START_DELAY_SECONDS", 0.0, _seconds, "seconds from 0 to 86400, such as 5 or 0.5"),
            never_ready=value("NEVER_READY", False, _SWITCH.__getitem__, "1 or 0"),
            flood=value("FLOOD_LINES_PER_SECOND", 0, _whole(100_000), "a whole number from 0 to 100000"),
        )


_FORMATS: dict[str, Literal["json", "text"]] = {"json": "json", "text": "text"}
_SWITCH = {"1": True, "true": True, "0": False, "false": False}


def _whole(most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text)
        if not 0 <= number <= most:
            raise ValueError(text)
        return number

    return parse


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 86_400:  # also false for nan
        raise ValueError(text)
    return number


def _version(text: str) -> str:
    if not re.fullmatch(r"[\w.+-]{1,64}", text, re.ASCII):
        raise ValueError(text)
    return text
