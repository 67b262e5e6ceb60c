"""The commands as processes: on a terminal, in a pipe, and interrupted."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from mcp_operator.model.statuses import Status
from tests.component.conftest import PATIENCE_SECONDS, Loopback
from tests.events import line, progress, status
from tests.waiting import until

SERVER = "default/weather"
_START = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); runpy.run_module('mcp_operator')"
"""`python -m mcp_operator`, which hears SIGINT even if whoever runs the tests doesn't."""


class Terminal:
    """A process on a terminal of its own, and what it has drawn there."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.drawn = ""

    def take(self, master: int) -> None:
        try:
            self.drawn += os.read(master, 65536).decode()
        except OSError:  # nobody has the terminal open any more
            asyncio.get_running_loop().remove_reader(master)

    async def draws(self, text: str) -> None:
        await until(lambda: text in self.drawn, f"{text!r} is drawn", every=0.02)

    async def ends(self) -> int:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.process.wait()


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    return {**inherited, "TERM": "xterm-256color", "KUBECONFIG": "/nowhere", "PYTHONPATH": "operator", **variables}


@asynccontextmanager
async def on_a_terminal(*arguments: str, **variables: str) -> AsyncIterator[Terminal]:
    """A command on a terminal of 100 columns, for the duration of the block."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _START, *arguments, stdin=slave, stdout=slave, stderr=slave, env=environment(**variables)
    )
    terminal = Terminal(process)
    loop = asyncio.get_running_loop()
    loop.add_reader(master, terminal.take, master)
    try:
        yield terminal
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        loop.remove_reader(master)
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
async def test_an_interrupted_watch_leaves_the_terminal_as_it_was(loopback: Loopback, number: signal.Signals, code: int) -> None:
    await loopback.tell(status(SERVER, Status.DEPLOYING, operation="1"), progress(SERVER, 40))
    async with on_a_terminal("watch", "weather", "--gateway", loopback.url) as terminal:
        await terminal.draws("40 %")
        assert "\x1b[?25l" in terminal.drawn, "the cursor is hidden while there are bars"
        terminal.process.send_signal(number)
        assert await terminal.ends() == code
        await terminal.draws("\x1b[?25h")
    after = terminal.drawn.rpartition("40 %")[2]
    assert "\x1b[2K" in after, "the bar is gone"
    assert "Traceback" not in terminal.drawn


async def test_colours_can_be_turned_off(loopback: Loopback) -> None:
    await loopback.tell(status(SERVER, Status.DEPLOYING, operation="1"), progress(SERVER, 40), line(SERVER, "ready"))
    async with on_a_terminal("watch", "weather", "--gateway", loopback.url, NO_COLOR="1") as terminal:
        await terminal.draws("ready")
    assert "rollout    40 %" in terminal.drawn
    assert "\x1b" not in terminal.drawn


async def test_a_reader_that_has_enough_is_no_error(loopback: Loopback) -> None:
    await loopback.tell(status(SERVER))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _START, "watch", "weather", "--gateway", loopback.url, "--output", "json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        first = await process.stdout.readline()
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]  # asyncio has no other way to close one pipe
        said = await process.stderr.read()
        assert await process.wait() == 141
    assert json.loads(first)["status"] == "running"
    assert said == b""


async def test_status_shows_a_table_and_a_page(loopback: Loopback) -> None:
    await loopback.tell(
        status(SERVER, message="1 of 1"), progress("tides/ebb", 40), status("tides/ebb", Status.DEPLOYING), line(SERVER, "hi")
    )

    async def said(*arguments: str) -> tuple[int | None, list[str]]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _START, "status", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment(MCP_OPERATOR_GATEWAY=loopback.url),
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            output, _ = await process.communicate()
        return process.returncode, output.decode().splitlines()

    code, (heading, *rows) = await said()
    assert code == 0
    assert heading.split() == ["NAMESPACE", "NAME", "STATUS", "INSTANCES", "PROGRESS", "CPU", "MEMORY", "REASON", "CHANGED"]
    assert [row.split()[:6] for row in rows] == [
        ["default", "weather", "running", "1/1", "-", "-"],
        ["tides", "ebb", "deploying", "1/1", "rollout", "40%"],
    ]
    code, page = await said("weather")
    assert code == 0
    assert page[0] == "default/weather   running   1/1 instances"
    assert page[-1].endswith("0  info   hi")
    assert await said("-n", "nowhere") == (0, ["There are no MCP servers in the namespace nowhere"])
    assert await said("ebb") == (1, ["Error: There is no server ebb: `mcp-operator status` lists those that exist"])
    code, body = await said("-o", "json")
    assert [item["server"] for item in json.loads("".join(body))["items"]] == ["default/weather", "tides/ebb"]
