"""What carries a stream's bytes to its client, whichever way: `streaming` writes to a `Connection` and hears from it.

A connection never waits and never queues more than what a single write left over: whoever writes looks at the answer, and stops
until the client has taken the rest. Three kinds exist: `sockets` (a plain TCP connection that has left aiohttp), `transports`
(the same for TLS) and `responses` (aiohttp's own).
"""

import socket
from typing import Protocol

SEND_BUFFER_BYTES = 64 * 1024
"""What the kernel may hold for a client that doesn't read; it books twice as much."""

QUEUED_BYTES = 16 * 1024
"""What connections that have to queue may hold beyond that before they have no more room."""

_RECEIVE_BUFFER_BYTES = 4096
"""Nothing is expected from a subscriber."""

LINGER_SECONDS = 2.0
"""How long a connection is kept after its last byte for the client to take it, before it is closed."""

LAST_CHUNK = b"0\r\n\r\n"
"""Ends a chunked body (RFC 9112, section 7.1)."""


class Owner(Protocol):
    """Whom a connection tells what becomes of it: from the event loop, never from within its own methods."""

    def on_drained(self) -> None:
        """All that was sent has been taken: there is room again."""

    def on_lost(self, *, stalled: bool) -> None:
        """The client is gone, or (`stalled`) took nothing for too long. Nothing more will be heard of the connection."""


class Connection(Protocol):
    """One client's connection, from the end of the response's headers on."""

    chunked: bool
    """Whether what is sent has to be in chunks (`chunk`)."""

    owner: Owner

    @property
    def ready(self) -> bool:
        """Whether it takes more now."""

    def send(self, data: bytes) -> bool:
        """Send bytes, all of them, though perhaps later. False: there is no room, or nobody to take them; send nothing more
        before `on_drained`."""

    def finish(self) -> None:
        """End the response behind what has been sent, and close. The owner hears nothing more."""

    def abort(self) -> None:
        """Close at once. The owner hears nothing more."""


def chunk(data: bytes) -> bytes:
    """Bytes as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def bound_kernel_memory(connection: socket.socket, *, stall_seconds: float) -> None:
    """Bound what the kernel holds for a connection, and let it end one whose other side acknowledges nothing.

    TCP_USER_TIMEOUT counts both for a host that is gone and for one that is there with a reader that takes nothing (the kernel's
    probes of a closed window are answered, but no data is): so it is the longest pause of a reader too.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(stall_seconds * 1000))
