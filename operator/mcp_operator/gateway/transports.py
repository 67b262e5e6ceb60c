"""Streams' connections over a transport of the event loop: for TLS, whose bytes only the transport can make."""

import asyncio

from mcp_operator.gateway.connections import LAST_CHUNK, LINGER_SECONDS, QUEUED_BYTES, Owner


class TransportConnection(asyncio.Protocol):
    """A `Connection` that is its transport's protocol. The transport queues a little, and one write more."""

    __slots__ = ("_finishing", "_paused", "_transport", "chunked", "owner")

    def __init__(self, transport: asyncio.Transport, *, paused: bool, chunked: bool, owner: Owner) -> None:
        """
        Args:
            paused: whether the transport has told its protocol until now that it has no room: it doesn't say so again.
        """
        self._transport = transport
        self._paused = paused
        self._finishing: asyncio.TimerHandle | None = None
        self.chunked = chunked
        self.owner = owner
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=QUEUED_BYTES)  # tells the protocol if there is more already

    @property
    def ready(self) -> bool:
        return not self._paused and not self._transport.is_closing()

    def send(self, data: bytes) -> bool:
        self._transport.write(data)
        return self.ready

    def finish(self) -> None:
        if self._finishing is not None:
            return
        self._finishing = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)
        if self.chunked and not self._transport.is_closing():
            self._transport.write(LAST_CHUNK)
        self._transport.close()

    def abort(self) -> None:
        if self._finishing is None:
            self._finishing = asyncio.get_running_loop().call_later(0, self._transport.abort)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._finishing is None:
            self.owner.on_drained()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._finishing is not None:
            self._finishing.cancel()
        else:
            self.owner.on_lost(stalled=isinstance(exc, TimeoutError))
