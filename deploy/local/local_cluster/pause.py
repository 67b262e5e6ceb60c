"""The image of the process that holds every pod's namespaces, built from ten lines of C: there is no registry to pull it from."""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

from local_cluster.caching import cache_folder, made_once
from local_cluster.commands import run
from local_cluster.machine import ARCHITECTURES

REFERENCE = "localhost/pause:1"
"""The name that config/containerd.toml has for it."""

ARCHIVE = "image.tar"

_SOURCE = Path(__file__).with_name("pause.c")


def provide_pause() -> Path:
    """The image's archive, built at the first use."""
    key = hashlib.sha256(_SOURCE.read_bytes() + Path(__file__).read_bytes() + platform.machine().encode())
    folder = made_once(cache_folder() / "pause" / key.hexdigest()[:16], lambda fresh: build_image(_SOURCE, REFERENCE, fresh))
    return folder / ARCHIVE


def build_image(source: Path, reference: str, folder: Path) -> None:
    """Compile a C program and write the image that runs it, in the format of `docker save`, as ARCHIVE into `folder`.

    Raises:
        ClusterError: gcc refuses the source.
    """
    binary = folder / "program"
    run(("gcc", "-static", "-Os", "-s", "-o", str(binary), str(source)), failure=f"{source.name} can't be built.")
    layer = _tar({"program": binary.read_bytes()}, mode=0o755)
    config = {
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Entrypoint": ["/program"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]
    image = {
        "manifest.json": json.dumps(manifest).encode(),
        "config.json": json.dumps(config).encode(),
        "layer.tar": layer,
    }
    (folder / ARCHIVE).write_bytes(_tar(image))


def _tar(files: dict[str, bytes], *, mode: int = 0o644) -> bytes:
    """An archive of `files`, the same bytes for the same content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
