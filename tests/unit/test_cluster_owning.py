"""Whose an object is, and whether someone else has changed what is ours."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mcp_operator.cluster.owning import Drift, Standing, drift, in_force, owned_fields, standing
from tests.builders import Modifier, at, deleting, deployment, having, mcpserver, owned_by, uid

SERVER = mcpserver()
NAMESAKE = mcpserver("weather", uid("an-earlier-one"))
NO_OWNER = having("metadata.ownerReferences", [])
NO_LABELS = having("metadata.labels", {"app": "weather"})


@pytest.mark.parametrize(
    ("modifiers", "expected"),
    [
        pytest.param([], Standing.OURS, id="owned by the server"),
        pytest.param([NO_LABELS], Standing.OURS, id="owned by the server, its labels taken away"),
        pytest.param([NO_OWNER], Standing.OURS, id="orphaned, with our labels: adopted"),
        pytest.param([deleting(at(1))], Standing.GOING, id="ours, on its way out"),
        pytest.param([owned_by(NAMESAKE)], Standing.GOING, id="owned by a deleted server of the same name"),
        pytest.param([owned_by(NAMESAKE), deleting(at(1))], Standing.GOING, id="the same, on its way out"),
        pytest.param([NO_OWNER, NO_LABELS], Standing.FOREIGN, id="someone's of the same name"),
        pytest.param([NO_OWNER, NO_LABELS, deleting(at(1))], Standing.FOREIGN, id="the same, on its way out"),
        pytest.param([owned_by(mcpserver("other"))], Standing.FOREIGN, id="owned by another server"),
        pytest.param([owned_by({**NAMESAKE, "kind": "Rollout"})], Standing.FOREIGN, id="owned by another kind of the same name"),
        pytest.param(
            [owned_by({**NAMESAKE, "apiVersion": "other.example/v1"})],
            Standing.FOREIGN,
            id="owned by the same kind of another group",
        ),
        pytest.param(
            [owned_by({**NAMESAKE, "apiVersion": "mcp-operator.dev/v1"})],
            Standing.GOING,
            id="owned by a namesake in a later version",
        ),
    ],
)
def test_whose_an_object_is(modifiers: list[Modifier], expected: Standing) -> None:
    assert standing(deployment("weather", *modifiers), SERVER) is expected


def managed(**fields: dict[str, Any]) -> Modifier:
    """Field sets by their managers; our own name is written `mcp_operator`."""
    entries = [
        {
            "manager": manager.replace("_", "-"),
            "operation": "Apply" if manager == "mcp_operator" else "Update",
            "fieldsV1": {"f:spec": owned},
        }
        for manager, owned in fields.items()
    ]
    return having("metadata.managedFields", entries)


IMAGE: dict[str, Any] = {"f:template": {"f:spec": {"f:containers": {'k:{"name":"mcp"}': {".": {}, "f:image": {}}}}}}
APPLIED = owned_fields(deployment("weather", managed(mcp_operator={"f:replicas": {}, **IMAGE})))


def test_nothing_is_drift_while_we_own_what_we_applied() -> None:
    others = managed(mcp_operator={"f:replicas": {}, **IMAGE}, kubectl={"f:paused": {}})
    assert drift(deployment("weather", others), APPLIED) is None


@pytest.mark.parametrize(
    ("owners", "expected", "text"),
    [
        pytest.param(
            managed(mcp_operator=IMAGE, kubectl={"f:replicas": {}}),
            Drift(("spec.replicas",), ("kubectl",)),
            "spec.replicas changed by kubectl",
            id="scaled by hand",
        ),
        pytest.param(
            managed(mcp_operator={"f:replicas": {}}, kubectl=IMAGE),
            Drift(('spec.template.spec.containers[{"name":"mcp"}].image',), ("kubectl",)),
            'spec.template.spec.containers[{"name":"mcp"}].image changed by kubectl',
            id="another image",
        ),
        pytest.param(
            managed(mcp_operator=IMAGE), Drift(("spec.replicas",), ()), "spec.replicas changed", id="a field was taken away"
        ),
        pytest.param(
            managed(keda={"f:replicas": {}}, kubectl=IMAGE),
            Drift(("spec.replicas", 'spec.template.spec.containers[{"name":"mcp"}].image'), ("keda", "kubectl")),
            'spec.replicas, spec.template.spec.containers[{"name":"mcp"}].image changed by keda, kubectl',
            id="all of it",
        ),
    ],
)
def test_drift_names_the_fields_and_who_changed_them(owners: Modifier, expected: Drift, text: str) -> None:
    found = drift(deployment("weather", owners), APPLIED)
    assert found == expected
    assert str(found) == text


LABELS = {"app.kubernetes.io/name": "mcp-server"}
PROBE = {"tcpSocket": {"port": "mcp"}, "failureThreshold": 3}
PORT = {"name": "mcp", "containerPort": 8080}
CONTAINER = {"name": "mcp", "image": "weather:1.0", "ports": [PORT], "readinessProbe": PROBE, "args": ["--port", "8080"]}
MANIFEST: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"namespace": "default", "name": "weather", "labels": LABELS},
    "spec": {"replicas": 2, "minReadySeconds": 0, "template": {"spec": {"containers": [CONTAINER]}}},
}
OWNED = {
    "f:metadata": {"f:labels": {"f:app.kubernetes.io/name": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:minReadySeconds": {},
        "f:template": {
            "f:spec": {
                "f:containers": {
                    'k:{"name":"mcp"}': {
                        ".": {},
                        "f:name": {},
                        "f:image": {},
                        "f:args": {},
                        "f:ports": {'k:{"containerPort":8080,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:containerPort": {}}},
                        "f:readinessProbe": {"f:tcpSocket": {"f:port": {}}, "f:failureThreshold": {}},
                    }
                }
            }
        },
    },
}


def answered(**changes: Any) -> dict[str, Any]:
    """What the API server makes of the manifest: defaults filled in, what is zero left out, and whose each field is.

    Args:
        changes: paths in the object, with `__` for a dot, and their values.
    """
    body = copy.deepcopy(MANIFEST)
    body["metadata"] |= {"uid": "1", "generation": 1}
    body["metadata"]["managedFields"] = [{"manager": "mcp-operator", "operation": "Apply", "fieldsV1": copy.deepcopy(OWNED)}]
    body["spec"] |= {"revisionHistoryLimit": 10}
    del body["spec"]["minReadySeconds"]
    container = body["spec"]["template"]["spec"]["containers"][0]
    container |= {"imagePullPolicy": "IfNotPresent", "ports": [{**PORT, "protocol": "TCP"}]}
    container["readinessProbe"] = {**PROBE, "periodSeconds": 10}
    for path, value in changes.items():
        having(path.replace("__", "."), value)(body)
    return body


def test_what_was_applied_as_it_is_needs_no_apply() -> None:
    assert in_force(MANIFEST, answered())


@pytest.mark.parametrize(
    "live",
    [
        pytest.param(answered(spec__replicas=3), id="another value"),
        pytest.param(answered(metadata__managedFields=[]), id="nothing owned"),
        pytest.param(answered(metadata__labels={}), id="a field gone"),
        pytest.param(answered(spec__template__spec__containers=[]), id="an item gone"),
        pytest.param(
            answered(spec__template__spec__containers=[{**CONTAINER, "args": ["--port", "9090"]}]), id="another list as a whole"
        ),
        pytest.param(
            answered(spec__template__spec__containers=[{**CONTAINER, "ports": [{**PORT, "name": "web", "protocol": "TCP"}]}]),
            id="another value in an item that is known by what the API server filled in",
        ),
    ],
)
def test_what_says_something_else_needs_an_apply(live: dict[str, Any]) -> None:
    assert not in_force(MANIFEST, live)


def test_a_field_that_another_has_taken_or_that_is_no_longer_wanted_needs_an_apply() -> None:
    taken, unwanted = answered(), answered()
    del taken["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:replicas"]
    unwanted["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:paused"] = {}
    assert not in_force(MANIFEST, taken)
    assert not in_force(MANIFEST, unwanted)
