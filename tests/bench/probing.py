"""Processes of their own, in which something is measured: `python -m tests.bench.probing ROW JSON`.

A row's module has a function `probe`, which is called there with the fields of the JSON object as keyword arguments; what it
returns is printed as JSON. So memory is that of a process that has done nothing else, and a process inside a cluster's node has
the same clock and the same network as the operator that it watches.
"""

import asyncio
import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

_LAST_LINES = 5


class ProbeError(Exception):
    """A probe came to nothing; the message has the last that it said."""


def run_probe(row: str, arguments: dict[str, Any], *, seconds: float, enter: Sequence[str] = ()) -> Any:
    """What the probe of a row returns.

    Args:
        seconds: longest time that it may take.
        enter: the command that runs a command elsewhere, such as inside a node.

    Raises:
        ProbeError: it failed, or took too long.
    """
    argv = [*enter, sys.executable, "-m", "tests.bench.probing", row, json.dumps(arguments)]
    try:
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise ProbeError(f"the probe of {row} took longer than {seconds:g} s") from None
    if done.returncode != 0:
        said = " | ".join(line.strip() for line in done.stderr.strip().splitlines()[-_LAST_LINES:])
        raise ProbeError(f"the probe of {row} failed: {said or f'exit code {done.returncode}'}")
    return json.loads(done.stdout)


def main() -> None:
    row, arguments = sys.argv[1:]
    result = importlib.import_module(f"tests.bench.rows.{row}").probe(**json.loads(arguments))
    if inspect.iscoroutine(result):
        result = asyncio.run(result)
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
