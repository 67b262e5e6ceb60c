"""Where a subscriber goes on: its cursor or `since=` held against the log, and the answers after which nothing follows.

Streams and pages (`delivering`, `paging`) ask it before their first byte. Some of its answers are final for many clients: they
may be given only once the log tells of the whole cluster.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from mcp_operator.eventlog.log import EventId, EventLog, Gap, GapReason, Selection
from mcp_operator.gateway.naming import current, unknown_server
from mcp_operator.gateway.subscribing import Earliest, Subscription


async def cursor_of(subscription: Subscription, log: EventLog) -> EventId | None:
    """The position to go on from; None: begin with a snapshot, or (a malformed cursor) begin anew."""
    match subscription.since:
        case None:
            return subscription.cursor
        case Earliest():
            return await log.position(None, subscription.selection)
        case timedelta() as ago:
            return await log.position(datetime.now(UTC) - ago, subscription.selection)
        case time:
            return await log.position(time, subscription.selection)


async def settle(subscription: Subscription, log: EventLog, *, server_id: str | None = None) -> Subscription | None:
    """The same subscription with the cursor that it goes on from, or None if it has heard all that there will ever be.

    By name a stream outlives its server: who has a cursor waits for the next object of that name, so no answer to it is final.
    By UID there is an end. `since` says nothing of what was heard before: it needs a server that the log still knows.

    Args:
        server_id: the `{id}` of the URL; None for the events of the cluster.

    Raises:
        ProblemError: 404, there is no such server.
    """
    settled = replace(subscription, cursor=await cursor_of(subscription, log), since=None)
    if server_id is None:
        return settled
    selection = subscription.selection
    server = current(await log.snapshot(Selection(uid=selection.uid, servers=selection.servers)))
    if server is None and (selection.uid is not None or not subscription.resumes):
        raise unknown_server(server_id)
    if server is None or not server.deleted:
        return settled
    if settled.cursor is None and not subscription.cursor_malformed:
        raise unknown_server(server_id)
    if selection.uid is None or server.status is None or not await _has_seen(settled, server.status.id, log):
        return settled
    return None


async def _has_seen(settled: Subscription, last_word: EventId, log: EventLog) -> bool:
    """Whether the cursor is one of this log and lies at the last word or after it."""
    cursor = settled.cursor
    if cursor is None or cursor.epoch != last_word.epoch or cursor.seq < last_word.seq:
        return False
    answer = await log.read(cursor, settled.selection, limit=1)
    return not isinstance(answer, Gap) or answer.reason is GapReason.EXPIRED
