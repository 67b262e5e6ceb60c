"""The commands' arguments: what people write, checked and explained. `cli` puts the commands together.

Nothing here is imported at the top that takes long: the work is imported when a command runs.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mcp_operator.diagnostics import configure_logging
from mcp_operator.model.events import EventType, LogLevel
from mcp_operator.terminal.errors import ExitCode, TerminalError
from mcp_operator.terminal.judging import Goal
from mcp_operator.terminal.naming import ServerReference, is_label

if TYPE_CHECKING:
    from mcp_operator.terminal.reaching import Access
    from mcp_operator.terminal.watching import Wish

_MOST_TAIL = 10_000
_MOST_GREP = 256
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_LONGEST_SECONDS = 10**7
_LEVELS = click.Choice([level.value for level in LogLevel])
_GOALS = click.Choice([goal.value for goal in Goal])

Command = TypeVar("Command", bound=Callable[..., Any])


def _seconds(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    """90, 90s, 5m or 1h, as seconds; anything else is wrong usage."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smh]?)", value, re.ASCII)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise click.BadParameter(f"{value!r} is no duration: write it as 90, 90s, 5m or 1h")
    return seconds


def _types(_context: click.Context, _option: click.Parameter, value: str | None) -> Sequence[str]:
    """Types of events, separated by commas; a word that is none is wrong usage."""
    if value is None:
        return ()
    types = tuple(word.strip() for word in value.split(",") if word.strip())
    if not types or any(word not in tuple(EventType) for word in types):
        raise click.BadParameter(f"{value!r}: expected some of {','.join(EventType)}")
    return types


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_cluster = _options(
    click.option("--kubeconfig", metavar="FILE", help="The kubeconfig file.  [default: as kubectl: $KUBECONFIG, ~/.kube/config]"),
    click.option("--context", metavar="NAME", help="The context in the kubeconfig.  [default: its current one]"),
)
_access = _options(
    click.option(
        "--gateway",
        metavar="URL",
        envvar="MCP_OPERATOR_GATEWAY",
        help="The gateway, as http://HOST:PORT.  [$MCP_OPERATOR_GATEWAY; default: the operator's pod is found through the "
        "kubeconfig and reached over the API server]",
    ),
    _cluster,
    click.option(
        "--operator-namespace",
        metavar="NAMESPACE",
        help="Where the operator is.  [default: it is looked for in all namespaces, or where you may not list their pods in "
        "mcp-operator-system]",
    ),
)
_namespace = click.option(
    "-n", "--namespace", metavar="NAMESPACE", help="Servers of this namespace.  [default: all; for SERVER that of the context]"
)
_all_namespaces = click.option(
    "-A", "--all-namespaces", is_flag=True, help="Servers of all namespaces: the default without SERVER."
)
_timeout = click.option(
    "--timeout", callback=_seconds, metavar="DURATION", help="End with exit code 124 after 90, 90s, 5m or 1h.  [default: never]"
)
_verbose = click.option("-v", "--verbose", is_flag=True, help="Tell on standard error what is being done, and why it fails.")
_server = click.argument("server", metavar="[SERVER]", required=False)


@click.command()
@_server
@_namespace
@_all_namespaces
@click.option(
    "--types",
    callback=_types,
    metavar="TYPE,...",
    help=f"Only these types of events: {', '.join(EventType)}.  [default: all]",
)
@click.option("--level", type=_LEVELS, help="Only log lines at least as grave as this.  [default: all]")
@click.option("--grep", metavar="TEXT", help="Only log lines that contain this text, at most 256 characters.  [default: all]")
@click.option(
    "--tail",
    type=click.IntRange(0, _MOST_TAIL),
    default=10,
    show_default=True,
    metavar="LINES",
    help="So many of the lines that each container has already printed.",
)
@click.option("--until", type=_GOALS, help="End when SERVER is that, see below.  [default: go on until Ctrl-C]")
@_timeout
@click.option(
    "-o",
    "--output",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="json: each event as the gateway sent it, one on a line, `reset` and `dropped` frames among them.",
)
@_access
@_verbose
def watch(server: str | None, **given: Any) -> None:
    """Show what happens to MCP servers, as it happens.

    SERVER is a NAME, NAMESPACE/NAME or UID; without one the servers of the whole cluster are shown. What a server prints is read
    while somebody watches.

    With --until the command ends with 0 once SERVER is that; a server that doesn't exist yet is waited for. It ends with 3 if
    that can't come any more: the server is deleted, or (--until running) has failed. Only a status that knows of the newest edit
    counts, so it can stand right behind `kubectl apply`.

    \b
    Exit codes: 0 done, 1 no connection or refused, 2 wrong usage, 3 --until
    was missed, 124 --timeout, 130 Ctrl-C.
    """
    reference, namespace = _reference(server, given)
    until = Goal(given["until"]) if given["until"] else None
    if until is not None and reference is None:
        raise click.UsageError("--until needs a SERVER: whose status is waited for?")
    if given["grep"] is not None and not 0 < len(given["grep"]) <= _MOST_GREP:
        raise click.UsageError(f"--grep takes 1 to {_MOST_GREP} characters")
    from mcp_operator.terminal.watching import Wish  # noqa: PLC0415 - takes a second

    wish = Wish(
        server=reference,
        namespace=namespace,
        types=given["types"],
        level=given["level"],
        grep=given["grep"],
        tail=given["tail"],
        until=until,
        timeout=given["timeout"],
    )
    _end(given["verbose"], partial(_watch, _access_of(given), wish, as_json=given["output"] == "json"))


@click.command()
@_server
@_namespace
@_all_namespaces
@click.option(
    "-o",
    "--output",
    type=click.Choice(("text", "wide", "json")),
    default="text",
    show_default=True,
    help="wide: more columns. json: as the gateway answers.",
)
@_access
@_verbose
def status(server: str | None, **given: Any) -> None:
    """Show how MCP servers are now: a table of all, or one SERVER with its instances, causes and last lines.

    SERVER is a NAME, NAMESPACE/NAME or UID. CPU and memory are of the newest sample; they are only measured while somebody
    watches.

    \b
    Exit codes: 0 shown, 1 no connection, no such server or refused,
    2 wrong usage.
    """
    reference, namespace = _reference(server, given)
    _end(given["verbose"], partial(_status, _access_of(given), reference, namespace, given["output"]))


@click.command()
@click.argument("server", metavar="SERVER")
@click.argument("rollout", metavar="[ID]", required=False)
@click.option("-n", "--namespace", metavar="NAMESPACE", help="The server's namespace.  [default: that of the context]")
@click.option(
    "-o",
    "--output",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="json: as the gateway answers.",
)
@_access
@_verbose
def rollouts(server: str, rollout: str | None, **given: Any) -> None:
    """Show the records of SERVER's rollouts and scalings: a table, the newest first, or the one called ID as a timeline.

    SERVER is a NAME, NAMESPACE/NAME or UID. ID is one of the table, or the beginning of one.

    \b
    Exit codes: 0 shown, 1 no connection, no such server or record, or
    refused, 2 wrong usage.
    """
    reference, _ = _reference(server, given)
    if reference is not None:
        _end(given["verbose"], partial(_rollouts, _access_of(given), reference, rollout, given["output"]))


@click.command()
@click.argument("server", metavar="SERVER")
@click.option("-n", "--namespace", metavar="NAMESPACE", help="The server's namespace.  [default: that of the context]")
@click.option("--wait", is_flag=True, help="Then do as `watch SERVER --until running` does.")
@click.option(
    "--timeout",
    callback=_seconds,
    metavar="DURATION",
    help="With --wait: end with exit code 124 after 90, 90s, 5m or 1h.  [default: never]",
)
@_access
@_verbose
def restart(server: str, **given: Any) -> None:
    """Replace all instances of SERVER by new ones, one after the other, as its rollout strategy says.

    SERVER is a NAME or NAMESPACE/NAME. It sets spec.restartedAt to now, through the API server.

    \b
    Exit codes: 0 done, 1 no connection, no such server or refused, 2 wrong
    usage; with --wait also 3 the server failed or was deleted, 124 --timeout,
    130 Ctrl-C.
    """
    reference, _ = _reference(server, given)
    if given["timeout"] is not None and not given["wait"]:
        raise click.UsageError("--timeout is for --wait")
    if reference is None or reference.name is None:
        raise click.UsageError(f"{server!r} is a UID: a restart needs NAME or NAMESPACE/NAME")
    _end(given["verbose"], partial(_restart, _access_of(given), reference, wait=given["wait"], timeout=given["timeout"]))


def _reference(server: str | None, given: dict[str, Any]) -> tuple[ServerReference | None, str | None]:
    """The server that is meant, if one is, and the namespace."""
    namespace = given["namespace"]
    if namespace is not None and not is_label(namespace):
        raise click.UsageError(f"--namespace {namespace!r} can't be the name of a namespace")
    if given.get("all_namespaces") and (namespace is not None or server is not None):
        raise click.UsageError("--all-namespaces goes with neither SERVER nor --namespace")
    if server is None:
        return None, namespace
    try:
        return ServerReference.parse(server, namespace=namespace), namespace
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _access_of(given: dict[str, Any]) -> Access:
    from mcp_operator.terminal.reaching import Access  # noqa: PLC0415 - takes a second

    return Access(
        gateway=given["gateway"] or None,
        kubeconfig=given["kubeconfig"],
        context=given["context"],
        operator_namespace=given["operator_namespace"],
    )


def _end(verbose: bool, work: Callable[[], Coroutine[Any, Any, ExitCode]]) -> None:
    """Do a command's work and end the process with its exit code."""
    configure_logging(form="text", level="debug" if verbose else "critical")
    try:
        code = asyncio.run(work())
    except TerminalError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    sys.exit(code)


async def _watch(access: Access, wish: Wish, *, as_json: bool) -> ExitCode:
    from mcp_operator.terminal import watching  # noqa: PLC0415 - takes a second
    from mcp_operator.terminal.output import Output  # noqa: PLC0415
    from mcp_operator.terminal.screen import Screen, Style  # noqa: PLC0415

    output = Output(sys.__stdout__.fileno() if sys.__stdout__ else 1)
    style = Style.of(is_terminal=os.isatty(output.descriptor), environment=os.environ)
    view: watching.View = (
        watching.JsonView(output, note=_note)
        if as_json
        else watching.StoryView(Screen(output, style=style), several=wish.server is None)
    )
    return await watching.watch(access, wish, output=output, view=view, note=_note)


async def _status(access: Access, server: ServerReference | None, namespace: str | None, form: str) -> ExitCode:
    from mcp_operator.terminal import asking  # noqa: PLC0415 - takes a second
    from mcp_operator.terminal.screen import Style  # noqa: PLC0415

    style = Style.of(is_terminal=sys.stdout.isatty(), environment=os.environ)
    shown = asking.Form(form)
    if server is not None:
        text = await asking.describe_server(access, server, form=shown, style=style)
    else:
        text = await asking.list_servers(access, namespace=namespace, form=shown, style=style)
    click.echo(text, nl=False, color=True)
    if not text:
        _note(f"There are no MCP servers in {f'the namespace {namespace}' if namespace else 'the cluster'}")
    return ExitCode.DONE


async def _rollouts(access: Access, server: ServerReference, rollout: str | None, form: str) -> ExitCode:
    from mcp_operator.terminal import asking  # noqa: PLC0415 - takes a second
    from mcp_operator.terminal.screen import Style  # noqa: PLC0415

    style = Style.of(is_terminal=sys.stdout.isatty(), environment=os.environ)
    width = shutil.get_terminal_size().columns
    text = await asking.describe_rollouts(access, server, rollout, form=asking.Form(form), style=style, width=width)
    click.echo(text, nl=False, color=True)
    if not text:
        _note(f"There are no records of {server}'s rollouts")
    return ExitCode.DONE


async def _restart(access: Access, server: ServerReference, *, wait: bool, timeout: float | None) -> ExitCode:  # noqa: ASYNC109 - watching applies it
    from mcp_operator.terminal.restarting import restart as begin  # noqa: PLC0415 - takes a second
    from mcp_operator.terminal.watching import Wish  # noqa: PLC0415

    restarted = await begin(access, server)
    click.echo(restarted.sentence)
    if not wait:
        return ExitCode.DONE
    named = ServerReference(str(restarted.server), name=restarted.server.name, namespace=restarted.server.namespace)
    wish = Wish(
        server=named, types=(EventType.STATUS, EventType.PROGRESS), until=Goal.RUNNING, edit=restarted.edit, timeout=timeout
    )
    return await _watch(access, wish, as_json=False)


def _note(said: str) -> None:
    """A sentence about the command itself."""
    click.echo(said, err=True)
