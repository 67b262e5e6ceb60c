"""Where events of this room enter the log: each with its server's labels, by which streams choose.

`observing`, `podlogs` and `podmetrics` make the events. None of them knows labels, and all of one server must bear the same.
"""

from __future__ import annotations

from dataclasses import replace

from mcp_operator.cluster.grouping import Families
from mcp_operator.eventlog.log import Demand, EventLog
from mcp_operator.model.events import Event, EventType
from mcp_operator.model.servers import ServerName


class Teller:
    """The log as this room sees it: told to, and asked who listens."""

    def __init__(self, families: Families, *, log: EventLog) -> None:
        self._families = families
        self._log = log

    @property
    def demand(self) -> Demand:
        """Who listens to what."""
        return self._log.demand

    def wanted(self, type_: EventType, server: ServerName, uid: str) -> bool:
        """Whether anybody listens to a server's events of a type."""
        return self._log.demand.wanted(type_, server, uid, self._families.labels(uid))

    def tail(self, server: ServerName, uid: str) -> int:
        """The most lines of a container's past that any listener to a server's log wants."""
        return self._log.demand.tail(server, uid, self._families.labels(uid))

    async def tell(self, event: Event, *, observed: float | None = None) -> None:
        """Append an event with its server's labels as they are now, or last were.

        Args:
            observed: when the watch told of what led to it, by the event loop's clock; None if no watch did.

        Raises:
            ValueError: as `EventLog.append` does.
        """
        await self._log.append(replace(event, labels=self._families.labels(event.uid), observed=observed))
