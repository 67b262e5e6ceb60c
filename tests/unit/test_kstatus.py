"""The rules of kstatus and kubectl that the tests judge by: a table of what each says of which workload."""

from typing import Any

import pytest

from tests.kstatus import Kstatus, kstatus, rolled_out

COMPLETE = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
ROLLING = {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}
PAUSED = {"type": "Progressing", "status": "Unknown", "reason": "DeploymentPaused"}
TOO_LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
AVAILABLE = {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"}
CURRENT, IN_PROGRESS, FAILED = Kstatus.CURRENT, Kstatus.IN_PROGRESS, Kstatus.FAILED


def counts(total: int, updated: int, ready: int, available: int) -> dict[str, int]:
    return {"replicas": total, "updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": available}


def of_deployment(status: dict[str, int], *conditions: dict[str, str], observed: int = 2) -> dict[str, Any]:
    """A Deployment of two instances in its second generation."""
    return {
        "kind": "Deployment",
        "metadata": {"generation": 2},
        "spec": {"replicas": 2, "progressDeadlineSeconds": 600},
        "status": {"observedGeneration": observed, "conditions": [*conditions], **status},
    }


def of_stateful_set(ready: int, updated: int, *, total: int = 2, observed: int = 2, **strategy: Any) -> dict[str, Any]:
    """A StatefulSet of two instances in its second generation."""
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    return {
        "kind": "StatefulSet",
        "metadata": {"generation": 2},
        "spec": {"replicas": 2, "updateStrategy": strategy or rolling},
        "status": {"observedGeneration": observed, "replicas": total, "readyReplicas": ready, "updatedReplicas": updated},
    }


@pytest.mark.parametrize(
    ("workload", "by_kstatus", "by_kubectl"),
    [
        pytest.param(of_deployment(counts(2, 2, 2, 2), AVAILABLE, COMPLETE), CURRENT, True, id="done"),
        pytest.param(of_deployment(counts(2, 2, 2, 2), AVAILABLE, COMPLETE, observed=1), IN_PROGRESS, False, id="not observed"),
        pytest.param(of_deployment(counts(3, 1, 3, 3), AVAILABLE, ROLLING), IN_PROGRESS, False, id="half way"),
        pytest.param(of_deployment(counts(3, 2, 3, 3), AVAILABLE, ROLLING), IN_PROGRESS, False, id="an old one is left"),
        pytest.param(of_deployment(counts(2, 2, 1, 1), AVAILABLE, ROLLING), IN_PROGRESS, False, id="one is not available"),
        pytest.param(of_deployment(counts(2, 2, 2, 2), AVAILABLE, ROLLING), IN_PROGRESS, True, id="condition has yet to follow"),
        pytest.param(
            of_deployment(counts(3, 3, 3, 3), AVAILABLE, COMPLETE), IN_PROGRESS, True, id="scaled down, one still counts"
        ),
        pytest.param(of_deployment(counts(2, 2, 2, 2), AVAILABLE, PAUSED), IN_PROGRESS, True, id="done and paused"),
        pytest.param(of_deployment(counts(3, 1, 2, 2), AVAILABLE, TOO_LATE), FAILED, False, id="deadline passed"),
        pytest.param(of_stateful_set(2, 2), CURRENT, True, id="set done"),
        pytest.param(of_stateful_set(2, 2, observed=1), IN_PROGRESS, False, id="set not observed"),
        pytest.param(of_stateful_set(2, 1), IN_PROGRESS, False, id="set half way"),
        pytest.param(of_stateful_set(1, 2), IN_PROGRESS, False, id="set's last is not ready"),
        pytest.param(of_stateful_set(2, 2, total=3), IN_PROGRESS, True, id="set scaled down, one still counts"),
        pytest.param(
            of_stateful_set(2, 1, type="RollingUpdate", rollingUpdate={"partition": 1}),
            CURRENT,
            True,
            id="set up to its partition",
        ),
        pytest.param(of_stateful_set(0, 0, type="OnDelete"), CURRENT, False, id="set of OnDelete"),
    ],
)
def test_kstatus_and_kubectl_read_a_workload(workload: dict[str, Any], by_kstatus: Kstatus, by_kubectl: bool) -> None:
    assert (kstatus(workload), rolled_out(workload)) == (by_kstatus, by_kubectl)
