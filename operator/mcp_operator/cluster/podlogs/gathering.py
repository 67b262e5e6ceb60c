"""The logs of all containers of one server, which begin and end with its pods. `following` says whether they are followed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

from mcp_operator.cluster.grouping import Family
from mcp_operator.cluster.objects import uid_of
from mcp_operator.cluster.podlogs.containers import Container, containers_of
from mcp_operator.cluster.podlogs.reading import ContainerLog
from mcp_operator.cluster.podlogs.telling import Origin, logs_spec
from mcp_operator.model.spec import LogsSpec

_Key: TypeAlias = tuple[str, str]
"""A container: the UID of its pod, and its name."""


class ServerLogs:
    """One server's logs, of every container that exists or has still something to tell.

    Args:
        make: makes the log of a container, of which so many lines of the past are wanted, or (None) all.
        on_end: called when all of a container that is gone was told.
    """

    def __init__(self, *, make: Callable[[Origin, int | None], ContainerLog], on_end: Callable[[], None]) -> None:
        self._make = make
        self._on_end = on_end
        self._spec = LogsSpec()
        self._logs: dict[_Key, ContainerLog] = {}
        """Those that aren't followed at the moment, too: how far they were told."""
        self._tasks: dict[_Key, asyncio.Task[None]] = {}

    @property
    def empty(self) -> bool:
        """Whether there is nothing left to tell or to remember."""
        return not self._logs

    def follow(self, family: Family | None, tasks: asyncio.TaskGroup, *, past: int | None) -> None:
        """Follow all containers of the pods that there are now.

        Args:
            family: None once nothing is left of the server.
            tasks: where the logs are read.
            past: how many lines are wanted of what a container has printed until now; None if the server was followed already:
                then what has begun since is wanted from its beginning.
        """
        # That of a deleted server, or one that can't be read, leaves it as it was.
        self._spec = logs_spec(family.server if family is not None else None) or self._spec
        containers = _containers(family)
        for key, (origin, container) in containers.items():
            if key not in self._logs:
                printed = past is not None and container.run is not None
                tail = max(past or 0, self._spec.tail_lines) if printed else None
                self._logs[key] = self._make(origin, tail)
        self._see(containers)
        for key in self._logs.keys() - self._tasks.keys():
            task = tasks.create_task(self._logs[key].run(), name=f"following {self._logs[key].origin}")
            self._tasks[key] = task
            task.add_done_callback(partial(self._ended, key))

    def remember(self, family: Family | None) -> None:
        """Keep in mind how far the containers that exist were told, though nobody listens."""
        self._see(_containers(family))

    async def stop(self, why: str) -> None:
        """Follow no more, and say so; how far each container was told is kept."""
        running, self._tasks = self._tasks, {}
        for task in running.values():
            task.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)
        for key in running:
            await self._logs[key].stop(why)

    def _see(self, containers: Mapping[_Key, tuple[Origin, Container]]) -> None:
        for key, log in list(self._logs.items()):
            found = containers.get(key)
            log.see(found[1] if found is not None else None, self._spec)
            if found is None and key not in self._tasks:
                del self._logs[key]

    def _ended(self, key: _Key, _: asyncio.Task[None]) -> None:
        if self._tasks.pop(key, None) is not None:
            del self._logs[key]
            self._on_end()


def _containers(family: Family | None) -> Mapping[_Key, tuple[Origin, Container]]:
    if family is None:
        return {}
    return {
        (uid_of(pod), container.name): (
            Origin(
                server=family.name,
                uid=family.uid,
                instance=pod["metadata"]["name"],
                pod_uid=uid_of(pod),
                container=container.name,
            ),
            container,
        )
        for pod in family.pods
        for container in containers_of(pod)
    }
