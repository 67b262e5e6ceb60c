"""What a list and its watch come to: pages and lines in, changes out. No I/O, so that each line can be tested alone.

`reflecting` feeds it. A list *replaces* what was held, so whatever was deleted, or deleted and created again, while nobody
watched comes out as changes like any other. Objects are held by UID: two objects of one name are never mistaken for one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mcp_operator.apiserver.errors import ApiError
from mcp_operator.apiserver.parsing import parse_json
from mcp_operator.model.base import Object

_LINE_LIMIT = 16 * 2**20
"""Bytes; etcd holds objects of at most 1.5 MiB, and as JSON they aren't ten times larger."""


@dataclass(frozen=True, slots=True)
class Change:
    """One object before and after; None where it didn't exist."""

    old: Object | None
    new: Object | None
    observed: float | None = field(default=None, compare=False)
    """When a watch told of it, by the event loop's clock; None if a list did, which doesn't say how long ago it was."""

    @property
    def object(self) -> Object:
        """The object as it is, or as it last was."""
        held = self.new if self.new is not None else self.old
        assert held is not None  # noqa: S101 - a change has at least one side
        return held


def malformed(what: str) -> ApiError:
    """An answer that the Kubernetes API doesn't give: a proxy's, or a cut one."""
    return ApiError(status=None, reason="Malformed", message=what)


class Lines:
    """Bytes in, whole lines out."""

    def __init__(self) -> None:
        self._rest = b""

    def read(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; the lines that they complete.

        Raises:
            ApiError: a line without an end.
        """
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _LINE_LIMIT:
            raise malformed(f"a watch line of more than {_LINE_LIMIT} bytes")
        return lines

    def end(self) -> None:
        """The stream has ended.

        Raises:
            ApiError: within a line (Truncated).
        """
        if self._rest:
            raise ApiError(status=None, reason="Truncated", message="the watch was cut off within a line")


class Reflection:
    """The objects of one list and watch, and the resourceVersion up to which they are known.

    Args:
        trim: takes a fresh object and returns what of it shall be kept.
    """

    def __init__(self, *, trim: Callable[[dict[str, Any]], Object]) -> None:
        self._trim = trim
        self._objects: dict[str, Object] = {}
        self._page: dict[str, Object] = {}
        self.resource_version: str | None = None
        """Where to watch from; None until the first list is complete."""

    @property
    def objects(self) -> Mapping[str, Object]:
        """What exists, by UID."""
        return MappingProxyType(self._objects)

    def start_list(self) -> None:
        """Forget the pages of a list that wasn't completed."""
        self._page = {}

    def read_page(self, page: Object) -> tuple[str | None, list[Change]]:
        """Take one page of a list.

        Returns:
            The token of the next page; or, with the last one, None and the changes from what was held until now.

        Raises:
            ApiError: it isn't a page of a list.
        """
        try:
            metadata = page["metadata"]
            self._page.update((item["metadata"]["uid"], self._trim(item)) for item in page.get("items") or ())
            if token := metadata.get("continue"):
                return str(token), []
            self.resource_version = str(metadata["resourceVersion"])
        except (KeyError, TypeError, AttributeError) as error:
            raise malformed(f"a list without {error}") from None
        before, self._objects, self._page = self._objects, self._page, {}
        return None, _changes(before, self._objects)

    def read_line(self, line: bytes, *, observed: float | None = None) -> Change | None:
        """Take one line of a watch; a bookmark is no change.

        Args:
            observed: when the line came.

        Raises:
            ApiError: the watch told an error (410: list again), or the line isn't one of a watch.
        """
        try:
            event = parse_json(line)
            kind, body = event["type"], event["object"]
            if kind == "ERROR":
                raise ApiError.from_status(body, status=500, reason="WatchError")
            metadata = body["metadata"]
            version = str(metadata["resourceVersion"])
            change = None if kind == "BOOKMARK" else self._change(kind, str(metadata["uid"]), body, observed)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise malformed(f"a watch line that can't be read ({error}): {line[:100]!r}") from None
        self.resource_version = version
        return change

    def _change(self, kind: str, uid: str, body: dict[str, Any], observed: float | None) -> Change:
        old = self._objects.get(uid)
        if kind == "DELETED":
            self._objects.pop(uid, None)
            return Change(old=self._trim(body), new=None, observed=observed)
        if kind not in {"ADDED", "MODIFIED"}:
            raise ValueError(f"unknown type {kind!r}")
        self._objects[uid] = new = self._trim(body)
        return Change(old=old, new=new, observed=observed)


def _changes(before: Mapping[str, Object], after: Mapping[str, Object]) -> list[Change]:
    """Deletions first, so that an object created again under its name comes after the one that it replaces."""
    gone = [Change(old=old, new=None) for uid, old in before.items() if uid not in after]
    new = [Change(old=before.get(uid), new=now) for uid, now in after.items() if _version(before.get(uid)) != _version(now)]
    return gone + new


def _version(body: Object | None) -> Any:
    return None if body is None else body["metadata"].get("resourceVersion")
