"""The command line: settings come from options and the environment, and bad ones are told by name, value and what is right."""

from typing import Any

import pytest
from click.testing import CliRunner

from mcp_operator import app
from mcp_operator.cli import main
from mcp_operator.settings import Settings


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
