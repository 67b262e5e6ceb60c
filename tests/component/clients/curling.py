"""curl as a user's scripts run it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from local_stack.sse import Message, Parser
from mcp_operator.eventlog.log import EventId
from tests.waiting import until

PATIENCE_SECONDS = 120
"""Longest wait for something that must come. A test that gets this far has failed."""

FOLLOW = Path(__file__).with_name("follow.sh")


class Curl:
    """A running curl, or a script around it, and what it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.printed = b""
        self.messages: list[Message] = []
        self.parser = Parser()
        self._reading = asyncio.create_task(self._read())

    async def prints(self, text: str) -> None:
        """Wait until its output has this in it."""
        await until(lambda: text.encode() in self.printed, f"{text!r} is printed", within=PATIENCE_SECONDS, every=0.01)

    async def prints_event(self, event_id: EventId) -> None:
        """Wait until this event is in its output, to the last byte."""
        await self.prints(f"\nid: {event_id}\n\n")

    async def prints_last_line(self, text: str) -> None:
        """Wait until the last whole line of its output has this in it."""
        await until(lambda: text in "".join(self.lines[-1:]), f"{text} is printed", within=PATIENCE_SECONDS)

    async def prints_heartbeats(self, count: int) -> None:
        """Wait until its output has so many comment lines."""
        await until(lambda: self.parser.comments >= count, f"{count} heartbeats are printed", within=PATIENCE_SECONDS)

    async def prints_lines(self, count: int) -> None:
        """Wait until its output has so many whole lines."""
        await until(lambda: len(self.lines) >= count, f"{count} lines are printed", within=PATIENCE_SECONDS, every=0.01)

    def kill_curl(self) -> bool:
        """Kill the curl that a script runs now; whether there was one."""
        script = self.process.pid
        for child in Path(f"/proc/{script}/task/{script}/children").read_text().split():
            with suppress(OSError):  # it has ended
                if Path(f"/proc/{child}/comm").read_text() == "curl\n":
                    os.kill(int(child), signal.SIGKILL)
                    return True
        return False

    async def ends(self) -> int:
        """Its exit code."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._reading
            return await self.process.wait()

    def of(self, event: str) -> list[Message]:
        return [message for message in self.messages if message.event == event]

    @property
    def lines(self) -> list[str]:
        """Whole lines of its output."""
        return self.printed.decode().split("\n")[:-1]

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while piece := await self.process.stdout.read(65536):
            self.printed += piece
            self.messages += self.parser.feed(piece)


@asynccontextmanager
async def curl(*arguments: str) -> AsyncIterator[Curl]:
    """`curl --no-buffer --silent --show-error` with these arguments, for the duration of the block."""
    async with _running("curl", "--no-buffer", "--silent", "--show-error", *arguments) as running:
        yield running


@asynccontextmanager
async def following(url: str, state: Path, *arguments: str) -> AsyncIterator[Curl]:
    """The shell loop around curl that prints each event's JSON, and keeps its cursor in the file `state`; it doesn't pause."""
    async with _running("env", "PAUSE=0", "sh", str(FOLLOW), url, str(state), *arguments) as running:
        yield running


@asynccontextmanager
async def _running(*command: str) -> AsyncIterator[Curl]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    running = Curl(process)
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)
        await running.ends()
