"""What is kept between builds: folders named after the content that they were made from.

`building` calls this. Each kind keeps its newest few folders, so that the cache stays bounded while several clones share it.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from local_cluster.caching import locked, made_once
from local_cluster.progress import step

KEPT = 3
"""Folders of a kind that stay: the present one, one to compare with, and what another clone may be at."""


def content_key(*parts: str | Path) -> str:
    """A name for everything that a result depends on: texts, files, and directories with all that is in them but byte code."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            contents = {"": part.encode()}
        elif part.is_file():
            contents = {"": part.read_bytes()}
        else:
            files = (file for file in sorted(part.rglob("*")) if file.is_file() and "__pycache__" not in file.parts)
            contents = {str(file.relative_to(part)): file.read_bytes() for file in files}
        for name, content in contents.items():
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


def kept(folder: Path, title: str, make: Callable[[Path], None]) -> Path:
    """`folder`, made unless it is there, which is shown as a step; beside it the folders that were used last stay, others go."""
    if not folder.exists():
        with step(title):
            made_once(folder, make)
        _forget(folder.parent)
    os.utime(folder)
    return folder


def _forget(kind: Path) -> None:
    with locked(kind):  # nobody is making one, so what is unfinished was interrupted
        folders = sorted(kind.iterdir(), key=lambda each: (each.name[0] != ".", each.stat().st_mtime), reverse=True)
        for each in folders[KEPT:]:
            shutil.rmtree(each)
