"""What the documents say holds: commands exist, links lead somewhere, manifests are valid, events and URLs are as they are."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
import yarl
from pydantic import TypeAdapter

from mcp_operator.cluster.podlogs.parsing import WORDS
from mcp_operator.eventlog.log import Selection
from mcp_operator.gateway.subscribing import CLUSTER_STREAM_PARAMETERS, SERVER_STREAM_PARAMETERS, subscription
from mcp_operator.model.base import Model
from mcp_operator.model.events import (
    KubernetesPayload,
    LogLevel,
    LogPayload,
    MetricsPayload,
    Payload,
    ProgressPayload,
    StatusPayload,
)
from mcp_operator.model.spec import MCPServer

ROOT = Path(__file__).parents[2]
_LISTED = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
DOCUMENTS = [Path(name) for name in subprocess.check_output(_LISTED, cwd=ROOT, text=True).splitlines() if (ROOT / name).exists()]
WORKFLOW = ROOT / "docs" / "n8n-workflow.json"

PAYLOADS: Mapping[str, type[Payload]] = {
    payload.type: payload for payload in (StatusPayload, ProgressPayload, MetricsPayload, LogPayload, KubernetesPayload)
}
ENVELOPE = {"id", "type", "server", "uid", "time", "key"}
SOMETIMES = {"late", "snapshot", "truncated"}
CONTROL = {
    "hello": {"type", "time", "cursor", "heartbeatSeconds"},
    "bookmark": {"type", "time", "cursor"},
    "reset": {"type", "time", "cursor", "reason"},
    "dropped": {"type", "time", "cursor", "types", "count", "after", "before"},
    "bye": {"type", "time", "cursor", "reason"},
}
_BEGINNING = re.compile(r"^[ ]*(?:data: )?(?=\{\")", re.MULTILINE)
_LEFT_OUT = re.compile(r"(?<=[\[{,])\s*(?:\.\.\.|…)\s*,|,?\s*(?:\.\.\.|…)\s*(?=[\]}])")
"""What stands for fields that an example doesn't show."""


@pytest.fixture(params=DOCUMENTS, ids=str)
def document(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return ROOT / path


def test_make_targets_in_documents_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^    )make ([a-z]+)", document.read_text(), re.MULTILINE))
    assert named <= targets


def test_links_and_paths_in_documents_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert all((document.parent / link).exists() for link in links), links
    folders = "deploy|docs|operator|tests|requirements"
    paths = re.findall(rf"`((?:{folders})/[^`* {{<]+)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_manifests_in_documents_and_samples_are_valid(document: Path) -> None:
    texts = re.findall(r"```yaml\n(.*?)```", document.read_text(), re.DOTALL)
    for body in (body for text in texts for body in yaml.safe_load_all(text)):
        if isinstance(body, dict) and body.get("kind") == "MCPServer":
            body["metadata"] |= {"namespace": "default", "uid": "1", "generation": 1}
            MCPServer.parse(body)


def test_events_in_documents_are_events_as_they_are_sent(document: Path) -> None:
    for body, whole in examples(document.read_text()):
        kind = body.get("type", "")
        if kind in PAYLOADS:
            check_event(body, PAYLOADS[kind], whole=whole)
        elif kind in CONTROL:
            assert body.keys() == CONTROL[kind] if whole else body.keys() <= CONTROL[kind], body


@pytest.mark.parametrize(
    ("name", "kinds"), [("streams.md", {"status", "hello"}), ("logs.md", {"log"}), ("n8n.md", {"log", "reset"})]
)
def test_documents_about_streams_have_examples(name: str, kinds: set[str]) -> None:
    assert kinds <= {body.get("type") for body, _ in examples((ROOT / "docs" / name).read_text())}


@pytest.mark.parametrize(
    "text", ['{"type":"log","level":"loud", ... }', '{"type":"log", ... ,"levle":"info"}', '{"type":"log","msg":"x"}']
)
def test_an_example_that_no_gateway_would_send_is_noticed(text: str) -> None:
    ((body, whole),) = examples(text)
    with pytest.raises((AssertionError, ValueError)):
        check_event(body, LogPayload, whole=whole)


def test_urls_for_n8n_and_logs_are_understood_by_the_gateway() -> None:
    urls = [
        url
        for name in ("n8n.md", "logs.md")
        for url in re.findall(r"http://[^\s`')]+/events\b[^\s`')]*", (ROOT / "docs" / name).read_text())
    ]
    triggers = [node["parameters"]["url"] for node in workflow()["nodes"] if node["type"] == "n8n-nodes-base.sseTrigger"]
    assert urls
    assert triggers
    for url in [*urls, *triggers]:
        known = CLUSTER_STREAM_PARAMETERS if urlsplit(url).path == "/api/events" else SERVER_STREAM_PARAMETERS
        subscription(yarl.URL(url).query, {}, selection=Selection(), known=known, default_namespace="default")


def test_the_workflow_for_n8n_is_connected() -> None:
    nodes = {node["name"]: node for node in workflow()["nodes"]}
    connections = workflow()["connections"]
    targets = [[link["node"] for output in connections[name]["main"] for link in output] for name in connections]
    assert len({node["id"] for node in nodes.values()}) == len(nodes)
    assert connections.keys() <= nodes.keys()
    reached = {name for names in targets for name in names}
    triggers = {name for name, node in nodes.items() if node["type"] == "n8n-nodes-base.sseTrigger"}
    assert reached == nodes.keys() - triggers
    for name, node in nodes.items():
        if node["type"] == "n8n-nodes-base.switch":
            assert len(node["parameters"]["rules"]["values"]) == len(connections[name]["main"])


def test_the_words_for_levels_are_in_the_document() -> None:
    rows = re.findall(rf"^\| `({'|'.join(LogLevel)})` \| ([\w, ]+) \|", (ROOT / "docs" / "logs.md").read_text(), re.MULTILINE)
    assert {word: level for level, words in rows for word in words.split(", ")} == {
        word: str(level) for word, level in WORDS.items()
    }


def workflow() -> Any:
    return json.loads(WORKFLOW.read_text())


def examples(text: str) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """The JSON objects at the beginnings of lines, and whether each is shown whole. Line breaks within one don't count."""
    for beginning in _BEGINNING.finditer(text):
        paragraph = text[beginning.end() :].split("\n\n", 1)[0]
        shown = _LEFT_OUT.sub("", paragraph)
        body, end = json.JSONDecoder(strict=False).raw_decode(shown)
        yield body, shown[:end] == paragraph[:end]


def check_event(body: Mapping[str, Any], payload: type[Model], *, whole: bool) -> None:
    """Hold an event's JSON to its model: all fields if it is shown whole, else those that are shown."""
    fields = {field.alias or name: field for name, field in payload.model_fields.items()}
    told = {name: value for name, value in body.items() if name in fields}
    assert body.keys() - fields.keys() <= ENVELOPE | SOMETIMES, body
    if whole:
        assert told.keys() == fields.keys(), body
        assert body.keys() >= ENVELOPE, body
        payload.model_validate(told)
    for name, value in told.items():
        if value not in ("...", "…"):
            shape: Any = fields[name].annotation
            TypeAdapter(shape).validate_python(value)
