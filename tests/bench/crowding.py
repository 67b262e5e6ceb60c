"""A cluster with more servers than a machine can run: kwok plays the kubelet of nodes that don't exist, for the row `scale`.

Everything else is real: API server, controller manager, scheduler, and the operator, as they are elsewhere; but the controllers
and the scheduler may ask as often as they like, because by default 20 pods in a second are all that they make. The API server
keeps an audit log of what the operator asks, which `auditing` reads.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_cluster.kwok import provide_kwok
from local_cluster.layout import NODE_STATE
from local_cluster.progress import step
from local_stack.stack import Stack, StackError, started
from tests.bench.auditing import Asked, count
from tests.bench.building import BUILT
from tests.bench.probing import run_probe
from tests.bench.running import CLUSTERS, NAMESPACE

_NODES = 10
_FAKE = "kwok.x-k8s.io/node"
"""Label, annotation and taint of the nodes that don't exist."""
_POLICY = Path(__file__).with_name("audit.yaml")
_AUDIT = "audit.log"
"""In the cluster's state directory, which goes with the cluster."""
_UNBRAKED = ("--kube-api-qps=1000", "--kube-api-burst=2000")
_READY_SECONDS = 60
_LAST_CHARACTERS = 2000
_END_SECONDS = 30.0


@dataclass(frozen=True)
class Crowd:
    """The cluster, for as long as it runs."""

    stack: Stack
    audit: Path
    """The API server's audit log."""

    def inside(self, row: str, *, seconds: float, **arguments: Any) -> Any:
        """What the probe of a row returns, in a process of its own inside the node; see `Lab.inside`.

        Raises:
            ProbeError: it failed, or took longer than `seconds`.
        """
        return run_probe(row, arguments, seconds=seconds, enter=self.stack.cluster.nsenter([]))

    @property
    def audited(self) -> int:
        """Where the audit log ends now, in bytes."""
        return self.audit.stat().st_size

    def asked(self, *, since: int) -> Asked:
        """What the operator has asked since the audit log ended there."""
        with self.audit.open("rb") as log:
            log.seek(since)
            return count(line for line in log if line.endswith(b"\n"))


def server(name: str, *, instances: int) -> dict[str, Any]:
    """An MCPServer whose instances are put on the nodes that don't exist."""
    tolerations = [{"key": _FAKE, "operator": "Exists"}]
    return {
        "apiVersion": "mcp-operator.dev/v1alpha1",
        "kind": "MCPServer",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "image": "registry.example/weather:1.0",
            "replicas": instances,
            "podTemplate": {"spec": {"nodeSelector": {_FAKE: "fake"}, "tolerations": tolerations}},
            # kube-proxy leaves such a Service to somebody else: ten thousand addresses that lead nowhere aren't what is measured.
            "metadata": {"labels": {"service.kubernetes.io/service-proxy-name": "nobody"}},
        },
    }


@contextmanager
def crowded() -> Iterator[Crowd]:
    """A fresh cluster with the operator and the nodes in it, while the body runs.

    Raises:
        StackError, ClusterError, BuildError: it can't start.
    """
    kwok = provide_kwok()
    BUILT.mkdir(parents=True, exist_ok=True)
    said = BUILT / "kwok.log"
    flags = {
        "kube-apiserver": (
            f"--audit-policy-file={_POLICY}",
            f"--audit-log-path={NODE_STATE / _AUDIT}",
            "--audit-log-maxsize=100000",  # MB: not in pieces
        ),
        "kube-controller-manager": _UNBRAKED,
        "kube-scheduler": _UNBRAKED,
    }
    with started(name="crowd", directory=CLUSTERS, port=0, flags=flags) as stack:
        stack.kubectl("create", "namespace", NAMESPACE)
        with said.open("wb") as log:
            playing = subprocess.Popen(stack.cluster.nsenter(_kwok(kwok)), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            with step(f"nodes that don't exist, {_NODES} of them"):
                _make_nodes(stack, said)
            yield Crowd(stack, stack.cluster.state / _AUDIT)
        finally:
            stack.cluster.stop()  # which ends kwok, too
            playing.wait(_END_SECONDS)


def _make_nodes(stack: Stack, said: Path) -> None:
    nodes = {"apiVersion": "v1", "kind": "List", "items": [_node(number) for number in range(_NODES)]}
    stack.kubectl("create", "--filename=-", input=json.dumps(nodes))
    try:
        stack.kubectl("wait", "--for=condition=Ready", "nodes", f"--selector={_FAKE}", f"--timeout={_READY_SECONDS}s")
    except StackError as error:
        raise StackError(f"{error}\nkwok's last lines:\n{said.read_text(errors='replace')[-_LAST_CHARACTERS:]}") from None


def _kwok(folder: Path) -> list[str]:
    return [
        str(folder / "kwok"),
        f"--config={folder / 'stages.yaml'}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={_FAKE}=fake",
        "--node-lease-duration-seconds=40",
        "--cidr=10.32.0.1/11",
    ]


def _node(number: int) -> dict[str, Any]:
    marked = {_FAKE: "fake"}
    metadata = {"name": f"fake-{number}", "labels": marked, "annotations": marked}
    taints = [{"key": _FAKE, "value": "fake", "effect": "NoSchedule"}]
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {"taints": taints}}
