"""Content keys and kept folders: what makes a build do nothing, and what keeps the cache small."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from local_images.caching import KEPT, content_key, kept


@pytest.fixture
def source(tmp_path: Path) -> Path:
    package = tmp_path / "package"
    (package / "room").mkdir(parents=True)
    (package / "room/module.py").write_text("one")
    (package / "main.py").write_text("two")
    return package


def change(package: Path) -> None:
    (package / "main.py").write_text("other")


def rename(package: Path) -> None:
    (package / "main.py").rename(package / "start.py")


def add(package: Path) -> None:
    (package / "room/new.py").write_text("")


def remove(package: Path) -> None:
    (package / "room/module.py").unlink()


def move_content(package: Path) -> None:
    (package / "main.py").write_text("one")
    (package / "room/module.py").write_text("two")


@pytest.mark.parametrize("edit", [change, rename, add, remove, move_content])
def test_every_edit_of_the_source_gives_another_key(source: Path, edit: Callable[[Path], None]) -> None:
    before = content_key("recipe", source)
    edit(source)
    assert content_key("recipe", source) != before


def test_byte_code_and_times_give_the_same_key(source: Path) -> None:
    before = content_key("recipe", source)
    (source / "__pycache__").mkdir()
    (source / "__pycache__/main.pyc").write_bytes(b"code")
    os.utime(source / "main.py", (1, 1))
    assert content_key("recipe", source) == before


def test_where_one_part_ends_matters() -> None:
    assert content_key("ab", "c") != content_key("a", "bc")


def test_a_kept_folder_is_made_once(tmp_path: Path) -> None:
    made: list[Path] = []
    folders = [kept(tmp_path / "kind/key", "making", made.append) for _ in range(2)]
    assert len(made) == 1
    assert [folder.is_dir() for folder in folders] == [True, True]


def test_a_failed_making_leaves_nothing_that_counts_as_made(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        kept(tmp_path / "kind/key", "making", fail)
    assert not (tmp_path / "kind/key").exists()
    assert not (kept(tmp_path / "kind/key", "making", lambda folder: None) / "half").exists()


def test_the_folders_used_last_stay_and_what_was_interrupted_goes(tmp_path: Path) -> None:
    kind = tmp_path / "kind"
    names = [f"key-{number}" for number in range(KEPT + 1)]
    for age, name in enumerate(names):
        kept(kind / name, "making", lambda folder: None)
        os.utime(kind / name, (age, age))
    (kind / ".key.unfinished").mkdir()
    kept(kind / names[1], "making", lambda folder: None)  # used again, so it is the newest now
    kept(kind / "new", "making", lambda folder: None)

    assert {each.name for each in kind.iterdir()} == {"new", names[1], names[-1]}
