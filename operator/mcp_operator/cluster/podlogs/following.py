"""Whose logs are told: every container of every server that somebody listens to or that wants it always, each followed once.

`running` owns it and says which servers have changed; the event log says who listens. When the last listener of a server has
gone, its logs are followed for a while longer: one who comes back soon misses nothing.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from mcp_operator.apiserver.connecting import Api
from mcp_operator.cluster.grouping import Families
from mcp_operator.cluster.podlogs.gathering import ServerLogs
from mcp_operator.cluster.podlogs.metrics import FollowingMetrics
from mcp_operator.cluster.podlogs.reading import ContainerLog
from mcp_operator.cluster.podlogs.sharing import Slots, Troubles
from mcp_operator.cluster.podlogs.telling import Origin, wants_always
from mcp_operator.cluster.telling import Teller
from mcp_operator.model.events import EventType
from mcp_operator.model.servers import ServerName

LINGER_SECONDS = 300.0
"""For how long a server's logs are followed after its last listener has gone."""
MOST_FOLLOWS = 500
"""Logs that are read at the same time."""
_PACE_SECONDS = 0.1
"""Between two looks at all listeners, who come in crowds."""


@dataclass(slots=True)
class _Listened:
    """A server whose logs are followed, or were."""

    name: ServerName
    logs: ServerLogs
    followed: bool = False
    ends: float | None = None
    """When following ends, on the monotonic clock; None while it is wanted, or once it has ended."""


class LogFollowing:
    """Follows the logs of the servers that are listened to, and of those that want it always.

    Args:
        linger: seconds for which it goes on after a server's last listener has gone.
        most: logs that are read at the same time.
    """

    def __init__(
        self,
        families: Families,
        *,
        api: Api,
        teller: Teller,
        metrics: FollowingMetrics,
        linger: float = LINGER_SECONDS,
        most: int = MOST_FOLLOWS,
    ) -> None:
        self._families = families
        self._api = api
        self._teller = teller
        self._metrics = metrics
        self._linger = linger
        self._slots = Slots(most, metrics=metrics)
        self._troubles = Troubles()
        self._servers: dict[str, _Listened] = {}
        self._changed: set[str] = set()
        self._woken = asyncio.Event()

    def changed(self, uid: str) -> None:
        """Something of this server is new."""
        self._changed.add(uid)
        self._woken.set()

    async def run(self) -> None:
        """Follow until cancelled. To be started when the first lists are complete: what runs then has printed before."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._heed(), name="heeding listeners to logs")
            while True:
                await self._wait()
                changed, self._changed = self._changed, set()
                for uid in changed:
                    await self._look(uid, tasks)
                    await asyncio.sleep(0)  # there may be thousands

    async def _heed(self) -> None:
        """Have those servers looked at whose listeners have come or gone."""
        version = 0
        while True:
            known = {**self._families.names(), **{uid: server.name for uid, server in self._servers.items()}}
            self._changed.update(uid for uid, name in known.items() if self._is_otherwise(uid, name))
            self._woken.set()
            await asyncio.sleep(_PACE_SECONDS)
            version = await self._teller.demand.changed(version)

    def _is_otherwise(self, uid: str, name: ServerName) -> bool:
        """Whether following is wanted of a server that isn't followed, or the other way round."""
        server = self._servers.get(uid)
        followed = server is not None and server.followed and server.ends is None
        return followed != self._is_wanted(uid, name)

    def _is_wanted(self, uid: str, name: ServerName) -> bool:
        return wants_always(self._families.server(uid)) or self._teller.wanted(EventType.LOG, name, uid)

    async def _wait(self) -> None:
        """Wait until a server has to be looked at."""
        first = min((server.ends for server in self._servers.values() if server.ends is not None), default=None)
        with suppress(TimeoutError):
            async with asyncio.timeout(None if first is None else max(0.0, first - time.monotonic())):
                await self._woken.wait()
        self._woken.clear()
        self._changed.update(uid for uid, server in self._servers.items() if _is_past(server.ends))

    async def _look(self, uid: str, tasks: asyncio.TaskGroup) -> None:
        """Begin or end what is followed of a server."""
        server = self._servers.get(uid)
        name = self._families.names().get(uid) or (server.name if server is not None else None)
        if name is None:
            return
        wanted = self._is_wanted(uid, name)
        if server is None and not wanted:
            return
        if server is None:
            logs = ServerLogs(make=self._container_log, on_end=partial(self.changed, uid))
            server = self._servers[uid] = _Listened(name, logs)
        family = self._families.family(uid)
        past = self._teller.tail(name, uid) if wanted and not server.followed else None
        await self._decide(server, wanted=wanted)
        if server.followed:
            server.logs.follow(family, tasks, past=past)
        else:
            server.logs.remember(family)
        if server.logs.empty and (family is None or not wanted):
            del self._servers[uid]

    async def _decide(self, server: _Listened, *, wanted: bool) -> None:
        """Whether the server is to be followed now."""
        if wanted:
            server.followed, server.ends = True, None
        elif server.followed and server.ends is None:
            server.ends = time.monotonic() + self._linger
        elif server.followed and _is_past(server.ends):
            server.followed, server.ends = False, None
            await server.logs.stop("Nobody listens any more")

    def _container_log(self, origin: Origin, tail: int | None) -> ContainerLog:
        return ContainerLog(
            origin,
            api=self._api,
            teller=self._teller,
            metrics=self._metrics,
            slots=self._slots,
            troubles=self._troubles,
            tail=tail,
        )


def _is_past(moment: float | None) -> bool:
    return moment is not None and moment <= time.monotonic()
