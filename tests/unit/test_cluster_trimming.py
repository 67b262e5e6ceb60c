"""What the operator keeps of the objects that it follows."""

from mcp_operator.cluster.reflecting import with_managers_of_spec
from tests.builders import annotated, having, mcpserver, written_by


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
