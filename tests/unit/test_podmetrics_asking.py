"""One request to metrics.k8s.io for many servers: who is in it, for how long its answer is used, and what if it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.errors import ApiError
from mcp_operator.cluster.podmetrics import asking
from mcp_operator.cluster.podmetrics.asking import TOGETHER_SECONDS, UsageReader
from mcp_operator.cluster.podmetrics.metrics import SamplingMetrics
from mcp_operator.cluster.podmetrics.readings import Missing
from mcp_operator.model.servers import ServerName


class FakeApi:
    """An API server with one pod for each server that is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        """Namespace and names of each request."""
        self.error: ApiError | None = None
        self.begun = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    async def list_page(self, kind: object, namespace: str, *, selectors: dict[str, str], **_: object) -> dict[str, Any]:
        instances = selectors["labelSelector"].partition("app.kubernetes.io/instance")[2]
        names = instances.partition(",app")[0].removeprefix("=").removeprefix(" in (").removesuffix(")").split(",")
        self.asked.append((namespace, names))
        self.begun.set()
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        containers = [{"usage": {"cpu": "1m", "memory": "1Mi"}}]
        return {"items": [{"metadata": {"name": f"{name}-0"}, "containers": containers} for name in names]}


class Readers:
    """A reader, and servers that come to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.api = FakeApi()
        self.now = 0.0
        monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=lambda: self.now))
        self._reader = UsageReader(cast("Api", self.api), metrics=SamplingMetrics(CollectorRegistry()))

    async def read(self, name: str, *, soon: Iterable[str] = ()) -> bool | str:
        """Whether a server's own pod is in what it gets, or why it gets nothing."""
        server = ServerName.parse(name)
        usages = await self._reader.read(server, due_soon=lambda: map(ServerName.parse, soon))
        return usages.reason.value if isinstance(usages, Missing) else f"{server.name}-0" in usages


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> Readers:
    return Readers(monkeypatch)


async def test_those_whose_turn_comes_soon_are_asked_for_along_and_come_for_it(readers: Readers) -> None:
    soon = ["a/two", "a/three", "b/four", "a/one"]
    assert await readers.read("a/one", soon=soon)
    readers.now = TOGETHER_SECONDS
    assert await readers.read("a/two", soon=soon)
    assert await readers.read("a/three", soon=soon)
    assert readers.api.asked == [("a", ["one", "two", "three"])], "and nothing of another namespace"


async def test_an_answer_is_used_once_and_not_for_longer(readers: Readers) -> None:
    assert await readers.read("a/one", soon=["a/two", "a/three"])
    assert await readers.read("a/two")
    assert await readers.read("a/two")
    readers.now = TOGETHER_SECONDS + 0.001
    assert await readers.read("a/three")
    assert readers.api.asked == [("a", ["one", "two", "three"]), ("a", ["two"]), ("a", ["three"])]


async def test_those_who_come_at_the_same_moment_are_in_one_request(readers: Readers) -> None:
    names = [f"a/server-{number}" for number in range(120)]
    assert all(await asyncio.gather(*map(readers.read, names)))
    assert [len(asked) for _, asked in readers.api.asked] == [50, 50, 20]


async def test_no_request_has_more_names_than_an_url_has_room_for(readers: Readers) -> None:
    assert await readers.read("a/one", soon=[f"a/server-{number}" for number in range(200)])
    assert [len(asked) for _, asked in readers.api.asked] == [50]


async def test_who_comes_while_it_is_asked_waits_for_the_answer(readers: Readers) -> None:
    readers.api.answers.clear()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(readers.read("a/one", soon=["a/two"]))
        await readers.api.begun.wait()
        second = tasks.create_task(readers.read("a/two"))
        await asyncio.sleep(0)
        readers.api.answers.set()
    assert first.result()
    assert second.result()
    assert len(readers.api.asked) == 1


async def test_a_refusal_is_told_to_all_and_the_next_one_asks_again(readers: Readers) -> None:
    readers.api.error = ApiError(status=503, reason="ServiceUnavailable", message="no endpoints available")
    assert await readers.read("a/one", soon=["a/two"]) == "MetricsUnavailable"
    assert await readers.read("a/two") == "MetricsUnavailable"
    readers.api.error = None
    assert await readers.read("a/two") is True
    assert len(readers.api.asked) == 2


async def test_if_who_asks_gives_up_those_who_wait_ask_themselves(readers: Readers) -> None:
    readers.api.answers.clear()
    asker = asyncio.create_task(readers.read("a/one", soon=["a/two"]))
    await readers.api.begun.wait()
    waiter = asyncio.create_task(readers.read("a/two"))
    await asyncio.sleep(0)
    asker.cancel()
    readers.api.answers.set()
    assert await waiter is True
    assert readers.api.asked == [("a", ["one", "two"]), ("a", ["two"])]
