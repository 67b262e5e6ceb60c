"""A namespace on a real cluster in which one story happens: kubectl acts, watches see, and each change becomes a moment.

No operator runs. What it would do is done here at once: the Deployment that `workload` renders is applied whenever the server
is edited. So a table holds what Kubernetes does, at the speed at which Kubernetes does it.
"""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from mcp_operator.model.spec import MCPServer
from mcp_operator.rollout.observation import Observation
from mcp_operator.rollout.state import State
from mcp_operator.workload.rendering import deployment
from tests.recorder.tables import Json, Key, Replay, Table, patch, trimmed

_WATCHED = {
    "MCPServer": "apis/mcp-operator.dev/v1alpha1/namespaces/{}/mcpservers?watch=1",
    "Deployment": "apis/apps/v1/namespaces/{}/deployments?watch=1",
    "StatefulSet": "apis/apps/v1/namespaces/{}/statefulsets?watch=1",
    "ReplicaSet": "apis/apps/v1/namespaces/{}/replicasets?watch=1",
    "Pod": "api/v1/namespaces/{}/pods?watch=1",
    "Event": "api/v1/namespaces/{}/events?watch=1&fieldSelector=type%3DWarning",
}
_LONGEST_WAIT = 240.0


class Stage:
    """Where a story is acted and recorded.

    Attributes:
        sample: reference of the sample server's image; `sample_next`: of another version of it.
    """

    def __init__(self, kubectl: "Kubectl", namespace: str, *, sample: str, sample_next: str) -> None:
        self.sample, self.sample_next = sample, sample_next
        self._kubectl = kubectl
        self._namespace = namespace
        self._incoming: Queue[Json] = Queue(maxsize=10_000)
        self._moments: list[Json] = []
        self._replay = Replay(datetime.now(UTC))
        self._clock = time.monotonic()
        self._generation = 0

    @property
    def state(self) -> State | None:
        return self._replay.state

    # --- what a person does ---

    def apply(self, **spec: Any) -> None:
        """Create the server, or change it to this spec."""
        manifest = {
            "apiVersion": "mcp-operator.dev/v1alpha1",
            "kind": "MCPServer",
            "metadata": {"name": "weather"},
            "spec": {"image": self.sample, **spec},
        }
        self.run("apply", "--filename=-", stdin=json.dumps(manifest))
        self.reconcile()

    def observe(self, workload: Mapping[str, Any], **spec: Any) -> None:
        """Create a server that observes a workload called weather, and then somebody's workload of that name."""
        manifest = {
            "apiVersion": "mcp-operator.dev/v1alpha1",
            "kind": "MCPServer",
            "metadata": {"name": "weather"},
            "spec": {"workloadRef": {"kind": workload["kind"], "name": "weather"}, **spec},
        }
        self.run("apply", "--filename=-", stdin=json.dumps(manifest))
        self._watch(lambda state: state is not None, "server", within=10)
        self._take(applied={"server_generation": 1, "deployment_generation": None})
        self.run("apply", "--filename=-", stdin=json.dumps(workload))

    def edit(self, **spec: Any) -> None:
        """Change some fields of the server's spec; None takes one out."""
        self.run("patch", "mcpserver", "weather", "--type=merge", f"--patch={json.dumps({'spec': spec})}")
        self.reconcile()

    def reconcile(self) -> None:
        """What the operator does with a server or a child that was edited: it applies the Deployment."""
        server = json.loads(self.run("get", "mcpserver", "weather", "--output=json"))
        self._generation = server["metadata"]["generation"]
        self._watch(lambda state: state is not None and state.generation >= self._generation, "edit", within=10)
        child = deployment(MCPServer.parse(server))
        apply = ("apply", "--server-side", "--force-conflicts", "--field-manager=mcp-operator", "--output=json", "--filename=-")
        answer = json.loads(self.run(*apply, stdin=json.dumps(child)))
        applied: Mapping[str, int] = {
            "server_generation": self._generation,
            "deployment_generation": answer["metadata"]["generation"],
        }
        self._take(applied=dict(applied))

    def run(self, *args: str, stdin: str | None = None) -> str:
        """Any kubectl command in the story's namespace."""
        return self._kubectl("--namespace", self._namespace, *args, stdin=stdin)

    # --- what is seen ---

    def until(self, *statuses: str, then: Callable[[State], bool] = lambda state: True) -> None:
        """Watch until the server has one of these statuses, for its newest spec.

        Raises:
            TimeoutError: it didn't come to it; the message has what was told.
        """

        def reached(state: State | None) -> bool:
            seen = state is not None and (not statuses or str(state.status) in statuses) and then(state)
            return seen and state is not None and state.generation >= self._generation

        self._watch(reached, f"status {statuses}", within=_LONGEST_WAIT)

    def look(self, seconds: float) -> None:
        """Watch for a while, whatever happens."""
        end = time.monotonic() + seconds
        self._watch(lambda _: time.monotonic() >= end, "nothing", within=seconds + 5)

    def begin(self) -> None:
        """Start the table here: all that was seen so far becomes its first moment."""
        objects, applied = self._replay.objects, self._replay.applied
        self._moments.clear()
        self._clock, self._replay = time.monotonic(), Replay(datetime.now(UTC))
        self._take(seen=list(objects.values()), applied=applied)

    def table(self, story: str, version: str) -> Table:
        return Table(story=story, recorded=version, began=self._replay.began, moments=self._moments)

    def observation(self) -> tuple[Observation, Sequence[Json]]:
        """What is seen now, and the objects that it is made of."""
        return self._replay.observation(datetime.now(UTC)), [each for _, each in sorted(self._replay.objects.items())]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the namespace for as long as the context lasts."""
        watches = [self._kubectl.watch(path.format(self._namespace)) for path in _WATCHED.values()]
        readers = [
            threading.Thread(target=self._read, args=(kind, watch), daemon=True)
            for kind, watch in zip(_WATCHED, watches, strict=True)
        ]
        for reader in readers:
            reader.start()
        try:
            yield
        finally:
            for watch in watches:
                watch.terminate()
            for watch, reader in zip(watches, readers, strict=True):
                watch.wait(timeout=10)
                reader.join(timeout=10)

    def _read(self, kind: str, watch: "subprocess.Popen[str]") -> None:
        assert watch.stdout is not None
        for line in watch.stdout:
            change = json.loads(line)
            if change["type"] in ("ADDED", "MODIFIED", "DELETED"):
                self._incoming.put({"type": change["type"], "object": {**change["object"], "kind": kind}})

    def _watch(self, reached: Callable[[State | None], bool], what: str, *, within: float) -> None:
        deadline = time.monotonic() + within
        while not reached(self.state):
            if time.monotonic() > deadline:
                told = [line for moment in self._moments for line in moment.get("told", ())]
                raise TimeoutError(f"no {what} within {within} s; told: {told[-5:]}")
            self._next(timeout=min(1.0, max(deadline - time.monotonic(), 0.01)))

    def _next(self, *, timeout: float) -> None:
        """Take the next change, or the moment at which time alone changes something, whichever is first."""
        due = self.state.due if self.state else None
        if due is not None:
            timeout = min(timeout, max((due - datetime.now(UTC)).total_seconds(), 0.0))
        try:
            change = self._incoming.get(timeout=timeout) if timeout else self._incoming.get_nowait()
        except Empty:
            if due is not None and datetime.now(UTC) >= due:
                self._take()
            return
        target = trimmed(change["object"])
        key: Key = (target["kind"], target["name"])
        if change["type"] == "DELETED":
            self._take(gone=["/".join(key)])
            return
        known = self._replay.objects.get(key)
        changes = patch(known, target) if known else target
        if changes:
            self._take(seen=[{"kind": key[0], "name": key[1], **changes}])

    def _take(self, **changes: Any) -> None:
        moment: Json = {"at": round(time.monotonic() - self._clock, 3), **changes}
        if not self._replay.objects and not changes.get("seen"):
            return
        moment["told"] = self._replay.take(moment)
        self._moments.append(moment)


class Kubectl:
    """kubectl of one cluster."""

    def __init__(self, program: Path, kubeconfig: Path) -> None:
        self._argv = [str(program), f"--kubeconfig={kubeconfig}"]

    def __call__(self, *args: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            [*self._argv, *args], input=stdin, check=False, capture_output=True, text=True, timeout=_LONGEST_WAIT
        )
        if done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(args)} failed: {done.stderr.strip()}")
        return done.stdout

    def watch(self, path: str) -> "subprocess.Popen[str]":
        """A watch request whose answer comes as one JSON object a line."""
        return subprocess.Popen([*self._argv, "get", "--raw", f"/{path}"], stdout=subprocess.PIPE, text=True)
