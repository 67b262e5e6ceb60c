"""`mcp-operator rollouts` as a process, asking a gateway."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence

import pytest

from mcp_operator.gateway.examples import rollout_list
from mcp_operator.model.records import NamedRecord
from tests.component.conftest import PATIENCE_SECONDS, Loopback, StartGateway, one_engine
from tests.component.test_terminal_process import environment
from tests.events import status, uid_of

pytestmark = one_engine
WEATHER = "default/weather"
RECORD = NamedRecord.model_validate(rollout_list()["items"][0])


class Archive:
    """Holds one record of one server."""

    synced = True

    def of(self, uid: str) -> Sequence[NamedRecord]:
        return [RECORD] if uid == uid_of(WEATHER) else []


@pytest.fixture
async def loopback(start_gateway: StartGateway) -> Loopback:
    started = await start_gateway(records=Archive())
    await started.tell(status(WEATHER), status("default/quiet"))
    return started


async def rollouts(loopback: Loopback, *arguments: str) -> tuple[int | None, str, str]:
    """Exit code, output and errors of the command in a pipe."""
    command = (sys.executable, "-m", "mcp_operator", "rollouts", *arguments, "--gateway", loopback.url)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=environment(COLUMNS="100"))
    async with asyncio.timeout(PATIENCE_SECONDS):
        output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


async def test_a_table_in_a_pipe_is_nothing_but_text(loopback: Loopback) -> None:
    code, output, errors = await rollouts(loopback, "weather")
    assert (code, errors) == (0, "")
    assert [line.split()[0] for line in output.splitlines()] == ["ID", "3f2a9c1b04"]
    assert "\x1b" not in output


async def test_one_of_them_is_a_timeline_in_the_terminals_width(loopback: Loopback) -> None:
    code, output, _ = await rollouts(loopback, "weather", "3f2")
    assert (code, output.splitlines()[0]) == (0, "default/weather   rollout   3f2a9c1b04   succeeded")
    (bar,) = (line for line in output.splitlines() if line.startswith("  x2x7q"))
    assert 80 < len(bar) <= 100


async def test_json_is_what_the_gateway_answers(loopback: Loopback) -> None:
    _, whole, _ = await rollouts(loopback, "weather", "-o", "json")
    _, one, _ = await rollouts(loopback, "weather", "3f2", "-o", "json")
    assert (json.loads(whole), json.loads(one)) == (rollout_list(), rollout_list()["items"][0])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("quiet",), 0, "There are no records of quiet's rollouts\n"),
        (("weather", "abc"), 1, "Error: No record has the id 'abc'; there are: 3f2a9c1b04\n"),
        (("nobody",), 1, "Error: There is no server nobody: `mcp-operator status` lists those that exist\n"),
    ],
)
async def test_what_there_is_not_is_said_in_a_sentence(
    loopback: Loopback, arguments: tuple[str, ...], code: int, said: str
) -> None:
    assert await rollouts(loopback, *arguments) == (code, "", said)
