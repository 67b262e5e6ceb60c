"""What ends a command other than by its work being done: a sentence for the person at the terminal, and the exit code."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How the commands end (docs/terminal.md); 2, wrong usage, is click's."""

    DONE = 0
    FAILED = 1
    """What was asked for can't be done: no connection, no such server, a refusal."""
    MISSED = 3
    """The server can't reach what `--until` waits for any more."""
    TIMED_OUT = 124
    """As coreutils' timeout has it."""
    INTERRUPTED = 130
    """128 + SIGINT."""
    READER_GONE = 141
    """128 + SIGPIPE: whoever reads our output has enough."""
    TERMINATED = 143
    """128 + SIGTERM."""


class TerminalError(Exception):
    """A command can't do what it was asked to: what, where, and what to do about it, in a sentence."""


class AwayError(TerminalError):
    """There is no answer now; asked again later there may be one.

    Args:
        starting: the gateway itself says that it will answer soon.
    """

    def __init__(self, sentence: str, *, starting: bool = False) -> None:
        super().__init__(sentence)
        self.starting = starting


class UnknownServerError(TerminalError):
    """The gateway knows no such server, or no longer."""


class ReaderGoneError(Exception):
    """Nobody reads what the command writes any more."""
