"""The MCPServer resource as the real API server holds it: what it refuses and in which words, what it explains, how it scales.

Whether the operator runs makes no difference here.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_operator.model.spec import MCPServer
from mcp_operator.workload.rendering import deployment, service
from tests.e2e.acting import User

BAD_MANIFESTS = yaml.safe_load(Path(__file__).with_name("bad_manifests.yaml").read_text())

FULL_SPEC: dict[str, Any] = {
    "image": "registry.example:5000/team/weather:1.0@sha256:" + "0" * 64,
    "imagePullPolicy": "IfNotPresent",
    "imagePullSecrets": [{"name": "registry"}],
    "transport": "sse",
    "port": 9000,
    "path": "/v1/sse",
    "command": ["serve"],
    "args": ["--verbose"],
    "env": [
        {"name": "LEVEL", "value": "info"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "weather", "key": "token", "optional": True}}},
        {"name": "REGION", "valueFrom": {"configMapKeyRef": {"name": "weather", "key": "region", "optional": True}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
    ],
    "envFrom": [{"prefix": "A_", "configMapRef": {"name": "weather", "optional": True}}, {"secretRef": {"name": "weather"}}],
    "replicas": 0,
    "suspend": True,
    "restartedAt": "2026-11-23T09:00:00+01:00",
    "resources": {"limits": {"cpu": 1, "memory": "256Mi"}, "requests": {"cpu": "0.5"}},
    "serviceAccountName": "weather",
    "metadata": {"labels": {"example.com/team": "sky"}, "annotations": {"example.com/contact": "sky@example.com"}},
    "service": {"type": "NodePort", "annotations": {"example.com/balancer": "internal"}, "appProtocol": "kubernetes.io/h2c"},
    "podTemplate": {
        "metadata": {"labels": {"zone": "a"}, "annotations": {"mesh": "off"}},
        "spec": {
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "volumes": [{"name": "cache", "emptyDir": {"sizeLimit": "1Gi"}}],
            "containers": [
                {
                    "name": "mcp",
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": "mcp"}},
                    "startupProbe": {"$patch": "delete"},
                    "lifecycle": {"preStop": {"httpGet": {"path": "/drain", "port": "mcp"}}},
                    "env": [{"name": "LEVEL", "$patch": "delete"}],
                    "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
                },
                {"name": "log", "image": "registry.example/log:1.0"},
            ],
        },
    },
    "rollout": {
        "strategy": "RollingUpdate",
        "maxSurge": "25%",
        "maxUnavailable": "100%",
        "minReadySeconds": 5,
        "progressDeadlineSeconds": 120,
        "drainSeconds": 10,
        "historyLimit": 20,
    },
    "metrics": {"intervalSeconds": 30, "prometheus": {"port": 9100, "path": "/figures"}},
    "logs": {"follow": "always", "tailLines": 0, "format": "json", "redact": False},
}


def manifest(name: str = "weather", **spec: Any) -> str:
    """An MCPServer with an image that nobody has, as JSON; a field that is None is left out."""
    full = {"image": "registry.example/weather:1.0", **spec}
    body = {"spec": {field: value for field, value in full.items() if value is not None}}
    return json.dumps({"apiVersion": "mcp-operator.dev/v1alpha1", "kind": "MCPServer", "metadata": {"name": name}, **body})


def apply(user: User, text: str, *options: str) -> None:
    user.run("apply", *options, "--filename=-", input=text)


def scale_of(user: User, name: str = "weather") -> Any:
    """The object that HorizontalPodAutoscalers and KEDA read."""
    path = f"/apis/mcp-operator.dev/v1alpha1/namespaces/{user.namespace}/mcpservers/{name}/scale"
    return json.loads(user.kubectl("get", f"--raw={path}").stdout)


@pytest.mark.parametrize("case", BAD_MANIFESTS, ids=lambda case: case["case"].replace(" ", "-"))
def test_a_bad_manifest_is_refused_in_words_that_name_the_field(visitor: User, case: Mapping[str, Any]) -> None:
    text = manifest(case.get("name", "weather"), **case.get("spec", {}))
    answer = visitor.kubectl(
        "--namespace", visitor.namespace, "apply", "--dry-run=server", "--filename=-", input=text, check=False
    )

    assert answer.returncode != 0
    assert [words for words in case["answer"] if words not in answer.stderr] == [], answer.stderr


def test_a_manifest_with_every_field_is_taken_as_it_is(user: User) -> None:
    apply(user, manifest(**FULL_SPEC))

    assert user.get("mcpserver", "weather")["spec"] == FULL_SPEC


FULL_OBSERVER: dict[str, Any] = {
    "workloadRef": {"kind": "StatefulSet", "name": "weather.v1"},
    "replicas": 1,
    "transport": "sse",
    "port": 9000,
    "path": "/v1/sse",
    "rollout": {"progressDeadlineSeconds": 30, "historyLimit": 3},
    "metrics": {"intervalSeconds": 30, "prometheus": {"port": 9100, "path": "/figures"}},
    "logs": {"follow": "always", "tailLines": 0, "format": "json", "redact": False},
}
OBSERVER: dict[str, Any] = {"image": None, "workloadRef": {"kind": "Deployment", "name": "weather"}}


def test_an_observer_takes_every_field_that_changes_no_pod(user: User) -> None:
    apply(user, manifest(image=None, **FULL_OBSERVER))

    spec = user.get("mcpserver", "weather")["spec"]
    assert (spec["rollout"]["progressDeadlineSeconds"], spec["rollout"]["historyLimit"]) == (30, 3)
    assert {field: spec[field] for field in FULL_OBSERVER if field != "rollout"} == {
        field: value for field, value in FULL_OBSERVER.items() if field != "rollout"
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [({}, {"image": None, **OBSERVER}), (OBSERVER, {"image": "weather:1", "workloadRef": None})],
    ids=["run, then observed", "observed, then run"],
)
def test_a_server_cannot_turn_from_one_that_is_run_into_one_that_is_observed(
    user: User, before: dict[str, Any], after: dict[str, Any]
) -> None:
    apply(user, manifest(**{"suspend": None if before else True, **before}))

    change = json.dumps({"spec": {"suspend": None, **after}})
    options = ("patch", "mcpserver", "weather", "--type=merge", f"--patch={change}")
    answer = user.kubectl("--namespace", user.namespace, *options, check=False)

    assert answer.returncode != 0
    assert "image and workloadRef can't take each other's place: delete the MCPServer and create another" in answer.stderr


def test_an_observer_may_name_another_workload_later(user: User) -> None:
    apply(user, manifest(**OBSERVER))

    user.patch_server("weather", {"workloadRef": {"kind": "StatefulSet", "name": "other"}})


def test_an_observer_is_not_scaled_the_workload_is(user: User) -> None:
    apply(user, manifest(**OBSERVER))

    answer = user.kubectl("--namespace", user.namespace, "scale", "mcpserver", "weather", "--replicas=3", check=False)

    assert answer.returncode != 0
    assert "leave it out and scale the workload itself: kubectl scale" in answer.stderr
    assert scale_of(user)["spec"]["replicas"] == 1


@pytest.mark.parametrize("spec", [{}, FULL_SPEC], ids=["only an image", "every field"])
def test_the_children_of_a_server_are_objects_that_kubernetes_takes(user: User, spec: dict[str, Any]) -> None:
    apply(user, manifest(**{"suspend": True, **spec}))
    server = MCPServer.parse(user.get("mcpserver", "weather"))

    for child in (deployment(server), service(server)):
        apply(user, json.dumps(child), "--server-side", "--field-manager=mcp-operator", "--force-conflicts", "--dry-run=server")


@pytest.mark.parametrize(
    "image",
    [
        "weather",
        "weather:1.0",
        "team/weather",
        "registry.example/team/sub/weather:v1.0-rc.1_2",
        "localhost:5000/weather",
        "Registry.Example.COM:5000/weather",
        "[2001:db8::1]:5000/weather:1.0",
        "weather@sha256:" + "a" * 64,
        "registry.example:5000/a__b/c-d---e.f:1@sha512:" + "a" * 128,
    ],
)
def test_any_image_reference_is_taken(visitor: User, image: str) -> None:
    apply(visitor, manifest(image=image), "--dry-run=server")


def test_kubectl_explain_tells_all_of_a_rollout(visitor: User) -> None:
    text = " ".join(visitor.run("explain", "mcpserver.spec.rollout").split())

    assert "How new instances take the place of old ones, and how long that may take." in text
    for told in (
        "strategy <string> enum: RollingUpdate, Recreate RollingUpdate replaces instances step by step",
        "such as 25%, rounded up. Default: 1.",
        "such as 25%, rounded down. Default: 0.",
        "minReadySeconds <integer> Seconds for which a new instance must have been ready",
        "progressDeadlineSeconds <integer> Seconds without progress",
        "Default: 600.",
        "drainSeconds <integer> Seconds for which an instance goes on serving",
    ):
        assert told in text


@pytest.mark.parametrize(
    "path",
    [
        "spec",
        "spec.env.valueFrom",
        "spec.envFrom",
        "spec.podTemplate",
        "spec.resources",
        "spec.rollout",
        "spec.service",
        "spec.workloadRef",
        "status",
        "status.causes",
        "status.conditions",
        "status.operation",
    ],
)
def test_kubectl_explain_leaves_no_field_unexplained(visitor: User, path: str) -> None:
    assert "<no description>" not in visitor.run("explain", f"mcpserver.{path}")


def test_kubectl_get_knows_the_short_name_and_the_category(user: User) -> None:
    apply(user, manifest(suspend=True))

    header, row = user.run("get", "mcps").splitlines()
    assert header.split() == ["NAME", "STATUS", "INSTANCES", "READY", "PROGRESS", "AGE"]
    assert row.startswith("weather")
    wide = user.run("get", "mcp", "--output=wide").splitlines()[0].split()
    assert wide == ["NAME", "STATUS", "INSTANCES", "READY", "PROGRESS", "AGE", "REASON", "ENDPOINT"]


def test_a_server_has_one_instance_unless_it_says_otherwise(user: User) -> None:
    apply(user, manifest())

    assert user.get("mcpserver", "weather")["spec"]["replicas"] == 1
    assert scale_of(user)["spec"]["replicas"] == 1


def test_kubectl_scale_scales_a_server(user: User) -> None:
    apply(user, manifest(suspend=True))

    user.scale("weather", 3)

    assert user.get("mcpserver", "weather")["spec"]["replicas"] == 3
    assert scale_of(user)["spec"]["replicas"] == 3


def test_a_manifest_without_replicas_keeps_what_the_scale_was_set_to(user: User) -> None:
    apply(user, manifest(suspend=True))
    user.scale("weather", 3)

    apply(user, manifest(suspend=True, port=9000))

    spec = user.get("mcpserver", "weather")["spec"]
    assert (spec["port"], spec["replicas"]) == (9000, 3)


def test_a_scale_beyond_the_bounds_is_refused_like_a_manifest(user: User) -> None:
    apply(user, manifest(suspend=True))

    answer = user.kubectl("--namespace", user.namespace, "scale", "mcpserver", "weather", "--replicas=1001", check=False)

    assert answer.returncode != 0
    assert "should be less than or equal to 1000" in answer.stderr


def test_a_manifest_cannot_set_the_status(user: User) -> None:
    forged = {**json.loads(manifest(suspend=True)), "status": {"phase": "running", "message": "forged"}}

    apply(user, json.dumps(forged))

    assert user.get("mcpserver", "weather").get("status", {}).get("message") != "forged"


def test_whoever_writes_the_status_cannot_change_the_spec(user: User) -> None:
    apply(user, manifest(suspend=True))
    before = user.get("mcpserver", "weather")

    patch = json.dumps({"spec": {"replicas": 7}, "status": {"endpoint": "http://elsewhere"}})
    user.run("patch", "mcpserver", "weather", "--subresource=status", "--type=merge", f"--patch={patch}")

    after = user.get("mcpserver", "weather")
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


def test_a_wish_without_effect_leaves_the_generation(user: User) -> None:
    apply(user, manifest(suspend=True))
    generation = user.get("mcpserver", "weather")["metadata"]["generation"]

    apply(user, manifest(suspend=True, port=8080))

    assert user.get("mcpserver", "weather")["metadata"]["generation"] == generation
