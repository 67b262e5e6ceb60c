"""`make demo`: the story of one server, told by the event stream, on a cluster that lives only for it."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from local_stack.contract import Contract
from local_stack.recording import Recording, read, recorded
from local_stack.stack import SAMPLE, Stack, started
from local_stack.story import STORY, Chapter, EventJson, Step, chapters
from local_stack.watching import watched

STEP_SECONDS = 120.0
"""How long one step may take until the demo gives up on it."""

SHOWN_SECONDS = 5.0
"""How long the demo waits for `watch` to have shown what the recording has: only the order on the screen depends on it."""

TYPES = ("status", "progress", "metrics", "log")


def tell(*, directory: Path, recording: Path) -> bool:
    """Start a cluster, go through the story, stop the cluster; whether every step showed in the stream."""
    recording.parent.mkdir(parents=True, exist_ok=True)
    with started(name="demo", directory=directory, port=0) as stack:
        click.echo(f"\nmcp-operator watch --gateway {stack.gateway}")
        click.echo(f"(recorded beside it: curl -N {stack.gateway}/api/events > {_short(recording)})")
        contract = Contract.of(stack.gateway)
        with (
            recorded(f"{stack.gateway}/api/events", recording, contract=contract) as growing,
            watched(stack.gateway) as screen,
        ):
            for step, act in zip(STORY, _acts(stack), strict=True):
                _heading(step.title)
                act()
                last = _await(step, growing)
                if last is None:
                    click.secho(f"This step did not show within {STEP_SECONDS:.0f} s.", fg="red", color=_coloured())
                    break
                screen.shows(last, within=SHOWN_SECONDS)
    result = chapters(STORY, read(recording, contract=contract))
    _table(result)
    return all(chapter.complete for chapter in result)


def _acts(stack: Stack) -> Sequence[Callable[[], object]]:
    """What is done at the beginning of each step of the story."""

    def set_image(image: str) -> None:
        stack.kubectl("patch", "mcpserver", SAMPLE, "--type=merge", f'--patch={{"spec":{{"image":"{image}"}}}}')

    return (
        stack.apply_sample,
        lambda: None,
        stack.call_sample,
        lambda: None,
        lambda: stack.kubectl("scale", "mcpserver", SAMPLE, "--replicas=3"),
        lambda: set_image(stack.sample_next),
        lambda: set_image("registry.invalid/nobody/has:this"),
        lambda: set_image(stack.sample),
        lambda: stack.kubectl("delete", "mcpserver", SAMPLE, "--wait=false"),
    )


def _await(step: Step, growing: Recording) -> EventJson | None:
    """Wait until the step is told; the event that ends it."""
    told: list[EventJson] = []
    deadline = time.monotonic() + STEP_SECONDS
    while event := growing.until(within=max(0.0, deadline - time.monotonic())):
        told.append(event)
        if step.told(told):
            return event
    return None


def _fit(text: str, column: int) -> str:
    """The text, cut where the terminal ends when it begins at this column; whole where the output isn't a terminal."""
    width = max(40, shutil.get_terminal_size().columns - column)
    return text if len(text) <= width or not sys.stdout.isatty() else f"{text[: width - 1]}…"


def _heading(title: str) -> None:
    click.secho(f"\n▸ {title}", bold=True, color=_coloured())


def _table(result: Sequence[Chapter]) -> None:
    """The closing table, computed from the recording alone."""
    click.secho("\nWhat the recording tells:", bold=True, color=_coloured())
    types = "".join(f"{name:>{len(name) + 2}}" for name in TYPES)
    click.echo(f"  {'step':<14}{'seconds':>8}{types}   {'told':<6}cause")
    for chapter in result:
        told = "yes" if chapter.complete else "NO"
        counts = chapter.counts
        cause = (chapter.cause or "-") if chapter.complete else "-"
        figures = "".join(f"{counts[name]:>{len(name) + 2}}" for name in TYPES)
        line = f"  {chapter.step.title:<14}{chapter.seconds:>8.1f}{figures}   {told:<6}"
        click.secho(line + _fit(cause, len(line)), fg=None if chapter.complete else "red", color=_coloured())


def _coloured() -> bool | None:
    """False turns colours off; None leaves it to click, which looks for a terminal."""
    return False if os.environ.get("NO_COLOR") else None


def _short(path: Path) -> str:
    return os.path.relpath(path)
