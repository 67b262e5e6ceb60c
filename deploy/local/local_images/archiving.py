"""Layers and archives as bytes: tar files that are the same whenever their content is.

`building` calls this. The archive is what `docker save` writes, which `ctr images import`, `docker load` and
`kind load image-archive` all take; its format is described in the Docker Image Specification v1.2.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_layer(tree: Path, file: Path) -> None:
    """Write a directory tree as a layer: sorted, owned by root, without times, with modes that no umask has touched."""
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(tree.rglob("*")):
            member = tar.gettarinfo(path, arcname=str(path.relative_to(tree)))
            member.uid = member.gid = member.mtime = 0
            member.uname = member.gname = ""
            member.mode = _mode(member)
            if member.isreg():
                with path.open("rb") as content:
                    tar.addfile(member, content)
            else:
                tar.addfile(member)


def _mode(member: tarfile.TarInfo) -> int:
    if member.isdir():
        return 0o1777 if member.mode & 0o1000 else 0o755
    if member.issym():
        return 0o777
    return 0o755 if member.mode & 0o100 else 0o644


def write_archive(
    file: Path,
    *,
    references: Sequence[str],
    layers: Sequence[Path],
    architecture: str,
    config: Mapping[str, Any],
) -> None:
    """Write one image as a docker-archive.

    Args:
        file: the archive to write.
        references: the names, with tags, that the image gets where it is imported.
        layers: the layers' tar files, lowest first.
        architecture: in OCI's words, `amd64` or `arm64`.
        config: what a container of the image runs with (`User`, `Env`, `Entrypoint` ...).
    """
    digests = [_digest(layer) for layer in layers]
    image = _json(
        {
            "architecture": architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": dict(config),
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        }
    )
    name = f"{hashlib.sha256(image).hexdigest()}.json"
    blobs = [f"{digest}.tar" for digest in digests]
    manifest = _json([{"Config": name, "RepoTags": list(references), "Layers": blobs}])
    with tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, "manifest.json", manifest)
        _add(tar, name, image)
        for blob, layer in zip(blobs, layers, strict=True):
            member = tarfile.TarInfo(blob)
            member.size = layer.stat().st_size
            with layer.open("rb") as content:
                tar.addfile(member, content)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
