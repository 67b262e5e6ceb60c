"""Every event bears its server's labels, by which streams choose, and when the watch told of what led to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mcp_operator.apiserver.kinds import MCP_SERVER
from mcp_operator.cluster.reflecting import with_managers_of_spec
from mcp_operator.cluster.watching import Change
from mcp_operator.eventlog.log import EVERYTHING, EventId, EventLog, Gap, Record, Selection
from mcp_operator.model.events import EventType
from mcp_operator.model.labels import NO_LABELS, Labels, Selector
from tests.builders import labelled, mcpserver
from tests.component.fake_api import FakeApi, serving, until
from tests.component.log_stage import stage
from tests.component.measuring import METRICS, measuring
from tests.component.operating import Operator, begin, condition, delete_server, operating, settle

WEB: Labels = (("team", "maps"), ("tier", "web"))
API: Labels = (("team", "maps"), ("tier", "api"))


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with serving() as api:
        yield api


def label(api: FakeApi, labels: Labels) -> None:
    """What `kubectl label` does."""
    body = api.get("mcpservers", "weather")
    body["metadata"]["labels"] = dict(labels)
    api.put("mcpservers", body)


async def running_server(api: FakeApi, operator: Operator, labels: Labels = WEB) -> None:
    """A server that was made with labels and runs, and has nothing more to tell."""
    api.put("mcpservers", mcpserver("weather", labelled(dict(labels))))
    await operator.tells("progress", outcome=None)
    begin(api)
    await settle(api)
    await operator.tells("progress", outcome="succeeded")
    await operator.tells("status", status="running")
    await operator.rests()


async def records(log: EventLog, selection: Selection = EVERYTHING) -> tuple[Record, ...]:
    batch = await log.read(EventId(log.head.epoch, 0), selection, limit=10_000)
    assert not isinstance(batch, Gap)
    return batch.records


async def labels_of_statuses(operator: Operator) -> list[Labels]:
    return [record.subject.labels for record in await records(operator._log, Selection(types=frozenset({EventType.STATUS})))]


async def relabelled(operator: Operator, labels: Labels) -> Record:
    """Wait for an event with these labels; the first of them."""
    async with asyncio.timeout(60):
        while True:
            head = operator._log.head
            if found := [record for record in await records(operator._log) if record.subject.labels == labels]:
                return found[0]
            await operator._log.wait(head)


async def matching(operator: Operator, selector: str) -> int:
    """How many events a stream with this selector gets."""
    return len(await records(operator._log, Selection(selector=Selector.parse(selector))))


class TestLabels:
    async def test_a_server_has_them_from_its_first_event_to_its_last(self, api: FakeApi) -> None:
        async with operating(api) as operator:
            await running_server(api, operator)
            delete_server(api)
            api.remove("pods", "default", "weather-7d4b9-0")
            await operator.tells("status", status="deleted")
            told = await records(operator._log)
        assert {record.type for record in told} == {EventType.STATUS, EventType.PROGRESS}
        assert {record.subject.labels for record in told} == {WEB}
        assert len({id(record.subject.labels) for record in told}) == 1

    async def test_new_labels_alone_are_told_with_a_status_that_says_the_same(self, api: FakeApi) -> None:
        async with operating(api) as operator:
            await running_server(api, operator)
            *_, before = await operator.told("status")
            assert await matching(operator, "tier=api") == 0
            label(api, API)
            await relabelled(operator, API)
            *_, after = await operator.told("status")
            assert await matching(operator, "tier=api") == 1
        new = {"id", "time", "key", "conditions"}
        assert {name: before[name] for name in before.keys() - new} == {name: after[name] for name in after.keys() - new}
        assert after["conditions"] == []
        assert after["key"] != before["key"], "who drops what it has seen takes it for news"

    async def test_a_new_stream_finds_a_server_by_its_newest_labels(self, api: FakeApi) -> None:
        async def found(selector: str) -> list[str]:
            snapshot = await operator._log.snapshot(Selection(selector=Selector.parse(selector)))
            return [str(server.server) for server in snapshot.servers]

        async with operating(api) as operator:
            await running_server(api, operator)
            assert (await found("tier=web"), await found("tier=api")) == (["default/weather"], [])
            label(api, API)
            await relabelled(operator, API)
            assert (await found("tier=web"), await found("tier=api")) == ([], ["default/weather"])

    async def test_what_else_people_write_into_the_metadata_is_not_told(self, api: FakeApi) -> None:
        async with operating(api) as operator:
            await running_server(api, operator)
            before = await labels_of_statuses(operator)
            body = api.get("mcpservers", "weather")
            body["metadata"]["annotations"] = {"note": "looked at"}
            api.put("mcpservers", body)
            families, uid = operator.cluster._families, body["metadata"]["uid"]
            await until(lambda: (families.server(uid) or body)["metadata"].get("annotations") is not None)
            label(api, API)
            await relabelled(operator, API)
            after = await labels_of_statuses(operator)
        assert after == [*before, API]

    async def test_after_a_restart_they_are_there_again_and_nothing_is_late(self, api: FakeApi) -> None:
        async with operating(api) as operator:
            await running_server(api, operator)
            await until(lambda: condition(api, "Ready").get("status") == "True")
        async with operating(api) as operator:
            [told] = await operator.told("status")
            assert "late" not in told
            assert await labels_of_statuses(operator) == [WEB]

    async def test_a_server_without_any_has_none(self, api: FakeApi) -> None:
        async with operating(api) as operator:
            await running_server(api, operator, NO_LABELS)
            assert set(await labels_of_statuses(operator)) == {NO_LABELS}

    async def test_samples_have_them(self) -> None:
        async with measuring() as api, operating(api) as operator:
            await running_server(api, operator)
            with operator._log.listening(Selection(types=METRICS)):
                await operator.tells("metrics")
            [sample] = await records(operator._log, Selection(types=METRICS))
        assert (sample.subject.labels, sample.observed) == (WEB, None)

    async def test_lines_have_those_of_the_moment_and_the_end_of_a_log_the_last_ones(self) -> None:
        async with stage() as scene:
            scene.kubelet.start()
            scene.see()
            with scene.listening():
                await scene.tells("<started>")
                scene.families.take(MCP_SERVER, Change(old=None, new=mcpserver("weather", labelled(dict(WEB)))))
                scene.kubelet.print("one")
                await scene.tells("<started>", "one")
                scene.families.take(MCP_SERVER, Change(old=None, new=mcpserver("weather", labelled(dict(API)))))
                scene.kubelet.print("two")
                await scene.tells("<started>", "one", "two")
                scene.families.take(MCP_SERVER, Change(old=mcpserver("weather", labelled(dict(API))), new=None))
                scene.families.forget(mcpserver("weather")["metadata"]["uid"])
                scene.kubelet.delete()
                scene.forget()
                await scene.tells("<started>", "one", "two", "<ended>")
            told = await records(scene.log)
        assert [record.subject.labels for record in told] == [NO_LABELS, WEB, API, API]
        assert {record.observed for record in told} == {None}


class TestWhenItWasObserved:
    async def test_it_is_when_the_watch_told_of_it(self, api: FakeApi) -> None:
        clock = asyncio.get_running_loop().time
        async with operating(api) as operator:
            begun = clock()
            await running_server(api, operator)
            told = await records(operator._log)
        times = [record.observed for record in told if record.observed is not None]
        assert len(times) >= 3
        assert begun <= times[0] <= times[-1] <= clock()
        assert times == sorted(times)

    async def test_what_a_list_brings_says_nothing_of_when_it_happened(self, api: FakeApi) -> None:
        api.put("mcpservers", mcpserver("weather", labelled(dict(WEB))))
        async with operating(api) as operator:
            first, *_ = await records(operator._log)
            await until(lambda: api.watching("mcpservers") == 2)
            api.hush("mcpservers")
            label(api, API)
            api.expire()
            api.end_watches()
            relisted = await relabelled(operator, API)
        assert (first.observed, relisted.observed) == (None, None)

    async def test_of_several_changes_it_is_the_first_and_a_failure_does_not_lose_it(
        self, api: FakeApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with operating(api) as operator:
            await running_server(api, operator)
            await until(lambda: condition(api, "Ready").get("status") == "True")
            api.hush("mcpservers")
            observer, families = operator.cluster._observer, operator.cluster._families
            body = api.get("mcpservers", "weather")
            uid = body["metadata"]["uid"]
            await until(lambda: families.server(uid) == with_managers_of_spec(body) and not observer._queue._running)
            reports, report = 0, operator.cluster._reporter.report

            def fail_once(*arguments: Any) -> None:
                nonlocal reports
                reports += 1
                if reports == 1:
                    observer.changed(uid, observed=7.0)
                    raise RuntimeError("as the test has ordered")
                report(*arguments)

            monkeypatch.setattr(operator.cluster._reporter, "report", fail_once)
            body["metadata"]["labels"] = dict(API)
            families.take(MCP_SERVER, Change(old=None, new=body))
            observer.changed(uid, observed=3.0)
            observer.changed(uid, observed=5.0)
            assert (await relabelled(operator, API)).observed == 3.0
        assert reports > 1
