"""How figures are shown and kept: a table for the terminal, a JSON list for programs."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import click

from tests.bench.figures import Failure, Figure, number

_HEADINGS = ("what", "value", "peer in the same run", "ratio (range)", "goal", "", "under")
_GAP = "  "
_COLOURS = {True: "green", False: "red", None: None}


def table(figures: Sequence[Figure], failures: Sequence[Failure]) -> str:
    """One line a figure, the goals' colours on them, rows that failed behind; then under which conditions it was so."""
    conditions = list(dict.fromkeys(figure.conditions for figure in figures))
    cells = [(*_cells(figure), f"[{conditions.index(figure.conditions) + 1}]") for figure in figures]
    widths = [max(len(line[column]) for line in [_HEADINGS, *cells]) for column in range(len(_HEADINGS))]
    lines = [click.style(_line(_HEADINGS, widths), dim=True)] if cells else []
    lines += [click.style(_line(line, widths), fg=_COLOURS[figure.met]) for line, figure in zip(cells, figures, strict=True)]
    lines += [click.style(f"{failure.row} FAILED: {failure.error}", fg="red") for failure in failures]
    lines += [click.style(f"[{place}] {text}", dim=True) for place, text in enumerate(conditions, start=1)]
    return "\n".join(lines)


def show(text: str) -> None:
    """Print; colours stay out of files and pipes, and off where NO_COLOR is set."""
    click.echo(text, color=False if os.environ.get("NO_COLOR") else None)


def write(path: Path, figures: Sequence[Figure], failures: Sequence[Failure], *, machine: str) -> None:
    """Keep the list at `path`; a reader finds the old one or the new one, never a part."""
    objects = [figure.to_json_object(machine) for figure in figures] + [failure.to_json_object() for failure in failures]
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_text(json.dumps(objects, indent=2, ensure_ascii=False) + "\n")
    unfinished.replace(path)


def _cells(figure: Figure) -> tuple[str, ...]:
    peer, spread = figure.peer, figure.range
    ratio = f"{number(peer.ratio.median)}x" if peer else ""
    span = f"({number(spread.lowest)} to {number(spread.highest)})" if spread else ""
    return (
        figure.name,
        f"{number(figure.value)} {figure.unit}",
        f"{peer.name}: {number(peer.value)} {figure.unit}" if peer else "",
        f"{ratio} {span}".strip(),
        "stated" if figure.goal is None else figure.goal.text(figure.unit),
        {True: "met", False: "MISSED", None: ""}[figure.met],
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return _GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
