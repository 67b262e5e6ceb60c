"""The recording of a raw event stream: made by a curl of its own, read back while it grows.

The demo learns what happened from this file alone, as any subscriber would: nothing passes it by. Every frame in it is held to
what the gateway's OpenAPI document says.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_stack.contract import Contract
from local_stack.sse import Parser
from local_stack.story import EventJson

CONTROL_FRAMES = frozenset({"hello", "bookmark", "reset", "dropped", "bye"})

_LOOK_EVERY_SECONDS = 0.05


@contextmanager
def recorded(url: str, file: Path, *, contract: Contract) -> Iterator["Recording"]:
    """Record the stream at `url` into `file` while the body runs."""
    with file.open("wb") as output:
        curl = subprocess.Popen(["curl", "--no-buffer", "--silent", "--show-error", "--fail", url], stdout=output)
    try:
        yield Recording(file, contract=contract)
    finally:
        curl.terminate()
        curl.wait(timeout=10)


class Recording:
    """A reader of the file while it grows."""

    def __init__(self, file: Path, *, contract: Contract) -> None:
        self._file = file
        self._contract = contract
        self._offset = 0
        self._parser = Parser()
        self._waiting: list[EventJson] = []

    def until(self, *, within: float) -> EventJson | None:
        """The next event, or None if there is none within so many seconds.

        Raises:
            ContractError: a frame isn't as the gateway says that it is.
        """
        deadline = time.monotonic() + within
        while not self._waiting:
            if time.monotonic() >= deadline:
                return None
            self._look()
            if not self._waiting:
                time.sleep(_LOOK_EVERY_SECONDS)
        return self._waiting.pop(0)

    def _look(self) -> None:
        with self._file.open("rb") as recording:
            recording.seek(self._offset)
            received = recording.read()
        self._offset += len(received)
        self._waiting += events(self._parser, received, contract=self._contract)


def events(parser: Parser, received: bytes, *, contract: Contract) -> list[EventJson]:
    """The events that these bytes complete, without control frames."""
    messages = parser.feed(received)
    for message in messages:
        contract.check_message(message)
    bodies = (json.loads(message.data) for message in messages)
    return [body for body in bodies if body["type"] not in CONTROL_FRAMES]


def read(file: Path, *, contract: Contract) -> list[EventJson]:
    """All events of a finished recording."""
    return events(Parser(), file.read_bytes(), contract=contract)
