"""Reading warnings of Kubernetes (core/v1 Events of type Warning): whom each is about, when and how often it was seen.

`troubles` and `probing` find in them what no status says; `noticing` tells those that no cause stands for.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from mcp_operator.model.base import Object
from mcp_operator.rollout.instances import parse_time
from mcp_operator.rollout.wording import tidy

_COMBINED = "(combined from similar events): "
"""What Kubernetes puts in front of a message when it counts several that differ as one."""
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
    text = _seen(warning)
    return parse_time(text) if text else None


def newest(warnings: Iterable[Object]) -> Object | None:
    """The one that was seen last."""
    return max(warnings, key=_seen, default=None)


def in_order(warnings: Iterable[Object]) -> list[Object]:
    """The one that was seen last at the end."""
    return sorted(warnings, key=_seen)


def _seen(warning: Object) -> str:
    """When it was last seen, in an order of text: Kubernetes writes all times in UTC and one form."""
    series = warning.get("series") or {}
    seen: str = series.get("lastObservedTime") or warning.get("lastTimestamp") or warning.get("eventTime") or ""
    return seen
