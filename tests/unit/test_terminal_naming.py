"""Which server and which operator are meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mcp_operator.apiserver.forwarding import PodPort
from mcp_operator.terminal.errors import AwayError, TerminalError
from mcp_operator.terminal.locating import choose
from mcp_operator.terminal.naming import ServerReference

UID = "d88ea845-1aab-4175-b76b-52c7f3ac0430"


@pytest.mark.parametrize(
    ("text", "namespace", "path"),
    [
        ("weather", None, "/api/servers/weather"),
        ("weather", "tides", "/api/servers/tides:weather"),
        ("tides/weather", None, "/api/servers/tides:weather"),
        ("tides/weather", "tides", "/api/servers/tides:weather"),
        (UID, "tides", f"/api/servers/{UID}"),
    ],
)
def test_a_server_is_named_in_three_ways(text: str, namespace: str | None, path: str) -> None:
    assert ServerReference.parse(text, namespace=namespace).path == path


def test_a_bare_name_is_in_the_namespace_of_the_context() -> None:
    assert ServerReference.parse("weather", namespace=None).within("tides").path == "/api/servers/tides:weather"
    assert ServerReference.parse("a/weather", namespace=None).within("tides").path == "/api/servers/a:weather"
    assert ServerReference.parse(UID, namespace=None).within("tides").path == f"/api/servers/{UID}"


@pytest.mark.parametrize("text", ["", "Weather", "a/b/c", "/weather", "a/", "../etc", "a:b", "x" * 64, "-a", "\x1b[2J"])
def test_anything_else_is_refused_with_what_is_right(text: str) -> None:
    with pytest.raises(ValueError, match="write it as NAME, NAMESPACE/NAME or a UID"):
        ServerReference.parse(text, namespace=None)


def test_two_namespaces_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="say the namespace once"):
        ServerReference.parse("tides/weather", namespace="default")


def operator(
    name: str, *, namespace: str = "mcp-operator-system", ready: bool = True, created: int = 0, **metadata: Any
) -> Mapping[str, Any]:
    """A pod of the operator."""
    ports = [{"name": "health", "containerPort": 8081}, {"name": "http", "containerPort": 9090}]
    return {
        "metadata": {"namespace": namespace, "name": name, "creationTimestamp": f"2026-11-23T12:00:{created:02}Z", **metadata},
        "spec": {"containers": [{"name": "operator", "ports": ports}]},
        "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def test_the_newest_ready_operator_is_chosen() -> None:
    pods = [
        operator("old", created=1),
        operator("new", created=3),
        operator("starting", created=5, ready=False),
        operator("going", created=7, deletionTimestamp="2026-11-23T12:01:00Z"),
    ]
    assert choose(pods, looked_at=None) == PodPort("mcp-operator-system", "new", 9090)


def test_the_usual_namespace_wins_over_others() -> None:
    """Anybody may label a pod in a namespace of their own."""
    assert choose([operator("a", namespace="evil", created=9), operator("b")], looked_at=None).pod == "b"


@pytest.mark.parametrize(
    ("pods", "looked_at", "kind", "said"),
    [
        ([], None, AwayError, "No operator is in any namespace of this cluster .*--operator-namespace.*--gateway"),
        ([], "tides", AwayError, "No operator is in the namespace tides"),
        (
            [operator("a", ready=False)],
            None,
            AwayError,
            "mcp-operator-system/a is not ready: `kubectl -n mcp-operator-system describe",
        ),
        (
            [operator("a", namespace="one"), operator("b", namespace="two")],
            None,
            TerminalError,
            "in the namespaces one, two: say which you mean by --operator-namespace",
        ),
    ],
    ids=["none at all", "none there", "not ready", "several"],
)
def test_without_one_to_choose_it_is_said_why(
    pods: list[Mapping[str, Any]], looked_at: str | None, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        choose(pods, looked_at=looked_at)
