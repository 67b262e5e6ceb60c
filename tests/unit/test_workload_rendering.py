"""From an MCPServer to its Deployment and Service: what people wrote, and what the operator adds or insists on."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.model.spec import InvalidSpecError, MCPServer
from mcp_operator.workload.naming import endpoint, match_labels, selector, selector_of
from mcp_operator.workload.rendering import deployment, service
from tests.builders import mcpserver, server_labels, uid_of


def server(name: str = "weather", **spec: Any) -> MCPServer:
    return MCPServer.parse(mcpserver(name, spec=spec))


def deployment_of(**spec: Any) -> dict[str, Any]:
    return deployment(server(**spec))


def pod_of(**spec: Any) -> dict[str, Any]:
    pod: dict[str, Any] = deployment_of(**spec)["spec"]["template"]["spec"]
    return pod


def container_of(**spec: Any) -> dict[str, Any]:
    container: dict[str, Any] = pod_of(**spec)["containers"][0]
    return container


def test_a_server_with_nothing_but_an_image() -> None:
    owner = {
        "apiVersion": "mcp-operator.dev/v1alpha1",
        "kind": "MCPServer",
        "name": "weather",
        "uid": uid_of("MCPServer", "weather"),
        "controller": True,
    }
    metadata = {
        "namespace": "default",
        "name": "weather",
        "labels": server_labels("weather"),
        "ownerReferences": [owner],
    }
    container = {
        "name": "mcp",
        "image": "weather:1",
        "ports": [{"name": "mcp", "containerPort": 8080, "protocol": "TCP"}],
        "startupProbe": {"tcpSocket": {"port": "mcp"}, "periodSeconds": 1, "failureThreshold": 300},
        "readinessProbe": {"tcpSocket": {"port": "mcp"}, "periodSeconds": 5, "failureThreshold": 3},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    pod = {
        "containers": [container],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": 30,
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
    }

    assert deployment_of(image="weather:1") == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": server_labels("weather")},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "minReadySeconds": 0,
            "progressDeadlineSeconds": 600,
            "template": {"metadata": {"labels": server_labels("weather")}, "spec": pod},
        },
    }
    assert service(server(image="weather:1")) == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": "ClusterIP",
            "selector": server_labels("weather"),
            "ports": [{"name": "mcp", "port": 8080, "targetPort": "mcp", "protocol": "TCP", "appProtocol": "http"}],
        },
    }


def test_what_is_written_as_in_a_container_is_copied_as_it_is() -> None:
    written = {
        "image": "weather:1",
        "imagePullPolicy": "Never",
        "command": ["serve"],
        "args": ["--verbose", ""],
        "env": [
            {"name": "EMPTY", "value": ""},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "weather", "key": "token", "optional": False}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        ],
        "envFrom": [{"prefix": "A_", "configMapRef": {"name": "weather"}}, {"secretRef": {"name": "weather", "optional": True}}],
        "resources": {"limits": {"cpu": 1, "memory": "256Mi"}, "requests": {"cpu": "100m"}},
    }

    container = container_of(**written)

    assert {field: container[field] for field in written} == written


def test_pull_secrets_and_service_account_are_the_pods() -> None:
    pod = pod_of(imagePullSecrets=[{"name": "registry"}], serviceAccountName="weather")

    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["serviceAccountName"] == "weather"
    assert "automountServiceAccountToken" not in pod


@pytest.mark.parametrize(
    ("spec", "replicas"),
    [({"replicas": 3}, 3), ({"replicas": 0}, 0), ({"replicas": 3, "suspend": True}, 0), ({"suspend": False}, 1)],
)
def test_a_suspended_server_has_no_instances(spec: dict[str, Any], replicas: int) -> None:
    assert deployment_of(**spec)["spec"]["replicas"] == replicas


def test_a_new_restart_time_is_a_new_pod_template() -> None:
    first, second = (deployment_of(restartedAt=f"2026-11-23T09:00:0{second}Z")["spec"]["template"] for second in (1, 2))

    assert first["metadata"]["annotations"] == {"mcp-operator.dev/restartedAt": "2026-11-23T09:00:01Z"}
    assert first != second


def test_how_a_rollout_goes_is_the_deployments() -> None:
    rollout = {"maxSurge": "25%", "maxUnavailable": 1, "minReadySeconds": 10, "progressDeadlineSeconds": 60}
    spec = deployment_of(rollout=rollout)["spec"]

    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}}
    assert (spec["minReadySeconds"], spec["progressDeadlineSeconds"]) == (10, 60)
    assert deployment_of(rollout={"strategy": "Recreate"})["spec"]["strategy"] == {"type": "Recreate"}


def test_an_instance_drains_before_it_stops_and_has_time_for_both() -> None:
    pod = pod_of(rollout={"drainSeconds": 20})

    assert pod["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": 20}}}
    assert pod["terminationGracePeriodSeconds"] == 50


def test_labels_and_annotations_reach_every_child() -> None:
    wished = server(
        metadata={"labels": {"team": "sky"}, "annotations": {"mesh": "on"}},
        service={"annotations": {"balancer": "internal"}, "type": "LoadBalancer", "appProtocol": "kubernetes.io/h2c"},
        podTemplate={"metadata": {"labels": {"zone": "a"}, "annotations": {"mesh": "off"}}},
    )
    one, other = deployment(wished), service(wished)
    pods = one["spec"]["template"]["metadata"]

    assert one["metadata"]["labels"] == other["metadata"]["labels"] == {"team": "sky", **server_labels("weather")}
    assert pods["labels"] == {"team": "sky", "zone": "a", **server_labels("weather")}
    assert one["metadata"]["annotations"] == {"mesh": "on"}
    assert other["metadata"]["annotations"] == {"mesh": "on", "balancer": "internal"}
    assert pods["annotations"] == {"mesh": "off"}
    assert (other["spec"]["type"], other["spec"]["ports"][0]["appProtocol"]) == ("LoadBalancer", "kubernetes.io/h2c")


def test_a_sidecar_stands_beside_the_server() -> None:
    containers = pod_of(podTemplate={"spec": {"containers": [{"name": "log", "image": "log:1"}]}})["containers"]

    assert [container["name"] for container in containers] == ["mcp", "log"]


@pytest.mark.parametrize(
    ("containers", "words"),
    [
        (
            [{"name": "mcp", "$patch": "delete"}],
            "spec.podTemplate.spec.containers: must keep the container mcp, which runs spec.image: change its fields",
        ),
        (
            [{"$patch": "replace"}, {"name": "other", "image": "x"}],
            "spec.podTemplate.spec.containers: must keep the container mcp, which runs spec.image: change its fields",
        ),
        (
            [{"name": "mcp", "ports": [{"containerPort": 8080, "name": "http"}]}],
            "spec.podTemplate.spec.containers[mcp].ports: must keep the port mcp, which the Service leads to",
        ),
        ([{"name": "mcp", "env": {}}], "spec.podTemplate.spec.containers[mcp].env: must be a list, not an object"),
    ],
)
def test_a_pod_template_without_the_server_is_refused(containers: list[Any], words: str) -> None:
    with pytest.raises(InvalidSpecError) as refused:
        deployment_of(podTemplate={"spec": {"containers": containers}})

    assert str(refused.value) == words


def test_where_a_server_is_reached() -> None:
    assert endpoint(server(port=9000, path="/v1/mcp")) == "http://weather.default.svc:9000/v1/mcp"
    assert service(server(port=9000))["spec"]["ports"][0]["port"] == 9000
    assert container_of(port=9000)["ports"][0]["containerPort"] == 9000


def test_how_instances_are_found() -> None:
    assert selector(server()) == (
        "app.kubernetes.io/name=mcp-server,app.kubernetes.io/instance=weather,app.kubernetes.io/managed-by=mcp-operator"
    )


own_labels = list(server_labels("weather"))
labels = st.dictionaries(st.sampled_from([*own_labels, "team", "zone"]), st.sampled_from(["a", "b", ""]))


@given(everywhere=labels, pods=labels)
def test_the_selector_and_its_labels_always_win(everywhere: dict[str, str], pods: dict[str, str]) -> None:
    wished = server(metadata={"labels": everywhere}, podTemplate={"metadata": {"labels": pods}})
    one, other = deployment(wished), service(wished)
    own = match_labels(wished).items()

    assert one["spec"]["selector"]["matchLabels"] == other["spec"]["selector"] == server_labels("weather")
    assert own <= one["metadata"]["labels"].items()
    assert own <= other["metadata"]["labels"].items()
    assert own <= one["spec"]["template"]["metadata"]["labels"].items()
    assert {**everywhere, **pods, **dict(own)} == one["spec"]["template"]["metadata"]["labels"]


@given(st.integers(0, 5), labels, st.booleans())
def test_the_same_server_always_gives_the_same_bytes(replicas: int, annotations: dict[str, str], suspend: bool) -> None:
    spec = {"replicas": replicas, "suspend": suspend, "metadata": {"annotations": annotations}}

    assert json.dumps(deployment_of(**spec)) == json.dumps(deployment_of(**json.loads(json.dumps(spec))))


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        (None, ""),
        ({}, ""),
        ({"matchLabels": {"app": "maps", "tier": "web"}}, "app=maps,tier=web"),
        (
            {
                "matchLabels": {"app": "maps"},
                "matchExpressions": [
                    {"key": "tier", "operator": "In", "values": ["web", "api"]},
                    {"key": "zone", "operator": "NotIn", "values": ["b"]},
                    {"key": "release", "operator": "Exists"},
                    {"key": "canary", "operator": "DoesNotExist"},
                ],
            },
            "app=maps,tier in (web,api),zone notin (b),release,!canary",
        ),
    ],
)
def test_the_selector_of_a_workload_is_written_as_kubectl_takes_it(chosen: dict[str, object] | None, text: str) -> None:
    assert selector_of(None if chosen is None else {"spec": {"selector": chosen}}) == text
