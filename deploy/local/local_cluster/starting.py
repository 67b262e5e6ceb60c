"""Starts a cluster in its state directory and waits until it can be used; called by `Cluster` under the directory's lock."""

import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_cluster.api import Api
from local_cluster.certifying import kubeconfig, write_secret
from local_cluster.configuring import ADDONS, configure
from local_cluster.errors import ClusterError
from local_cluster.inside import import_images, run_inside
from local_cluster.launching import end, launch, node_pid
from local_cluster.layout import NODE_NAME, NODE_STATE, Layout
from local_cluster.processes import ProcessId
from local_cluster.progress import step
from local_cluster.record import Options, Record
from local_cluster.status import read_status

READY_SECONDS = 90.0
"""How long one condition of a start may take; a loaded machine is slow, a broken one is told earlier by its restarts."""

POLL_SECONDS = 0.05

STEADY_SECONDS = 2.0
"""How long a component that had to be started again must have run to be believed."""

MANY_RESTARTS = 5
"""A component that ended this often during the start won't come up."""


def start(layout: Layout, options: Options, *, tools: Path, pause: Path) -> None:
    """Start the cluster, unless it runs; whatever fails, nothing is left running, and the logs stay.

    Raises:
        ClusterError: It runs with other options, a port is taken, or a component doesn't come up.
    """
    if running(layout):
        record = Record.read(layout.record)
        if record and record.options != options:
            raise ClusterError(f"Cluster {layout.name} runs already with other ports or flags: stop it first.")
        return
    clear(layout)
    with step(f"start cluster {layout.name}"), ExitStack() as failed:
        token = configure(layout, tools)["admin"]
        failed.callback(_end, layout)
        record = launch(layout, options)
        authority = layout.pki / "ca.crt"
        _Start(layout, record, Api(record.api_port, authority=authority, token=token)).await_ready(pause)
        write_secret(layout.kubeconfig, kubeconfig(port=record.api_port, authority=authority, token=token))
        failed.pop_all()


def running(layout: Layout) -> bool:
    """Whether the cluster was started completely and hasn't ended."""
    record = Record.read(layout.record)
    return record is not None and record.process.alive and layout.kubeconfig.exists()


def clear(layout: Layout) -> None:
    """End what runs and empty the state directory, which stays as the lock that the caller holds.

    Raises:
        ClusterError: The directory has something in it and isn't a cluster's; nothing was removed.
    """
    if any(layout.state.iterdir()) and not layout.mark.exists():
        raise ClusterError(f"{layout.state} is not a cluster's state directory: give another name or directory.")
    _end(layout)
    # What ran until now may have added to it. The mark goes last: whoever is interrupted can go on.
    for each in sorted(layout.state.iterdir(), key=layout.mark.__eq__):
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()


def _end(layout: Layout) -> None:
    end(layout, Record.read(layout.record))


@dataclass(frozen=True)
class _Start:
    """A node that was launched and isn't ready yet."""

    layout: Layout
    record: Record
    api: Api

    def await_ready(self, pause: Path) -> None:
        """Wait until a pod can be created and will run."""
        self._await(self._has_runtime, of="containerd")
        import_images(self.layout, pause)
        self._await(self._has_all_components, of="kube-apiserver")
        run_inside(self.layout, "kubectl", "create", "--validate=false", "-f", f"{NODE_STATE}/config/{ADDONS.name}")
        self._await(lambda: _is_ready(self.api.read(f"/api/v1/nodes/{NODE_NAME}")), of="kubelet")
        default = "/api/v1/namespaces/default/serviceaccounts/default"
        self._await(lambda: self.api.read(default) is not None, of="kube-controller-manager")
        # The API server asks the scheduler itself; nothing else shows that pods will be scheduled before there are any.
        scheduler = "/api/v1/componentstatuses/scheduler"
        self._await(lambda: _is_healthy(self.api.read(scheduler)), of="kube-scheduler")
        self._await(self._is_steady, of="kube-proxy")

    def _await(self, condition: Callable[[], bool], *, of: str) -> None:
        """Wait until `condition`, which component `of` brings about."""
        deadline = time.monotonic() + READY_SECONDS
        while not condition():
            if not self.record.process.alive:
                raise ClusterError(f"The node could not start; it said:\n{self.layout.log_tail('node')}")
            failing = [each.name for each in read_status(self.layout, self.record) if each.restarts >= MANY_RESTARTS]
            if failing or time.monotonic() > deadline:
                name = failing[0] if failing else of
                raise ClusterError(
                    f"Component {name} does not come up. The last lines of {self.layout.log(name)}:\n{self.layout.log_tail(name)}"
                )
            time.sleep(POLL_SECONDS)

    def _has_runtime(self) -> bool:
        pid = node_pid(self.record)
        return pid is not None and Path("/proc", str(pid), "root", "run/containerd/containerd.sock").exists()

    def _has_all_components(self) -> bool:
        """Whether every component runs; most of them are started when the API server is ready."""
        status = read_status(self.layout, self.record)
        return bool(status) and all(each.pid for each in status)

    def _is_steady(self) -> bool:
        """Whether every component runs, and whatever had to be started again has stayed."""
        restarted = [each.pid for each in read_status(self.layout, self.record) if each.pid and each.restarts]
        processes = [ProcessId.of(pid) for pid in restarted]
        return self._has_all_components() and all(each is not None and each.age > STEADY_SECONDS for each in processes)


def _is_ready(node: Any) -> bool:
    return node is not None and _holds("Ready", node["status"].get("conditions", ()))


def _is_healthy(component: Any) -> bool:
    return component is not None and _holds("Healthy", component.get("conditions", ()))


def _holds(condition: str, conditions: Iterable[Mapping[str, str]]) -> bool:
    return any(each["type"] == condition and each["status"] == "True" for each in conditions)
