"""The sample server as a process of its own: what its clients, its log collector, Prometheus and the kubelet see of it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest
from mcp import Client
from mcp_types import TextContent

from tests.waiting import until

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "curl", "version": "8"}}
"""What a client of the handshake era sends with `initialize`."""

QUICK_SECONDS = 25
"""The kubelet kills after 30."""

SOURCE = Path(__file__).parents[2] / "deploy/samples/server"


@dataclass(frozen=True)
class Sample:
    """A running sample server; its output goes to files, as a container's does."""

    process: subprocess.Popen[bytes]
    directory: Path

    @property
    def lines(self) -> list[str]:
        """The whole lines of its log so far."""
        return (self.directory / "stdout").read_text().split("\n")[:-1]

    @property
    def errors(self) -> str:
        return (self.directory / "stderr").read_text()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    async def logged(self, message: str) -> dict[str, Any]:
        """The first record with this message, once it is there."""
        found = await until(lambda: [each for each in self.records if each["msg"] == message], f"a line with {message!r}")
        return found[0]

    async def url(self) -> str:
        """Where it listens, once it does."""
        return f"http://127.0.0.1:{(await self.logged('listening'))['port']}"

    async def exit_code(self) -> int:
        await until(lambda: self.process.poll() is not None, "the server ends")
        return self.process.returncode


@contextmanager
def running(directory: Path, **variables: str) -> Iterator[Sample]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "PORT": "0", **variables}
    with ExitStack() as opened:
        out, err = (opened.enter_context((directory / name).open("wb")) for name in ("stdout", "stderr"))
        argv = [sys.executable, "-m", "sample_server"]
        process = opened.enter_context(subprocess.Popen(argv, env=environment, stdout=out, stderr=err))
        opened.callback(process.kill)
        yield Sample(process, directory)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Sample]]:
    """Start a server with these variables; it ends with the test."""
    with ExitStack() as opened:
        yield lambda **variables: opened.enter_context(running(tmp_path, **variables))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    """A server without troubles, for the tests that only ask it something."""
    with running(tmp_path_factory.mktemp("sample"), VERSION="2.1.0") as sample:
        yield sample


def call(tool: str, **arguments: float) -> dict[str, Any]:
    """A tool call that is one POST, as of 2026-07-28: no handshake, and progress in the answer."""
    asked = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": tool,
            "arguments": arguments,
            "_meta": {
                "progressToken": 1,
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    }
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
    }
    return {"json": asked, "headers": headers}


async def samples(url: str) -> dict[str, float]:
    """What Prometheus scrapes: each time series with its value."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
        assert response.content_type == "text/plain"
        lines = [line for line in (await response.text()).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_of_either_protocol_era_calls_a_tool(shared: Sample, mode: Literal["auto", "legacy"]) -> None:
    async with Client(f"{await shared.url()}/mcp", mode=mode) as client:
        tools = await client.list_tools()
        result = await client.call_tool("add", {"a": 2, "b": 0.5})
        server = client.server_info

    assert [tool.name for tool in tools.tools] == ["add", "count_slowly"]
    assert result.structured_content == {"result": 2.5}
    assert server is not None
    assert (server.name, server.version) == ("sample-server", "2.1.0")


async def test_a_slow_call_reports_each_step(shared: Sample) -> None:
    heard: list[tuple[float, float | None, str | None]] = []

    async def progressed(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async with Client(f"{await shared.url()}/mcp") as client:
        result = await client.call_tool("count_slowly", {"steps": 3, "seconds": 0.3}, progress_callback=progressed)

    assert heard == [(1, 3, "step 1 of 3"), (2, 3, "step 2 of 3"), (3, 3, "step 3 of 3")]
    assert result.content == [TextContent(type="text", text="Counted to 3 in 0.3 s.")]


async def test_a_call_out_of_bounds_is_an_error_of_the_tool(shared: Sample) -> None:
    async with Client(f"{await shared.url()}/mcp") as client:
        result = await client.call_tool("count_slowly", {"steps": 0})

    assert result.is_error
    assert "steps" in str(result.content)


async def test_it_answers_to_whatever_name_a_service_gives_it(shared: Sample) -> None:
    headers = {"Host": "tools.default.svc:8080", "Accept": "application/json, text/event-stream"}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
    url = f"{await shared.url()}/mcp"
    async with aiohttp.ClientSession() as session, session.post(url, json=asked, headers=headers) as response:
        assert response.status == 200


async def test_prometheus_sees_each_request_with_bounded_labels(start: Callable[..., Sample]) -> None:
    sample = start()
    url = await sample.url()
    async with Client(f"{url}/mcp", mode="legacy") as client:
        await client.call_tool("add", {"a": 1, "b": 2})
        await client.call_tool("add", {"a": "one", "b": 2})
        await client.call_tool("no such\ntool", {})
    found = await samples(url)

    name = "mcp_server_operation_duration_seconds"
    labels = '{{error_type="{}",gen_ai_tool_name="{}",mcp_method_name="tools/call"}}'
    assert found['mcp_requests_total{mcp_method_name="tools/call"}'] == 3
    assert found[f"{name}_count{labels.format('', 'add')}"] == 1
    assert found[f"{name}_count{labels.format('tool_error', 'add')}"] == 1
    assert found["mcp_server_active_requests"] == 0
    assert [series for series in found if "no such" in series] == []
    assert [series for series in found if series.startswith(f"{name}_count") and 'gen_ai_tool_name="other"' in series]


async def test_json_log_lines_carry_level_message_and_fields(start: Callable[..., Sample]) -> None:
    sample = start(LOG_FORMAT="json")
    async with Client(f"{await sample.url()}/mcp", mode="legacy") as client:
        await client.call_tool("count_slowly", {"steps": 2, "seconds": 0})

    steps = [(each["level"], each["msg"], each["step"]) for each in sample.records if each["msg"] == "counted"]
    assert steps == [("info", "counted", 1), ("info", "counted", 2)]
    call = next(each for each in sample.records if each.get("method") == "tools/call")
    assert (call["level"], call["tool"]) == ("info", "count_slowly")


async def test_text_log_lines_stay_lines_whatever_a_client_sends(start: Callable[..., Sample]) -> None:
    sample = start(LOG_FORMAT="text")
    listening = await until(lambda: [line for line in sample.lines if " listening " in line], "the server listens")
    url = f"http://127.0.0.1:{listening[0].split('port=')[1].split()[0]}/mcp"
    headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(url, json=asked) as response:
            session_id = {"Mcp-Session-Id": response.headers["Mcp-Session-Id"]}
        async with session.post(url, json={**asked, "method": "evil\nforged \x1b[31m"}, headers=session_id) as response:
            assert "error" in await response.text()

    assert r'method="evil\nforged \u001b[31m"' in sample.lines[-1]
    assert [line for line in sample.lines if not line.startswith("20")] == []


async def test_a_crash_at_start_is_told_like_any_uncaught_error(start: Callable[..., Sample]) -> None:
    sample = start(CRASH_AT_START="database 'orders' not found")

    assert await sample.exit_code() == 1
    assert sample.errors.splitlines()[0] == "Traceback (most recent call last):"
    assert sample.errors.splitlines()[-1] == "RuntimeError: database 'orders' not found"


async def test_a_later_crash_ends_a_server_that_served(start: Callable[..., Sample]) -> None:
    sample = start(CRASH_AFTER_SECONDS="2")
    url = f"{await sample.url()}/mcp"
    async with aiohttp.ClientSession() as session, session.post(url, **call("add", a=1, b=2)) as response:
        assert '"structuredContent":{"result":3.0}' in await response.text()

    assert await sample.exit_code() == 1
    assert sample.errors.splitlines()[-1] == "RuntimeError: crashed after 2 s, as CRASH_AFTER_SECONDS asks"
    assert {each["level"] for each in sample.records} == {"info"}  # the traceback is the only trouble in its log


async def test_a_server_that_never_gets_ready_runs_but_does_not_listen(start: Callable[..., Sample]) -> None:
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # bound by two, and open to whoever listens
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        sample = start(NEVER_READY="1", PORT=str(port))

        assert (await sample.logged("not listening, as NEVER_READY asks"))["level"] == "warning"
        assert sample.process.poll() is None
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_a_delayed_start_takes_its_time(start: Callable[..., Sample]) -> None:
    started = time.monotonic()
    sample = start(START_DELAY_SECONDS="1.2", NEVER_READY="true")
    await sample.logged("not listening, as NEVER_READY asks")

    assert time.monotonic() - started >= 1.2


async def test_a_flood_numbers_its_lines(start: Callable[..., Sample]) -> None:
    sample = start(FLOOD_LINES_PER_SECOND="2000", NEVER_READY="1")
    await until(lambda: len(sample.lines) > 1000, "more than a thousand lines")
    numbers = [each["line"] for each in sample.records if each["msg"] == "flood"]

    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize(
    ("variable", "value", "right"),
    [
        ("PORT", "http", "a port number from 0 to 65535"),
        ("PORT", "65536", "a port number from 0 to 65535"),
        ("VERSION", "1 beta", "up to 64 letters, digits and the signs . _ + -"),
        ("LOG_FORMAT", "xml", "json or text"),
        ("CRASH_AFTER_SECONDS", "soon", "seconds from 0 to 86400, such as 5 or 0.5"),
        ("CRASH_AFTER_SECONDS", "nan", "seconds from 0 to 86400, such as 5 or 0.5"),
        ("START_DELAY_SECONDS", "-1", "seconds from 0 to 86400, such as 5 or 0.5"),
        ("NEVER_READY", "maybe", "1 or 0"),
        ("FLOOD_LINES_PER_SECOND", "1e9", "a whole number from 0 to 100000"),
        ("NEVER_READY", "two\nlines", "1 or 0"),
    ],
)
async def test_a_setting_that_cannot_be_used_is_named_with_what_is_right(
    start: Callable[..., Sample], variable: str, value: str, right: str
) -> None:
    sample = start(**{variable: value})

    assert await sample.exit_code() == 2
    assert sample.errors == f"{variable}={value!r} can't be used: give {right}.\n"
    assert sample.lines == []


@pytest.mark.parametrize(
    ("doing", "troubles"),
    [
        ("listening", {}),
        ("starting", {"START_DELAY_SECONDS": "600"}),
        ("flood", {"NEVER_READY": "1", "FLOOD_LINES_PER_SECOND": "10000"}),
    ],
)
async def test_a_stop_is_clean_and_quick_whatever_it_is_doing(
    start: Callable[..., Sample], doing: str, troubles: dict[str, str]
) -> None:
    sample = start(**troubles)
    await sample.logged(doing)
    asked = time.monotonic()
    sample.process.send_signal(signal.SIGTERM)

    assert await sample.exit_code() == 0
    assert time.monotonic() - asked < QUICK_SECONDS
    assert sample.records[-1]["msg"] == "stopped"
    assert sample.errors == ""


async def test_a_stop_does_not_wait_for_a_slow_call(start: Callable[..., Sample]) -> None:
    sample = start()
    url = f"{await sample.url()}/mcp"
    async with aiohttp.ClientSession() as session, session.post(url, **call("count_slowly", steps=60, seconds=60)) as response:
        await response.content.readuntil(b"step 1 of 60")
        sample.process.send_signal(signal.SIGTERM)
        began = time.monotonic()

        assert await sample.exit_code() == 0
        assert time.monotonic() - began < QUICK_SECONDS
