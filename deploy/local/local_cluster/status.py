"""What runs in a node, as its supervisor reports it."""

import json
from dataclasses import dataclass

from local_cluster.launching import node_pid
from local_cluster.layout import Layout
from local_cluster.processes import ProcessId, local_pid
from local_cluster.record import Record


@dataclass(frozen=True)
class ComponentStatus:
    """One component: `pid` as the machine counts it, None between two starts."""

    name: str
    pid: int | None
    restarts: int


def read_status(layout: Layout, record: Record) -> tuple[ComponentStatus, ...]:
    """The components in the order of their start; empty when the node has ended, or has started none yet."""
    node = node_pid(record)
    supervisor = ProcessId.of(node) if node else None
    if supervisor is None or not layout.components.exists():
        return ()
    # The supervisor reports process ids as it sees them, in its own namespace; its children have both.
    seen_here = {local_pid(pid): pid for pid in supervisor.children()}
    report = json.loads(layout.components.read_text())
    return tuple(
        ComponentStatus(name=name, pid=seen_here.get(state["pid"]), restarts=state["restarts"]) for name, state in report.items()
    )
