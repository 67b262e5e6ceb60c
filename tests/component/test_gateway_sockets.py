"""Connections as bare file descriptors: what is told of those that fail, and that none is left behind."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from mcp_operator.gateway.sockets import Sockets
from tests.waiting import until


class Owner:
    """Whom a connection tells what becomes of it."""

    def __init__(self) -> None:
        self.lost: list[bool] = []
        """Each time whether it had stalled."""

    def on_drained(self) -> None: ...

    def on_lost(self, *, stalled: bool) -> None:
        self.lost.append(stalled)


@pytest.fixture
async def all_sockets() -> AsyncIterator[Sockets]:
    made = Sockets()
    yield made
    made.close_all()


@pytest.fixture
def pair() -> Iterator[tuple[int, socket.socket]]:
    """A descriptor that is the connection's from then on, and its client."""
    ours, client = socket.socketpair()
    ours.setblocking(False)
    with client:
        yield ours.detach(), client


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@pytest.mark.parametrize(("error", "stalled"), [(errno.ETIMEDOUT, True), (errno.EPIPE, False), (errno.ECONNRESET, False)])
async def test_a_write_that_fails_tells_why_and_once(
    all_sockets: Sockets, pair: tuple[int, socket.socket], monkeypatch: pytest.MonkeyPatch, error: int, stalled: bool
) -> None:
    """The kernel gives the reason to the first who asks: to the write, and then to nobody else."""
    descriptor, client = pair
    owner = Owner()
    connection = all_sockets.adopt(descriptor, chunked=False, owner=owner)

    def fail(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", fail)
        assert not connection.send(b"data: {}\n\n")
    client.close()  # which epoll tells as well

    await until(lambda: owner.lost, "its owner hears of it", every=0.01)
    for _ in range(5):
        await asyncio.sleep(0)
    assert owner.lost == [stalled]
    assert not is_open(descriptor)


async def test_one_that_can_not_be_watched_is_closed(pair: tuple[int, socket.socket]) -> None:
    descriptor, client = pair
    stopped = Sockets()
    stopped.close_all()

    with pytest.raises(ConnectionAbortedError):
        stopped.adopt(descriptor, chunked=False, owner=Owner())

    client.settimeout(10)
    assert (stopped.open, client.recv(1)) == (0, b"")
