"""What the operator keeps of the objects that it follows."""

import json
from typing import Any

from mcp_operator.cluster.reflecting import pod_in_brief, shared, with_managers_of_spec
from tests.builders import annotated, having, mcpserver, pod, scheduled, written_by


def test_of_a_server_s_managed_fields_it_keeps_who_wrote_which_field_of_the_spec() -> None:
    deep = {
        "manager": "helm",
        "operation": "Update",
        "fieldsV1": {"f:spec": {"f:env": {'k:{"name":"A"}': {"f:value": {}}}}, "f:metadata": {}},
    }
    own = {"manager": "mcp-operator", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {"f:phase": {}}}}
    labels = {"manager": "kubectl-label", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {}}}}
    body = mcpserver("weather", having("metadata.managedFields", [deep, own, labels]), written_by("kubectl", "replicas"))

    kept = with_managers_of_spec(body)["metadata"]["managedFields"]

    assert kept == [
        {"manager": "helm", "operation": "Update", "fieldsV1": {"f:spec": {"f:env": {}}}},
        {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
    ]


def test_it_keeps_no_copy_of_the_last_applied_manifest() -> None:
    body = mcpserver("weather", annotated({"kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "search"}))

    assert with_managers_of_spec(body)["metadata"]["annotations"] == {"team": "search"}


def test_of_a_pod_it_keeps_neither_volumes_nor_what_its_containers_are_told() -> None:
    container = {
        "name": "mcp",
        "image": "registry.example/weather:1.0",
        "command": ["serve"],
        "env": [{"name": "API_KEY", "value": "secret"}],
        "resources": {"limits": {"cpu": "1"}},
        "readinessProbe": {"tcpSocket": {"port": 8080}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    spec = {
        "containers": [container],
        "initContainers": [{"name": "prepare", "restartPolicy": "Always", "env": []}],
        "volumes": [{"name": "data", "emptyDir": {}}],
        "tolerations": [{"operator": "Exists"}],
        "terminationGracePeriodSeconds": 60,
    }
    body = pod(
        "weather-7d4b9-x2x7q",
        having("spec", spec),
        scheduled("node-1"),
        having("metadata.managedFields", [{"manager": "kubelet"}]),
    )
    before = {field: body[field] for field in ("status", "metadata")}

    kept = pod_in_brief(body)

    assert kept["spec"] == {
        "containers": [
            {
                "name": "mcp",
                "image": "registry.example/weather:1.0",
                "resources": {"limits": {"cpu": "1"}},
                "readinessProbe": {"tcpSocket": {"port": 8080}},
            }
        ],
        "initContainers": [{"name": "prepare", "restartPolicy": "Always"}],
        "nodeName": "node-1",
        "terminationGracePeriodSeconds": 60,
    }
    assert kept["status"] == before["status"]
    assert kept["metadata"]["uid"] == before["metadata"]["uid"]
    assert "managedFields" not in kept["metadata"]


def test_what_two_objects_have_in_common_is_held_once() -> None:
    text = json.dumps(pod("weather-7d4b9-x2x7q", scheduled("node-1"), annotated({"note": "long " * 20})))

    first, second = (shared(json.loads(text)) for _ in range(2))

    assert first == second == json.loads(text)
    assert first["spec"]["nodeName"] is second["spec"]["nodeName"]
    assert {id(key) for key in first["metadata"]} == {id(key) for key in second["metadata"]}
    assert first["metadata"]["annotations"]["note"] is not second["metadata"]["annotations"]["note"]


def test_an_object_may_be_nested_deeper_than_python_calls() -> None:
    deep: Any = "bottom"
    for _ in range(900):
        deep = {"level": [deep]}
    assert shared({"spec": deep})["spec"] is not None
