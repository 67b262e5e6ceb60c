"""A client that sends whatever bytes a test wants, and reads answers the way HTTP says, not the way a library tidies them."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Answer:
    """One response."""

    version: str
    status: int
    headers: Sequence[tuple[str, str]]
    """Names in lower case, in their order."""
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header that may be there once."""
        values = [value for each, value in self.headers if each == name.lower()]
        assert len(values) <= 1, f"{name} is there more than once"
        return values[0] if values else None

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document that it is."""
        assert self.header("content-type") == "application/problem+json", self
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status
        return document


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *pieces: str | bytes) -> None:
        """Send text as UTF-8, with CR LF for each line end."""
        for piece in pieces:
            self.writer.write(piece.replace("\n", "\r\n").encode() if isinstance(piece, str) else piece)

    def get(self, path: str, *headers: str, method: str = "GET", version: str = "HTTP/1.1") -> None:
        """Send a request without a body."""
        self.send("\n".join([f"{method} {path} {version}", "Host: gateway", *headers, "", ""]))

    def send_no_more(self) -> None:
        """Close this side of the connection, if the other has not closed both."""
        with suppress(OSError):
            self.writer.write_eof()

    async def answer(self, *, to: str = "GET") -> Answer:
        """The next response, whole. Of one without a length all that comes until the end."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await self.head()
            if to == "HEAD" or head.status in {204, 304} or 100 <= head.status < 200:
                return head
            if head.header("transfer-encoding") == "chunked":
                body = b""
                while chunk := await self.chunk():
                    body += chunk
            elif (length := head.header("content-length")) is not None:
                body = await self.reader.readexactly(int(length))
            else:
                body = await self.reader.read()
        return Answer(head.version, head.status, head.headers, body)

    async def head(self) -> Answer:
        """The next response without its body, which is still to be read."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        version, status, *_ = lines[0].split(" ")
        headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines[1:])]
        return Answer(version, int(status), headers, b"")

    async def chunk(self) -> bytes:
        """The next chunk of a body; an empty one is the last."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            chunk = await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
        return chunk

    async def closed(self) -> bytes:
        """What comes until the other side closes, however it does that; then this side closes too."""
        received = b""
        async with asyncio.timeout(PATIENCE_SECONDS):
            with suppress(ConnectionError):
                while piece := await self.reader.read(65536):
                    received += piece
        self.writer.close()
        return received


@asynccontextmanager
async def raw_client(
    address: tuple[str, int], *, tls: ssl.SSLContext | None = None, receive_buffer: int | None = None
) -> AsyncIterator[RawClient]:
    """Connect; the connection is cut at the end.

    Args:
        receive_buffer: how many bytes the kernel may hold for a client that doesn't read, if not as many as it likes.
    """
    with socket.socket() as plain:
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, address)
        reader, writer = await asyncio.open_connection(sock=plain, ssl=tls, server_hostname=address[0] if tls else None)
        try:
            yield RawClient(reader, writer)
        finally:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()
