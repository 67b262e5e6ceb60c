"""Runs rows one after the other, and has ready what they need: a cluster that starts with the first row that asks for it."""

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from local_stack.stack import NAMESPACE as SYSTEM
from local_stack.stack import Stack, started
from tests.bench.figures import Failure, Figure
from tests.bench.probing import run_probe

CLUSTERS = Path(__file__).parents[2] / ".local" / "clusters"
NAMESPACE = "bench"
"""Where servers are made that are measured."""


class Lab:
    """What rows work with. As a context manager it ends all that it has started."""

    def __init__(self) -> None:
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._opened.close()

    @cached_property
    def stack(self) -> Stack:
        """A fresh cluster with the operator in it, for all rows that want one.

        Raises:
            StackError, ClusterError, BuildError: it can't start.
        """
        stack = self._opened.enter_context(started(name="bench", directory=CLUSTERS, port=0))
        stack.kubectl("create", "namespace", NAMESPACE)
        return stack

    def apart(self, row: str, *, seconds: float, **arguments: Any) -> Any:
        """What the probe of a row returns, in a process of its own on this machine.

        Raises:
            ProbeError: it failed, or took longer than `seconds`.
        """
        return run_probe(row, arguments, seconds=seconds)

    def inside(self, row: str, *, seconds: float, **arguments: Any) -> Any:
        """What the probe of a row returns, in a process of its own inside the cluster's node.

        There Service and pod addresses work without a forwarder in between, and KUBECONFIG is the administrator's.

        Raises:
            ProbeError: it failed, or took longer than `seconds`.
        """
        return run_probe(row, arguments, seconds=seconds, enter=self.stack.cluster.nsenter([]))

    @contextmanager
    def server(self, name: str, **spec: Any) -> Iterator[None]:
        """An MCPServer of the sample's image while the body runs."""
        manifest = {
            "apiVersion": "mcp-operator.dev/v1alpha1",
            "kind": "MCPServer",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"image": self.stack.sample, **spec},
        }
        self.stack.kubectl("apply", "--filename=-", input=json.dumps(manifest))
        try:
            yield
        finally:
            self.stack.kubectl("delete", "mcpserver", name, f"--namespace={NAMESPACE}", "--wait=false")

    @cached_property
    def gateway_inside(self) -> str:
        """Base URL of the gateway inside the node: its Service's."""
        what = ("get", "service", "mcp-operator", f"--namespace={SYSTEM}", "--output=jsonpath={.spec.clusterIP}")
        return f"http://{self.stack.kubectl(*what)}:8080"

    @cached_property
    def operator_python(self) -> str:
        """The operator's version of Python."""
        said = self.stack.kubectl("exec", f"--namespace={SYSTEM}", "deployment/mcp-operator", "--", "python3", "--version")
        return said.split()[-1]


Measure: TypeAlias = Callable[[Lab], Sequence[Figure]]


def run(rows: Mapping[str, Measure], lab: Lab) -> tuple[list[Figure], list[Failure]]:
    """Measure the rows; one that fails doesn't keep the others from being measured."""
    figures: list[Figure] = []
    failures: list[Failure] = []
    for row, measure in rows.items():
        try:
            figures += measure(lab)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the other rows are measured
            failures.append(Failure(row, f"{type(error).__name__}: {error}"))
    return figures, failures


def machine() -> str:
    """What the figures were measured on, and when."""
    models = [line.partition(":")[2].strip() for line in _cpuinfo().splitlines() if line.startswith("model name")]
    kernel = platform.release().partition("-")[0]
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    return f"{os.cpu_count()} cores of {models[0] if models else platform.machine()}, Linux {kernel}, {day}"


def idle_share(seconds: float = 1.0) -> float:
    """The share of the machine's time that nobody used, over so many seconds: what else runs spoils every figure."""
    before = _times()
    time.sleep(seconds)
    idle, total = (after - then for after, then in zip(_times(), before, strict=True))
    return idle / total if total else 0.0


def _times() -> tuple[int, int]:
    """Clock ticks without work and in all, since the machine started (proc_stat(5): user nice system idle iowait ...)."""
    ticks = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def _cpuinfo() -> str:
    return Path("/proc/cpuinfo").read_text()
