"""A network between a client and a server that does its worst: it cuts answers at chosen bytes, tears them into pieces, stalls.

The stories of real clients put it where a train's radio link, a phone that changes networks or a careless proxy would be. Of what
it carries it knows the line by which a server asks clients to wait; what else to look for is the test's knowledge (`cutting`).
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto

_HURRIED_MS = 2
_RETRY = re.compile(rb"(?<=\nretry: )\d+(?=\n)")
_PERHAPS_RETRY = re.compile(rb"(?<=\n)r(e(t(r(y(:( \d*)?)?)?)?)?)?\Z")

STALL_SECONDS = 0.02


class End(Enum):
    """How a connection is cut."""

    CLOSE = auto()
    """As if the other side had said all (FIN)."""
    RESET = auto()
    """As by a box that has forgotten the connection (RST)."""
    STALL = auto()
    """Nothing more comes for STALL_SECONDS; then it is reset."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Where an answer is cut, and how."""

    after: int
    """So many bytes pass in any case."""
    at: re.Pattern[bytes] | None = None
    """Then what comes up to the end of this pattern's first match; without a pattern no byte more."""
    end: End


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What happens to one connection's answer."""

    cut: Cut | None = None
    piece: int | None = None
    """Bytes per packet; else as they come."""


Plan = Callable[[int], Trouble]
"""What happens to connection number 1, 2, 3 ..."""


def no_trouble(_: int) -> Trouble:
    return Trouble()


@dataclass(eq=False)
class _Carried:
    """A connection that is carried now."""

    writer: asyncio.StreamWriter
    """To the client."""
    begun: bool = False
    """Whether an answer's head is through."""
    doomed: bool = False
    """Whether it is reset as soon as that is so."""


class Troublemaker:
    """Carries bytes between clients and a server as the plan says."""

    def __init__(self, target: tuple[str, int], plan: Plan, *, hurry: bool) -> None:
        self.target = target
        """Where new connections lead to."""
        self.plan = plan
        self.up = True
        """Whether new connections are carried; else they are reset at once."""
        self.accepted = 0
        """Connections so far."""
        self.cuts = 0
        """Connections so far that were cut as planned."""
        self.port = 0
        self._hurry = hurry
        self._open: set[_Carried] = set()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """Connections that are carried now."""
        return len(self._open)

    def begin(self, plan: Plan, *, heads: bool = True) -> None:
        """Carry new connections as this plan says; those that are open are reset, so that none goes by without it.

        Args:
            heads: whether a head may be cut by that. If not, who waits for an answer still gets its head, and is reset behind it.
        """
        self.plan = plan
        for carried in self._open:
            if heads or carried.begun:
                _reset(carried.writer)
            else:
                carried.doomed = True

    def cut(self) -> None:
        """Reset all connections, as when the machine behind them dies."""
        for carried in self._open:
            _reset(carried.writer)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        self.accepted += 1
        number = self.accepted
        try:
            if not self.up:
                raise ConnectionRefusedError  # as if the server's machine were away
            onward_reader, onward_writer = await asyncio.open_connection(*self.target)
        except OSError:
            _reset(writer)
            return
        carried = _Carried(writer)
        self._open.add(carried)
        trouble = self.plan(number)
        asking = asyncio.create_task(_ask(reader, onward_writer))
        try:
            with suppress(OSError):
                await self._answer(onward_reader, carried, trouble)
        finally:
            self._open.discard(carried)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            onward_writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, carried: _Carried, trouble: Trouble) -> None:
        writer = carried.writer
        answer = bytearray()
        sent = 0
        while received := await reader.read(65536):
            answer += received
            ready = self._ready(answer, sent)
            end = None if trouble.cut is None else _end(bytes(answer[:ready]), trouble.cut)
            if end is not None and trouble.cut is not None:
                await _pass(writer, bytes(answer[sent:end]), trouble.piece)
                self.cuts += 1
                await _finish(writer, trouble.cut.end)
                return
            await _pass(writer, bytes(answer[sent:ready]), trouble.piece)
            sent = ready
            carried.begun = carried.begun or b"\r\n\r\n" in answer[:sent]
            if carried.begun and carried.doomed:
                _reset(writer)
                return
        await _pass(writer, bytes(answer[sent:]), trouble.piece)
        await _finish(writer, End.CLOSE)

    def _ready(self, answer: bytearray, sent: int) -> int:
        """How much of the answer can pass; where clients are hurried, with shorter delays in it.

        A number keeps its length, because a chunk's size stands before it.
        """
        if not self._hurry:
            return len(answer)
        begun = _PERHAPS_RETRY.search(answer, sent)  # looks at the byte before as well
        ready = len(answer) if begun is None else begun.start()
        first = max(0, sent - 1)
        # One byte more at each end, which the pattern looks at.
        answer[first : ready + 1] = _RETRY.sub(lambda digits: b"%0*d" % (len(digits[0]), _HURRIED_MS), answer[first : ready + 1])
        return ready


def _end(answer: bytes, cut: Cut) -> int | None:
    """How many bytes of the answer pass; None: more than there are so far."""
    if cut.at is None:
        return cut.after if cut.after <= len(answer) else None
    match = cut.at.search(answer, cut.after)
    return None if match is None else match.end()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    writer.transport.abort()  # a client that is gone wants no answer


async def _pass(writer: asyncio.StreamWriter, data: bytes, piece: int | None) -> None:
    for begin in range(0, len(data), piece or max(1, len(data))):
        writer.write(data[begin : begin + (piece or len(data))])
        await writer.drain()


async def _finish(writer: asyncio.StreamWriter, end: End) -> None:
    if end is End.CLOSE:
        writer.close()
        await writer.wait_closed()
        return
    if end is End.STALL:
        await asyncio.sleep(STALL_SECONDS)
    _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):  # already gone
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def troublemaking(target: tuple[str, int], plan: Plan = no_trouble, *, hurry: bool = True) -> AsyncIterator[Troublemaker]:
    """A troublemaker for the duration of the block.

    Args:
        hurry: every delay that the server asks of clients (`retry:`) reaches them as 2 ms, so that hours of reconnects pass in
            seconds.
    """
    troublemaker = Troublemaker(target, plan, hurry=hurry)
    carried: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(troublemaker.carry(reader, writer))
        carried.add(task)
        task.add_done_callback(carried.discard)
        task.add_done_callback(lambda _: writer.transport.abort())  # also where it was cancelled before it began

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    troublemaker.port = server.sockets[0].getsockname()[1]
    try:
        yield troublemaker
    finally:
        server.close()
        for task in carried:
            task.cancel()
        await asyncio.gather(*carried, return_exceptions=True)
