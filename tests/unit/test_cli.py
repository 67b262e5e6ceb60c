"""The command line: settings come from options and the environment, and bad ones are told by name, value and what is right."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mcp_operator import app
from mcp_operator.cli import main
from mcp_operator.settings import Settings
from mcp_operator.terminal import watching
from mcp_operator.terminal.errors import ExitCode


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Commands set up the logging of a process of their own."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


@pytest.fixture
def started_with(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that the operator was started with; it ends at once."""
    seen: list[Settings] = []

    async def run(settings: Settings) -> None:
        seen.append(settings)

    monkeypatch.setattr(app, "run", run)
    return seen


def test_an_option_wins_over_the_environment(started_with: list[Settings]) -> None:
    environment = {"MCP_OPERATOR_PORT": "9000", "MCP_OPERATOR_NAMESPACES": "weather, tides"}
    result = CliRunner().invoke(main, ["run", "--port", "9001"], env=environment)
    assert result.exit_code == 0, result.output
    (settings,) = started_with
    assert (settings.port, settings.namespaces) == (9001, ("weather", "tides"))


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--port", "99999"], {}, ["--port", "'99999'", "less than or equal to 65535"]),
        (["--heartbeat-seconds", "soon"], {}, ["--heartbeat-seconds", "'soon'", "valid number"]),
        (["--log-format", "xml"], {}, ["--log-format", "'xml'", "'text' or 'json'"]),
        ([], {"MCP_OPERATOR_PORT": "tcp://10.96.0.7:8080"}, ["--port", "tcp://10.96.0.7:8080", "valid integer"]),
    ],
)
def test_a_bad_setting_is_told_by_name_value_and_what_is_right(
    started_with: list[Settings], arguments: list[str], environment: dict[str, str], said: list[str]
) -> None:
    result = CliRunner().invoke(main, ["run", *arguments], env=environment)
    assert result.exit_code == 2
    assert all(words in result.output for words in said), result.output
    assert not started_with


def test_every_setting_is_an_option_with_its_meaning() -> None:
    text = " ".join(CliRunner().invoke(main, ["run", "--help"]).output.split())
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in text
        assert f"MCP_OPERATOR_{name.upper()}" in text
        assert field.description, f"{name} has no docstring"


def test_a_port_that_is_taken_ends_with_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(settings: Any) -> None:
        raise app.StartError(f"The gateway can't listen on {settings.host}: Address already in use")

    monkeypatch.setattr(app, "run", run)
    result = CliRunner().invoke(main, ["run"])
    assert result.exit_code == 1
    assert "Address already in use" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["watch", "Weather_"], "write it as NAME, NAMESPACE/NAME or a UID"),
        (["watch", "a/b", "-n", "c"], "say the namespace once"),
        (["watch", "weather", "-A"], "--all-namespaces goes with neither"),
        (["watch", "-n", "a,b"], "can't be the name of a namespace"),
        (["watch", "--until", "running"], "--until needs a SERVER"),
        (["watch", "weather", "--until", "happy"], "'happy' is not one of"),
        (["watch", "weather", "--timeout", "5x"], "write it as 90, 90s, 5m or 1h"),
        (["watch", "weather", "--timeout", "0"], "write it as 90, 90s, 5m or 1h"),
        (["watch", "--types", "logs"], "expected some of status,progress,metrics,log"),
        (["watch", "--tail", "-1"], "0<=x<=10000"),
        (["watch", "--grep", ""], "--grep takes 1 to 256 characters"),
        (["restart"], "Missing argument"),
        (["rollouts"], "Missing argument"),
        (["rollouts", "a/b/c"], "write it as NAME, NAMESPACE/NAME or a UID"),
        (["rollouts", "weather", "-o", "yaml"], "'yaml' is not one of"),
        (["crds", "pods"], "'pods': expected mcpservers or mcpserverrollouts"),
        (["restart", "d88ea845-1aab-4175-b76b-52c7f3ac0430"], "a restart needs NAME or NAMESPACE/NAME"),
        (["restart", "weather", "--timeout", "5m"], "--timeout is for --wait"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_right(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1h", 3600), ("0.5", 0.5)])
def test_durations_have_units(text: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    wishes: list[watching.Wish] = []

    async def watch(_access: object, wish: watching.Wish, **_: object) -> ExitCode:
        wishes.append(wish)
        return ExitCode.DONE

    monkeypatch.setattr(watching, "watch", watch)
    assert CliRunner().invoke(main, ["watch", "weather", "--timeout", text]).exit_code == 0
    assert [wish.timeout for wish in wishes] == [seconds]


@pytest.mark.parametrize("command", ["watch", "status", "rollouts", "restart"])
def test_every_option_of_a_command_says_what_it_means(command: str) -> None:
    for parameter in main.commands[command].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.is_flag or parameter.show_default or "default: " in parameter.help, parameter.name


def test_help_does_not_wait_for_what_only_other_commands_need() -> None:
    program = "import sys, mcp_operator.cli; print(*({'kopf', 'kubernetes', 'aiohttp', 'rich'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True, timeout=60).strip() == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status", "--gateway", "ftp://x"], "'ftp://x' is no gateway's URL: write it as http://HOST:PORT"),
        (["status", "--gateway", "http://127.0.0.1:1"], "The gateway at http://127.0.0.1:1 can't be reached: connection refused"),
        (["watch", "--gateway", "http://me:secret@127.0.0.1:1"], "The gateway at http://127.0.0.1:1 can't be reached"),
        (["watch", "--kubeconfig", "/nowhere"], "There is no way to a cluster: /nowhere isn't there"),
        (["restart", "weather", "--kubeconfig", "/etc/hostname"], "There is no way to a cluster: /etc/hostname: "),
    ],
)
def test_what_can_not_be_reached_is_one_sentence(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {said}")
    assert result.output.count("\n") == 1
    assert "secret" not in result.output
