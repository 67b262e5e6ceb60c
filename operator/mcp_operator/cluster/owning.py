"""Whose an object is, and who changed it: what `applying` decides by. No I/O.

The API server keeps, for each field of an object, who set it last (`metadata.managedFields`). What our last apply owned and the
object no longer says we own was changed by someone else: that is drift, exactly and only in our fields, without comparing values
that the API server has defaulted or normalised. Only whether an object needs no apply at all is found by comparing both: what we
own of it, and what it says there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mcp_operator.apiserver.kinds import MANAGER, MCP_SERVER
from mcp_operator.cluster.objects import uid_of
from mcp_operator.model.base import Object
from mcp_operator.workload.naming import MANAGED_BY


class Standing(Enum):
    """How a server stands to the object that bears the name of its child."""

    OURS = "ours"
    """Owned by the server; or by nobody, and labelled as the operator's: then it is adopted."""
    GOING = "going"
    """Being deleted, or owned by a deleted server of the same name: its place will be free soon."""
    FOREIGN = "foreign"
    """Someone else's: never to be written."""


def standing(live: Object, server: Object) -> Standing:
    """Judge an object that has the name of one of the server's children."""
    metadata = live["metadata"]
    owners = metadata.get("ownerReferences") or ()
    owned = any(owner["uid"] == uid_of(server) for owner in owners)
    if metadata.get("deletionTimestamp") and (owned or labelled(live)):
        return Standing.GOING
    if owned:
        return Standing.OURS
    if any(_deleted_namesake(owner, server) for owner in owners):
        return Standing.GOING
    return Standing.OURS if labelled(live) and not owners else Standing.FOREIGN


def labelled(live: Object) -> bool:
    """Whether it bears our label, and so is reflected as a whole."""
    labels = live["metadata"].get("labels") or {}
    return bool(labels.get("app.kubernetes.io/managed-by") == MANAGED_BY)


def _deleted_namesake(owner: Object, server: Object) -> bool:
    """An owner of the server's kind and name, and of another UID, must be gone: two objects can't have one name."""
    group = MCP_SERVER.api_version.partition("/")[0]
    return bool(
        owner["kind"] == MCP_SERVER.name
        and owner["apiVersion"].partition("/")[0] == group
        and owner["name"] == server["metadata"]["name"]
    )


def owned_fields(live: Object) -> Any:
    """The fields that our last apply still owns, in the API's own notation (`fieldsV1`); None if there are none."""
    for entry in live["metadata"].get("managedFields") or ():
        if entry.get("manager") == MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource"):
            return entry.get("fieldsV1")
    return None


def in_force(manifest: Object, live: Object) -> bool:
    """Whether an object says, in our name, all that a manifest does and nothing besides: to apply it would change nothing.

    False in doubt, as where the API server has normalised a value.
    """
    metadata = {name: value for name, value in manifest["metadata"].items() if name not in {"name", "namespace"}}
    applied = {name: value for name, value in manifest.items() if name not in {"apiVersion", "kind"}} | {"metadata": metadata}
    owned = owned_fields(live)
    return owned is not None and _stands(applied, owned, live)


def _stands(wanted: Any, owned: Any, live: Any) -> bool:
    """Whether a value stands in a live object, with just its fields owned; what is empty the API server may have left out."""
    below = {key: fields for key, fields in owned.items() if key != "."}
    if not below:  # owned as a whole
        return bool(wanted == live or (not wanted and live is None))
    if isinstance(wanted, Mapping):
        return (
            isinstance(live, Mapping)
            and below.keys() == {f"f:{name}" for name in wanted}
            and all(_stands(value, below[f"f:{name}"], live.get(name)) for name, value in wanted.items())
        )
    if not isinstance(wanted, list) or not isinstance(live, list) or len(below) != len(wanted):
        return False
    items = [(json.loads(key[2:]), fields) for key, fields in below.items() if key.startswith("k:")]
    return all(_stands_in_list(item, items, live) for item in wanted)


def _stands_in_list(wanted: Any, owned: Iterable[tuple[Mapping[str, Any], Any]], live: Iterable[Any]) -> bool:
    """The same for one item of a list whose items have keys; of a key the API server may have filled in a part."""
    found = [(key, fields) for key, fields in owned if all(wanted.get(name, value) == value for name, value in key.items())]
    if len(found) != 1:
        return False
    key, fields = found[0]
    there = [each for each in live if all(each.get(name) == value for name, value in key.items())]
    return len(there) == 1 and _stands(wanted, fields, there[0])


@dataclass(frozen=True, slots=True)
class Drift:
    """Fields of ours that others have taken, and who they call themselves; either may be empty if it can't be told."""

    fields: tuple[str, ...]
    managers: tuple[str, ...]

    def __str__(self) -> str:
        fields = ", ".join(self.fields) or "a field"
        return f"{fields} changed by {', '.join(self.managers)}" if self.managers else f"{fields} changed"


def drift(live: Object, owned: Any) -> Drift | None:
    """Compare what we own of a live object with what our last apply had owned; None if nothing was taken."""
    if owned_fields(live) == owned:
        return None
    taken = set(_paths(owned)) - set(_paths(owned_fields(live)))
    entries = live["metadata"].get("managedFields") or ()
    managers = {entry.get("manager") or "someone" for entry in entries if taken.intersection(_paths(entry.get("fieldsV1")))}
    return Drift(fields=tuple(sorted(taken)), managers=tuple(sorted(managers - {MANAGER})))


def _paths(fields: Any, prefix: str = "") -> Iterator[str]:
    """The leaves of `fieldsV1` as people write them: `spec.template.spec.containers[{"name":"mcp"}].image`.

    Keys are `f:<field>`, `k:<key of a list item>`, `v:<item of a set>`, `.` for the thing itself (structured-merge-diff).
    """
    if not isinstance(fields, Mapping):
        return
    for key, below in fields.items():
        sort, _, name = key.partition(":")
        if sort == ".":
            continue
        path = f"{prefix}[{name}]" if sort in {"k", "v"} else f"{prefix}.{name}".lstrip(".")
        if set(below or ()) - {"."}:
            yield from _paths(below, path)
        else:
            yield path
