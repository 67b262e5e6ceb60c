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
from mcp_operator.workload.naming import selector_of

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
        self.usages: Usages | Missing | None = None
        """None until there is one, and if who asked was cancelled."""
        self._there = asyncio.Event()

    @property
    def fresh(self) -> bool:
        return time.monotonic() - self.begun <= TOGETHER_SECONDS

    def give(self, usages: Usages | Missing | None) -> None:
        self.usages = usages
        self._there.set()

    async def wait(self) -> Usages | Missing | None:
        await self._there.wait()
        return self.usages


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

    async def read(self, server: ServerName, *, due_soon: Callable[[], Iterable[ServerName]]) -> Usages | Missing:
        """What the pods of a server use, perhaps those of others among them, or why that can't be told.

        Args:
            due_soon: other servers whose turn comes within TOGETHER_SECONDS.
        """
        answer = self._answers.pop(server, None)
        if answer is not None and answer.fresh and (usages := await answer.wait()) is not None:
            return usages
        self._answers = {name: kept for name, kept in self._answers.items() if kept.fresh}
        others = (
            name for name in due_soon() if name.namespace == server.namespace and name != server and name not in self._answers
        )
        together = list(islice(dict.fromkeys(others), _MOST_TOGETHER - 1))
        answer = _Answer()
        self._answers.update(dict.fromkeys(together, answer))
        usages = None
        try:
            usages = await self._ask(server.namespace, [server.name, *(name.name for name in together)])
        finally:
            answer.give(usages)
        return usages

    async def _ask(self, namespace: str, names: list[str]) -> Usages | Missing:
        try:
            with self._metrics.usage_seconds.time():
                async with asyncio.timeout(_SECONDS):
                    found = await self._api.list_page(
                        POD_METRICS, namespace, selectors={"labelSelector": selector_of(*names)}, limit=_PAGE, token=None
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
