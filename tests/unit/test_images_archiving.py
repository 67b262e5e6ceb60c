"""Layers and archives: the bytes that a container runtime reads, the same bytes for the same content."""

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from local_images.archiving import write_archive, write_layer


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    (root / "usr/bin/tool").write_text("#!tool")
    (root / "usr/bin/tool").chmod(0o700)
    (root / "etc").mkdir(mode=0o700)
    (root / "etc/hosts").write_text("localhost")
    (root / "etc/hosts").chmod(0o600)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    return root


def members(file: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(file) as tar:
        return {member.name: member for member in tar}


def test_a_layer_does_not_depend_on_when_by_whom_or_with_which_umask_its_files_were_made(tree: Path, tmp_path: Path) -> None:
    write_layer(tree, tmp_path / "one.tar")
    for path in (tree / "etc", tree / "etc/hosts"):
        os.utime(path, (1, 1))
        path.chmod(0o750 if path.is_dir() else 0o640)
    write_layer(tree, tmp_path / "two.tar")

    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_a_layer_keeps_what_a_process_without_rights_needs(tree: Path, tmp_path: Path) -> None:
    write_layer(tree, tmp_path / "layer.tar")
    found = members(tmp_path / "layer.tar")

    modes = {name: oct(found[name].mode) for name in ("usr/bin/tool", "etc", "etc/hosts", "tmp")}
    assert modes == {"usr/bin/tool": "0o755", "etc": "0o755", "etc/hosts": "0o644", "tmp": "0o1777"}
    assert found["bin"].linkname == "usr/bin"
    assert {(member.uid, member.gid, member.uname, member.mtime) for member in found.values()} == {(0, 0, "", 0)}


def test_an_archive_is_what_docker_save_writes(tree: Path, tmp_path: Path) -> None:
    layer = tmp_path / "layer.tar"
    write_layer(tree, layer)
    references = ["localhost/tool:1", "localhost/tool:dev"]
    config = {"User": "65532", "Entrypoint": ["/bin/tool"]}
    write_archive(tmp_path / "image.tar", references=references, layers=[layer, layer], architecture="arm64", config=config)

    with tarfile.open(tmp_path / "image.tar") as tar:
        contents = {member.name: _content(tar, member) for member in tar}
    manifest: list[dict[str, Any]] = json.loads(contents["manifest.json"])
    image = json.loads(contents[manifest[0]["Config"]])
    assert manifest[0]["RepoTags"] == references
    assert manifest[0]["Config"] == f"{hashlib.sha256(contents[manifest[0]['Config']]).hexdigest()}.json"
    assert (image["architecture"], image["os"], image["config"]) == ("arm64", "linux", config)
    digests = [f"sha256:{hashlib.sha256(contents[name]).hexdigest()}" for name in manifest[0]["Layers"]]
    assert image["rootfs"] == {"type": "layers", "diff_ids": digests}


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    return (tar.extractfile(member) or io.BytesIO()).read()
