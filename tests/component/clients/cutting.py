"""Plans for the troublemaker that know what an event stream looks like on the wire: each place where a cut could do harm."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable

from tests.component.clients.troublemaking import Cut, End, Plan, Trouble

_HEAD_BYTES = 200
"""The answer's head is longer than this."""

WITHIN_FRAME = {
    "within an event's name": rb"\nevent: s",
    "within the data": rb'\ndata: \{"id":"[^"]+","ty',
    "behind the data": rb'\ndata: \{"id":"[^\n]+\n',
    "within the id": rb"\nid: [0-9a-z]+-",
    "behind the id, before its line's end": rb"\nid: [0-9a-z]+-[0-9]+(?=\n)",
    "behind the id line, before the blank line": rb"\nid: [0-9a-z]+-[0-9]+\n",
}
"""Cuts that leave half an event, by what was sent last."""

BETWEEN_FRAMES = {"behind an event": rb"\nid: [0-9a-z]+-[0-9]+\n\n"}

WITHIN_CHUNKING = {
    "within a chunk's size": rb"\n\n\r\n[0-9a-f](?=[0-9a-f]*\r)",
    "between a chunk's size and its bytes": rb"\n\n\r\n[0-9a-f]+\r\n",
    "between CR and LF behind a chunk": rb"\n\n\r",
}
"""Cuts that HTTP/1.1's framing sees."""

PLACES = {**WITHIN_FRAME, **BETWEEN_FRAMES, **WITHIN_CHUNKING}


def cut_at(place: str, *, end: End, after: int = 0) -> Cut:
    """A cut at one of PLACES, the first after so many bytes."""
    return Cut(after=after, at=re.compile(PLACES[place]), end=end)


def anywhere(seed: int, *, bytes_at_most: int, places: Iterable[str] = PLACES, heads: bool = True) -> Plan:
    """Every connection is cut somewhere: a third of them at one of these places, else at any byte.

    A head is never cut by a plain close: Chromium takes what there is for the whole head then, without a content type, and gives
    up for good, which no server can prevent.

    Args:
        heads: whether a head may be cut by a reset. If so, some answers come in pieces of few bytes, of which a reset may
            overtake many.
    """
    names = sorted(places)

    def plan(number: int) -> Trouble:
        chance = random.Random(f"{seed}/{number}")  # noqa: S311 - to be repeated, not to be secret
        after = chance.randrange(bytes_at_most)
        end = chance.choice((*[End.CLOSE] * 4, *[End.RESET] * 5, End.STALL))
        if chance.random() < 1 / 3:
            cut = cut_at(chance.choice(names), end=end, after=after)
        elif end is End.CLOSE or not heads:
            cut = Cut(after=0, at=re.compile(rb"\r\n\r\n.{%d}" % after, re.DOTALL), end=end)
        else:
            cut = Cut(after=chance.choice((after, chance.randrange(_HEAD_BYTES))), end=end)
        return Trouble(cut=cut, piece=chance.choice((*[None] * 7, 1, 7, 100)) if heads else None)

    return plan
