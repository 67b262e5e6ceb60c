"""The command `mcp-operator`: `run` is the operator, `crds` and `openapi` print what it needs and what it promises, the rest is
for people.

What takes long to import is imported by the command that needs it, so that `--help` answers at once.
"""

import asyncio
import importlib.metadata
import json
from collections.abc import Callable
from typing import Any

import click
import pydantic

from mcp_operator.diagnostics import configure_logging
from mcp_operator.settings import Settings
from mcp_operator.terminal.commands import restart, rollouts, status, watch


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(importlib.metadata.version("mcp-operator"), prog_name="mcp-operator")
def main() -> None:
    """Run MCP servers on Kubernetes and stream what happens to them, as it happens."""


for command in (watch, status, rollouts, restart):
    main.add_command(command)


def _settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option for each field of Settings, with its docstring as help: the settings are declared once."""
    for name, field in reversed(Settings.model_fields.items()):
        variable = f"{Settings.model_config['env_prefix']}{name.upper()}"
        default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        text = f"{' '.join((field.description or '').split())}  [{variable}; default: {default if default != '' else 'none'}]"
        command = click.option(f"--{name.replace('_', '-')}", name, default=None, help=text)(command)
    return command


@main.command()
@_settings_options
def run(**given: str | None) -> None:
    """Run the operator until it gets SIGTERM or SIGINT.

    The cluster is found as kubectl finds it: in a pod by its service account, else by $KUBECONFIG or ~/.kube/config.
    """
    from mcp_operator import app  # noqa: PLC0415 - takes a second

    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]  # pydantic converts the strings
    except pydantic.ValidationError as error:
        raise click.UsageError("\n".join(_explain(problem) for problem in error.errors())) from None
    configure_logging(form=settings.log_format, level=settings.log_level)
    try:
        asyncio.run(app.run(settings))
    except app.StartError as error:
        raise click.ClickException(str(error)) from None


def _explain(problem: Any) -> str:
    return f"--{str(problem['loc'][0]).replace('_', '-')} {problem['input']!r}: {problem['msg']}"


@main.command()
@click.argument("plural", metavar="[PLURAL]", required=False)
def crds(plural: str | None) -> None:
    """Print the CustomResourceDefinitions that the operator needs, for `kubectl apply --server-side -f -`.

    PLURAL, such as mcpservers, chooses one of them.
    """
    from mcp_operator.model.crd import CRDS, crd_yaml  # noqa: PLC0415 - only needed here

    if plural is not None and plural not in CRDS:
        raise click.UsageError(f"{plural!r}: expected {' or '.join(CRDS)}")
    click.echo("---\n".join(crd_yaml(each) for each in ([plural] if plural else CRDS)), nl=False)


@main.command()
def openapi() -> None:
    """Print the OpenAPI 3.2 document of the gateway, with the JSON Schema of every event: what it serves at /openapi.json."""
    from mcp_operator.gateway.describing import document  # noqa: PLC0415 - only needed here

    click.echo(json.dumps(document(), indent=2, ensure_ascii=False))
