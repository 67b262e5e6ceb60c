"""What a page has heard, judged: for the stories in which a browser follows a stream."""

from __future__ import annotations

from tests.component.clients.browsing import EventSource
from tests.component.clients.numbering import Happenings, assert_exactly_once, told


def events(source: EventSource) -> list[str]:
    """The ids of the events that a page has heard, in order; the browser's own idea of each id is the same."""
    heard = [heard for heard in source.heard if "id" in heard.json and not heard.json.get("snapshot")]
    assert [event.id for event in heard] == [event.json["id"] for event in heard]
    return told(event.json for event in heard)


def joined(source: EventSource) -> str:
    """Where the last snapshot ends."""
    return next(heard.id for heard in reversed(source.heard) if heard.type == "bookmark" and heard.json["cursor"] == heard.id)


async def has_heard(source: EventSource, event_id: str) -> None:
    await source.until(lambda: source.heard and source.heard[-1].id == event_id, f"{event_id} is heard")


async def assert_hears_everything(source: EventSource, happenings: Happenings) -> None:
    """Once the last event has arrived: everything after the snapshot was heard exactly once, and nothing had to be made good."""
    await has_heard(source, await happenings.end())
    assert not source.of("reset")
    assert not source.of("dropped")
    assert_exactly_once(events(source), happenings.since(source.of("bookmark")[0].id))
