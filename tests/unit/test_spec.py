"""An MCPServer is read as the API server holds it: with defaults where it is older, without what a newer version added."""

import dataclasses

import pydantic
import pytest

from mcp_operator.model.servers import ServerName
from mcp_operator.model.spec import InvalidSpecError, MCPServer, Strategy, Transport
from tests.builders import having, mcpserver


def test_an_image_is_enough() -> None:
    server = MCPServer.parse(mcpserver("weather", spec={"image": "weather:1"}))

    assert server.name == ServerName("default", "weather")
    assert server.spec.image == "weather:1"
    assert (server.spec.transport, server.spec.port, server.spec.path) == (Transport.STREAMABLE_HTTP, 8080, "/mcp")
    assert (server.spec.replicas, server.spec.suspend) == (1, False)
    assert server.spec.rollout.strategy is Strategy.ROLLING_UPDATE
    assert (server.spec.rollout.max_surge, server.spec.rollout.max_unavailable) == (1, 0)
    assert server.spec.rollout.progress_deadline_seconds == 600


def test_fields_of_a_newer_version_are_ignored() -> None:
    server = MCPServer.parse(mcpserver(spec={"metrics": {"interval": "5s"}, "rollout": {"pace": "slow", "drainSeconds": 7}}))

    assert server.spec.rollout.drain_seconds == 7


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("spec.image", 5, "spec.image: Input should be a valid string, not 5"),
        ("spec.port", 0, "spec.port: Input should be greater than or equal to 1, not 0"),
        ("spec.transport", "stdio", "spec.transport: Input should be 'streamable-http' or 'sse', not 'stdio'"),
        ("spec.rollout.drainSeconds", -1, "spec.rollout.drainSeconds: Input should be greater than or equal to 0, not -1"),
        ("spec.env", [{"value": "x"}], "spec.env.0.name: Field required, not {'value': 'x'}"),
    ],
)
def test_what_an_older_version_let_in_is_refused_by_field_and_value(path: str, value: object, words: str) -> None:
    with pytest.raises(InvalidSpecError) as refused:
        MCPServer.parse(mcpserver("weather", having(path, value)))

    assert str(refused.value) == words
    assert (refused.value.reason, refused.value.field) == ("InvalidSpec", words.partition(":")[0])


@pytest.mark.parametrize("spec", [{"image": None}, {"workloadRef": {"kind": "Deployment", "name": "weather"}}])
def test_a_server_is_run_or_observed(spec: dict[str, object]) -> None:
    with pytest.raises(InvalidSpecError, match=r"^spec: must have either image or workloadRef$"):
        MCPServer.parse(mcpserver(spec=spec))


def test_a_server_never_changes() -> None:
    server = MCPServer.parse(mcpserver())

    with pytest.raises((pydantic.ValidationError, dataclasses.FrozenInstanceError)):
        server.spec.replicas = 3  # type: ignore[misc]  # what is tested
