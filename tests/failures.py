"""Servers that can't run, each for a reason of its own, and the cause that is to be told of each.

The recorder acts them one by one and keeps what the API server then holds; the tests on a real cluster act them side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

Json: TypeAlias = Mapping[str, Any]

HASTY: Mapping[str, list[str]] = {
    "kubelet": ["--volume-stats-agg-period=2s"],
    "kube-controller-manager": ["--node-monitor-grace-period=12s", "--node-monitor-period=1s"],
}
"""Of a cluster in which an eviction and the loss of a node take seconds, not minutes."""
PATIENT: Mapping[str, list[str]] = {**HASTY, "kube-controller-manager": ["--node-monitor-grace-period=30s"]}
"""The same for a cluster that much happens on: a kubelet that has no time for its lease twice in a row is no loss yet."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A server that can't run, and what is to be told of it."""

    reason: str
    spec: Json
    """Of the MCPServer; the image is the sample server's where it names none."""
    words: str
    """Part of the cause's message."""
    container: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    last_line: str | None = None
    """Part of one of the last lines of the crashed container."""
    count: int | None = 1
    """Instances that have it; None: that depends on when one looks."""
    fails: bool | None = None
    """Whether the server has failed with it, as soon as it is told or a little later; None: that isn't waited for."""
    place: str = "open"
    """Which of `PLACES` it stands in."""
    spares: tuple[str, ...] = field(default=())
    """Reasons of other causes that it has beside this one."""


def python(program: str) -> Json:
    """A container that runs this instead of the sample server."""
    return {"command": ["/usr/bin/python3", "-c", program]}


def main(**container: Any) -> Json:
    """A podTemplate that changes the server's container."""
    return {"podTemplate": {"spec": {"containers": [{"name": "mcp", **container}]}}}


def listening(port: int = 8080, first: str = "") -> Json:
    """A container that does something and then accepts connections."""
    return python(
        f"import socket, time\n{first}\nserver = socket.create_server(('', {port}))\nwhile True: server.accept()[0].close()"
    )


_WRITES_MUCH = "open('/data/forecasts', 'wb').write(bytes(16 * 2**20))"
_FAILS = {"tcpSocket": {"port": 81}, "periodSeconds": 1}
"""A probe that no server of this module passes."""
SELDOM = {"startupProbe": {"periodSeconds": 5}}
"""Over the default startup probe, so that a slow start doesn't use up the 25 warnings that kubelet tells of a pod in a row."""


def alone_on_its_node(server: str) -> Json:
    """A podTemplate that lets no two instances of a server share a node."""
    labels = {"alone": server}
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    return {"podTemplate": {"metadata": {"labels": labels}, "spec": {"affinity": affinity}}}


def _killed_soon(**probe: Any) -> Json:
    """A server whose container is ended as soon as a probe has failed often enough."""
    return {"podTemplate": {"spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "mcp", **probe}]}}}


def _mounting(volume: Json) -> Json:
    mounts = [{"name": "data", "mountPath": "/data"}]
    return {
        "podTemplate": {
            "spec": {"volumes": [{"name": "data", **volume}], "containers": [{"name": "mcp", "volumeMounts": mounts}]}
        }
    }


FAILURES: Mapping[str, Failure] = {
    "image-missing": Failure(
        reason="ImagePullBackOff",
        spec={"image": "registry.invalid/nobody/has:this"},
        words="image registry.invalid/nobody/has:this can't be pulled",
        container="mcp",
        fails=True,
    ),
    "image-name": Failure(
        reason="InvalidImageName", spec=main(image="Not Valid"), words="invalid reference format", container="mcp", fails=True
    ),
    "image-never": Failure(
        reason="ErrImageNeverPull",
        spec={"image": "localhost/nobody/has:this", "imagePullPolicy": "Never"},
        words="is not present with pull policy of Never",
        container="mcp",
        fails=True,
    ),
    "exit-code": Failure(
        reason="CrashLoopBackOff",
        spec=python("print('no forecast today'); raise SystemExit(3)"),
        words="container mcp exited with code 3",
        container="mcp",
        exit_code=3,
        last_line="no forecast today",
    ),
    "signal": Failure(
        reason="CrashLoopBackOff",
        spec=python("import ctypes; print('reading nothing', flush=True); ctypes.string_at(0)"),
        words="container mcp exited with code 139 (SIGSEGV)",
        container="mcp",
        exit_code=139,
        signal=11,
        last_line="reading nothing",
    ),
    "out-of-memory": Failure(
        reason="OOMKilled",
        spec={
            "resources": {"limits": {"memory": "64Mi"}},
            **python("print('loading', flush=True); data = bytearray(300 * 2**20); data[:] = b'x' * len(data)"),
        },
        words="more memory than its limit",
        container="mcp",
        exit_code=137,
        signal=9,
        last_line="loading",
    ),
    "no-configmap": Failure(
        reason="CreateContainerConfigError",
        spec={"envFrom": [{"configMapRef": {"name": "settings"}}]},
        words='configmap "settings" not found',
        container="mcp",
        fails=True,
    ),
    "no-secret": Failure(
        reason="CreateContainerConfigError",
        spec={"envFrom": [{"secretRef": {"name": "token"}}]},
        words='secret "token" not found',
        container="mcp",
        fails=True,
    ),
    "no-key": Failure(
        reason="CreateContainerConfigError",
        spec={"env": [{"name": "CITY", "valueFrom": {"configMapKeyRef": {"name": "kube-root-ca.crt", "key": "city"}}}]},
        words="couldn't find key city in ConfigMap",
        container="mcp",
        fails=True,
    ),
    "no-binary": Failure(
        reason="RunContainerError",
        spec={"command": ["/no/such/program"]},
        words='exec: "/no/such/program"',
        container="mcp",
        exit_code=128,
    ),
    "no-cpu": Failure(
        reason="Unschedulable", spec={"resources": {"requests": {"cpu": "100"}}}, words="Insufficient cpu", fails=False
    ),
    "no-node": Failure(
        reason="Unschedulable",
        spec={"podTemplate": {"spec": {"nodeSelector": {"pool": "tpu"}}}},
        words="didn't match Pod's node affinity/selector",
        fails=False,
    ),
    "tainted": Failure(
        reason="Unschedulable",
        spec={"podTemplate": {"spec": {"nodeSelector": {"pool": "gpu"}}}},
        words="untolerated taint",
        fails=False,
    ),
    "no-volume": Failure(
        reason="FailedMount", spec=_mounting({"configMap": {"name": "models"}}), words='configmap "models" not found', fails=True
    ),
    "unready": Failure(
        reason="ReadinessProbeFailed",
        spec={**main(**SELDOM, readinessProbe={**_FAILS, "failureThreshold": 2}), **listening()},
        words="container mcp isn't ready: Readiness probe failed: dial tcp",
        container="mcp",
        fails=False,
    ),
    "unlively": Failure(
        reason="LivenessProbeFailed",
        spec={
            **_killed_soon(**SELDOM, livenessProbe={**_FAILS, "failureThreshold": 2}),
            **listening(first="print('up', flush=True)"),
        },
        words="container mcp was ended by kubelet: Liveness probe failed: dial tcp",
        container="mcp",
        exit_code=137,
        signal=9,
        last_line="up",
    ),
    "unstarted": Failure(
        reason="StartupProbeFailed",
        spec={
            **_killed_soon(startupProbe={**_FAILS, "failureThreshold": 3}),
            **listening(first="print('up', flush=True)"),
        },
        words="container mcp was ended by kubelet: Startup probe failed: dial tcp",
        container="mcp",
        exit_code=137,
        signal=9,
        last_line="up",
    ),
    "init": Failure(
        reason="CrashLoopBackOff",
        spec={
            "podTemplate": {
                "spec": {"initContainers": [{"name": "fetch", **python("print('nothing to fetch'); raise SystemExit(4)")}]}
            }
        },
        words="init container fetch exited with code 4",
        container="fetch",
        exit_code=4,
        last_line="nothing to fetch",
    ),
    "evicted": Failure(
        reason="Evicted",
        spec={
            **_mounting({"emptyDir": {"sizeLimit": "4Mi"}}),
            **listening(first=f"import threading; threading.Timer(15, lambda: {_WRITES_MUCH}).start()"),
        },
        words='Usage of EmptyDir volume "data" exceeds the limit "4Mi"',
        count=None,
    ),
    "as-root": Failure(
        reason="CreateContainerConfigError",
        spec={"image": "localhost/pause:1"},
        words="podTemplate: {spec: {securityContext: {runAsUser: 1000}}}",
        container="mcp",
        fails=True,
    ),
    "low-port": Failure(
        reason="CrashLoopBackOff",
        spec={"port": 80, **listening(80)},
        words="net.ipv4.ip_unprivileged_port_start",
        container="mcp",
        exit_code=1,
        last_line="PermissionError: [Errno 13] Permission denied",
    ),
    "no-quota": Failure(reason="FailedCreate", spec={}, words="exceeded quota: small", fails=True, place="quota"),
    "over-limit": Failure(
        reason="FailedCreate",
        spec={"resources": {"limits": {"memory": "128Mi"}}},
        words="maximum memory usage per Container is 64Mi, but limit is 128Mi",
        fails=True,
        place="limits",
    ),
    "not-admitted": Failure(
        reason="FailedCreate", spec={}, words="denied request: every server needs an owner", fails=True, place="policy"
    ),
    "not-restricted": Failure(
        reason="FailedCreate",
        spec={"podTemplate": {"spec": {"containers": [{"name": "proxy", **python("import time; time.sleep(3600)")}]}}},
        words="podTemplate: {spec: {containers: [{name: proxy, securityContext: {allowPrivilegeEscalation: false, capabilities:",
        fails=True,
        place="restricted",
    ),
    "no-progress": Failure(
        reason="ProgressDeadlineExceeded",
        spec={"env": [{"name": "NEVER_READY", "value": "1"}], "rollout": {"progressDeadlineSeconds": 8}},
        words="no progress for 8 s: 0 of 1 instances are available",
        fails=True,
    ),
    "two-causes": Failure(
        reason="Unschedulable",
        spec={
            "replicas": 3,
            **alone_on_its_node("two-causes"),
            **python("raise SystemExit(9)"),
        },
        words="didn't match pod anti-affinity rules",
        count=2,
        spares=("CrashLoopBackOff",),
    ),
}


def lines_in(message: str) -> Any:
    """The spec of the podTemplate that a cause's message asks for; None if it asks for none."""
    _, found, lines = message.partition("podTemplate: {")
    depth = 1
    for end, character in enumerate(lines, start=1):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return yaml.safe_load("{" + lines[:end])["spec"]
    assert not found, f"the lines have no end: {message}"
    return None


def manifests(place: str, namespace: str) -> list[Json]:
    """What makes a namespace the place that failures stand in: its policies, and a node that nothing runs on."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"} if place == "restricted" else {}
    made: list[Json] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}]
    if place == "quota":
        made.append(_object("v1", "ResourceQuota", "small", namespace, spec={"hard": {"pods": "0"}}))
    if place == "limits":
        limits = [{"type": "Container", "max": {"memory": "64Mi"}}]
        made.append(_object("v1", "LimitRange", "small", namespace, spec={"limits": limits}))
    if place == "open":
        taint = {"key": "gpu", "value": "true", "effect": "NoSchedule"}
        made.append(_object("v1", "Node", "gpu", None, labels={"pool": "gpu"}, spec={"taints": [taint]}))
    if place == "policy":
        admission, name = "admissionregistration.k8s.io/v1", f"owner-{namespace}"
        pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
        rule = {"expression": "has(object.metadata.labels.owner)", "message": "every server needs an owner"}
        only = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
        policy = {"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [pods]}, "validations": [rule]}
        binding = {"policyName": name, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": only}}
        made.append(_object(admission, "ValidatingAdmissionPolicy", name, None, spec=policy))
        made.append(_object(admission, "ValidatingAdmissionPolicyBinding", name, None, spec=binding))
    return made


def spec_of(failure: Failure, image: str) -> Json:
    """The MCPServer's spec, with the image wherever a container of the failure has none."""
    spec = {"image": image, **failure.spec}
    template = dict(spec.get("podTemplate", {}).get("spec", {}))
    for field_ in ("containers", "initContainers"):
        if field_ in template:
            template[field_] = [each if each["name"] == "mcp" else {"image": image, **each} for each in template[field_]]
    return {**spec, "podTemplate": {**spec["podTemplate"], "spec": template}} if template else spec


def _object(api: str, kind: str, name: str, namespace: str | None, *, labels: Json | None = None, spec: Json) -> Json:
    metadata: dict[str, Any] = {"name": name, "labels": dict(labels or {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata | ({"namespace": namespace} if namespace else {}), "spec": spec}
