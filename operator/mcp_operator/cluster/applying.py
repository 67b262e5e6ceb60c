"""Writes a server's children, the Deployment and the Service, by server-side apply, and never anything that isn't ours.

`reconciling` calls it whenever the server or one of its children has changed. Nothing is written without need: a child is
applied when what is rendered differs from what was last applied, or when someone else has taken a field of ours. A process that
has just started finds out from the child itself whether it needs an apply.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.errors import ApiError
from mcp_operator.apiserver.kinds import MCP_SERVER, Kind
from mcp_operator.cluster.metrics import ClusterMetrics
from mcp_operator.cluster.objects import name_of, uid_of, version_of
from mcp_operator.cluster.owning import Drift, Standing, drift, in_force, labelled, owned_fields, standing
from mcp_operator.cluster.queueing import TryAgain
from mcp_operator.model.base import Object
from mcp_operator.model.servers import ServerName

logger = logging.getLogger(__name__)

_REPAIRS = 3
"""Repairs in a row after which the other writer is told of, and repairing slows down."""
_QUIET_SECONDS = 60.0
"""Without drift for this long, a dispute is over."""
_LONGEST_HOLD = 30.0


class Refused(Exception):  # noqa: N818 - an outcome for Accepted=False, not a fault
    """A child can't be written as things are.

    Attributes:
        reason: one word for the condition Accepted.
        message: a sentence with the field's path.
        child: what was applied before somebody else changed it; None where nothing of ours is in place.
    """

    def __init__(self, reason: str, message: str, *, child: Object | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.child = child


@dataclass(slots=True)
class _Applied:
    """What our last apply of one child came to."""

    digest: str
    """Of what was rendered."""
    live: Object
    """What the API server answered: its metadata alone."""
    drift: Drift | None = None
    """What was last put back."""
    repairs: int = 0
    """Repairs in a row, none of them `_QUIET_SECONDS` after the one before."""
    repaired_at: float = float("-inf")

    @property
    def disputed(self) -> bool:
        """Whether someone keeps writing what is ours; it ends with a quiet time, or the condition would flap at each repair."""
        return self.repairs >= _REPAIRS and time.monotonic() - self.repaired_at < _QUIET_SECONDS

    @property
    def hold(self) -> float:
        """Seconds to wait after the last repair before the next."""
        return 0.0 if self.repairs < _REPAIRS else min(2.0 ** (self.repairs - _REPAIRS + 1), _LONGEST_HOLD)


class Applier:
    """Applies children, and remembers what it applied.

    Args:
        on_repair: told which server's child was put right, and what had been changed.
    """

    def __init__(self, api: Api, *, metrics: ClusterMetrics, on_repair: Callable[[Object, Kind, Drift], None]) -> None:
        self._api = api
        self._metrics = metrics
        self._on_repair = on_repair
        self._applied: dict[tuple[str, Kind], _Applied] = {}

    async def apply(self, server: Object, kind: Kind, manifest: Object, live: Object | None) -> Object:
        """Bring one child to what is rendered.

        Args:
            server: the MCPServer that owns it.
            live: the object of that name as reflected, None if there is none with our labels.

        Returns:
            The child as it is now; of its fields the metadata can be relied on.

        Raises:
            Refused: it is foreign, disputed, or the API server doesn't accept it.
            TryAgain: the place is still taken by something that is going; or the namespace, or the server itself, is.
            ApiError: the API server couldn't be asked, or failed.
        """
        if live is None or not labelled(live):
            live = await self._read(kind, name_of(manifest))
        if live is None or not live["metadata"].get("ownerReferences"):
            await self._check_owner(server)
        if live is None:
            return await self._write(server, kind, manifest, live)
        match standing(live, server):
            case Standing.FOREIGN:
                raise Refused("ForeignObject", f"{kind} {name_of(live)} exists and isn't this server's: rename one, or delete it")
            case Standing.GOING:
                raise TryAgain(f"{kind} {name_of(live)} is being deleted")
            case Standing.OURS:
                return await self._bring(server, kind, manifest, live)

    def forget(self, uid: str) -> None:
        """Drop a server that is deleted or going."""
        for key in [key for key in self._applied if key[0] == uid]:
            del self._applied[key]

    async def _read(self, kind: Kind, name: ServerName) -> Object | None:
        try:
            return await self._api.get(kind, name.namespace, name.name)
        except ApiError as error:
            if error.gone:
                return None
            raise

    async def _check_owner(self, server: Object) -> None:
        """Before something gets an owner, make sure that the owner lives: the news of its deletion may be behind its child's."""
        newest = await self._read(MCP_SERVER, name_of(server))
        if newest is None or uid_of(newest) != uid_of(server) or newest["metadata"].get("deletionTimestamp"):
            raise TryAgain("the server is deleted")

    async def _bring(self, server: Object, kind: Kind, manifest: Object, live: Object) -> Object:
        key = (uid_of(server), kind)
        if key not in self._applied and in_force(manifest, live):
            self._applied[key] = _Applied(_digest(manifest), {"metadata": live["metadata"]})
        applied = self._applied.get(key)
        if applied is None or uid_of(applied.live) != uid_of(live) or applied.digest != _digest(manifest):
            return await self._write(server, kind, manifest, live)
        found = drift(live, owned_fields(applied.live)) if version_of(live) > version_of(applied.live) else None
        if found is not None:
            applied = await self._repair(server, kind, manifest, live, found)
        if applied.disputed:
            message = f"{kind} {name_of(live)}: {applied.drift}, again whenever it is put back"
            raise Refused("DriftConflict", message, child=applied.live)
        return applied.live if version_of(applied.live) > version_of(live) else live

    async def _repair(self, server: Object, kind: Kind, manifest: Object, live: Object, found: Drift) -> _Applied:
        key = (uid_of(server), kind)
        before, now = self._applied[key], time.monotonic()
        if now - before.repaired_at < before.hold:
            return before
        logger.info("%s %s: %s; putting it back.", kind, name_of(live), found)
        await self._write(server, kind, manifest, live)
        after = self._applied[key]
        after.repairs = before.repairs + 1 if now - before.repaired_at < _QUIET_SECONDS else 1
        after.repaired_at = now
        after.drift = found
        self._on_repair(server, kind, found)
        return after

    async def _write(self, server: Object, kind: Kind, manifest: Object, live: Object | None) -> Object:
        """Apply; onto the very object that was judged, and onto nothing where nothing was found."""
        sent: dict[str, Any] = {**manifest}
        if live is not None:
            sent["metadata"] = {**manifest["metadata"], "uid": uid_of(live)}
        try:
            answer = await self._api.apply(kind, sent, force=live is not None)
        except ApiError as error:
            self._metrics.writes.labels(kind=kind.name, result="refused" if error.refused else "failed").inc()
            if error.in_going_namespace:
                raise TryAgain(f"the namespace of {kind} {name_of(manifest)} is being deleted") from error
            if error.refused:
                problem = "; ".join(map(str, error.causes)) or error.message
                raise Refused(_reason(error), f"{kind} {name_of(manifest)} is refused: {problem}") from error
            raise
        self._metrics.writes.labels(kind=kind.name, result="written").inc()
        self._applied[uid_of(server), kind] = _Applied(_digest(manifest), {"metadata": answer["metadata"]})
        return answer


def _digest(manifest: Object) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _reason(error: ApiError) -> str:
    """The API server's own word, but for what lies in the pod template, where the user's podTemplate is the likely source."""
    if any(cause.field.startswith("spec.template.") for cause in error.causes):
        return "InvalidPodTemplate"
    return error.reason.replace(" ", "")
