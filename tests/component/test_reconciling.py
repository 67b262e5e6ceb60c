"""Children of a server: what is written to the API server, what is not, and what is said about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from mcp_operator.cluster import applying
from tests.builders import deployment, having, mcpserver, owned_by, uid
from tests.component.fake_api import FakeApi, Request, serving, until
from tests.component.operating import apply_server, condition, delete_server, operating, settle


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with serving() as api:
        yield api


def writes(api: FakeApi, plural: str) -> int:
    return len(api.received(plural=plural, write=True))


def has(api: FakeApi, plural: str, name: str = "weather") -> bool:
    return ("default", name) in api.objects[plural]


async def test_a_server_gets_its_children_once_and_they_are_its_own(api: FakeApi) -> None:
    async with operating(api) as operator:
        server = apply_server(api, replicas=2)
        await settle(api)
        await operator.tells("status", status="running")
        await until(lambda: condition(api, "Ready").get("status") == "True")
        for plural in ("deployments", "services"):
            child = api.get(plural, "weather")
            assert [owner["uid"] for owner in child["metadata"]["ownerReferences"]] == [server["metadata"]["uid"]]
            assert writes(api, plural) == 1
        assert api.get("deployments", "weather")["spec"]["replicas"] == 2
        assert operator.count("reconciles", result="accepted") >= 1


async def test_a_restarted_operator_applies_again_and_changes_nothing(api: FakeApi) -> None:
    async with operating(api):
        apply_server(api)
        await settle(api)
        await until(lambda: condition(api, "Ready").get("status") == "True")
    before = api.get("deployments", "weather")
    async with operating(api) as operator:
        await until(lambda: operator.count("reconciles", result="accepted") >= 1)
    assert api.get("deployments", "weather") == before


async def test_an_edit_is_applied(api: FakeApi) -> None:
    async with operating(api):
        apply_server(api)
        await until(lambda: has(api, "services"))
        apply_server(api, replicas=3, image="registry.example/weather:2.0")
        await until(lambda: api.get("deployments", "weather")["spec"]["replicas"] == 3)
        container = api.get("deployments", "weather")["spec"]["template"]["spec"]["containers"][0]
        assert container["image"] == "registry.example/weather:2.0"


@pytest.mark.parametrize("plural", ["deployments", "services"])
async def test_a_child_that_was_deleted_comes_back(api: FakeApi, plural: str) -> None:
    async with operating(api):
        apply_server(api)
        await until(lambda: has(api, "services"))
        api.remove(plural, "default", "weather")
        await until(lambda: has(api, plural))


async def test_a_deployment_scaled_by_hand_is_put_back_and_it_is_said(api: FakeApi) -> None:
    async with operating(api):
        apply_server(api)
        await settle(api)
        await until(lambda: condition(api, "Ready").get("status") == "True")
        api.change("deployments", "weather", "spec.replicas", 5, manager="kubectl")
        await until(lambda: api.get("deployments", "weather")["spec"]["replicas"] == 1)
        await until(lambda: "DriftRepaired" in {event["reason"] for event in api.objects["events"].values()})
        said = next(event for event in api.objects["events"].values() if event["reason"] == "DriftRepaired")
        assert "spec.replicas changed by kubectl" in said["message"]
        assert said["involvedObject"]["name"] == "weather"


async def test_what_others_own_is_left_alone(api: FakeApi) -> None:
    async with operating(api):
        apply_server(api)
        await settle(api)
        await until(lambda: condition(api, "Ready").get("status") == "True")
        applied = writes(api, "deployments")
        api.change("deployments", "weather", "spec.paused", True, manager="kubectl")
        apply_server(api, replicas=2)
        await until(lambda: api.get("deployments", "weather")["spec"]["replicas"] == 2)
        assert api.get("deployments", "weather")["spec"]["paused"] is True
        assert writes(api, "deployments") == applied + 1


async def test_a_dispute_with_another_writer_is_told_and_slows_down(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(applying, "time", SimpleNamespace(monotonic=lambda: clock.now))
    async with operating(api):
        apply_server(api)
        await settle(api)
        await until(lambda: condition(api, "Ready").get("status") == "True")
        for _ in range(3):
            api.change("deployments", "weather", "spec.replicas", 5, manager="keda")
            await until(lambda: api.get("deployments", "weather")["spec"]["replicas"] == 1)
        repairs = writes(api, "deployments")
        api.change("deployments", "weather", "spec.replicas", 5, manager="keda")
        await until(lambda: condition(api, "Accepted").get("reason") == "DriftConflict")
        assert "spec.replicas changed by keda" in condition(api, "Accepted")["message"]
        assert writes(api, "deployments") == repairs, "the next repair is held back"
        clock.now += 2
        await until(lambda: api.get("deployments", "weather")["spec"]["replicas"] == 1)


async def test_a_foreign_deployment_stays_untouched_until_it_is_gone(api: FakeApi) -> None:
    foreign = api.put("deployments", deployment("weather", having("metadata.labels", {}), having("metadata.ownerReferences", [])))
    async with operating(api) as operator:
        apply_server(api)
        await until(lambda: condition(api, "Accepted").get("reason") == "ForeignObject")
        assert "Deployment default/weather" in condition(api, "Accepted")["message"]
        assert api.get("deployments", "weather") == foreign
        assert has(api, "services"), "one child doesn't keep the other from being made"

        api.remove("deployments", "default", "weather")
        await settle(api)
        await operator.tells("status", status="running")
        await until(lambda: condition(api, "Accepted").get("status") == "True")


async def test_what_a_deleted_namesake_leaves_is_waited_for(api: FakeApi) -> None:
    left = api.put("deployments", deployment("weather", owned_by(mcpserver("weather", uid("an-earlier-one")))))
    async with operating(api) as operator:
        server = apply_server(api)
        await operator.tells("status", status="pending")
        await until(lambda: operator.count("reconciles", result="failed") >= 1)
        assert api.get("deployments", "weather") == left
        assert condition(api, "Accepted").get("status") != "False"

        api.remove("deployments", "default", "weather")
        await until(lambda: has(api, "deployments"))
        assert api.get("deployments", "weather")["metadata"]["ownerReferences"][0]["uid"] == server["metadata"]["uid"]


async def test_an_orphan_is_adopted(api: FakeApi) -> None:
    api.put("deployments", deployment("weather", having("metadata.ownerReferences", [])))
    async with operating(api):
        server = apply_server(api)
        await until(
            lambda: (
                [owner["uid"] for owner in api.get("deployments", "weather")["metadata"]["ownerReferences"]]
                == [server["metadata"]["uid"]]
            )
        )


UNKNOWN_FIELD = (
    "failed to create typed patch object (default/weather; apps/v1, Kind=Deployment): "
    ".spec.template.spec.nope: field not declared in schema"
)


@pytest.mark.parametrize(
    ("answer", "causes", "reason", "words"),
    [
        pytest.param(
            (422, "Invalid", "Deployment.apps is invalid"),
            [{"field": "spec.template.spec.volumes[0].name", "message": "Required value"}],
            "InvalidPodTemplate",
            "spec.template.spec.volumes[0].name: Required value",
            id="a podTemplate that isn't valid",
        ),
        pytest.param(
            (500, "InternalError", UNKNOWN_FIELD),
            [],
            "InvalidPodTemplate",
            "spec.template.spec.nope: field not declared in schema",
            id="a podTemplate with an unknown field",
        ),
        pytest.param((403, "Forbidden", "exceeded quota: small"), [], "Forbidden", "exceeded quota: small", id="a quota"),
    ],
)
async def test_what_the_api_server_refuses_is_told_with_the_field(
    api: FakeApi, answer: tuple[int, str, str], causes: list[dict[str, str]], reason: str, words: str
) -> None:
    async with operating(api):
        fault = api.fail(*answer, times=1000, causes=causes, plural="deployments", method="PATCH")
        apply_server(api)
        await until(lambda: condition(api, "Accepted").get("reason") == reason)
        assert words in condition(api, "Accepted")["message"]
        fault.times = 0
        await until(lambda: condition(api, "Accepted").get("status") == "True")


async def test_a_pod_template_that_cannot_be_merged_is_told_with_the_field(api: FakeApi) -> None:
    async with operating(api):
        apply_server(api, podTemplate={"spec": {"containers": "none"}})
        await until(lambda: condition(api, "Accepted").get("reason") == "InvalidPodTemplate")
        assert "spec.podTemplate.spec.containers" in condition(api, "Accepted")["message"]
        assert not has(api, "deployments")


async def test_an_api_server_in_trouble_is_asked_again(api: FakeApi) -> None:
    async with operating(api):
        api.fail(503, "ServiceUnavailable", times=2, plural="deployments", method="PATCH")
        apply_server(api)
        await settle(api)
        await until(lambda: condition(api, "Ready").get("status") == "True")


async def test_nothing_is_written_for_a_server_on_its_way_out(api: FakeApi) -> None:
    async with operating(api) as operator:
        apply_server(api)
        await settle(api)
        await operator.tells("status", status="running")
        applied = writes(api, "deployments")
        body = api.get("mcpservers", "weather")
        body["metadata"] |= {"deletionTimestamp": "2026-11-23T09:00:00Z", "finalizers": ["foregroundDeletion"]}
        api.put("mcpservers", body)
        await operator.tells("status", status="terminating")
        api.remove("deployments", "default", "weather")
        api.remove("pods", "default", "weather-7d4b9-0")
        apply_server(api, "later")
        await until(lambda: has(api, "services", "later"))
        delete_server(api)
        await operator.tells("status", status="deleted")
        assert writes(api, "deployments") == applied + 1, "that of the later server"


async def test_a_child_is_not_made_again_for_a_server_whose_deletion_is_yet_to_be_heard_of(api: FakeApi) -> None:
    async with operating(api) as operator:
        apply_server(api)
        await settle(api)
        await operator.tells("status", status="running")
        await until(lambda: api.watching("mcpservers") == 2)
        api.hush("mcpservers")
        delete_server(api)
        await until(lambda: any(request.path.endswith("/mcpservers/weather") for request in api.received(method="GET")))
        assert not has(api, "deployments")
        api.say(b'{"type": "ERROR", "object": {"kind": "Status", "code": 410}}\n', plural="mcpservers")
        api.remove("pods", "default", "weather-7d4b9-0")
        await operator.tells("status", status="deleted")
        assert not has(api, "deployments")


async def test_a_status_alone_makes_no_run(api: FakeApi) -> None:
    async with operating(api) as operator:
        apply_server(api)
        await operator.tells("progress", outcome=None)
        await operator.rests()
        runs = operator.count("reconciles", result="accepted")
        await settle(api)
        await until(lambda: condition(api, "Ready").get("status") == "True")
        assert operator.count("reconciles", result="accepted") == runs


def put_foreign(api: FakeApi) -> None:
    """Someone makes a Deployment of the server's name, whatever was there."""
    api.put(
        "deployments", deployment("weather", uid("theirs"), having("metadata.labels", {}), having("metadata.ownerReferences", []))
    )


@pytest.mark.parametrize("had_one", [False, True], ids=["where there was none", "in place of ours"])
async def test_a_foreign_deployment_that_appears_at_the_last_moment_stays_untouched(api: FakeApi, *, had_one: bool) -> None:
    async with operating(api) as operator:
        if had_one:
            apply_server(api)
            await settle(api)
            await operator.tells("status", status="running")

        def in_between(request: Request) -> None:
            if request.plural == "deployments" and request.write:
                api.before = lambda _: None
                put_foreign(api)

        api.before = in_between
        apply_server(api, replicas=3)
        await until(lambda: condition(api, "Accepted").get("reason") == "ForeignObject")
        assert api.get("deployments", "weather")["spec"]["replicas"] == 1


async def test_only_the_chosen_namespaces_are_served(api: FakeApi) -> None:
    async with operating(api, namespaces=("default",)) as operator:
        api.put("mcpservers", mcpserver("elsewhere", having("metadata.namespace", "other")))
        apply_server(api)
        await operator.tells("status", server="default/weather")
        await until(lambda: has(api, "deployments"))
        assert {event["server"] for event in await operator.told()} == {"default/weather"}
