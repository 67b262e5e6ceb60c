"""The Deployment and the Service of a server: what is written, what is repaired, and what is never touched."""

from functools import partial

import pytest

from tests.e2e.acting import Object, User
from tests.e2e.installation import Installation
from tests.e2e.side_by_side import side_by_side
from tests.waiting import until


def replicas(user: User, name: str = "weather") -> int:
    return int(user.get("deployment", name)["spec"]["replicas"])


def foreign_deployment(image: str) -> Object:
    labels = {"app": "somebody-elses"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "weather"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": image}]}},
        },
    }


@side_by_side
async def test_a_server_gets_a_deployment_and_a_service_of_its_name(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample, port=8080, metadata={"labels": {"team": "sky"}})
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running")
    server, deployment, service = (user.get(kind, "weather") for kind in ("mcpserver", "deployment", "service"))
    for child in (deployment, service):
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("MCPServer", server["metadata"]["uid"])
        assert "blockOwnerDeletion" not in owner
        assert child["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "mcp-operator"
        assert child["metadata"]["labels"]["team"] == "sky"
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["name"] == "mcp"
    assert container["readinessProbe"]["tcpSocket"]
    assert container["startupProbe"]["tcpSocket"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert server["status"]["endpoint"] == f"http://weather.{user.namespace}.svc:8080/mcp"
    slices = partial(user.run, "get", "endpointslices", "--selector=kubernetes.io/service-name=weather", "--output=name")
    await until(slices, "the Service selects the instances")


@side_by_side
async def test_the_instances_of_a_server_run_under_the_restricted_pod_security_standard(
    user: User, installed: Installation
) -> None:
    user.run("label", "namespace", user.namespace, "pod-security.kubernetes.io/enforce=restricted")
    user.apply_server("weather", image=installed.sample)
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running")


@side_by_side
async def test_a_new_restarted_at_rolls_all_instances(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample)
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running")
        (before,) = user.pods("weather")
        user.patch_server("weather", {"restartedAt": "2026-11-23T10:00:00Z"})
        await stream.until_status("deploying")
        await stream.until_status("running")
    (after,) = [pod for pod in user.pods("weather") if "deletionTimestamp" not in pod["metadata"]]
    assert after["metadata"]["uid"] != before["metadata"]["uid"]


@side_by_side
async def test_the_pod_template_is_merged_over_the_pod(user: User, installed: Installation) -> None:
    template = {
        "metadata": {"annotations": {"example.com/note": "merged"}, "labels": {"app.kubernetes.io/instance": "other"}},
        "spec": {
            "containers": [{"name": "mcp", "env": [{"name": "TZ", "value": "UTC"}], "readinessProbe": {"periodSeconds": 7}}],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
        },
    }
    user.apply_server("weather", image=installed.sample, podTemplate=template, env=[{"name": "LOG_FORMAT", "value": "json"}])
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running")
    pod = user.get("deployment", "weather")["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert {entry["name"] for entry in container["env"]} == {"TZ", "LOG_FORMAT"}
    assert container["readinessProbe"]["periodSeconds"] == 7
    assert pod["spec"]["volumes"] == [{"name": "scratch", "emptyDir": {}}]
    assert pod["metadata"]["annotations"]["example.com/note"] == "merged"
    assert pod["metadata"]["labels"]["app.kubernetes.io/instance"] == "weather", "the operator's labels win"


@side_by_side
async def test_a_pod_template_that_the_api_server_refuses_is_not_accepted(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample, podTemplate={"spec": {"restartPolicy": "Sometimes"}})

    def refused() -> Object | None:
        condition = user.conditions("weather").get("Accepted")
        return condition if condition and condition["status"] == "False" else None

    condition = await until(refused, "Accepted is False")
    assert condition is not None
    assert "restartPolicy" in condition["message"]
    user.patch_server("weather", {"podTemplate": None})
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running")
    assert user.conditions("weather")["Accepted"]["status"] == "True"


@side_by_side
async def test_a_deployment_scaled_by_hand_is_put_back(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample, replicas=1)
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running")
        user.run("scale", "deployment", "weather", "--replicas=3")
        await until(lambda: replicas(user) == 1, "the Deployment has one replica again")
        await stream.until_status("running", instances=1, desired=1)


@side_by_side
async def test_another_writer_that_insists_is_told_as_a_drift_conflict(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample)
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running")

        def insist() -> bool:
            user.run("scale", "deployment", "weather", "--replicas=2")
            return bool(user.conditions("weather")["Accepted"]["reason"] == "DriftConflict")

        await until(insist, "Accepted says so", every=0.5)
        # Its status is pending, scaling or failed by then: how far the Deployment controller comes between two writes is chance.
        told = await stream.until(lambda event: event["type"] == "status" and event["reason"] == "DriftConflict")
        assert "spec.replicas" in told["message"]
        assert "kubectl" in told["message"]


@pytest.mark.parametrize("child", ["deployment", "service"])
@side_by_side
async def test_a_deleted_child_comes_back(user: User, installed: Installation, child: str) -> None:
    user.apply_server("weather", image=installed.sample)
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running")
    before = user.get(child, "weather")["metadata"]["uid"]
    user.delete(child, "weather")
    await until(lambda: (user.find(child, "weather") or {}).get("metadata", {}).get("uid", before) != before, f"a new {child}")


@side_by_side
async def test_fields_of_other_writers_are_left_alone(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample)
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running")
        user.run("annotate", "deployment", "weather", "example.com/note=mine")
        user.scale("weather", 2)
        await stream.until_status("running", instances=2)
    assert user.get("deployment", "weather")["metadata"]["annotations"]["example.com/note"] == "mine"


@side_by_side
async def test_a_foreign_deployment_of_the_same_name_stays_untouched(user: User, installed: Installation) -> None:
    user.apply(foreign_deployment(installed.sample))
    before = user.get("deployment", "weather")["metadata"]
    user.apply_server("weather", image=installed.sample)
    async with installed.stream(user, "weather") as stream:
        told = await stream.until(lambda event: event.get("reason") == "ForeignObject")
        assert "weather" in told["message"]
        after = user.get("deployment", "weather")["metadata"]
        assert (after["uid"], after["generation"]) == (before["uid"], before["generation"])
        assert after.get("ownerReferences") is None
        await until(lambda: user.conditions("weather").get("Accepted", {}).get("reason") == "ForeignObject", "Accepted says so")

        user.delete("deployment", "weather")
        await stream.until_status("running")


@side_by_side
async def test_a_server_deleted_and_made_again_at_once_works(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample)
    async with installed.stream(user, "weather") as stream:
        first = await stream.until_status("running")
        user.delete("mcpserver", "weather")
        user.apply_server("weather", image=installed.sample)
        second = await stream.until(lambda event: event["uid"] != first["uid"] and event.get("status") == "running")
        if not any(event["uid"] == first["uid"] and event.get("status") == "deleted" for event in stream.events):
            await stream.until(lambda event: event["uid"] == first["uid"] and event.get("status") == "deleted")
    assert second["uid"] == user.get("mcpserver", "weather")["metadata"]["uid"]
    assert user.get("deployment", "weather")["metadata"]["ownerReferences"][0]["uid"] == second["uid"]


@side_by_side
async def test_scaling_works_by_every_door(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample)
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running", instances=1)
        user.run("scale", "mcpserver", "weather", "--replicas=2")
        await stream.until_status("running", instances=2)
        user.apply_server("weather", image=installed.sample)
        assert user.get("mcpserver", "weather")["spec"]["replicas"] == 2, "a manifest without replicas keeps what scale set"
        user.run("patch", "mcpserver", "weather", "--subresource=scale", "--type=merge", '--patch={"spec":{"replicas":1}}')
        await stream.until_status("running", instances=1)
    scale = user.run(
        "get", "mcpserver", "weather", "--subresource=scale", "--output=jsonpath={.spec.replicas}/{.status.selector}"
    )
    assert scale.startswith("1/app.kubernetes.io/")
