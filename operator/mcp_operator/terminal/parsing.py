"""The events of a Server-Sent Events stream out of its bytes. Pure; `following` feeds it.

The rules are those of WHATWG HTML, section "Interpreting an event stream": lines end with LF, CR or CRLF, an event is dispatched
at a blank line, and what the end of the stream leaves incomplete is never dispatched. An id counts once its block is complete,
also in a block without data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""No event is longer. The gateway's frames are at most 60 KiB: what is longer comes from something else."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class TooLongError(Exception):
    """An event is longer than MAX_EVENT_BYTES: this is no gateway."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One dispatched event."""

    event: str
    """Its type: `message` where the stream gives none."""
    data: str
    id: str
    """The last event id of the stream when it was dispatched: what to resume with after it."""


class FrameParser:
    """Reads the bytes of one response, in pieces of any size.

    Args:
        last_event_id: the id that the stream was resumed with.
    """

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        """What to resume with."""
        self.retry_ms: int | None = None
        """What the stream last asked to wait before one comes back."""
        self._line = bytearray()
        self._begun = False
        self._after_cr = False
        self._event = ""
        self._id = last_event_id
        self._data: list[str] = []
        self._size = 0

    def feed(self, received: bytes) -> Sequence[Frame]:
        """The events that these bytes complete.

        Raises:
            TooLongError: an event doesn't end; nothing more can be read.
        """
        if self._after_cr and received.startswith(b"\n"):
            received = received[1:]
            self._after_cr = False
        if received:
            self._after_cr = received.endswith(b"\r")
        self._line += received
        # A CR and the LF behind it end one line.
        lines = bytes(self._line).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._line = bytearray(lines.pop())
        if self._size + len(self._line) > MAX_EVENT_BYTES:
            raise TooLongError
        return [frame for line in lines if (frame := self._take(line)) is not None]

    def _take(self, line: bytes) -> Frame | None:
        if not self._begun:
            self._begun = True
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        self._set(name, value.removeprefix(b" "))
        return None

    def _set(self, name: bytes, value: bytes) -> None:
        text = value.decode("utf-8", "replace")
        match name:
            case b"event":
                self._event = text
            case b"data":
                self._data.append(text)
                self._size += len(value) + 1
                if self._size > MAX_EVENT_BYTES:
                    raise TooLongError
            case b"id" if "\0" not in text:
                self._id = text
            case b"retry" if value.isdigit():
                self.retry_ms = int(value[:9])
            case _:
                pass  # a comment (its name is empty), or a field that the standard doesn't know

    def _dispatch(self) -> Frame | None:
        self.last_event_id = self._id
        event, data = self._event or "message", self._data
        self._event, self._data, self._size = "", [], 0
        return Frame(event, "\n".join(data), self.last_event_id) if data else None
