"""Causes as a table: what the API server held when something had gone wrong, and the causes that are told of it.

Each failure of tests/failures.py is acted on a real cluster; as soon as its cause shows, the objects are kept as one case in
tests/unit/rollout/causes/. A case is one evaluation, without a past.
"""

import os
import secrets
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from local_cluster import Cluster
from local_cluster.progress import step
from mcp_operator.rollout.evaluating import evaluate
from mcp_operator.rollout.observation import Observation
from mcp_operator.rollout.state import State
from tests.failures import FAILURES, Failure, manifests, spec_of
from tests.recorder.stage import Kubectl, Stage
from tests.recorder.tables import DIRECTORY, Json, Replay, load

CASES = DIRECTORY / "causes"
LOST_NODE = "lost-node"
"""The case whose node says nothing any more: no server's own failure."""


@dataclass
class Case:
    """Objects in, causes out."""

    case: str
    recorded: str
    """On which Kubernetes."""
    now: datetime
    applied: Json | None
    objects: Sequence[Json]
    status: str
    reason: str
    causes: Sequence[Json]

    @classmethod
    def read(cls, path: Path) -> "Case":
        raw = load(path)
        return cls(**{**raw, "now": datetime.fromisoformat(raw["now"])})

    def write(self, path: Path) -> None:
        raw = {**asdict(self), "now": self.now.isoformat()}
        path.write_text(yaml.safe_dump(raw, sort_keys=False, default_flow_style=None, width=130, allow_unicode=True))

    def observation(self) -> Observation:
        """What was observed at that moment."""
        replay = Replay(self.now)
        replay.objects = {(each["kind"], each["name"]): dict(each) for each in self.objects}
        replay.applied = self.applied
        return replay.observation(self.now)


def told(state: State) -> dict[str, Any]:
    """What a case says of a state."""
    return {
        "status": str(state.status),
        "reason": state.reason,
        "causes": [_cause(active.cause.to_json_object()) for active in state.causes],
    }


def record(names: Sequence[str], cluster: Cluster, kubectl: Kubectl, *, sample: str, version: str) -> list[str]:
    """Act failures and keep their cases; the names of those whose cause didn't show."""
    failures = []
    for name in names:
        failure = FAILURES.get(name)
        namespace = f"{name}-{secrets.token_hex(2)}"
        stage = Stage(kubectl, namespace, sample=sample, sample_next=sample)
        for manifest in manifests(failure.place if failure else "", namespace):
            kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=yaml.safe_dump(dict(manifest)))
        try:
            with step(f"case {name}"), stage.watching():
                if failure is None:
                    _lose_the_node(stage, cluster)
                else:
                    _fail(stage, failure)
                observed, objects = stage.observation()
        except (TimeoutError, RuntimeError) as error:
            failures.append(f"{name}: {error}")
            continue
        finally:
            kubectl("delete", "namespace", namespace, "--wait=false")
        applied = asdict(observed.applied) if observed.applied else None
        state = evaluate(observed, None)
        Case(name, version, observed.now, applied, objects, **told(state)).write(CASES / f"{name}.yaml")
    return failures


def _fail(stage: Stage, failure: Failure) -> None:
    def shows(state: State) -> bool:
        return any(
            active.cause.reason == failure.reason
            and active.cause.count >= (failure.count or 1)
            and failure.words in active.cause.message
            for active in state.causes
        ) and all(any(active.cause.reason == reason for active in state.causes) for reason in failure.spares)

    stage.apply(**spec_of(failure, stage.sample))
    stage.until(then=shows)


def _lose_the_node(stage: Stage, cluster: Cluster) -> None:
    stage.apply()
    stage.until("running")
    with standing_still(cluster, "kubelet"):
        stage.until(then=lambda state: bool(state.causes))


@contextmanager
def standing_still(cluster: Cluster, component: str) -> Iterator[None]:
    """A component stands still: to everybody else it is dead, and nothing starts it again."""
    pid = cluster.pid_of(component)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _cause(cause: Json) -> Json:
    told_of_it = ("reason", "message", "instance", "container", "revision", "exitCode", "signal", "count")
    return {field: cause[field] for field in told_of_it}
