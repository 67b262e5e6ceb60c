"""Records of rollouts and scalings as they stand in the API server: one each, whatever happens to it or to the operator."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.builders import at, mcpserver, owned_by, uid_of
from tests.component.fake_api import FakeApi, serving, until
from tests.component.operating import Object, apply_server, begin, delete_server, operating, settle

PLURAL = "mcpserverrollouts"
OPERATION = uid_of("Deployment", "weather")


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with serving() as api:
        yield api


def records(api: FakeApi) -> list[Object]:
    """What the records say, the newest first."""
    held = sorted(api.objects[PLURAL].values(), key=lambda body: str(body["record"]["startedAt"]), reverse=True)
    return [body["record"] for body in held]


def outcomes(api: FakeApi) -> list[str | None]:
    return [record.get("outcome") for record in records(api)]


def writes(api: FakeApi) -> int:
    return len(api.received(plural=PLURAL, write=True))


def put_record(api: FakeApi, server: Object, number: int, **fields: Any) -> Object:
    """A record from before."""
    record = {
        "id": f"{OPERATION}-{number}",
        "kind": "rollout",
        "server": "default/weather",
        "uid": server["metadata"]["uid"],
        "desired": 1,
        "startedAt": at(number),
        "endedAt": at(number + 1),
        "outcome": "succeeded",
        "percent": 100,
        **fields,
    }
    body = {
        "apiVersion": "mcp-operator.dev/v1alpha1",
        "kind": "MCPServerRollout",
        "metadata": {
            "namespace": "default",
            "name": f"weather-{number:010}",
            "labels": {"app.kubernetes.io/managed-by": "mcp-operator"},
        },
        "record": {name: value for name, value in record.items() if value is not None},
    }
    owned_by(server)(body)
    return api.put(PLURAL, body)


async def test_a_rollout_has_a_record_from_its_start_to_its_end(api: FakeApi) -> None:
    async with operating(api) as operator:
        server = apply_server(api)
        await operator.rests()
        begin(api)
        await until(lambda: outcomes(api) == [None])
        (held,) = api.objects[PLURAL].values()
        assert held["metadata"]["ownerReferences"][0]["uid"] == server["metadata"]["uid"]
        assert "controller" not in held["metadata"]["ownerReferences"][0]
        await settle(api)
        await until(lambda: outcomes(api) == ["succeeded"])
        (told,) = await operator.told("progress", outcome="succeeded")
    (record,) = records(api)
    assert (record["id"], record["percent"], record["desired"]) == (told["operation"], 100, 1)
    assert [instance["name"] for instance in record["instances"]] == ["weather-7d4b9-0"]
    assert "by" not in record
    assert len(api.objects[PLURAL]) == 1
    assert writes(api) <= 3


async def test_the_end_stands_in_the_status_before_the_record_says_so(api: FakeApi) -> None:
    ended_first = []

    def look(request: Any) -> None:
        if request.plural == PLURAL and request.write and request.body["record"].get("outcome"):
            last = api.get("mcpservers", "weather")["status"]["lastOperations"]
            ended_first.append(last[0]["id"] == request.body["record"]["id"])

    api.before = look
    async with operating(api) as operator:
        apply_server(api)
        await operator.rests()
        await settle(api)
        await until(lambda: outcomes(api) == ["succeeded"])
    assert ended_first == [True]


async def test_a_restarted_operator_goes_on_with_the_same_record(api: FakeApi) -> None:
    async with operating(api) as operator:
        apply_server(api)
        await operator.rests()
        begin(api)
        await until(lambda: outcomes(api) == [None])
    (held,) = api.objects[PLURAL].values()
    gone = {"name": "weather-7d4b9-gone", "createdAt": at(0), "phases": {"scheduled": 1}}
    before = {**held["record"], "instances": [gone]}
    api.put(PLURAL, {**held, "record": before})
    written = writes(api)
    async with operating(api) as operator:
        desks = operator.cluster._keeper._desks
        await until(lambda: bool(desks) and not any(desk.unread for desk in desks.values()))
        await settle(api)
        await until(lambda: outcomes(api) == ["succeeded"])
    (after,) = records(api)
    assert (after["id"], after["startedAt"]) == (before["id"], before["startedAt"])
    assert {each["name"]: each["gone"] for each in after["instances"]} == {gone["name"]: True, "weather-7d4b9-0": False}
    assert len(api.objects[PLURAL]) == 1
    assert writes(api) - written <= 2


async def test_a_restart_in_which_nothing_happened_writes_nothing(api: FakeApi) -> None:
    async with operating(api) as operator:
        apply_server(api)
        await operator.rests()
        begin(api)
        await until(lambda: outcomes(api) == [None])
    written = writes(api)
    async with operating(api) as operator:
        await operator.rests()
        keeper = operator.cluster._keeper
        await until(lambda: bool(keeper._desks) and not any(desk.unread for desk in keeper._desks.values()))
        await until(lambda: not keeper._queue._running)
    assert writes(api) == written


async def test_an_end_that_a_crash_kept_from_its_record_is_made_good(api: FakeApi) -> None:
    api.fail(500, plural=PLURAL, method="PATCH", times=10**6)
    async with operating(api) as operator:
        server = apply_server(api)
        await operator.rests()
        await settle(api)
        await operator.tells("progress", outcome="succeeded")
    api.faults.clear()
    (ended,) = api.get("mcpservers", "weather")["status"]["lastOperations"]
    put_record(api, server, 1, id=ended["id"], outcome=None, endedAt=None, percent=40)
    put_record(api, server, 2, id="nobody-knows", outcome=None, endedAt=None, percent=40)
    async with operating(api):
        await until(lambda: outcomes(api) == ["succeeded"])
    (record,) = records(api)
    assert (record["id"], record["endedAt"], record["percent"]) == (ended["id"], ended["endedAt"], 100)


async def test_an_api_server_that_takes_no_record_only_delays_it(api: FakeApi) -> None:
    fault = api.fail(503, "ServiceUnavailable", plural=PLURAL, method="PATCH", times=10**6)
    async with operating(api) as operator:
        apply_server(api)
        await operator.rests()
        await settle(api)
        await operator.tells("status", status="running")
        await until(lambda: writes(api) > 1)
        assert records(api) == []
        fault.times = 0
        await until(lambda: outcomes(api) == ["succeeded"])


@pytest.mark.parametrize(
    ("status", "reason"), [(403, "Forbidden"), (413, "RequestEntityTooLarge"), (422, "Invalid"), (404, "NotFound")]
)
async def test_a_record_that_is_refused_holds_nothing_up(
    api: FakeApi, status: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    api.fail(status, reason, plural=PLURAL, method="PATCH", times=10**6)
    async with operating(api) as operator:
        apply_server(api)
        await operator.rests()
        await settle(api)
        await operator.tells("status", status="running")
        await until(lambda: operator.count("writes", kind="MCPServerRollout", result="refused") >= 2)
        keeper = operator.cluster._keeper
        await until(lambda: not any(desk.drafts for desk in keeper._desks.values()))  # it isn't tried for ever
    assert ("is refused and was not written" in caplog.text) == (status != 404)


async def test_an_operator_that_may_not_read_records_works_without_them(api: FakeApi) -> None:
    api.fail(403, "Forbidden", plural=PLURAL, method="GET", times=10**6)
    async with operating(api) as operator:
        apply_server(api)
        await operator.rests()
        await settle(api)
        await operator.tells("status", status="running")
        assert not operator.cluster.records.synced
    assert writes(api) == 0


async def test_the_newest_records_are_kept_and_only_ours_are_deleted(api: FakeApi) -> None:
    server = apply_server(api, rollout={"historyLimit": 3})
    for number in range(1, 8):
        put_record(api, server, number)
    foreign = put_record(api, server, 0)
    foreign["metadata"]["labels"] = {}
    api.put(PLURAL, foreign)
    async with operating(api) as operator:
        await operator.rests()
        await settle(api)
        await until(lambda: len(api.objects[PLURAL]) == 4)
        assert {name for _, name in api.objects[PLURAL]} >= {f"weather-{number:010}" for number in (0, 6, 7)}
        apply_server(api, rollout={"historyLimit": 1})
        await until(lambda: len(api.objects[PLURAL]) == 2)
    deletions = [request.path for request in api.received(plural=PLURAL, method="DELETE")]
    assert len(deletions) == len(set(deletions)), "each was deleted once"


async def test_a_record_is_deleted_once_however_late_its_watch_is(api: FakeApi) -> None:
    server = apply_server(api, rollout={"historyLimit": 1})
    for number in range(1, 4):
        put_record(api, server, number)
    api.before = lambda request: api.hush(PLURAL) if request.plural == PLURAL and request.method == "DELETE" else None
    async with operating(api) as operator:
        await operator.rests()
        await until(lambda: len(api.received(plural=PLURAL, method="DELETE")) >= 2)
        for seconds in (30, 40):
            body = apply_server(api, metrics={"intervalSeconds": seconds})
            await operator.tells("status", generation=body["metadata"]["generation"])
        await until(lambda: not operator.cluster._keeper._queue._running)
    deletions = [request.path for request in api.received(plural=PLURAL, method="DELETE")]
    assert len(deletions) == len(set(deletions)) == 2


async def test_a_quiet_server_is_not_written_about(api: FakeApi) -> None:
    async with operating(api) as operator:
        apply_server(api)
        await operator.rests()
        await settle(api)
        await until(lambda: outcomes(api) == ["succeeded"])
        before = writes(api)
        apply_server(api, metrics={"intervalSeconds": 30})
        await operator.tells("status", generation=2)
    async with operating(api) as operator:
        await operator.tells("status", status="running")
        await operator.rests()
    assert writes(api) == before


async def test_records_of_other_objects_are_left_alone(api: FakeApi) -> None:
    server = mcpserver()
    unreadable = put_record(api, server, 1)
    unreadable["record"] = {"id": "?"}
    api.put(PLURAL, unreadable)
    orphan = put_record(api, server, 2)
    orphan["metadata"]["ownerReferences"] = []
    api.put(PLURAL, orphan)
    before = json.dumps(list(api.objects[PLURAL].values()))
    async with operating(api) as operator:
        api.put("mcpservers", server)
        await operator.tells("status")
        assert operator.cluster.records.of(server["metadata"]["uid"]) == []
    assert json.dumps(list(api.objects[PLURAL].values())[:2]) == before


async def test_nothing_is_written_for_a_server_that_is_gone(api: FakeApi) -> None:
    async with operating(api) as operator:
        apply_server(api)
        await operator.rests()
        await settle(api)
        await until(lambda: outcomes(api) == ["succeeded"])
        api.fail(503, plural=PLURAL, method="PATCH", times=10**6)
        apply_server(api, replicas=2)
        await operator.rests()
        await until(lambda: writes(api) > 3)
        delete_server(api)
        for key in list(api.objects["pods"]):
            api.remove("pods", *key)
        await operator.tells("status", status="deleted")
        assert not operator.cluster._keeper._desks
