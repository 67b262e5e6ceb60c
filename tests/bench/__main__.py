"""`python -m tests.bench [ROW ...]`: what `make bench` calls."""

import argparse
import os
import sys
from pathlib import Path

from tests.bench.reporting import show, table, write
from tests.bench.rows import ROWS
from tests.bench.running import Lab, idle_share, machine, run

RESULT = Path(__file__).parents[2] / ".local" / "bench.json"
_QUIET = 0.8
"""Below this share of idle time before the start the figures are not to be trusted."""


def main() -> int:
    """Measure the chosen rows, show and keep the figures; 1 if a row failed. A missed goal is shown and is no failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure what the operator costs.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which rows, all by default: {', '.join(ROWS)}")
    chosen = parser.parse_args().rows or list(ROWS)
    if unknown := sorted(set(chosen) - set(ROWS)):
        parser.error(f"no row is called {', '.join(unknown)}; there are {', '.join(ROWS)}")
    idle = idle_share()
    if idle < _QUIET:
        show(f"The machine is {1 - idle:.0%} busy with other things: times will be worse than they should, and differ.")
    try:
        with Lab() as lab:
            figures, failures = run({row: ROWS[row] for row in ROWS if row in chosen}, lab)
    except KeyboardInterrupt:
        return 130
    write(RESULT, figures, failures, machine=machine())
    show(f"\n{table(figures, failures)}\n\nMeasured on {machine()}; all of it in {os.path.relpath(RESULT)}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
