"""Streams' connections as bare file descriptors: what 10,000 idle subscribers cost is one small object each.

A connection comes here once aiohttp has written its headers (`taking_over`). From then on nothing of a web framework or of an
event loop's transport is behind it: data goes straight to the kernel, and one epoll instance, itself one file descriptor of the
event loop, says who has room again and who is gone.
"""

import asyncio
import errno
import os
import select
import socket
from collections.abc import Callable

from mcp_operator.gateway.connections import LAST_CHUNK, LINGER_SECONDS, Owner

_EVENTS_AT_ONCE = 64
"""Sockets looked at before others get a turn."""

_GONE = select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP
# Edge-triggered: room is told once when there is some again, what a client may send is never read and never told.
_INTEREST = select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


class SocketConnection:
    """A `Connection` over a TCP socket of its own."""

    __slots__ = ("_fd", "_lingering", "_rest", "_sockets", "chunked", "owner")

    def __init__(self, sockets: "Sockets", fd: int, *, chunked: bool, owner: Owner) -> None:
        self._sockets = sockets
        self._fd = fd
        """-1 once it is closed: the number may be another connection's by then."""
        self._rest: memoryview | None = None
        """What the kernel had no room for."""
        self._lingering: asyncio.TimerHandle | None = None
        """Set once it is to end: closes it at the latest."""
        self.chunked = chunked
        self.owner = owner

    @property
    def ready(self) -> bool:
        return self._rest is None and self._fd >= 0

    def send(self, data: bytes) -> bool:
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._sockets.soon(self._fail, error.errno)
            return False
        if sent == len(data):
            return True
        self._rest = memoryview(data)[sent:]
        return False

    def finish(self) -> None:
        if self._fd < 0 or self._lingering is not None:
            return
        self._lingering = self._sockets.later(LINGER_SECONDS, self._close)
        if self.chunked and self._rest is None:
            self.send(LAST_CHUNK)
        elif self.chunked and self._rest is not None:
            self._rest = memoryview(bytes(self._rest) + LAST_CHUNK)
        if self._rest is None:
            self._say_no_more()

    def abort(self) -> None:
        self._close()

    def on_event(self, mask: int) -> None:
        """What epoll says of it."""
        if self._fd < 0:
            return
        if mask & _GONE:
            self._fail(self._error() if mask & select.EPOLLERR else None)
        elif self._rest is not None:
            self._send_rest(self._rest)

    def _send_rest(self, rest: memoryview) -> None:
        try:
            rest = rest[os.write(self._fd, rest) :]
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error.errno)
            return
        self._rest = rest if len(rest) else None
        if self._rest is None and self._lingering is None:
            self.owner.on_drained()
        elif self._rest is None:
            self._say_no_more()

    def _fail(self, error: int | None) -> None:
        """It is of no use any more, for the reason that the kernel gives, to a write or when it is asked, and only once."""
        if self._fd < 0:
            return
        listened = self._lingering is None
        self._close()
        if listened:
            self.owner.on_lost(stalled=error == errno.ETIMEDOUT)

    def _error(self) -> int:
        """What went wrong, as the kernel says it."""
        connection = socket.socket(fileno=self._fd)
        try:
            return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        finally:
            connection.detach()

    def _say_no_more(self) -> None:
        """Close our side only: a full close would throw away what the client has not taken yet, if it had sent anything."""
        connection = socket.socket(fileno=self._fd)
        try:
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            self._close()
        finally:
            connection.detach()

    def _close(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
        if self._fd >= 0:
            self._sockets.close(self._fd)
            self._fd, self._rest = -1, None


class Sockets:
    """All connections of this kind. Belongs to one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._connections: dict[int, SocketConnection] = {}
        self._empty = asyncio.Event()
        """Set when the last one is closed."""
        self._loop.add_reader(self._epoll.fileno(), self._poll)

    def adopt(self, fd: int, *, chunked: bool, owner: Owner) -> SocketConnection:
        """Make a connection of a non-blocking TCP socket's file descriptor, which belongs to it from now on.

        Raises:
            ConnectionError: the kernel watches no more of them, or all are closed already; this one is closed.
        """
        connection = SocketConnection(self, fd, chunked=chunked, owner=owner)
        try:
            self._epoll.register(fd, _INTEREST)
        except (OSError, ValueError) as error:
            os.close(fd)
            raise ConnectionAbortedError("the stream's connection can't be watched") from error
        self._connections[fd] = connection
        return connection

    @property
    def open(self) -> int:
        """Connections that are not closed yet, those included whose stream has ended."""
        return len(self._connections)

    def later(self, seconds: float, close: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(seconds, close)

    def soon(self, fail: Callable[[int | None], None], error: int | None) -> None:
        self._loop.call_soon(fail, error)

    def close(self, fd: int) -> None:
        """Close one connection's file descriptor."""
        del self._connections[fd]
        os.close(fd)  # which takes it out of epoll as well
        if not self._connections:
            self._empty.set()

    async def closed(self) -> None:
        """Wait until all are closed. Those whose stream has ended close by themselves, LINGER_SECONDS later at the latest."""
        while self._connections:
            self._empty.clear()
            await self._empty.wait()

    def close_all(self) -> None:
        """Close every connection that is left, and stop listening to them."""
        for connection in list(self._connections.values()):
            connection.abort()
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _poll(self) -> None:
        for fd, mask in self._epoll.poll(0, _EVENTS_AT_ONCE):
            connection = self._connections.get(fd)
            if connection is not None:
                connection.on_event(mask)
