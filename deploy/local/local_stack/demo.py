"""`make demo`: the story of one server, told by the event stream, on a cluster that lives only for it."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from local_stack.recording import Recording, read, recorded
from local_stack.stack import SAMPLE, Stack, started
from local_stack.story import STORY, Chapter, EventJson, Step, chapters

STEP_SECONDS = 120.0
"""How long one step may take until the demo gives up on it."""

_COLOURS = {"running": "green", "deleted": "green", "stopped": "green", "failed": "red", "degraded": "yellow"}


def tell(*, directory: Path, recording: Path) -> bool:
    """Start a cluster, go through the story, stop the cluster; whether every step showed in the stream."""
    recording.parent.mkdir(parents=True, exist_ok=True)
    with started(name="demo", directory=directory, port=0) as stack:
        click.echo(f"\nThe stream, recorded by curl -N {stack.gateway}/api/events into {_short(recording)}:")
        with recorded(f"{stack.gateway}/api/events", recording) as growing:
            for step, act in zip(STORY, _acts(stack), strict=True):
                _heading(step.title)
                act()
                if not _follow(step, growing):
                    click.secho(f"This step did not show within {STEP_SECONDS:.0f} s.", fg="red", color=_coloured())
                    break
    result = chapters(STORY, read(recording))
    _table(result)
    return all(chapter.complete for chapter in result)


def _acts(stack: Stack) -> Sequence[Callable[[], object]]:
    """What is done at the beginning of each step of the story."""

    def set_image(image: str) -> None:
        stack.kubectl("patch", "mcpserver", SAMPLE, "--type=merge", f'--patch={{"spec":{{"image":"{image}"}}}}')

    return (
        stack.apply_sample,
        lambda: None,
        lambda: stack.kubectl("scale", "mcpserver", SAMPLE, "--replicas=3"),
        lambda: set_image(stack.sample_next),
        lambda: set_image("registry.invalid/nobody/has:this"),
        lambda: set_image(stack.sample),
        lambda: stack.kubectl("delete", "mcpserver", SAMPLE, "--wait=false"),
    )


def _follow(step: Step, growing: Recording) -> bool:
    """Show events as they come until the step is told."""
    told: list[EventJson] = []
    while event := growing.until(within=STEP_SECONDS):
        told.append(event)
        click.echo(_line(event), color=_coloured())
        if step.told(told):
            return True
    return False


def _line(event: EventJson) -> str:
    clock = event["time"][11:23]
    if event["type"] == "progress":
        filled = event["percent"] // 5
        bar = "█" * filled + "░" * (20 - filled)
        outcome = f" {event['outcome']}" if event["outcome"] else ""
        return click.style(f"  {clock}  progress  {bar} {event['percent']:3} %  {event['kind']}{outcome}", dim=True)
    status = click.style(f"{event['status']:<11}", fg=_COLOURS.get(event["status"], "cyan"), bold=True)
    causes = "".join(f"\n{' ' * 16}{click.style(_cause(cause), fg='red')}" for cause in event["causes"])
    return f"  {clock}  status    {status} {event['instances']}/{event['desired']}  {_fit(event['message'], 44)}{causes}"


def _cause(cause: EventJson) -> str:
    return _fit(f"{cause['state']} cause {cause['reason']}: {cause['message']}", 16)


def _fit(text: str, column: int) -> str:
    """The text, cut where the terminal ends when it begins at this column; whole where the output isn't a terminal."""
    width = max(40, shutil.get_terminal_size().columns - column)
    return text if len(text) <= width or not sys.stdout.isatty() else f"{text[: width - 1]}…"


def _heading(title: str) -> None:
    click.secho(f"\n▸ {title}", bold=True, color=_coloured())


def _table(result: Sequence[Chapter]) -> None:
    """The closing table, computed from the recording alone."""
    click.secho("\nWhat the recording tells:", bold=True, color=_coloured())
    click.echo(f"  {'step':<14}{'seconds':>8}{'status':>8}{'progress':>10}   {'told':<6}cause")
    for chapter in result:
        told = "yes" if chapter.complete else "NO"
        counts = chapter.counts
        cause = (chapter.cause or "-") if chapter.complete else "-"
        line = f"  {chapter.step.title:<14}{chapter.seconds:>8.1f}{counts['status']:>8}{counts['progress']:>10}   {told:<6}"
        click.secho(line + _fit(cause, 52), fg=None if chapter.complete else "red", color=_coloured())


def _coloured() -> bool | None:
    """False turns colours off; None leaves it to click, which looks for a terminal."""
    return False if os.environ.get("NO_COLOR") else None


def _short(path: Path) -> str:
    return os.path.relpath(path)
