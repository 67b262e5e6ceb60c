"""The row about a thousand servers: what is read from the audit log, when a change was told, and how figures follow from it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from tests.bench.auditing import Asked, count
from tests.bench.churning import Pod, Sightings, plan
from tests.bench.figures import AtMost
from tests.bench.rows.scale import RATE, Side, Sized, Start, figures

SERVERS = "/apis/mcp-operator.dev/v1alpha1/mcpservers"


def entry(verb: str, path: str = SERVERS, *, resource: str = "mcpservers", subresource: str = "", **more: Any) -> bytes:
    """One line of the audit log."""
    target = {"resource": resource, "name": "weather", **({"subresource": subresource} if subresource else {})}
    body = {"verb": verb, "requestURI": path, "objectRef": target, "responseStatus": {"code": 200}, **more}
    return json.dumps(body).encode() + b"\n"


def status_write(*, based_on: str, answered: str, code: int = 200) -> bytes:
    sent, answer = ({"metadata": {"resourceVersion": version}} for version in (based_on, answered))
    answered_with = {"code": code}
    return entry("patch", subresource="status", requestObject=sent, responseObject=answer, responseStatus=answered_with)


def apply(*, at: str, ours_since: str) -> bytes:
    """A server-side apply of a Deployment, and since when our entry in its managed fields is as it is."""
    managed = [
        {"manager": "kube-controller-manager", "operation": "Update", "time": "2026-11-23T08:00:00Z"},
        {"manager": "mcp-operator", "operation": "Apply", "time": ours_since},
    ]
    answer = {"metadata": {"resourceVersion": "7", "managedFields": managed}}
    sent: Mapping[str, Any] = {"metadata": {"name": "weather"}}
    return entry("patch", resource="deployments", requestObject=sent, responseObject=answer, requestReceivedTimestamp=at)


def test_requests_are_counted_by_what_they_ask() -> None:
    asked = count(
        [
            entry("list", f"{SERVERS}?limit=500"),
            entry("list", f"{SERVERS}?limit=500&continue=abc"),
            entry("watch", f"{SERVERS}?watch=true"),
            entry("get", f"{SERVERS}/weather"),
            entry("create", "/api/v1/namespaces/default/events", resource="events"),
            json.dumps({"verb": "get", "requestURI": "/apis"}).encode(),
        ]
    )
    assert (asked.lists, asked.unlimited, asked.watches) == (2, [], 1)
    assert (asked.reads, asked.writes) == (Counter(mcpservers=1), Counter(events=1))
    assert not asked.idle


@pytest.mark.parametrize("path", [SERVERS, f"{SERVERS}?labelSelector=limit%3D5", f"{SERVERS}?resourceVersion=0"])
def test_a_list_without_a_limit_is_named(path: str) -> None:
    assert count([entry("list", path)]).unlimited == [path]


@pytest.mark.parametrize(
    ("line", "idle"),
    [
        (status_write(based_on="5", answered="5"), {"mcpservers/status": 1}),
        (status_write(based_on="5", answered="6"), {}),
        (status_write(based_on="5", answered="5", code=409), {}),
        (apply(at="2026-11-23T09:00:00.500000Z", ours_since="2026-11-23T08:30:00Z"), {"deployments": 1}),
        (apply(at="2026-11-23T09:00:00.500000Z", ours_since="2026-11-23T09:00:00Z"), {}),
    ],
)
def test_a_write_that_changed_nothing_is_known_by_its_answer(line: bytes, idle: Mapping[str, int]) -> None:
    assert count([line]).idle == idle


def test_a_change_is_told_by_the_first_that_says_so_afterwards() -> None:
    seen = Sightings()
    for at, instances in ((1.0, 9), (2.0, 10), (3.0, 9), (4.0, 9)):
        seen.add("weather", instances, at=at)
    assert seen.after(0.5, "weather", 9) == 1.0
    assert seen.after(1.5, "weather", 9) == 3.0
    assert seen.after(3.0, "weather", 9) == 3.0
    assert seen.after(2.5, "weather", 10) is None
    assert seen.after(0.0, "maps", 9) is None


def test_every_pod_that_ceases_to_be_ready_is_ready_again() -> None:
    status: Mapping[str, Any] = {
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "True"}],
        "containerStatuses": [{"name": "mcp", "ready": True, "restartCount": 0}],
    }
    pods = [Pod(f"weather-{number}", f"weather-{number}", status) for number in range(5)]
    ceasing, returning = plan(pods, 6)
    assert [ready for _, ready in (*ceasing, *returning)] == [False] * 3 + [True] * 3
    assert [pod for pod, _ in ceasing] == [pod for pod, _ in returning]
    assert len({pod.name for pod, _ in ceasing}) == 3

    unready = ceasing[0][0].status_if(ready=False)
    assert {each["type"]: each["status"] for each in unready["conditions"]} == {"Ready": "False", "Initialized": "True"}
    assert unready["containerStatuses"] == [{"name": "mcp", "ready": False, "restartCount": 0}]


def sized(servers: int, *, cpu: float, resident: float, ready: float, asked: Asked | None = None) -> Sized:
    ours, theirs = Side([2.0, 4.0], cpu, resident), Side([1.0, 2.0], 1.0, 100 * 2**20)
    start = Start(ready=ready, kubectl=1.0)
    return Sized(servers, [ours] * 7, [theirs] * 7, 1.0, [start] * 3, asked or Asked(), Asked())


def test_figures_tell_each_size_and_the_growth_between_them() -> None:
    small = sized(100, cpu=0.5, resident=100 * 2**20, ready=2.0)
    large = sized(1000, cpu=1.0, resident=400 * 2**20, ready=30.0)
    told = {each.name: each for each in figures([small, large], conditions="asyncio")}
    cpu = told["CPU per pod change, 1,000 servers with 10,000 pods"]
    assert (cpu.value, cpu.unit, cpu.peer and cpu.peer.ratio.median) == (500, "ms", 1)
    assert told["memory, 100 servers with 1,000 pods"].value == 100
    assert told["pod change to the subscriber, 99th percentile, 100 servers with 1,000 pods"].value == 4
    growth = [each for name, each in told.items() if name.startswith("growth")]
    assert [(each.value, each.goal, each.met) for each in growth] == [
        (4, AtMost(10), True),
        (2, AtMost(10), True),
        (15, AtMost(10), False),
    ]
    assert f"{RATE:g} changes a second" in growth[0].conditions


@pytest.mark.parametrize(
    ("asked", "missed"),
    [
        (Asked(lists=3, unlimited=["/api/v1/pods"]), "lists without a limit"),
        (Asked(reads=Counter(pods=2)), "reads of single objects while pods change"),
        (Asked(writes=Counter({"mcpservers/status": 5}), idle=Counter({"mcpservers/status": 1})), "writes that changed nothing"),
    ],
)
def test_a_request_that_should_not_be_is_a_missed_goal(asked: Asked, missed: str) -> None:
    small, large = (sized(servers, cpu=1.0, resident=1.0, ready=1.0, asked=asked) for servers in (100, 1000))
    told = [each.name for each in figures([small, large], conditions="asyncio") if each.met is False]
    assert [name.startswith(missed) for name in told] == [True]
