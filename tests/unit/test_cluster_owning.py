"""Whose an object is, and whether someone else has changed what is ours."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_operator.cluster.owning import Drift, Standing, drift, owned_fields, standing
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
