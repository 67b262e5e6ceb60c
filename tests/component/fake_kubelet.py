"""Logs of containers as the fake API server gives them on behalf of kubelet, and the pods' status that goes with them.

A test prints, restarts and ends containers here, and says itself when the API server learns of it: `statuses` is what a pod's
status says by then. Answers can be cut off after so many bytes.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.kubelet import PrintedLog

INSTANCE = "weather-7d4b9-0"


@dataclass
class Cut:
    """What becomes of an answer after so many bytes."""

    after: int
    clean: bool = False
    """It ends as if it were whole, as when kubelet's connection to the API server breaks."""


@dataclass
class Run:
    """One run of a container."""

    id: str
    log: PrintedLog = field(default_factory=PrintedLog)
    exit_code: int | None = None


class Kubelet:
    """The logs of all containers; `answer` belongs into `FakeApi.pod_log`."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str], list[Run]] = defaultdict(list)
        self.cuts: dict[str, list[Cut]] = defaultdict(list)
        """Of the next answers about a pod, one each."""
        self.remarks: list[str] = []
        """Said in the next answers, one each, instead of going on."""
        self.gone: set[str] = set()
        """Pods that the API server has no more."""
        self.asked: list[dict[str, str]] = []
        self.open = 0
        """Requests that are open."""
        self.most_open = 0
        self._printed = 0
        self._changed = asyncio.Event()

    def start(self, container: str = "mcp", *, instance: str = INSTANCE) -> None:
        """Start a container, or start it again."""
        runs = self.runs[instance, container]
        if runs and runs[-1].exit_code is None:
            runs[-1].exit_code = 1
        runs.append(Run(f"containerd://{instance}/{container}/{len(runs)}"))
        self._notify()

    def print(self, *texts: str | bytes, container: str = "mcp", instance: str = INSTANCE, at_ns: int | None = None) -> None:
        """Have the newest run print lines, each a millisecond later than all that were printed before, or at this time."""
        for text in texts:
            self._printed += 1
            self.runs[instance, container][-1].log.print(text, at_ns=self._printed * 10**6 if at_ns is None else at_ns)
        self._notify()

    def end(self, code: int = 0, *, container: str = "mcp", instance: str = INSTANCE, unfinished: bool = False) -> None:
        """End the newest run, maybe within a line."""
        run = self.runs[instance, container][-1]
        run.exit_code, run.log.unfinished = code, unfinished
        self._notify()

    def delete(self, instance: str = INSTANCE) -> None:
        """Delete a pod for good: its containers have ended, and new requests find nothing."""
        for (name, container), runs in self.runs.items():
            if name == instance and runs[-1].exit_code is None:
                self.end(container=container, instance=instance)
        self.gone.add(instance)

    def statuses(self, instance: str = INSTANCE) -> list[dict[str, Any]]:
        """The pod's `status.containerStatuses` at this moment."""
        return [_status(container, runs) for (name, container), runs in self.runs.items() if name == instance]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        instance, query = request.path.split("/")[-2], request.query
        self.asked.append({"instance": instance, **query})
        if instance in self.gone:
            return _refusal(404, "NotFound", f'pods "{instance}" not found')
        runs = self.runs[instance, query["container"]]
        previous = query.get("previous") == "true"
        if len(runs) < (2 if previous else 1):
            return _refusal(400, "BadRequest", f"container {query['container']!r} is waiting to start: ContainerCreating")
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            return await self._stream(request, runs[-2] if previous else runs[-1])
        finally:
            self.open -= 1

    async def _stream(self, request: web.Request, run: Run) -> web.StreamResponse:
        query = request.query
        cuts = self.cuts[request.path.split("/")[-2]]
        cut = cuts.pop(0) if cuts else None
        remark = self.remarks.pop(0) if self.remarks else None
        tail = int(query["tailLines"]) if "tailLines" in query else None
        response = web.StreamResponse()
        await response.prepare(request)
        sent = 0
        while True:
            changed = self._changed
            over = run.exit_code is not None or "follow" not in query
            content = run.log.answer(since=query.get("sinceTime"), tail=tail)[: cut.after if cut else None]
            await response.write(content[sent:])
            sent = len(content)
            if cut is not None and sent == cut.after and not cut.clean:
                assert request.transport is not None
                request.transport.abort()
            if remark is not None:
                await response.write(remark.encode())
            if over or remark is not None or (cut is not None and sent == cut.after):
                return response
            await changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _refusal(status: int, reason: str, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": status, "reason": reason, "message": message}, status=status)


def _status(container: str, runs: list[Run]) -> dict[str, Any]:
    states = [_state(run) for run in runs]
    before: dict[str, Any] = states[-2] if len(states) > 1 else {}
    return {
        "name": container,
        "restartCount": len(runs) - 1,
        "containerID": runs[-1].id,
        "state": states[-1],
        "lastState": before,
    }


def _state(run: Run) -> dict[str, Any]:
    if run.exit_code is None:
        return {"running": {"startedAt": "2026-11-23T09:00:00Z"}}
    reason = "Error" if run.exit_code else "Completed"
    return {"terminated": {"containerID": run.id, "exitCode": run.exit_code, "reason": reason}}
