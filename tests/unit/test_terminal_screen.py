"""What reaches standard output: colours and bars on a terminal, nothing but text everywhere else."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.terminal.errors import ReaderGoneError, TerminalError
from mcp_operator.terminal.lines import Line
from mcp_operator.terminal.narrating import Narrator
from mcp_operator.terminal.output import Output
from mcp_operator.terminal.screen import Screen, Style, coloured_text
from mcp_operator.terminal.tables import server_page, servers_table
from mcp_operator.terminal.values import harmless
from tests.events import line, metrics, progress, status
from tests.streams import NOON, cause, told

PLAIN, COLOURED, LIVE = Style(coloured=False, live=False), Style(coloured=True, live=False), Style(coloured=True, live=True)
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Screenful:
    """A screen that writes into a pipe, and what has come out of it."""

    def __init__(self, screen: Screen, reading: int) -> None:
        self.screen = screen
        self._reading = reading

    def written(self) -> str:
        """What was written since the last call; all of it is in the pipe when `show` has returned."""
        os.set_blocking(self._reading, False)
        try:
            return os.read(self._reading, 1 << 20).decode()
        except BlockingIOError:
            return ""


@asynccontextmanager
async def screenful(style: Style) -> AsyncIterator[Screenful]:
    reading, writing = os.pipe()
    output = Output(writing)
    yield Screenful(Screen(output, style=style), reading)
    output.close()
    os.close(reading)


def lines_of(*bodies: dict[str, Any]) -> Sequence[Line]:
    narrator = Narrator(several=True, bars=False, today=NOON.date())
    return [line for body in bodies for line in narrator.tell(body)]


@pytest.mark.parametrize(
    ("is_terminal", "environment", "style"),
    [
        (True, {"TERM": "xterm"}, LIVE),
        (False, {"TERM": "xterm"}, PLAIN),
        (True, {"TERM": "dumb"}, PLAIN),
        (True, {"NO_COLOR": "1"}, PLAIN),
        (True, {"NO_COLOR": ""}, LIVE),
        (False, {"FORCE_COLOR": "1"}, COLOURED),
        (True, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, PLAIN),
    ],
)
def test_the_environment_says_what_is_shown(is_terminal: bool, environment: dict[str, str], style: Style) -> None:
    assert Style.of(is_terminal=is_terminal, environment=environment) == style


async def test_in_a_pipe_lines_are_whole_and_plain() -> None:
    async with screenful(PLAIN) as seen:
        await seen.screen.show(lines_of(*told(line("default/weather", "word " * 200))), told(progress("default/weather", 40)))
        await seen.screen.close()
        (shown,) = seen.written().splitlines()
    assert shown.endswith("word " * 199 + "word")


async def test_forced_colours_in_a_pipe_come_without_bars_and_without_breaks() -> None:
    async with screenful(COLOURED) as seen:
        await seen.screen.show(lines_of(*told(line("default/weather", "word " * 200))), told(progress("default/weather", 40)))
        shown = seen.written()
    assert "\x1b[32m  info" in shown
    assert shown.count("\n") == 1
    assert not re.search(r"\x1b\[[0-9;?]*[A-LN-Za-ln-z]", shown), "nothing but colours"


async def test_a_narrow_terminal_keeps_a_long_message_in_its_column() -> None:
    async with screenful(LIVE) as seen:
        await seen.screen.show(lines_of(*told(line("a/b", "word " * 30))))
        first, *rest = ESCAPE.sub("", seen.written()).splitlines()
    column = first.index("weather" if "weather" in first else "0  info")
    assert rest
    assert all(each.startswith(" " * column + "word") for each in rest)
    assert all(len(each.rstrip()) <= 80 for each in (first, *rest))


async def test_bars_stay_below_the_lines_and_go_with_their_operations() -> None:
    open_, further = told(progress("default/weather", 40, ready=1, desired=3)), told(progress("default/weather", 60))
    async with screenful(LIVE) as seen:
        await seen.screen.show((), open_)
        first = seen.written()
        await seen.screen.show(lines_of(*told(line("default/weather", "in between"))), further)
        second = seen.written()
        await seen.screen.show(lines_of(*told(status("default/weather"))))
        third = seen.written()
    assert "\x1b[?25l" in first
    assert "40 %" in ESCAPE.sub("", first)
    between = ESCAPE.sub("", second)
    assert between.index("in between") < between.index("60 %"), "the newest percent, below the line"
    assert "40 %" not in between
    assert "\x1b[?25h" in third
    assert "%" not in ESCAPE.sub("", third).rpartition("running")[2]


async def test_many_operations_do_not_fill_the_screen() -> None:
    async with screenful(LIVE) as seen:
        await seen.screen.show((), [body for n in range(30) for body in told(progress(f"default/weather-{n}", n))])
        shown = ESCAPE.sub("", seen.written())
        await seen.screen.close()
    assert "and 22 more" in shown
    assert shown.count("rollout") == 8


async def test_closing_takes_the_bars_away_and_shows_the_cursor() -> None:
    async with screenful(LIVE) as seen:
        await seen.screen.show((), told(progress("default/weather", 40)))
        seen.written()
        await seen.screen.close()
        shown = seen.written()
    assert "\x1b[?25h" in shown
    assert "\x1b[2K" in shown


async def test_a_reader_that_is_gone_is_noticed() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    output = Output(writing)
    with pytest.raises(ReaderGoneError):
        await output.write(b"x")


async def test_a_full_disk_is_told() -> None:
    output = Output(os.open("/dev/full", os.O_WRONLY))
    with pytest.raises(TerminalError, match="No space left on device"):
        await output.write(b"x")


printed = st.text(min_size=1, max_size=40)


@given(msg=printed, reason=printed, field=st.dictionaries(printed, printed, max_size=2), style=st.sampled_from([PLAIN, COLOURED]))
def test_nothing_that_a_pod_prints_reaches_the_terminal_as_control(
    msg: str, reason: str, field: dict[str, str], style: Style
) -> None:
    hostile = [
        *told(line("default/weather", "x")),
        *told(status("default/weather", causes=[cause()])),
        *told(metrics("default/weather")),
    ]
    hostile[0] |= {"msg": msg, "fields": field, "instance": reason, "container": msg, "server": msg}
    hostile[1] |= {"reason": reason, "message": msg, "causes": [{"reason": reason, "message": msg, "instance": msg}]}
    hostile[2] |= {"unavailable": [{"fields": ["cpu"], "reason": reason, "message": msg, "instance": reason}]}
    texts = [line.head + line.body for line in lines_of(*hostile)]
    texts += server_page(harmless(msg), [{**body, "snapshot": True} for body in hostile], now=datetime.now(UTC))
    texts += servers_table([{"server": msg, "status": hostile[1]}], now=datetime.now(UTC), wide=True)
    shown = (
        re.sub(r"\x1b\[[0-9;]*m", "", coloured_text(texts, style=style)) if style.coloured else coloured_text(texts, style=style)
    )
    left = {character for character in shown if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    assert left <= {"\n", "\u200d"}
    assert shown.count("\n") == len(texts), "and makes no line"
