"""Runs other programs, so that one that fails or hangs ends in an error with its own words."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from local_cluster.errors import ClusterError

LAST_LINES = 10


def run(
    argv: Sequence[str],
    *,
    failure: str,
    seconds: float = 60.0,
    stdin: BinaryIO | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end; its standard output.

    Raises:
        ClusterError: It can't be found, failed, or didn't end within `seconds`: the sentence `failure`, and its last words.
    """
    try:
        done = subprocess.run(
            argv, check=False, stdin=stdin or subprocess.DEVNULL, capture_output=True, timeout=seconds, cwd=cwd, env=env
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{failure} There is no {argv[0]} here.") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{failure} {argv[0]} did not end within {seconds:.0f} s.") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-LAST_LINES:]
        raise ClusterError("\n".join((f"{failure} {argv[0]} said:", *said)))
    return done.stdout.decode(errors="replace")
