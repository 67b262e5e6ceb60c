"""Bodies of answers that may be long: made while the client takes them, out of the log's own records. `paging` answers with them.

A whole body would wait in memory for a client that takes it slowly; of this one only what is under way does.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from mcp_operator.eventlog.log import Record
from mcp_operator.gateway.framing import coalesce

SNAPSHOT_MARK = b',"snapshot":true'
"""Goes into the JSON of an event that is part of a snapshot."""


@dataclass(frozen=True, slots=True)
class EventArray:
    """Events as a JSON array."""

    records: Sequence[Record]
    mark: bytes = b""
    """What is added behind the fields of each."""

    def __len__(self) -> int:
        """Its bytes."""
        count = len(self.records)
        return 2 + sum(len(record.data) for record in self.records) + count * len(self.mark) + max(0, count - 1)

    def __iter__(self) -> Iterator[bytes]:
        comma = b"["
        for record in self.records:
            yield b"%b%b%b}" % (comma, record.data[:-1], self.mark)
            comma = b","
        yield b"]" if self.records else b"[]"


class LongBody(Payload):
    """A body of such arrays and the JSON around them."""

    def __init__(self, *parts: bytes | EventArray) -> None:
        super().__init__(parts)
        self._parts = parts
        self._size = sum(map(len, parts))

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return b"".join(self._pieces()).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        for piece in coalesce(self._pieces()):
            await writer.write(piece)  # waits while the client has much to take

    def _pieces(self) -> Iterable[bytes]:
        return chain.from_iterable((part,) if isinstance(part, bytes) else part for part in self._parts)
