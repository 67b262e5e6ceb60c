"""Reflectors: each keeps one collection of the API server in memory, for ever, whatever happens to the connection.

A list in pages, then a watch from there. When a watch ends as agreed, the next one starts where it stopped; after anything else
(410, an error line, a cut line, a broken connection, too long a silence) the list is read again and replaces what was held. The
waiting time between tries stays under two seconds however long the API server is away. `observing` gets the changes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import lru_cache
from typing import Any

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.errors import ApiError
from mcp_operator.apiserver.kinds import EVENT, Kind
from mcp_operator.cluster.metrics import ClusterMetrics
from mcp_operator.cluster.outages import Backoff, Outage
from mcp_operator.cluster.watching import Change, Lines, Reflection
from mcp_operator.model.base import Object

_PAGE = 500
_WATCH_SECONDS = (240.0, 360.0)
"""Spread, so that the watches of one process don't all end together."""
_WATCH_SECONDS_WITHOUT_BOOKMARKS = (30.0, 60.0)
"""The API server has no watch cache for Kubernetes Events, so it sends no bookmarks there: only a watch that ends often shows
that it is alive."""
_SILENCE_SECONDS = 75.0
"""The API server sends a bookmark about once a minute; a watch that gives nothing for longer is dead."""
_LONGEST_BACKOFF = 2.0
_STEADY_SECONDS = 1.0
"""A watch that lasted this long has worked."""
_REFUSAL_SECONDS = 3.0
"""An API server that has just started refuses what it will allow a moment later."""


_SHARED_STRINGS = 16384
_SHARED_LENGTH = 64
"""Characters; longer strings are rarely the same in two objects."""

_SHARED_LEVELS = 20
"""Kubernetes' own objects have no more; an open schema takes any number, more than Python can call."""

_UNREAD_OF_POD = (
    "affinity",
    "dnsConfig",
    "hostAliases",
    "imagePullSecrets",
    "nodeSelector",
    "tolerations",
    "topologySpreadConstraints",
    "volumes",
)
_UNREAD_OF_CONTAINER = ("args", "command", "env", "envFrom", "lifecycle", "volumeDevices", "volumeMounts")


def whole(body: dict[str, Any]) -> Object:
    """Keep all of it."""
    return body


def without_managed_fields(body: dict[str, Any]) -> Object:
    """Drop what is large and never read here."""
    metadata = body["metadata"]
    metadata.pop("managedFields", None)
    metadata.get("annotations", {}).pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return body


def pod_in_brief(body: dict[str, Any]) -> Object:
    """Drop more of a pod: there may be ten thousand, and what containers are told (env, command) is never read here."""
    spec = body.get("spec") or {}
    for field in _UNREAD_OF_POD:
        spec.pop(field, None)
    for listed in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(listed) or ():
            for field in _UNREAD_OF_CONTAINER:
                container.pop(field, None)
    return without_managed_fields(body)


def with_managers_of_spec(body: dict[str, Any]) -> Object:
    """Keep of the managed fields who wrote which field of the spec, and drop what is never read here."""
    entries = body["metadata"].get("managedFields") or ()
    trimmed = without_managed_fields(body)
    managed = [
        {**entry, "fieldsV1": {"f:spec": {field: {} for field in fields}}}
        for entry in entries
        if (fields := (entry.get("fieldsV1") or {}).get("f:spec")) and entry.get("subresource") != "status"
    ]
    return {**trimmed, "metadata": {**trimmed["metadata"], "managedFields": managed}}


def shared(value: Any, *, levels: int = _SHARED_LEVELS) -> Any:
    """The same value, in which equal strings (keys, and most words) are one string: ten thousand pods take half the memory.

    Args:
        levels: how deep it looks.
    """
    if not levels:
        return value
    if isinstance(value, dict):
        return {_one(key): shared(item, levels=levels - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [shared(item, levels=levels - 1) for item in value]
    return _one(value) if isinstance(value, str) and len(value) <= _SHARED_LENGTH else value


@lru_cache(_SHARED_STRINGS)
def _one(text: str) -> str:
    return text


class Reflector:
    """One collection: a kind, in one namespace or (None) in the cluster, narrowed by the API server's selectors.

    Args:
        on_change: called at once for each change, in order; must not block.
        on_permission: called when `forbidden` has changed.
        trim: what of an object is kept.
        silence: seconds without a byte after which a watch counts as dead.
    """

    def __init__(
        self,
        api: Api,
        kind: Kind,
        namespace: str | None,
        *,
        on_change: Callable[[Change], None],
        metrics: ClusterMetrics,
        on_permission: Callable[[], None] = lambda: None,
        selectors: Mapping[str, str] | None = None,
        trim: Callable[[dict[str, Any]], Object] = without_managed_fields,
        silence: float = _SILENCE_SECONDS,
    ) -> None:
        self.kind = kind
        self.namespace = namespace
        self.synced = asyncio.Event()
        """Set once the first list is complete; from then on there is a state to speak from, however old."""
        self.forbidden = False
        """Whether the API server lastingly refuses the operator to read this collection."""
        self._api = api
        self._selectors = dict(selectors or {})
        self._on_change = on_change
        self._on_permission = on_permission
        self._refused_since: float | None = None
        self._metrics = metrics
        self._silence = silence
        self._reflection = Reflection(trim=lambda body: shared(trim(body)))
        self._heard = time.monotonic()
        self._outage = Outage(f"Following {self}")

    def __str__(self) -> str:
        place = "all namespaces" if self.namespace is None else f"namespace {self.namespace}"
        fields = self._selectors.get("fieldSelector")
        return f"{self.kind.plural} of {place}" + (f" ({fields})" if fields else "")

    @property
    def held(self) -> Mapping[str, Object]:
        """What exists of this collection, by UID."""
        return self._reflection.objects

    @property
    def silent_seconds(self) -> float:
        """Time since the API server last said anything about this collection."""
        return time.monotonic() - self._heard

    async def run(self) -> None:
        """Reflect until cancelled."""
        backoff = Backoff(first=0.05, longest=_LONGEST_BACKOFF)
        listed = False
        while True:
            try:
                if not listed:
                    await self._list()
                    listed = True
                await self._watch(backoff)
                self._metrics.watch_restarts.labels(kind=self.kind.name).inc()
            except ApiError as error:
                listed = False
                self._metrics.relists.labels(kind=self.kind.name, reason=error.reason).inc()
                if not error.expired:
                    self._outage.fails(error)
                if error.forbidden:
                    self._is_refused()
            await asyncio.sleep(backoff.next())

    def _is_refused(self) -> None:
        now = time.monotonic()
        self._refused_since = now if self._refused_since is None else self._refused_since
        if not self.forbidden and now - self._refused_since >= _REFUSAL_SECONDS:
            self.forbidden = True
            self._on_permission()

    def _is_allowed(self) -> None:
        self._refused_since = None
        if self.forbidden:
            self.forbidden = False
            self._on_permission()

    async def _list(self) -> None:
        self._reflection.start_list()
        token: str | None = None
        while True:
            page = await self._api.list_page(self.kind, self.namespace, selectors=self._selectors, limit=_PAGE, token=token)
            token, changes = self._reflection.read_page(page)
            self._heard = time.monotonic()
            if token is None:
                break
        for change in changes:
            self._on_change(change)
        self.synced.set()

    async def _watch(self, backoff: Backoff) -> None:
        """Follow from where the list, or the watch before, has ended; returns when the API server ends it as agreed."""
        seconds = _WATCH_SECONDS_WITHOUT_BOOKMARKS if self.kind is EVENT else _WATCH_SECONDS
        async with self._api.watch(
            self.kind,
            self.namespace,
            selectors=self._selectors,
            resource_version=self._reflection.resource_version or "",
            seconds=random.uniform(*seconds),  # noqa: S311 - it spreads load and protects nothing
            silence=self._silence,
        ) as chunks:
            started = self._heard = time.monotonic()
            self._outage.works()
            self._is_allowed()
            try:
                await self._read(chunks)
            finally:
                if time.monotonic() - started > _STEADY_SECONDS:
                    backoff.reset()

    async def _read(self, chunks: AsyncIterator[bytes]) -> None:
        lines = Lines()
        clock = asyncio.get_running_loop().time
        async for chunk in chunks:
            self._heard = time.monotonic()
            observed = clock()
            for line in lines.read(chunk):
                change = self._reflection.read_line(line, observed=observed)
                if change is not None:
                    self._on_change(change)
        lines.end()
