"""A reader of Server-Sent Events, written from WHATWG HTML's rules ("Interpreting an event stream") and from nothing else.

It shares no code with the gateway, so that both can't be wrong in the same way: the demo and the tests read streams with it.

    parser = Parser()
    for message in parser.feed(received):    # pieces of any size
        print(message.id, message.event, message.json)
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class Message:
    """One dispatched event."""

    event: str
    """Its type: `message` where the stream gave no name."""
    data: str
    id: str
    """The last event id when it was dispatched: what a client would resume with."""
    has_id_line: bool
    """Whether the id came with this very event."""

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Parser:
    """Turns the bytes of one response into messages, however the bytes are cut."""

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry_ms: int | None = None
        self.comments = 0
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._rest = ""
        self._after_cr = False
        self._data: list[str] = []
        self._event = ""
        self._id = ""
        self._has_id_line = False

    def feed(self, received: bytes) -> list[Message]:
        """The messages that these bytes complete. What the end of a stream leaves incomplete is never dispatched."""
        return [message for line in self._lines(self._decoder.decode(received)) if (message := self._line(line)) is not None]

    def _lines(self, text: str) -> Iterator[str]:
        if not text:
            return
        begin = 1 if self._after_cr and text[0] == "\n" else 0
        self._after_cr = text[-1] == "\r"
        *lines, self._rest = _LINE_END.split(self._rest + text[begin:])
        yield from lines

    def _line(self, line: str) -> Message | None:
        if not line:
            return self._dispatch()
        if line.startswith(":"):
            self.comments += 1
            return None
        field, _, value = line.partition(":")
        self._field(field, value.removeprefix(" "))
        return None

    def _field(self, field: str, value: str) -> None:
        match field:
            case "event":
                self._event = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
                self._has_id_line = True
            case "retry" if value.isascii() and value.isdigit():
                self.retry_ms = int(value)
            case _:
                pass

    def _dispatch(self) -> Message | None:
        self.last_event_id = self._id
        event, data, has_id_line = self._event or "message", self._data, self._has_id_line
        self._event, self._data, self._has_id_line = "", [], False
        if not data:
            return None
        return Message(event=event, data="\n".join(data), id=self.last_event_id, has_id_line=has_id_line)


async def messages(received: AsyncIterable[bytes]) -> AsyncIterator[Message]:
    """The messages of a response's body, such as aiohttp's `response.content.iter_any()`."""
    parser = Parser()
    async for piece in received:
        for message in parser.feed(piece):
            yield message
