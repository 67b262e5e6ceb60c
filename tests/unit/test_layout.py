"""Traps of the repository's layout that would only show far from their cause."""

import operator
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_source_root_never_hides_the_standard_librarys_operator() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert Path(operator.__file__).parent == Path(sysconfig.get_path("stdlib"))


def test_locked_requirements_have_hashes_and_name_no_server() -> None:
    for file in sorted((ROOT / "requirements").glob("*.txt")):
        text = file.read_text()
        assert "://" not in text, f"{file.name} names a server"
        assert text.count("==") <= text.count("--hash=sha256:"), f"{file.name} has packages without a hash"
