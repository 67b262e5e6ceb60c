"""What is measured: one module a row. Its function `measure` returns figures, its docstring says how they come about."""

from collections.abc import Mapping

from tests.bench.rows import appending, fanout, filtering, idle, logs, memory, returning, scale, stopped, trouble, watch
from tests.bench.running import Measure

ROWS: Mapping[str, Measure] = {
    "appending": appending.measure,
    "fanout": fanout.measure,
    "idle": idle.measure,
    "returning": returning.measure,
    "filtering": filtering.measure,
    "stopped": stopped.measure,
    "memory": memory.measure,
    "scale": scale.measure,
    "watch": watch.measure,
    "trouble": trouble.measure,
    "logs": logs.measure,
}
"""By the names that the command line takes, in the order in which they run: those that need no cluster before it starts."""
