"""A small API server on loopback, for what a real one won't do on demand: expire, fail, cut a line, fall silent, go away.

It keeps objects and their history in memory and speaks as much of the Kubernetes API as the operator uses: lists in pages,
watches with bookmarks, server-side apply with managed fields, status patches with preconditions, discovery for kopf. It knows
no controllers and no schemas: a test plays those by `put` and `remove`. The truth about Kubernetes is tested in tests/e2e.
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from kubernetes.aio.client import Configuration

from tests.component.fake_objects import (
    CRD_GROUP,
    KINDS,
    Object,
    admits_by,
    field_set,
    merge_patch,
    merged,
    resource,
    status_body,
    unversioned,
)

_PATH = re.compile(
    r"/apis?/(?P<version>.+?)(/namespaces/(?P<namespace>[^/]+))?/(?P<plural>"
    + "|".join(KINDS)
    + r")(/(?P<name>[^/]+))?(/(?P<subresource>status|log))?"
)


@dataclass
class Fault:
    """What the server does instead of answering properly, so many times."""

    matches: Callable[[web.Request], bool]
    status: int
    reason: str
    message: str
    times: int
    causes: Sequence[Object]


@dataclass
class Request:
    """One request that was received."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any

    @property
    def plural(self) -> str:
        found = _PATH.fullmatch(self.path)
        return found["plural"] if found else ""

    @property
    def subresource(self) -> str:
        found = _PATH.fullmatch(self.path)
        return (found["subresource"] or "") if found else ""

    @property
    def watch(self) -> bool:
        return self.query.get("watch") == "true"

    @property
    def write(self) -> bool:
        return self.method in {"PATCH", "POST", "PUT", "DELETE"}


@dataclass(eq=False)
class _Watch:
    """One watch that is open; None ends it, bytes are written as they are."""

    plural: str
    admits: Callable[[Object], bool]
    lines: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    silent: bool = False


class FakeApi:
    """The server; use it through `serving`."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[tuple[str, str], Object]] = {plural: {} for plural in KINDS}
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.before: Callable[[Request], None] = lambda _: None
        """Called with each request before it is answered: what happens in between."""
        self.pruned: set[str] = set()
        """Fields of a status that the schema doesn't know."""
        self.silent = False
        """Watches that begin now never say anything."""
        self.pod_log: Callable[[web.Request], Awaitable[web.StreamResponse]] = _nothing_printed
        """Answers requests for a pod's log."""
        self.port = 0
        self._version = 100
        self._oldest = 0
        self._history: list[tuple[int, str, str, Object]] = []
        self._watches: set[_Watch] = set()
        self._lists: dict[str, tuple[int, list[Object]]] = {}
        self._runner: web.AppRunner | None = None

    # --- what a test does ---------------------------------------------------------------------------------------------------

    async def up(self) -> None:
        """Start to listen; again on the same port."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def down(self) -> None:
        """Be gone: connections are cut, new ones refused."""
        self.end_watches()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def configuration(self) -> Configuration:
        """How to reach it."""
        return Configuration(host=f"http://127.0.0.1:{self.port}")

    def put(self, plural: str, body: Mapping[str, Any]) -> Object:
        """Create or replace an object, as some controller or person would."""
        target: Object = copy.deepcopy(dict(body))
        metadata = target["metadata"]
        metadata.setdefault("uid", str(uuid.uuid4()))
        key = (metadata["namespace"], metadata["name"])
        old = self.objects[plural].get(key)
        if old is not None and old["metadata"]["uid"] != metadata["uid"]:
            self.remove(plural, *key)
            old = None
        generation = old["metadata"].get("generation", 1) if old is not None else metadata.get("generation", 1)
        metadata["generation"] = generation + (old is not None and old.get("spec") != target.get("spec"))
        if old is not None and unversioned(old) == unversioned(target):
            return copy.deepcopy(old)
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        self.objects[plural][key] = target
        self._happened("ADDED" if old is None else "MODIFIED", plural, target)
        return copy.deepcopy(target)

    def remove(self, plural: str, namespace: str, name: str) -> None:
        """Delete an object."""
        target = copy.deepcopy(self.objects[plural].pop((namespace, name)))
        self._version += 1
        target["metadata"]["resourceVersion"] = str(self._version)
        self._happened("DELETED", plural, target)

    def get(self, plural: str, name: str, namespace: str = "default") -> Object:
        return copy.deepcopy(self.objects[plural][namespace, name])

    def change(self, plural: str, name: str, path: str, value: Any, *, manager: str, namespace: str = "default") -> Object:
        """Set one field as another field manager, who then owns it."""
        body = self.get(plural, name, namespace)
        *parents, last = path.split(".")
        target = body
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = value
        for entry in body["metadata"].get("managedFields", []):
            fields = entry["fieldsV1"]
            for parent in parents:
                fields = fields.get(f"f:{parent}", {})
            fields.pop(f"f:{last}", None)
        owned: Object = {f"f:{last}": {}}
        for parent in reversed(parents):
            owned = {f"f:{parent}": owned}
        body["metadata"].setdefault("managedFields", []).append({"manager": manager, "operation": "Update", "fieldsV1": owned})
        return self.put(plural, body)

    def fail(
        self,
        status: int,
        reason: str = "InternalError",
        message: str = "as the test has ordered",
        *,
        times: int = 1,
        causes: Sequence[Object] = (),
        **match: Any,
    ) -> Fault:
        """Answer the next requests with an error: those whose `plural`, `subresource`, `watch` and `method` are as given."""

        def matches(request: web.Request) -> bool:
            found = _PATH.fullmatch(request.path)
            have = {
                "plural": found["plural"] if found else None,
                "watch": request.query.get("watch") == "true",
                "method": request.method,
                "subresource": found["subresource"] if found else None,
                "continued": "continue" in request.query,
            }
            return all(have[name] == value for name, value in match.items())

        fault = Fault(matches, status, reason, message, times, causes)
        self.faults.append(fault)
        return fault

    def expire(self) -> None:
        """Forget history and continue tokens, as etcd's compaction does."""
        self._oldest = self._version
        self._history.clear()
        self._lists.clear()

    def bookmark(self) -> None:
        """Send a bookmark on all watches."""
        for watch in self._watches:
            api_version, kind = KINDS[watch.plural]
            mark = {"kind": kind, "apiVersion": api_version, "metadata": {"resourceVersion": str(self._version)}}
            self._send(watch, "BOOKMARK", mark)

    def say(self, line: bytes, *, plural: str) -> None:
        """Write bytes on the watches of a kind, whatever they are."""
        for watch in self._watches:
            if watch.plural == plural:
                watch.lines.put_nowait(line)

    def hush(self, plural: str) -> None:
        """Keep what happens from the watches of a kind that are open now."""
        for watch in self._watches:
            watch.silent = watch.silent or watch.plural == plural

    def end_watches(self) -> None:
        """End all watches as the server does when their time is up."""
        for watch in self._watches:
            watch.lines.put_nowait(None)

    def watching(self, plural: str) -> int:
        """Watches of a kind that are open."""
        return sum(watch.plural == plural for watch in self._watches)

    def received(self, **match: Any) -> list[Request]:
        """Requests so far with these attributes: method, plural, subresource, watch, write."""
        return [request for request in self.requests if all(getattr(request, name) == value for name, value in match.items())]

    # --- how it answers -----------------------------------------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        content = await request.read()
        body = json.loads(content) if content else None
        self.requests.append(Request(request.method, request.path, dict(request.query), body))
        self.before(self.requests[-1])
        for fault in self.faults:
            if fault.times and fault.matches(request):
                fault.times -= 1
                return _status(fault.status, fault.reason, fault.message, causes=fault.causes)
        found = _PATH.fullmatch(request.path)
        if found is None:
            return self._discover(request.path)
        plural = found["plural"]
        if request.method != "GET":
            return self._write(request, found, body)
        if found["name"]:
            return await self._read(request, found)
        admits = admits_by(found["namespace"], request.query)
        if request.query.get("watch") == "true":
            return await self._watch(request, plural, admits)
        return self._list(request, plural, admits)

    async def _read(self, request: web.Request, found: re.Match[str]) -> web.StreamResponse:
        if found["subresource"] == "log":
            return await self.pod_log(request)
        plural, name = found["plural"], found["name"]
        held = self.objects[plural].get((found["namespace"], name))
        return web.json_response(held) if held is not None else _status(404, "NotFound", f"{plural} {name!r} not found")

    def _write(self, request: web.Request, found: re.Match[str], body: Any) -> web.Response:
        plural, namespace, name = found["plural"], found["namespace"], found["name"]
        if request.method == "POST":
            return self._create(plural, namespace, body)
        if request.method == "DELETE":
            return self._delete(plural, namespace, name, body)
        if found["subresource"] == "status":
            return self._patch_status(plural, namespace, name, body)
        return self._apply(plural, namespace, name, body, request.query)

    def _discover(self, path: str) -> web.Response:
        groups: dict[str, list[str]] = {}
        for api_version, _ in KINDS.values():
            group, _, version = api_version.rpartition("/")
            groups.setdefault(group, []).append(version)
        if path == "/api":
            return web.json_response({"versions": ["v1"]})
        if path == "/apis":
            named = [
                {"name": group, "versions": [{"version": versions[0]}], "preferredVersion": {"version": versions[0]}}
                for group, versions in groups.items()
                if group
            ]
            return web.json_response({"groups": [*named, CRD_GROUP]})
        api_version = path.removeprefix("/apis/").removeprefix("/api/")
        resources = [resource(plural, kind) for plural, (version, kind) in KINDS.items() if version == api_version]
        if api_version == "v1":
            resources.append(resource("namespaces", "Namespace", namespaced=False))
        if api_version == "apiextensions.k8s.io/v1":
            resources.append(resource("customresourcedefinitions", "CustomResourceDefinition", namespaced=False))
        return web.json_response({"resources": resources})

    def _list(self, request: web.Request, plural: str, admits: Callable[[Object], bool]) -> web.Response:
        token = request.query.get("continue")
        if token is None:
            version, items = self._version, [body for body in self.objects[plural].values() if admits(body)]
        elif token in self._lists:
            version, items = self._lists.pop(token)
        else:
            return _status(410, "Expired", "The provided continue parameter is too old")
        limit = int(request.query.get("limit", "500"))
        page, rest = items[:limit], items[limit:]
        metadata = {"resourceVersion": str(version)}
        if rest:
            metadata["continue"] = str(uuid.uuid4())
            self._lists[metadata["continue"]] = (version, rest)
        return web.json_response({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": page})

    async def _watch(self, request: web.Request, plural: str, admits: Callable[[Object], bool]) -> web.StreamResponse:
        since = int(request.query["resourceVersion"])
        watch = _Watch(plural, admits, silent=self.silent)
        response = web.StreamResponse()
        await response.prepare(request)
        if since < self._oldest:
            await response.write(_line("ERROR", status_body(410, "Expired", "too old resource version")))
            return response
        for version, kind, of, body in self._history:
            if version > since and of == plural and admits(body):
                self._send(watch, kind, body)
        self._watches.add(watch)
        try:
            while (line := await watch.lines.get()) is not None:
                await response.write(line)
        finally:
            self._watches.discard(watch)
        return response

    def _apply(self, plural: str, namespace: str, name: str, manifest: Object, query: Mapping[str, str]) -> web.Response:
        old = self.objects[plural].get((namespace, name))
        wanted = manifest["metadata"].get("uid")
        if wanted is not None and (old is None or old["metadata"]["uid"] != wanted):
            return _status(409, "Conflict", "uid mismatch")
        if old is not None and query["force"] == "false":
            return _status(409, "Conflict", "Apply failed with 1 conflict")
        target = merged(old or {}, manifest)
        entry = {"manager": query["fieldManager"], "operation": "Apply", "fieldsV1": field_set(manifest)}
        others = [each for each in target["metadata"].get("managedFields", []) if each["manager"] != query["fieldManager"]]
        target["metadata"]["managedFields"] = [entry, *others]
        return web.json_response(self.put(plural, target))

    def _patch_status(self, plural: str, namespace: str, name: str, patch: Object) -> web.Response:
        old = self.objects[plural].get((namespace, name))
        if old is None:
            return _status(404, "NotFound", f"{plural} {name!r} not found")
        for key, value in patch.get("metadata", {}).items():
            if old["metadata"][key] != value:
                return _status(409, "Conflict", f"{key} is not {value}")
        target = copy.deepcopy(old)
        status = merge_patch(target.get("status"), patch["status"])
        target["status"] = {name: value for name, value in status.items() if name not in self.pruned}
        return web.json_response(self.put(plural, target))

    def _create(self, plural: str, namespace: str, body: Object) -> web.Response:
        if (namespace, body["metadata"]["name"]) in self.objects[plural]:
            return _status(409, "AlreadyExists", "already exists")
        return web.json_response(self.put(plural, body), status=201)

    def _delete(self, plural: str, namespace: str, name: str, options: Object) -> web.Response:
        held = self.objects[plural].get((namespace, name))
        if held is None:
            return _status(404, "NotFound", f"{plural} {name!r} not found")
        if options["preconditions"]["uid"] != held["metadata"]["uid"]:
            return _status(409, "Conflict", "uid mismatch")
        self.remove(plural, namespace, name)
        return web.json_response(held)

    def _happened(self, kind: str, plural: str, body: Object) -> None:
        self._history.append((self._version, kind, plural, copy.deepcopy(body)))
        for watch in self._watches:
            if watch.plural == plural and watch.admits(body):
                self._send(watch, kind, body)

    @staticmethod
    def _send(watch: _Watch, kind: str, body: Object) -> None:
        if not watch.silent:
            watch.lines.put_nowait(_line(kind, body))


async def until(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    """Return as soon as the condition holds; fail if it doesn't within a time that no machine needs."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions are about any state of any object: there is no event for it
            await asyncio.sleep(0.002)


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run something that never ends by itself for the duration of the block; fails with it."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work)
        yield
        task.cancel()


@asynccontextmanager
async def serving() -> AsyncIterator[FakeApi]:
    """A server for the duration of the block."""
    api = FakeApi()
    with socket.socket() as held:
        # Bound, never listening: while the server is down connections are refused, and nobody else gets its port.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        api.port = held.getsockname()[1]
        await api.up()
        try:
            yield api
        finally:
            await api.down()


async def _nothing_printed(_: web.Request) -> web.StreamResponse:
    return web.Response()


def _line(kind: str, body: Object) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"


def _status(status: int, reason: str, message: str, causes: Sequence[Object] = ()) -> web.Response:
    return web.json_response(status_body(status, reason, message, causes), status=status)
