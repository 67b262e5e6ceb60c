"""One subscriber: its connection, what it wants, and how its stream ends. There may be thousands, so one is small.

A stream is either behind, and then a task of its own brings it up to date (`catching_up`), or it is up to date, and then it is
one of a feed's (`feeds`) and `broadcasting` writes to it. It never holds events that wait for it: it holds a position in the log.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import TYPE_CHECKING

from mcp_operator.eventlog.log import GapReason
from mcp_operator.gateway.admitting import Admitted
from mcp_operator.gateway.connections import Connection
from mcp_operator.gateway.feeds import Feed, FrameForm
from mcp_operator.gateway.subscribing import Subscription

if TYPE_CHECKING:
    from mcp_operator.gateway.broadcasting import Broadcaster

MALFORMED = "malformed"

RESET_REASONS: tuple[str, ...] = (*GapReason, MALFORMED)
"""Why a cursor couldn't be continued, as `reset` frames and metrics name it."""


class EndReason(StrEnum):
    """Why a stream ended. But for the last two `bye` frames say it."""

    DELETED = "deleted"
    """The object that the stream was about is gone, and all about it has been told."""
    AGE = "age"
    """It has been open for long enough: come back, perhaps to another replica."""
    SLOW = "slow"
    """The client is so far behind that it would have missed what nobody may miss: resume from the last id that arrived."""
    SHUTDOWN = "shutdown"
    """The gateway stops."""
    STARTING = "starting"
    """The gateway doesn't know the whole cluster yet: come back."""
    ERROR = "error"
    """The gateway failed: resume from the last id that arrived."""
    LEFT = "left"
    """The client is gone."""
    STALLED = "stalled"
    """The client took nothing for too long."""


class Stream:
    """One subscriber's stream. A `Owner` of its connection."""

    __slots__ = (
        "_broadcaster",
        "_drained",
        "_held",
        "client",
        "connection",
        "ended",
        "ending",
        "expires",
        "feed",
        "named",
        "opened",
        "path",
        "position",
        "selection",
        "snapshot_named",
        "told",
    )

    connection: Connection

    def __init__(
        self,
        broadcaster: Broadcaster,
        subscription: Subscription,
        *,
        client: str,
        path: str,
        position: int,
        told: int | None,
        opened: float,
        held: tuple[AbstractContextManager[None], Admitted],
    ) -> None:
        """
        Args:
            client: who it is, for people: its identity or its address.
            position: seq up to which it has heard everything.
            opened: when (event loop's clock).
            held: what is given back when the stream has ended: that it listens (entered already), and its place.
        """
        self._broadcaster = broadcaster
        self._held = held
        self._drained: asyncio.Future[None] | None = None
        self.selection = subscription.selection
        self.named = subscription.named
        self.snapshot_named = subscription.snapshot_named
        self.client = client
        self.path = path
        self.position = position
        """Seq up to which everything wanted has been sent, while it is behind. A feed's stream is where the broadcaster is."""
        self.told = told
        """Seq of the newest id that its client has, while it is behind; None: the client has none."""
        self.opened = opened
        self.expires = 0
        """Second of the event loop's clock at which it has been open for long enough; 0: never."""
        self.feed: Feed | None = None
        """Set while it is up to date."""
        self.ending: EndReason | None = None
        """Why it is to end as soon as that can be said."""
        self.ended = False

    @property
    def form(self) -> FrameForm:
        return FrameForm(self.named, self.connection.chunked)

    async def drained(self) -> None:
        """Wait until the connection takes more, or the stream has ended."""
        if self.ended or self.connection.ready:
            return
        self._drained = asyncio.get_running_loop().create_future()
        try:
            await self._drained
        finally:
            self._drained = None

    def close(self, reason: EndReason) -> None:
        """It has ended; whoever waits for it goes on."""
        if self.ended:
            return
        self.ended = True
        self.ending = reason
        self._wake()
        listening, admitted = self._held
        listening.__exit__(None, None, None)
        admitted.release()

    def on_drained(self) -> None:
        self._wake()

    def on_lost(self, *, stalled: bool) -> None:
        self._broadcaster.lost(self, stalled=stalled)

    def _wake(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
