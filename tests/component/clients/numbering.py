"""A cluster in which something always happens, and the judgement of what a client heard of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from mcp_operator.eventlog.log import EventLog
from mcp_operator.model.events import Event
from mcp_operator.model.operations import Outcome
from tests.events import line, progress, status

_PAUSE_SECONDS = 0.002


class Happenings:
    """What has happened so far, in order."""

    def __init__(self, log: EventLog) -> None:
        self.ids: list[str] = []
        self._log = log
        self._going_on = asyncio.create_task(self._go_on())

    async def end(self) -> str:
        """One more thing happens, and nothing after it; its id."""
        await self.stop()
        return await self._happen(status("default/weather", reason="Last"))

    async def stop(self) -> None:
        """Nothing happens any more.

        Raises:
            Exception: something couldn't happen: what the log said.
        """
        self._going_on.cancel()
        with suppress(asyncio.CancelledError):
            await self._going_on

    def since(self, cursor: str) -> list[str]:
        """What happened after this position."""
        return [event_id for event_id in self.ids if _seq(event_id) > _seq(cursor)]

    async def _go_on(self) -> None:
        for number in itertools.count(1):
            await self._happen(_happening(number))
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _happen(self, event: Event) -> str:
        self.ids.append(str(await self._log.append(event)))
        return self.ids[-1]


def _happening(number: int) -> Event:
    """Statuses, progress and its ends, lines short and long."""
    server = f"default/weather-{number % 3}"
    text = f"number {number}"
    match number % 7:
        case 0 | 1 | 2:
            return status(server, message=text, key=text)
        case 3:
            return progress(server, number % 100, operation=text, key=text)
        case 4:
            return progress(server, 100, operation=text, key=text, outcome=Outcome.SUCCEEDED)
        case 5:
            return line(server, text + "\r\n\r\ndata: {}\nid: 7\n\n\0\u2028é💥", key=text)
        case _:
            return line(server, text + "x" * (number % 5000), key=text)


@asynccontextmanager
async def happening(log: EventLog) -> AsyncIterator[Happenings]:
    """Things happen for the duration of the block."""
    happenings = Happenings(log)
    try:
        yield happenings
    finally:
        await happenings.stop()


def told(events: Iterable[Any]) -> list[str]:
    """The ids of the events among what was heard (JSON), in that order: neither snapshots nor what the stream says of itself."""
    return [event["id"] for event in events if "id" in event and not event.get("snapshot")]


def assert_exactly_once(heard: Sequence[str], happened: Sequence[str]) -> None:
    """All of it, nothing twice, in order; where not, a sentence that says what."""
    doubled = len(heard) - len(set(heard))
    missing = sorted(set(happened) - set(heard), key=_seq)
    strange = sorted(set(heard) - set(happened), key=_seq)
    assert list(heard) == list(happened), (
        f"{len(happened)} happened, {len(heard)} were heard: {doubled} doubled, {len(missing)} missing {missing[:5]}, "
        f"{len(strange)} strange {strange[:5]}, in order: {list(heard) == sorted(heard, key=_seq)}"
    )


def _seq(event_id: str) -> int:
    return int(event_id.rpartition("-")[2])
