"""What the documents say holds: commands exist, links lead somewhere, manifests are valid."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from mcp_operator.model.spec import MCPServer

ROOT = Path(__file__).parents[2]
DOCUMENTS = [Path(name) for name in subprocess.check_output(["git", "ls-files", "*.md"], cwd=ROOT, text=True).splitlines()]


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
