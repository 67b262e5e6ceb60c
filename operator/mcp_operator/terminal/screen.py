"""Lines and bars on standard output: in colours with live bars on a terminal, as plain lines everywhere else.

Lines scroll, the bars of running operations stay below them. What is written is made here as text and handed to `output`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mcp_operator.terminal.lines import DIM, Line, percent, steps
from mcp_operator.terminal.output import Output
from mcp_operator.terminal.values import EventJson, text_of

_BARS_SHOWN = 8
_BAR_WIDTH = 30
_LEAST_BODY = 20
"""Columns; where fewer are left beside the head, a body isn't kept in its column."""
_WIDTH_UNKNOWN = 80
_UNLIMITED = 1_000_000


@dataclass(frozen=True, slots=True)
class Style:
    """What the place that is written to can show."""

    coloured: bool
    live: bool
    """Whether what was written can be changed again."""

    @classmethod
    def of(cls, *, is_terminal: bool, environment: Mapping[str, str]) -> Style:
        """By the conventions: NO_COLOR and TERM=dumb turn off every escape sequence, FORCE_COLOR turns colours on in a pipe."""
        if environment.get("NO_COLOR") or environment.get("TERM", "").lower() in {"dumb", "unknown"}:
            return cls(coloured=False, live=False)
        return cls(coloured=is_terminal or bool(environment.get("FORCE_COLOR")), live=is_terminal)


class Screen:
    """Writes lines, and keeps bars below them."""

    def __init__(self, output: Output, *, style: Style) -> None:
        self._output = output
        self._style = style
        self._text = io.StringIO()
        self._console = Console(
            file=self._text,
            force_terminal=style.coloured,
            force_interactive=style.live,
            no_color=not style.coloured,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._bars = _Bars()
        self._live: Live | None = None

    @property
    def style(self) -> Style:
        return self._style

    async def show(self, lines: Sequence[Line], operations: Sequence[EventJson] = ()) -> None:
        """Write lines, and show these operations as bars from now on.

        Raises:
            ReaderGoneError: nobody reads it any more.
        """
        if not self._style.coloured:
            await self._output.write("".join(f"{line.plain}\n" for line in lines).encode("utf-8", "replace"))
            return
        self._console.width = width = _width(self._output.descriptor) if self._style.live else _UNLIMITED
        self._bars.operations = operations
        if not operations:
            self._end_bars()
        if lines:
            texts = [text for line in lines for text in _layout(line, self._console, width)]
            self._console.print(Text("\n").join(texts), soft_wrap=True)
        elif self._live is not None:
            self._live.refresh()
        if operations and self._live is None and self._style.live:
            self._live = Live(
                self._bars,
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start(refresh=True)
        await self._flush()

    async def close(self) -> None:
        """Take the bars away and show the cursor again.

        Raises:
            ReaderGoneError: nobody reads it any more.
        """
        self._end_bars()
        await self._flush()

    def _end_bars(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    async def _flush(self) -> None:
        text = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        await self._output.write(text.encode("utf-8", "replace"))


def _width(descriptor: int) -> int:
    try:
        return os.get_terminal_size(descriptor).columns or _WIDTH_UNKNOWN
    except OSError:
        return _WIDTH_UNKNOWN


def _layout(line: Line, console: Console, width: int) -> Sequence[Text]:
    """The line in as many as the terminal's width makes of it."""
    indent = line.head.cell_len
    room = width - indent
    if line.body.cell_len <= room or room < _LEAST_BODY:
        return [Text.assemble(line.head, line.body)]
    first, *rest = line.body.wrap(console, room)
    return [Text.assemble(line.head, first), *(Text.assemble(" " * indent, each) for each in rest)]


class _Bars:
    """The bars of the operations that are open when it is drawn."""

    def __init__(self) -> None:
        self.operations: Sequence[EventJson] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table.grid(padding=(0, 1))
        for _ in range(2):
            table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_column(no_wrap=True, width=min(_BAR_WIDTH, max(5, options.max_width // 4)))
        table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True, overflow="ellipsis")
        for event in self.operations[:_BARS_SHOWN]:
            stalled = event.get("stalledSince") is not None
            bar = ProgressBar(total=100, completed=percent(event), complete_style="red" if stalled else "cyan")
            names = (Text(text_of(event, "server"), "bold"), Text(text_of(event, "kind"), DIM))
            table.add_row(*names, bar, Text(f"{percent(event)} %", "bold"), steps(event))
        yield table
        if len(self.operations) > _BARS_SHOWN:
            yield Text(f"and {len(self.operations) - _BARS_SHOWN} more", DIM)


def coloured_text(texts: Sequence[Text], *, style: Style) -> str:
    """Texts as lines, for a command that writes once and ends; the terminal wraps what is too long."""
    if not style.coloured:
        return "".join(f"{text.plain.rstrip()}\n" for text in texts)
    console = Console(file=io.StringIO(), force_terminal=True, highlight=False, markup=False, emoji=False, width=_UNLIMITED)
    with console.capture() as capture:
        for text in texts:
            console.print(text, soft_wrap=True)
    return capture.get()
