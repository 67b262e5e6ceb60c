"""What the command line says when it can't build; nothing here builds an image."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from local_images import BuildError, build
from local_images.__main__ import main
from local_images.commands import run
from local_images.recipes import STEPS


def test_an_unknown_image_is_refused_with_the_ones_that_exist() -> None:
    with pytest.raises(BuildError, match=r"no image 'gateway': build one of operator, sample\."):
        build("gateway")


def test_a_variable_without_a_value_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["local_images", "build", "sample", "--env", "VERSION"])
    assert main() == 1
    assert capsys.readouterr().err == "Error: --env 'VERSION' is no variable: write NAME=VALUE.\n"


def test_a_missing_program_is_named_with_what_the_build_needs() -> None:
    with pytest.raises(BuildError, match=r"no-such-program is missing: .* Debian"):
        run(["no-such-program"])


def test_a_failing_program_is_told_with_its_last_lines() -> None:
    with pytest.raises(BuildError, match=r"(?s)exit code 3:\nline 2\n.*line 6$"):
        run([sys.executable, "-c", "import sys; [print('line', n, file=sys.stderr) for n in range(7)]; sys.exit(3)"])


def test_a_program_that_hangs_is_ended() -> None:
    with pytest.raises(BuildError, match="did not end within"):
        run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.2)


def test_an_installed_package_tells_its_version_and_not_where_it_was_built(tmp_path: Path) -> None:
    """The step runs in an isolated Python: in a build container there is nothing but the standard library."""
    package = tmp_path / "tool"
    package.mkdir()
    (package / "__init__.py").write_text("def work(): ...\n")
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\nname = "my-tool"\nversion = "1.2"\n')
    roots = [tmp_path / "one", tmp_path / "another"]
    for root in roots:
        step = [sys.executable, "-I", str(STEPS), "--root", str(root), "application", str(package), "--project", str(project)]
        subprocess.run(step, check=True, timeout=120)

    sources = [root / "app/src" for root in roots]
    assert [each.version for each in metadata.distributions(name="my-tool", path=[str(sources[0])])] == ["1.2"]
    one, another = (
        {str(file.relative_to(source)): file.read_bytes() for file in source.rglob("*") if file.is_file()} for source in sources
    )
    assert one == another
    place = b"/app/src/tool/__init__.py"
    code = next(content for name, content in one.items() if name.endswith(".pyc"))
    assert bytes([len(place)]) + place in code  # as marshal writes a string: with its length
