"""Asks metrics.k8s.io what pods use: one request for those servers of a namespace whose turn comes within the same second.

metrics-server itself looks every 15 to 60 seconds, so an answer that is up to a second old is as good as a new one; asking for
each server alone would be a thousand requests per interval for a thousand servers. `sampling` calls it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Final, TypeAlias

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.errors import ApiError
from mcp_operator.apiserver.kinds import POD_METRICS
from mcp_operator.cluster.outages import Outage
from mcp_operator.cluster.podmetrics.metrics import SamplingMetrics
from mcp_operator.cluster.podmetrics.readings import Missing, Reason, Usage, brief
from mcp_operator.cluster.podmetrics.usage import read_usages
from mcp_operator.model.servers import ServerName
from mcp_operator.workload.naming import selector_of_servers

TOGETHER_SECONDS: Final = 1.0
"""Servers whose turn comes so soon are asked for along with one whose turn it is; their answer is used for as long."""
_MOST_TOGETHER: Final = 50
"""Names in one URL."""
_SECONDS: Final = 5.0
_PAGE: Final = 5000
"""More instances than servers asked for together can have; metrics-server gives all in one page anyway."""

Usages: TypeAlias = Mapping[str, Usage]
"""What pods use, by their names within a namespace."""


class _Answer:
    """Of one request, which several servers wait for or come for later."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self._usages: Usages | Missing | None = None
        self._there = asyncio.Event()

    @property
    def fresh(self) -> bool:
        return time.monotonic() - self.begun <= TOGETHER_SECONDS

    def give(self, usages: Usages | Missing | None) -> None:
        """Let those go on who wait; None if who asked was cancelled."""
        self._usages = usages
        self._there.set()

    async def wait(self) -> Usages | Missing | None:
        await self._there.wait()
        return self._usages


class UsageReader:
    """Reads for one sampler; belongs to one event loop.

    Args:
        metrics: counts what is asked.
    """

    def __init__(self, api: Api, *, metrics: SamplingMetrics) -> None:
        self._api = api
        self._metrics = metrics
        self._outage = Outage("Reading what pods use from metrics.k8s.io")
        self._answers: dict[ServerName, _Answer] = {}
        """Of servers that were asked for along with another and haven't come for it; at most one for each server."""
        self._joinable: dict[str, tuple[_Answer, list[str]]] = {}
        """By namespace: the request that is about to be made, and the names in it."""

    async def read(self, server: ServerName, *, due_soon: Callable[[], Iterable[ServerName]]) -> Usages | Missing:
        """What the pods of a server use, perhaps those of others among them, or why that can't be told.

        Args:
            due_soon: other servers whose turn comes within TOGETHER_SECONDS.
        """
        answer = self._answers.pop(server, None)
        if answer is None or not answer.fresh:
            answer = self._join(server)
        if answer is None:
            return await self._read_together(server, due_soon)
        usages = await answer.wait()
        return await self.ask(server.namespace, selector_of_servers(server.name)) if usages is None else usages

    def _join(self, server: ServerName) -> _Answer | None:
        """Have a server asked for by the next request of its namespace; None if none is about to be made."""
        answer, names = self._joinable.get(server.namespace, (None, []))
        if len(names) >= _MOST_TOGETHER:
            return None
        names.append(server.name)
        return answer

    async def _read_together(self, server: ServerName, due_soon: Callable[[], Iterable[ServerName]]) -> Usages | Missing:
        namespace, names = server.namespace, [server.name]
        answer, usages = _Answer(), None
        self._joinable[namespace] = answer, names
        try:
            await asyncio.sleep(0)  # those whose turn has come in the same turn of the loop join
            self._joinable.pop(namespace, None)
            self._answers = {name: kept for name, kept in self._answers.items() if kept.fresh}
            others = (name for name in due_soon() if name.namespace == namespace and name not in self._answers)
            for other in islice((name for name in others if name.name not in names), _MOST_TOGETHER - len(names)):
                self._answers[other] = answer
                names.append(other.name)
            usages = await self.ask(namespace, selector_of_servers(*names))
        finally:
            answer.give(usages)
        return usages

    async def ask(self, namespace: str, selector: str) -> Usages | Missing:
        """What the pods that a label selector chooses use, or why that can't be told: a request of its own."""
        try:
            with self._metrics.usage_seconds.time():
                async with asyncio.timeout(_SECONDS):
                    found = await self._api.list_page(
                        POD_METRICS, namespace, selectors={"labelSelector": selector}, limit=_PAGE, token=None
                    )
            usages = read_usages(found)
        except TimeoutError:
            return self._unavailable(ApiError(status=None, reason="TimedOut", message=f"no answer within {_SECONDS:g} s"))
        except ApiError as error:
            return self._unavailable(error)
        except ValueError as error:
            return self._unavailable(ApiError(status=None, reason="Malformed", message=str(error)))
        self._metrics.usage_requests.labels(result="read").inc()
        self._outage.works()
        return usages

    def _unavailable(self, error: ApiError) -> Missing:
        self._metrics.usage_requests.labels(result="refused" if error.refused or error.gone else "failed").inc()
        self._outage.fails(error)
        return Missing(Reason.METRICS_UNAVAILABLE, f"metrics.k8s.io: {brief(str(error))}", of_server=True)
