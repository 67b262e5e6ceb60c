"""Reading warnings of Kubernetes (core/v1 Events of type Warning): whom each is about, when and how often it was seen.

`troubles` and `probing` find in them what no status says; `noticing` tells those that no cause stands for.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from mcp_operator.model.base import Object
from mcp_operator.rollout.instances import parse_time
from mcp_operator.rollout.wording import tidy

_COMBINED = "(combined from similar events): "
"""What Kubernetes puts in front of a message when it counts several that differ as one."""
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_CONTAINER = re.compile(r"spec\.(?:initContainers|containers|ephemeralContainers)\{(.*)\}")


def subject_of(warning: Object) -> str:
    """UID of the object that it is about; empty where it names none."""
    uid: str = warning.get("involvedObject", {}).get("uid") or ""
    return uid


def by_subject(warnings: Iterable[Object]) -> Mapping[str, Sequence[Object]]:
    """The warnings about each object, by its UID."""
    about: dict[str, list[Object]] = {}
    for warning in warnings:
        about.setdefault(subject_of(warning), []).append(warning)
    return about


def is_about(warning: Object, container: str) -> bool:
    """Whether it may be about this container of its pod: it names it, or none."""
    named = _CONTAINER.fullmatch(warning.get("involvedObject", {}).get("fieldPath") or "")
    return named is None or named.group(1) == container


def message_of(warning: Object) -> str:
    """Its sentence, without what Kubernetes adds when it counts several as one."""
    return tidy((warning.get("message") or "").removeprefix(_COMBINED)).removesuffix(":")


def count_of(warning: Object) -> int:
    """How often it was seen."""
    return int((warning.get("series") or {}).get("count") or warning.get("count") or 1)


def seen_at(warning: Object) -> datetime | None:
    """When it was last seen, in whole seconds or finer; None where it doesn't say."""
    series = warning.get("series") or {}
    text = series.get("lastObservedTime") or warning.get("lastTimestamp") or warning.get("eventTime")
    return parse_time(text) if text else None


def first_seen_at(warning: Object) -> datetime:
    """When it was first seen, in whole seconds."""
    return parse_time(warning.get("firstTimestamp") or warning["metadata"]["creationTimestamp"])


def newest(warnings: Iterable[Object]) -> Object | None:
    """The one that was seen last."""
    return max(warnings, key=_moment, default=None)


def in_order(warnings: Iterable[Object]) -> list[Object]:
    """The one that was seen last at the end."""
    return sorted(warnings, key=_moment)


def _moment(warning: Object) -> datetime:
    """When it was last seen; long ago where it doesn't say. Not by its text: only some have fractions of a second."""
    return seen_at(warning) or _LONG_AGO
