"""Running other programs, and the one error that callers of this package handle."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_SHOWN_LINES = 5


class BuildError(Exception):
    """Why an image can't be built and what to do about it, in words for the person at the terminal."""


def run(argv: Sequence[str | Path], *, timeout: float = 300, environment: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and return what it wrote to standard output.

    Args:
        argv: the program and its arguments.
        timeout: seconds after which it is killed.
        environment: variables to add to this process's own.

    Raises:
        BuildError: it is missing, took too long or failed; then with its last lines.
    """
    program = Path(argv[0]).name
    try:
        ended = subprocess.run(
            argv,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise BuildError(f"{program} is missing: images are built on Debian or a distribution made from it.") from None
    except subprocess.TimeoutExpired:
        raise BuildError(f"{program} did not end within {timeout:.0f} s: is the network slow or gone?") from None
    if ended.returncode != 0:
        lines = "\n".join((ended.stderr or ended.stdout).strip().splitlines()[-_SHOWN_LINES:])
        raise BuildError(f"{program} failed with exit code {ended.returncode}:\n{lines}")
    return ended.stdout
