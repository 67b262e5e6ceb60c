"""What containers print on a real cluster: programs that print, `kubectl logs --timestamps` of them, and what is told of them."""

from __future__ import annotations

import asyncio
import re
import textwrap
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterable
from contextlib import suppress
from typing import TypeAlias

from local_stack.stack import NAMESPACE
from tests.e2e.acting import User
from tests.e2e.installation import Installation
from tests.e2e.subscribing import EventJson, Subscriber
from tests.waiting import until

Printed: TypeAlias = tuple[str, str]
"""Timestamp and text of a line."""

_LINE = re.compile(rb"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) ([^\n]*?)\r?(?:\n|\Z)", re.MULTILINE)
"""What kubelet says itself has no time."""


def program(source: str | bytes) -> dict[str, object]:
    """A spec for an instance that runs this instead of a server; it is never ready."""
    text = source.decode() if isinstance(source, bytes) else source
    return {"command": ["python3", "-u", "-c"], "args": [textwrap.dedent(text)], "logs": {"format": "text"}}


class Kubectl:
    """`kubectl logs --timestamps` of one instance, or of another of its containers than the server's."""

    def __init__(self, user: User, installed: Installation, instance: str, container: str = "mcp") -> None:
        cluster = installed.cluster
        self._argv = [str(cluster.kubectl), f"--kubeconfig={cluster.kubeconfig}", f"--namespace={user.namespace}"]
        self._argv += ["logs", "--timestamps", instance, f"--container={container}"]
        self.reads = asyncio.Event()
        """Set once kubelet has given the first lines."""

    async def printed(self, *options: str) -> list[Printed]:
        """All that was printed until now; nothing once the instance is gone."""
        return await self._run(*options)

    async def printed_until_it_is_gone(self) -> list[Printed]:
        """All that is ever printed.

        kubelet ends a follow early where the machine has no inotify instances left, so one may take several; each shows all.
        """
        printed: list[Printed] = []
        while newer := await self._run("--follow"):
            printed = newer
        return printed

    async def _run(self, *options: str) -> list[Printed]:
        process = await asyncio.create_subprocess_exec(*self._argv, *options, stdout=PIPE, stderr=DEVNULL)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(240):
                content = await process.stdout.read(1)
                self.reads.set()
                content += await process.stdout.read()
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        return [(found[1].decode(), found[2].decode(errors="replace")) for found in _LINE.finditer(content)]


def told(events: Iterable[EventJson], instance: str, container: str = "mcp") -> list[Printed]:
    """The lines of an instance's container, repeats left out by their keys as a subscriber would."""
    lines = {event["key"]: event for event in events if is_line(event, instance) and event["container"] == container}
    return [(line["timestamp"], line["msg"]) for line in lines.values()]


def is_line(event: EventJson, instance: str | None = None) -> bool:
    is_one = event["type"] == "log" and event["level"] is not None and not event["previous"]
    return is_one and instance in {None, event["instance"]}


def markers(stream: Subscriber) -> list[tuple[str, bool]]:
    """Beginnings and ends of followed logs, and whether something is missing there."""
    return [(event["follow"], event["dropped"]) for event in stream.events if event["type"] == "log" and event["follow"]]


async def line_after(stream: Subscriber, instance: str, printed: Printed) -> None:
    """Wait until this line of an instance is told."""
    stream.rewind()
    await stream.until(lambda event: is_line(event, instance) and event["timestamp"] >= printed[0])


async def ended(stream: Subscriber, instance: str) -> EventJson:
    """Wait until all of an instance that is gone is told."""
    stream.rewind()
    return await stream.until(lambda event: event.get("follow") == "ended" and event["instance"] == instance)


async def instance_of(user: User, server: str) -> str:
    """The name of the server's only instance, as soon as it runs."""

    def running() -> str:
        pods = [pod for pod in user.pods(server) if "deletionTimestamp" not in pod["metadata"]]
        return str(pods[0]["metadata"]["name"]) if len(pods) == 1 and pods[0]["status"]["phase"] == "Running" else ""

    return await until(running, f"an instance of {server} runs")


def figure(installed: Installation, name: str) -> float:
    """One of the operator's metrics, as Prometheus would read it."""
    (pod,) = installed.stack.kubectl("get", "pods", f"--namespace={NAMESPACE}", "--output=name").split()
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod.removeprefix('pod/')}:8081/proxy/metrics"
    found = re.search(rf"^mcp_operator_{name} (\S+)$", installed.stack.kubectl("get", f"--raw={path}"), re.MULTILINE)
    assert found is not None, name
    return float(found[1])
