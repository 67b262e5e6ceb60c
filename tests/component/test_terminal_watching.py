"""`watch` against a gateway on loopback: what comes out, when it ends, and how it gets over bad networks."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest
from aiohttp import web

from mcp_operator.model.events import LogLevel
from mcp_operator.model.statuses import Status
from mcp_operator.terminal import following
from mcp_operator.terminal.errors import ExitCode, TerminalError
from mcp_operator.terminal.judging import Edit, Goal
from mcp_operator.terminal.naming import ServerReference
from mcp_operator.terminal.output import Output
from mcp_operator.terminal.reaching import Access
from mcp_operator.terminal.screen import Screen, Style
from mcp_operator.terminal.watching import JsonView, StoryView, Wish, watch
from tests.component.conftest import PATIENCE_SECONDS, Loopback, StartGateway
from tests.component.relaying import Relay, relaying
from tests.events import line, metrics, progress, status, uid_of
from tests.waiting import until

EventJson: TypeAlias = dict[str, Any]
SERVER = "default/weather"
WEATHER = ServerReference.parse("weather", namespace="default")


class Watcher:
    """A `watch` that is running, and what it has written so far."""

    def __init__(self, task: asyncio.Task[ExitCode]) -> None:
        self._task = task
        self._written = b""
        self.notes: list[str] = []

    def take(self, reading: int) -> None:
        self._written += os.read(reading, 65536)

    @property
    def lines(self) -> Sequence[str]:
        return self._whole.decode().splitlines()

    @property
    def events(self) -> Sequence[EventJson]:
        """Of a watch with JSON output."""
        return [json.loads(each) for each in self._whole.splitlines()]

    @property
    def _whole(self) -> bytes:
        """What it has written up to the last line's end: a pipe may be read in the middle of a line."""
        return self._written[: self._written.rfind(b"\n") + 1]

    async def says(self, condition: Callable[[Sequence[str]], object]) -> None:
        """Wait until its lines are so."""
        await until(lambda: condition(self.lines) or self._broken(), "it is written", every=0.01)
        assert condition(self.lines), (self.lines, self._task)

    def _broken(self) -> bool:
        return self._task.done() and (self._task.cancelled() or self._task.exception() is not None)

    async def ends(self) -> ExitCode:
        """Its exit code."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._task


@asynccontextmanager
async def watching(
    url: str, *, as_json: bool = True, server: ServerReference | None = WEATHER, **wish: Any
) -> AsyncIterator[Watcher]:
    """A watch for the duration of the block."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    output = Output(writing)
    notes: list[str] = []
    screen = Screen(output, style=Style(coloured=False, live=False))
    view = JsonView(output, note=notes.append) if as_json else StoryView(screen, several=server is None)
    loop = asyncio.get_running_loop()
    running = asyncio.create_task(
        watch(Access(gateway=url), Wish(server=server, **wish), output=output, view=view, note=notes.append)
    )
    watcher = Watcher(running)
    watcher.notes = notes
    loop.add_reader(reading, watcher.take, reading)
    try:
        yield watcher
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        loop.remove_reader(reading)
        output.close()
        os.close(reading)
        os.close(writing)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comes back at once, and finds no cluster by a kubeconfig of this machine."""
    monkeypatch.setattr(following, "_LONGEST_DELAY_SECONDS", 0.02)
    monkeypatch.setenv("KUBECONFIG", "/nowhere")


@pytest.fixture
async def relay(loopback: Loopback) -> AsyncIterator[Relay]:
    """A bad network in front of the gateway."""
    async with relaying(loopback.address) as relay:
        yield relay


def ids(watcher: Watcher) -> list[str]:
    return [event["id"] for event in watcher.events]


async def test_json_is_every_event_as_it_was_sent_and_nothing_else(loopback: Loopback) -> None:
    await loopback.tell(status(SERVER))
    async with watching(loopback.url) as watcher:
        await watcher.says(lambda lines: len(lines) == 1)
        await loopback.tell(progress(SERVER, 10), line(SERVER, "hällo"), metrics(SERVER))
        await watcher.says(lambda lines: len(lines) == 4)
    async with loopback.subscribe("/api/servers/default:weather/events", cursor=watcher.events[0]["id"]) as stream:
        sent = [message.data for message in (await stream.take(4))[1:]]
    assert watcher.lines[1:] == sent
    assert watcher.events[0]["snapshot"] is True
    assert watcher.notes == []


async def test_text_is_one_line_per_event(loopback: Loopback) -> None:
    await loopback.tell(status(SERVER, message="1 of 1"), status("tides/ebb", message="1 of 1"))
    async with watching(loopback.url, as_json=False, server=None) as watcher:
        await watcher.says(lambda lines: len(lines) == 2)
        await loopback.tell(line("tides/ebb", "\x1b[2J gone"))
        await watcher.says(lambda lines: any("gone" in each for each in lines))
    assert ["tides/ebb" in each for each in watcher.lines if "status" in each] == [False, True]
    assert watcher.lines[-1].endswith(r"\x1b[2J gone")


async def test_what_is_asked_for_is_asked_of_the_gateway(loopback: Loopback) -> None:
    await loopback.tell(
        status(SERVER), line(SERVER, "quiet one"), *(line(SERVER, f"loud {n}", level=LogLevel.ERROR) for n in range(3))
    )
    async with watching(loopback.url, types=("log",), level="warn", grep="loud", tail=2) as watcher:
        await watcher.says(lambda lines: len(lines) == 2)
        await loopback.tell(status(SERVER, key="2"), line(SERVER, "quiet", key="q"), line(SERVER, "loud 3", level=LogLevel.FATAL))
        await watcher.says(lambda lines: len(lines) == 3)
    assert [event["msg"] for event in watcher.events] == ["loud 1", "loud 2", "loud 3"]


@pytest.mark.parametrize(
    ("goal", "said", "code"),
    [
        (Goal.RUNNING, Status.RUNNING, ExitCode.DONE),
        (Goal.RUNNING, Status.FAILED, ExitCode.MISSED),
        (Goal.RUNNING, Status.DELETED, ExitCode.MISSED),
        (Goal.FAILED, Status.FAILED, ExitCode.DONE),
        (Goal.STOPPED, Status.STOPPED, ExitCode.DONE),
        (Goal.DELETED, Status.DELETED, ExitCode.DONE),
    ],
)
async def test_until_ends_with_the_status_that_is_waited_for(
    loopback: Loopback, goal: Goal, said: Status, code: ExitCode
) -> None:
    await loopback.tell(status(SERVER, Status.DEPLOYING))
    async with watching(loopback.url, until=goal) as watcher:
        await watcher.says(lambda lines: lines)
        await loopback.tell(status(SERVER, said))
        assert await watcher.ends() is code
        await watcher.says(lambda lines: len(lines) == 2)
    assert [event["status"] for event in watcher.events] == ["deploying", said]
    assert [f"is {said}, not {goal}" in note for note in watcher.notes] == [True] * (code is ExitCode.MISSED)


async def test_until_does_not_take_an_older_state_for_the_answer(loopback: Loopback) -> None:
    await loopback.tell(status(SERVER, generation=1))
    async with watching(loopback.url, until=Goal.RUNNING, edit=Edit(uid_of(SERVER), 2)) as watcher:
        await watcher.says(lambda lines: lines)
        await loopback.tell(status(SERVER, Status.DEPLOYING, generation=2), status(SERVER, generation=2, key="newer"))
        assert await watcher.ends() is ExitCode.DONE
        await watcher.says(lambda lines: len(lines) == 3)


async def test_until_hears_statuses_that_are_not_shown(loopback: Loopback) -> None:
    await loopback.tell(status(SERVER, Status.DEPLOYING))
    async with watching(loopback.url, until=Goal.RUNNING, types=("progress",)) as watcher:
        await until(lambda: loopback.figure("mcp_operator_streams"), "it listens")
        await loopback.tell(progress(SERVER, 40), status(SERVER))
        assert await watcher.ends() is ExitCode.DONE
    assert {event["type"] for event in watcher.events} <= {"progress"}


async def test_a_server_that_does_not_exist_yet_is_waited_for(loopback: Loopback) -> None:
    async with watching(loopback.url, until=Goal.RUNNING) as watcher:
        await until(lambda: watcher.notes, "it says that it waits")
        await loopback.tell(status(SERVER))
        assert await watcher.ends() is ExitCode.DONE
    assert watcher.notes == ["there is no such server yet: waiting for it"]


async def test_a_server_that_does_not_exist_is_deleted(loopback: Loopback) -> None:
    async with watching(loopback.url, until=Goal.DELETED) as watcher:
        assert await watcher.ends() is ExitCode.DONE


async def test_without_until_a_server_that_does_not_exist_is_an_error(loopback: Loopback) -> None:
    async with watching(loopback.url) as watcher:
        with pytest.raises(TerminalError, match="There is no server default/weather: `mcp-operator status` lists"):
            await watcher.ends()


async def test_by_uid_the_end_of_the_object_is_the_end(loopback: Loopback) -> None:
    await loopback.tell(status(SERVER))
    async with watching(loopback.url, server=ServerReference.parse(uid_of(SERVER), namespace=None)) as watcher:
        await watcher.says(lambda lines: lines)
        await loopback.tell(status(SERVER, Status.DELETED))
        assert await watcher.ends() is ExitCode.DONE
        await watcher.says(lambda lines: len(lines) == 2)


async def test_a_time_limit_is_124_and_says_how_it_is(loopback: Loopback) -> None:
    await loopback.tell(status(SERVER, Status.DEPLOYING, message="1 of 3"))
    async with watching(loopback.url, until=Goal.RUNNING, timeout=1.5) as watcher:
        assert await watcher.ends() is ExitCode.TIMED_OUT
    assert watcher.notes[-1].startswith("default/weather is not running after 1.5 s")


async def test_a_connection_that_is_cut_is_made_again_without_a_gap_or_a_repeat(loopback: Loopback, relay: Relay) -> None:
    await loopback.tell(status(SERVER))
    async with watching(relay.url) as watcher:
        await watcher.says(lambda lines: lines)
        told = await loopback.tell(progress(SERVER, 10))
        await watcher.says(lambda lines: len(lines) == 2)
        relay.up = False
        relay.cut()
        await until(lambda: watcher.notes, "it says that it is away")
        told += await loopback.tell(*(progress(SERVER, percent) for percent in (20, 30, 40)))
        await until(lambda: relay.accepted >= 3, "it has tried in vain")
        relay.up = True
        await watcher.says(lambda lines: len(lines) == 5)
    assert ids(watcher)[1:] == [str(each) for each in told]
    assert [note.split(":")[0] for note in watcher.notes] == ["away", "back"], "each is said once"


async def test_another_life_of_the_gateway_is_announced_and_told_from_its_snapshot(
    loopback: Loopback, relay: Relay, start_gateway: StartGateway
) -> None:
    same = status(SERVER, key="same")
    await loopback.tell(same)
    another = await start_gateway()
    await another.tell(same, progress(SERVER, 50))
    async with watching(relay.url) as as_json, watching(relay.url, as_json=False) as as_text:
        await as_json.says(lambda lines: lines)
        await as_text.says(lambda lines: lines)
        relay.target = another.address
        relay.cut()
        await as_json.says(lambda lines: len(lines) == 4)
        await as_text.says(lambda lines: "rollout" in lines[-1])
    assert [event["type"] for event in as_json.events] == ["status", "reset", "status", "progress"]
    told = [each[14:23].strip() for each in as_text.lines]
    assert told == ["status", "stream", "stream", "stream", "rollout"], "away, back, reset; not the same status again"


async def test_a_server_that_went_with_the_gateways_old_life_is_deleted(
    loopback: Loopback, relay: Relay, start_gateway: StartGateway
) -> None:
    await loopback.tell(status(SERVER))
    another = await start_gateway()
    async with watching(relay.url, until=Goal.DELETED) as watcher:
        await watcher.says(lambda lines: lines)
        relay.target = another.address
        relay.cut()
        assert await watcher.ends() is ExitCode.DONE


async def test_a_gateway_that_is_still_starting_is_waited_for(loopback: Loopback) -> None:
    loopback.synced = False
    await loopback.tell(status(SERVER))
    async with watching(loopback.url) as watcher:
        await until(lambda: watcher.notes, "it says that it is away")
        loopback.synced = True
        await watcher.says(lambda lines: lines)
    assert watcher.notes == ["away: the operator is still reading the cluster; trying again until it is back", "back"]


async def test_a_reader_that_has_enough_ends_it_though_nothing_happens(loopback: Loopback) -> None:
    await loopback.tell(status(SERVER))
    reading, writing = os.pipe()
    output = Output(writing)
    view = JsonView(output, note=print)
    async with asyncio.timeout(PATIENCE_SECONDS):
        running = asyncio.create_task(
            watch(Access(gateway=loopback.url), Wish(server=WEATHER), output=output, view=view, note=print)
        )
        await until(lambda: loopback.figure("mcp_operator_streams"), "it listens")
        os.close(reading)
        assert await running is ExitCode.READER_GONE
    output.close()
    os.close(writing)


async def test_a_reader_that_sleeps_holds_up_neither_the_time_limit_nor_memory(loopback: Loopback) -> None:
    await loopback.tell(*(line(SERVER, "x" * 4000, key=str(n)) for n in range(200)), status(SERVER))
    reading, writing = os.pipe()
    output = Output(writing)
    view = JsonView(output, note=lambda _: None)
    wish = Wish(server=WEATHER, tail=200, timeout=1)
    async with asyncio.timeout(PATIENCE_SECONDS):
        code = await watch(Access(gateway=loopback.url), wish, output=output, view=view, note=lambda _: None)
    assert code is ExitCode.TIMED_OUT
    os.close(reading)
    output.close()
    os.close(writing)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            lambda: web.Response(text="<html>", content_type="text/html"),
            "is not the gateway of an mcp-operator: its answer is text/html",
        ),
        (
            lambda: web.Response(status=302, headers={"Location": "/login"}),
            "is not the gateway of an mcp-operator: it answers 302",
        ),
        (lambda: web.Response(status=502, text="bad"), "doesn't serve now: it answers 502"),
        (lambda: web.json_response({"detail": "who are \x1b[2J you?"}, status=403), r"refuses: who are \\x1b\[2J you"),
        (
            lambda: web.Response(text="data: " + "x" * 5_000_000, content_type="text/event-stream"),
            "sends an event without an end",
        ),
    ],
    ids=["a web site", "a login page", "a proxy", "a refusal", "no end"],
)
async def test_what_is_no_gateway_is_told_in_a_sentence(answer: Callable[[], web.Response], said: str) -> None:
    async def handle(_: web.Request) -> web.Response:
        return answer()

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with watching(f"http://127.0.0.1:{runner.addresses[0][1]}") as watcher:
            with pytest.raises(TerminalError, match=said):
                await watcher.ends()
    finally:
        await runner.cleanup()
