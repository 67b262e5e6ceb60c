"""Bytes to standard output, without ever holding up the event loop.

A pipe whose reader sleeps and a terminal that was stopped by Ctrl-S block whoever writes. So a thread writes, one piece after the
other: while it is blocked nothing more is read from the stream, which the gateway notices and deals with, but time limits and
signals still work. It writes to the file descriptor itself: a blocked `sys.stdout` could not even be closed at the end.
"""

from __future__ import annotations

import asyncio
import errno
import os
import queue
import select
import stat
import threading
from collections.abc import Callable
from contextlib import suppress

from mcp_operator.terminal.errors import ReaderGoneError, TerminalError

_READER_GONE = frozenset({errno.EPIPE, errno.EBADF, errno.EIO, errno.ECONNRESET})
"""A pipe without a reader, standard output that was closed, a terminal that has hung up, a socket that was reset."""

_Job = tuple[bytes, "asyncio.Future[None]"]


class Output:
    """A file descriptor with the thread that writes to it. The thread ends with the process, or with `close`."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="output", daemon=True).start()

    async def write(self, data: bytes) -> None:
        """Write all of it; returns when it is written.

        Raises:
            ReaderGoneError: nobody reads it any more.
            TerminalError: it can't be written for another reason, such as a full disk.
        """
        if not data:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._jobs.put((data, done))
        try:
            await done
        except OSError as error:
            if error.errno in _READER_GONE:
                raise ReaderGoneError from error
            raise TerminalError(f"The output can't be written: {error.strerror}") from error

    def close(self) -> None:
        """Let the thread end once it has written what it was given."""
        self._jobs.put(None)

    def when_abandoned(self, then: Callable[[], None]) -> Callable[[], None]:
        """Call `then` as soon as the reader of a pipe is gone, without having to write. Returns what takes that back."""
        if not _is_pipe(self.descriptor):
            return lambda: None
        loop = asyncio.get_running_loop()

        def look() -> None:
            poll = select.poll()
            poll.register(self.descriptor, 0)
            if any(seen & (select.POLLERR | select.POLLHUP) for _, seen in poll.poll(0)):
                loop.remove_reader(self.descriptor)
                then()

        # A pipe's writing end is never readable, but its error counts as such.
        loop.add_reader(self.descriptor, look)

        def forget() -> None:
            loop.remove_reader(self.descriptor)

        return forget

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            data, done = job
            error: OSError | None = None
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(self.descriptor, rest) :]
            except OSError as failed:
                error = failed
            with suppress(RuntimeError):  # the loop has been closed meanwhile
                done.get_loop().call_soon_threadsafe(_finish, done, error)


def _is_pipe(descriptor: int) -> bool:
    try:
        kind = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)


def _finish(done: asyncio.Future[None], error: OSError | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
