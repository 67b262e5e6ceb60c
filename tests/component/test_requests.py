"""What the operator asks of the API server: as little as a cluster with a thousand servers needs it to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import pairwise

import pytest

from tests.builders import condition as being
from tests.component.fake_api import FakeApi, Request, serving, until
from tests.component.operating import Operator, apply_server, condition, operating, settle

NAMES = ("maps", "news", "weather")


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with serving() as api:
        yield api


def is_ready(api: FakeApi, name: str) -> bool:
    return condition(api, "Ready", name).get("status") == "True"


def is_recorded(api: FakeApi) -> bool:
    """Whether the end of each server's first rollout is on record."""
    records = [each.get("record") or {} for each in api.objects["mcpserverrollouts"].values()]
    return len(records) == len(NAMES) and all(each.get("outcome") for each in records)


async def all_run(api: FakeApi, operator: Operator) -> None:
    """Have the servers, each with two instances, until nothing is left to write."""
    for name in NAMES:
        apply_server(api, name, replicas=2)
        await settle(api, name)
    for name in NAMES:
        await until(partial(is_ready, api, name))
        await operator.rests(name)
    await until(partial(is_recorded, api))
    await until(lambda: len([each for each in api.requests if each.watch and each.plural == "mcpservers"]) > 1)  # kopf's, too


async def change(api: FakeApi, operator: Operator, name: str, *, ready: bool) -> None:
    """Set one pod of a server ready, or no longer ready, and wait until that is told and written."""
    pod = api.get("pods", f"{name}-7d4b9-0")
    being("Ready", "True" if ready else "False")(pod)
    api.put("pods", pod)
    await operator.tells("status", server=f"default/{name}", instances=2 if ready else 1)
    await until(lambda: api.get("mcpservers", name)["status"]["instances"] == ("2/2" if ready else "1/2"))


def lists(requests: Sequence[Request]) -> Sequence[Request]:
    return [each for each in requests if each.method == "GET" and not each.watch and each.path.endswith(f"/{each.plural}")]


def reads(requests: Sequence[Request]) -> Sequence[str]:
    """The paths of single objects that were read."""
    return [each.path for each in requests if each.method == "GET" and each.plural and not each.path.endswith(f"/{each.plural}")]


async def test_every_list_is_read_in_pages_also_after_an_outage(api: FakeApi) -> None:
    async with operating(api) as operator:
        await all_run(api, operator)
        listed = len(lists(api.requests))
        api.expire()
        api.end_watches()
        await until(lambda: len(lists(api.requests)) > listed)
    without = [each.path for each in lists(api.requests) if int(each.query.get("limit", 0)) <= 0]
    assert not without


async def test_a_pod_that_changes_makes_nothing_be_read_and_its_servers_status_alone_be_written(api: FakeApi) -> None:
    async with operating(api) as operator:
        await all_run(api, operator)
        asked = len(api.requests)
        for ready in (False, True):
            for name in NAMES:
                await change(api, operator, name, ready=ready)
        since = api.requests[asked:]
    assert not lists(since)
    assert not reads(since)
    written = [f"{each.plural}/{each.subresource}".rstrip("/") for each in since if each.write]
    assert set(written) == {"mcpservers/status", "events"}


async def test_no_status_is_written_twice_in_a_row(api: FakeApi) -> None:
    async with operating(api) as operator:
        await all_run(api, operator)
        for ready in (False, True):
            for name in NAMES:
                await change(api, operator, name, ready=ready)
    for name in NAMES:
        path = f"/mcpservers/{name}/status"
        written = [each.body["status"] for each in api.received(write=True) if each.path.endswith(path)]
        assert len(written) > 2
        assert all(earlier != later for earlier, later in pairwise(written))


async def test_a_restarted_operator_writes_nothing_that_stands(api: FakeApi) -> None:
    async with operating(api) as operator:
        await all_run(api, operator)
    asked = len(api.requests)
    async with operating(api) as operator:
        await until(lambda: operator.count("reconciles", result="accepted") >= len(NAMES))
        for name in NAMES:
            await operator.tells("status", server=f"default/{name}", status="running")
    assert not [each.path for each in api.requests[asked:] if each.write]


async def test_the_news_of_its_own_status_write_makes_nothing_be_evaluated(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    async with operating(api) as operator:
        await all_run(api, operator)
        observer, families = operator.cluster._observer, operator.cluster._families
        uid, looked = api.get("mcpservers", "weather")["metadata"]["uid"], []
        changed = observer.changed

        def look(server: str, **given: float | None) -> None:
            looked.append(server)
            changed(server, **given)

        monkeypatch.setattr(observer, "changed", look)
        await change(api, operator, "weather", ready=False)
        await until(lambda: (families.server(uid) or {}).get("status") == api.get("mcpservers", "weather")["status"])
        assert looked == [uid]
