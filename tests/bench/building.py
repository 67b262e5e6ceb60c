"""Builds the bench's C programs (tests/bench/native/) into .local/bench/, when their source has changed.

A client in Python is too slow to load the gateway, and a server in C shows what the kernel alone takes.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from local_cluster.packages import install_packages
from local_cluster.progress import step
from tests.bench.probing import ProbeError

SOURCES = Path(__file__).parent / "native"
BUILT = Path(__file__).parents[2] / ".local" / "bench"

_COMPILER = ("gcc", "-O2", "-std=c11", "-Wall", "-Wextra", "-Werror")
_PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "sseload": ("sseload.c", "stream.c", "publisher.c", "measuring.c", "options.c", "-lssl", "-lcrypto"),
    "sendloop": ("sendloop.c", "measuring.c"),
}
"""Of each its sources and libraries."""
_PACKAGES: Mapping[str, str] = {
    "gcc": "gcc",
    "libc6-dev": "/usr/include/stdio.h",
    "libssl-dev": "/usr/include/openssl/ssl.h",
}
_SECONDS = 120.0


@cache
def built(program: str) -> Path:
    """The program, built if there is none of this source.

    Raises:
        ProbeError: the compiler refused it.
        ClusterError: Debian's packages for it can't be installed.
    """
    digest = hashlib.sha256(" ".join((*_COMPILER, *_PROGRAMS[program])).encode())
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.read_bytes())
    path = BUILT / f"{program}-{digest.hexdigest()[:12]}"
    if not path.exists():
        install_packages(_PACKAGES)
        with step(f"build {program}"):
            _compile(program, path)
    return path


def _compile(program: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    done = subprocess.run(
        (*_COMPILER, "-o", str(unfinished), *_PROGRAMS[program]),
        check=False,
        cwd=SOURCES,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    if done.returncode != 0:
        raise ProbeError(f"{program} can't be built: {done.stderr.strip()[-1000:]}")
    for old in path.parent.glob(f"{program}-*"):
        if not old.suffix:  # one with a suffix is another process's unfinished one
            old.unlink(missing_ok=True)
    unfinished.replace(path)
