"""What the operator has asked of the API server, read from the API server's own audit log (`audit.yaml` says what is in it).

No I/O: the caller reads the file. A status write carries the version that it is based on, so one that changed nothing is
answered with that same version. A server-side apply that changes nothing leaves the time of our entry in the managed fields as
it was.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mcp_operator.apiserver.kinds import MANAGER

_WRITES = frozenset({"create", "patch", "update", "delete"})
_CLOCK = timedelta(seconds=2)
"""The times of managed fields are whole seconds, and a request may take a while before it is carried out."""


@dataclass(slots=True)
class Asked:
    """Requests, counted; those that failed are among them."""

    watches: int = 0
    lists: int = 0
    unlimited: list[str] = field(default_factory=list)
    """Lists without a limit, by their paths."""
    reads: Counter[str] = field(default_factory=Counter)
    """Of single objects, by kind."""
    writes: Counter[str] = field(default_factory=Counter)
    """By kind and subresource."""
    idle: Counter[str] = field(default_factory=Counter)
    """Those of the writes that changed nothing."""


def count(lines: Iterable[bytes]) -> Asked:
    """Count what these lines of the audit log tell of."""
    asked = Asked()
    for line in lines:
        _add(asked, json.loads(line))
    return asked


def _add(asked: Asked, entry: Mapping[str, Any]) -> None:
    target, verb = entry.get("objectRef"), entry["verb"]
    if target is None:  # no resource: discovery, or a health check
        return
    kind = "/".join(filter(None, (target["resource"], target.get("subresource"))))
    if verb == "watch":
        asked.watches += 1
    elif verb == "list":
        asked.lists += 1
        if "limit" not in parse_qs(urlsplit(entry["requestURI"]).query):
            asked.unlimited.append(entry["requestURI"])
    elif verb == "get":
        asked.reads[kind] += 1
    elif verb in _WRITES:
        asked.writes[kind] += 1
        if _changed_nothing(entry):
            asked.idle[kind] += 1


def _changed_nothing(entry: Mapping[str, Any]) -> bool:
    """Whether the object is after the write what it was before; a write that failed, or made or deleted an object, isn't one."""
    if entry["verb"] != "patch" or entry["responseStatus"]["code"] != 200:
        return False
    sent, answer = entry["requestObject"].get("metadata", {}), entry["responseObject"]["metadata"]
    if "resourceVersion" in sent:
        return bool(sent["resourceVersion"] == answer["resourceVersion"])
    asked_at = datetime.fromisoformat(entry["requestReceivedTimestamp"])
    ours = [each for each in answer.get("managedFields", ()) if (each["manager"], each["operation"]) == (MANAGER, "Apply")]
    return any(datetime.fromisoformat(each["time"]) < asked_at - _CLOCK for each in ours)
