"""Labels of a server, and selectors that choose servers by them, as Kubernetes writes both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Keys with their values, in the order of the keys; hashable, so that equal ones can be one object."""

NO_LABELS: Labels = ()


@dataclass(frozen=True, slots=True)
class Selector:
    """A label selector: requirements that labels meet all of."""

    text: str

    def matches(self, labels: Labels) -> bool:
        """Whether labels meet every requirement."""
        raise NotImplementedError(self.text, labels)
