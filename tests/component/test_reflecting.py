"""A reflector against an API server in trouble: whatever happens, it ends up holding what the API server holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.kinds import EVENT, OURS, POD
from mcp_operator.cluster.metrics import ClusterMetrics
from mcp_operator.cluster.reflecting import Reflector
from mcp_operator.cluster.watching import Change
from tests.builders import kubernetes_event, labelled, pod, uid
from tests.component.fake_api import FakeApi, Request, running, serving, until


class Follower:
    """A reflector of pods, with what it told."""

    def __init__(self, reflector: Reflector, changes: list[Change], registry: CollectorRegistry) -> None:
        self.reflector = reflector
        self.changes = changes
        self._registry = registry

    @property
    def held(self) -> set[str]:
        """Names of the pods that exist by all that was told."""
        pods: dict[str, str] = {}
        for change in self.changes:
            metadata = change.object["metadata"]
            if change.new is None:
                del pods[metadata["uid"]]
            else:
                pods[metadata["uid"]] = metadata["name"]
        return set(pods.values())

    def relists(self, reason: str) -> float:
        return self._registry.get_sample_value("mcp_operator_relists_total", {"kind": "Pod", "reason": reason}) or 0


@pytest.fixture
async def server() -> AsyncIterator[FakeApi]:
    async with serving() as server:
        yield server


@asynccontextmanager
async def following(server: FakeApi, **options: Any) -> AsyncIterator[Follower]:
    registry = CollectorRegistry()
    changes: list[Change] = []
    async with Api(load=server.configuration) as api:
        reflector = Reflector(
            api,
            POD,
            options.pop("namespace", None),
            selectors={"labelSelector": OURS},
            on_change=changes.append,
            metrics=ClusterMetrics(registry),
            **options,
        )
        async with running(reflector.run()):
            await reflector.synced.wait()
            yield Follower(reflector, changes, registry)


async def test_it_lists_in_pages_and_then_follows(server: FakeApi) -> None:
    for number in range(1203):
        server.put("pods", pod(f"weather-1-{number}"))
    async with following(server) as follower:
        assert len(follower.held) == 1203
        assert [request.query["limit"] for request in server.received(plural="pods", watch=False)] == ["500"] * 3

        server.put("pods", pod("weather-1-new"))
        await until(lambda: "weather-1-new" in follower.held)
        server.remove("pods", "default", "weather-1-7")
        await until(lambda: "weather-1-7" not in follower.held)


async def test_only_objects_with_our_label_in_the_chosen_namespace_are_asked_for(server: FakeApi) -> None:
    server.put("pods", pod("weather-1-ours"))
    server.put("pods", pod("weather-1-else", labelled({"app.kubernetes.io/managed-by": "helm"})))
    async with following(server, namespace="default") as follower:
        assert follower.held == {"weather-1-ours"}
    assert {request.path for request in server.requests} == {"/api/v1/namespaces/default/pods"}


async def test_kubernetes_events_are_chosen_by_fields(server: FakeApi) -> None:
    server.put("events", kubernetes_event("BackOff", "...", about=pod()))
    changes: list[Change] = []
    async with Api(load=server.configuration) as api:
        fields = {"fieldSelector": "type=Warning,involvedObject.kind=Deployment"}
        metrics = ClusterMetrics(CollectorRegistry())
        reflector = Reflector(api, EVENT, None, selectors=fields, on_change=changes.append, metrics=metrics)
        async with running(reflector.run()):
            await reflector.synced.wait()
    assert changes == []


async def test_a_watch_that_ends_as_agreed_goes_on_without_a_list(server: FakeApi) -> None:
    async with following(server) as follower:
        await until(lambda: server.watching("pods") == 1)
        lists = len(server.received(watch=False))
        server.end_watches()
        server.put("pods", pod("weather-1-meanwhile"))
        await until(lambda: follower.held == {"weather-1-meanwhile"})
        assert len(server.received(watch=False)) == lists


async def test_it_goes_on_from_the_last_bookmark(server: FakeApi) -> None:
    async with following(server) as follower:
        await until(lambda: server.watching("pods") == 1)
        server.put("services", pod("advances-the-version"))
        server.bookmark()
        server.end_watches()
        await until(lambda: len(server.received(watch=True)) == 2)
        first, second = (int(request.query["resourceVersion"]) for request in server.received(watch=True))
        assert second == first + 1
        assert follower.relists("Expired") == 0


async def test_a_pod_deleted_and_one_made_anew_while_the_watch_was_cut_are_noticed(server: FakeApi) -> None:
    for name in ("gone", "stays", "again"):
        server.put("pods", pod(f"weather-1-{name}"))
    async with following(server) as follower:
        await until(lambda: server.watching("pods") == 1)
        server.fail(503, times=3, plural="pods")
        server.say(b'{"type": "ADDED", "obj', plural="pods")
        server.end_watches()
        server.remove("pods", "default", "weather-1-gone")
        server.put("pods", pod("weather-1-again", uid("another")))
        await until(lambda: follower.held == {"weather-1-stays", "weather-1-again"})
        assert [change.object["metadata"]["uid"] for change in follower.changes if change.new is None] == [
            pod("weather-1-gone")["metadata"]["uid"],
            pod("weather-1-again")["metadata"]["uid"],
        ]
        assert follower.relists("Truncated") == 1


async def test_an_expired_version_leads_to_a_list(server: FakeApi) -> None:
    server.put("pods", pod("weather-1-gone"))
    async with following(server) as follower:
        await until(lambda: server.watching("pods") == 1)
        server.fail(500, times=2, plural="pods", watch=True)
        server.end_watches()
        server.remove("pods", "default", "weather-1-gone")
        server.expire()
        await until(lambda: follower.held == set())
        await until(lambda: server.watching("pods") == 1)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(b'{"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}\n', "Expired", id="410"),
        pytest.param(b'{"type": "ERROR", "object": {"kind": "Status", "code": 500}}\n', "WatchError", id="500"),
        pytest.param(b"<html>bad gateway</html>\n", "Malformed", id="not a watch line"),
    ],
)
async def test_a_line_that_is_an_error_leads_to_a_list(server: FakeApi, line: bytes, reason: str) -> None:
    async with following(server) as follower:
        await until(lambda: server.watching("pods") == 1)
        server.say(line, plural="pods")
        await until(lambda: follower.relists(reason) == 1)
        server.put("pods", pod("weather-1-after"))
        await until(lambda: follower.held == {"weather-1-after"})


async def test_a_page_token_that_expires_starts_the_list_again(server: FakeApi) -> None:
    for number in range(700):
        server.put("pods", pod(f"weather-1-{number}"))

    def expire_and_delete(request: Request) -> None:
        if "continue" in request.query:
            server.before = lambda _: None
            server.expire()
            server.remove("pods", "default", "weather-1-0")

    server.before = expire_and_delete
    async with following(server) as follower:
        assert len(follower.held) == 699, "the first page of the list that failed leaves no trace"
        assert len(follower.changes) == 699
        assert follower.relists("Expired") == 1


async def test_a_watch_that_falls_silent_is_given_up(server: FakeApi) -> None:
    server.silent = True
    async with following(server, silence=0.2) as follower:
        await until(lambda: server.watching("pods") == 1)
        server.put("pods", pod("weather-1-unheard"))
        server.silent = False
        await until(lambda: follower.held == {"weather-1-unheard"})
        assert follower.relists("TimedOut") >= 1


async def test_an_outage_is_survived_and_told_once(server: FakeApi, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name.startswith("mcp_operator.")]

    server.put("pods", pod("weather-1-gone"))
    async with following(server) as follower:
        await until(lambda: server.watching("pods") == 1)
        await server.down()
        await until(lambda: follower.relists("Unreachable") >= 4)
        assert follower.held == {"weather-1-gone"}, "what was known stays"
        assert follower.reflector.synced.is_set()
        server.remove("pods", "default", "weather-1-gone")
        await server.up()
        await until(lambda: follower.held == set())
        await until(lambda: server.watching("pods") == 1 and len(told()) >= 2)
    assert len(told()) == 2
    assert "Following pods of all namespaces fails" in told()[0]
    assert "Following pods of all namespaces works again" in told()[1]


async def test_an_answer_that_never_comes_does_not_keep_it_from_ending(server: FakeApi) -> None:
    async with following(server):
        await until(lambda: server.watching("pods") == 1)
    await until(lambda: server.watching("pods") == 0)
