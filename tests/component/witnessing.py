"""Subscribers that check what they hear against all that was told: nothing missing in silence, nothing twice, nothing unwanted.

`Chronicle` remembers every event that the test told. A `Witness` reads a stream or pages with some filter, hangs up and comes
back wherever the test wants, and knows from the contract alone what it must hear next: it shares no code with the gateway or the
log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from local_stack.sse import Message
from mcp_operator.eventlog.log import EventId
from mcp_operator.model.events import Event, EventType, LogLevel, LogPayload, MetricsPayload, ProgressPayload, StatusPayload
from mcp_operator.model.statuses import Status
from tests.component.conftest import Loopback

EXPENDABLE = {"log", "metrics"}
"""Types of which some may be missing if that is said."""


@dataclass(frozen=True)
class Filter:
    """A query and what it means, said independently of the gateway."""

    query: str
    types: frozenset[EventType] = frozenset(EventType)
    server: Callable[[Event], bool] = lambda _: True
    level: LogLevel | None = None
    grep: str | None = None

    def wants(self, event: Event) -> bool:
        return event.type in self.types and self.server(event) and self._passes(event)

    def _passes(self, event: Event) -> bool:
        payload = event.payload
        if not isinstance(payload, LogPayload) or (self.level is None and self.grep is None):
            return True
        if payload.level is None:
            return payload.dropped
        grave = self.level is None or list(LogLevel).index(payload.level) >= list(LogLevel).index(self.level)
        return grave and (self.grep is None or self.grep in payload.msg)


@dataclass
class Chronicle:
    """All that was told, in its order."""

    loopback: Loopback
    told: list[tuple[EventId, Event]] = field(default_factory=list)

    async def tell(self, events: Iterable[Event]) -> None:
        for event in events:
            [event_id] = await self.loopback.tell(event)
            self.told.append((event_id, event))

    @property
    def head(self) -> int:
        return self.told[-1][0].seq if self.told else 0

    def between(self, after: int, until: int) -> Iterator[tuple[int, Event]]:
        """Events after one position, up to another."""
        return ((event_id.seq, event) for event_id, event in self.told[max(after, 0) : max(until, 0)])

    def at(self, seq: int) -> Event:
        return self.told[seq - 1][1]

    def snapshot(self, chosen: Filter, position: int) -> list[int]:
        """What a snapshot at a position must consist of, in its order."""
        known: dict[tuple[str, str], dict[EventType, int | None]] = {}
        gone = set()
        for seq, event in self.between(0, position):
            newest = known.setdefault((str(event.server), event.uid), {})
            match event.payload:
                case StatusPayload(status=Status.DELETED):
                    gone.add(event.uid)
                case StatusPayload() | MetricsPayload():
                    newest[event.type] = seq
                case ProgressPayload(outcome=outcome):
                    newest[event.type] = seq if outcome is None else None
                case _:
                    pass
        order = (EventType.STATUS, EventType.PROGRESS, EventType.METRICS)
        standing = (newest for (_, uid), newest in sorted(known.items(), key=lambda each: each[0][0]) if uid not in gone)
        seqs = (newest.get(type_) for newest in standing for type_ in order if type_ in chosen.types)
        return [seq for seq in seqs if seq is not None and chosen.server(self.at(seq))]


class Witness:
    """One subscriber over all its connections."""

    def __init__(self, chronicle: Chronicle, chosen: Filter) -> None:
        self.chronicle = chronicle
        self.chosen = chosen
        self.cursor: EventId | None = None
        """What it would resume with."""
        self.resets: list[str] = []
        self.heard: list[int] = []
        """Every event but those of snapshots."""
        self._missing: set[tuple[str, int]] = set()
        """Type and seq of the events that were said to be missing."""

    @property
    def complete(self) -> bool:
        """Whether it knows everything."""
        return self.cursor is not None and self.cursor.seq == self.chronicle.head

    async def listen(self, frames: int | None, *, path: str = "/api/events", begin: str = "") -> None:
        """Read a stream until everything is known, or before that so many frames have come; then hang up.

        Args:
            begin: a parameter that says where to begin instead of the cursor.
        """
        cursor = None if begin else self.cursor
        async with self.chronicle.loopback.subscribe(f"{path}?{self.chosen.query}&{begin}".rstrip("&?"), cursor=cursor) as stream:
            hello = await stream.next()
            served = EventId.parse(hello.json["cursor"])
            assert (hello.event, hello.has_id_line) == ("hello", False)
            assert stream.response.headers["Event-Cursor"] == str(served)
            self._missing.clear()
            snapshot: list[Message] | None = None if begin or cursor is not None else []
            if begin:
                self.cursor = served
            begins_anew = self.cursor is not None and served != self.cursor
            while frames != 0 and not (snapshot is None and self.complete):
                message = await stream.next()
                assert message.json["type"] == "reset" or not begins_anew, "another position is served than was asked for"
                begins_anew = False
                snapshot = self._hear(message, snapshot)
                frames = None if frames is None else frames - 1

    async def ask(self, limit: int) -> None:
        """Read one page."""
        headers = {"Accept": "application/json"} | ({} if self.cursor is None else {"Last-Event-ID": str(self.cursor)})
        self._missing.clear()
        code, page = await self.chronicle.loopback.get(f"/api/events?limit={limit}&{self.chosen.query}", headers=headers)
        assert code == 200
        position = EventId.parse(page["next"])
        if page["snapshot"] is not None:
            assert (page["reset"] is None) == (self.cursor is None)
            self._check_snapshot([event["id"] for event in page["snapshot"]], position)
            self.cursor = position
        for missing in page["dropped"]:
            self._note_missing(missing)
        assert len(page["events"]) <= limit
        for event in page["events"]:
            self._note(event)
        self._advance(position)

    def _hear(self, message: Message, snapshot: list[Message] | None) -> list[Message] | None:
        """Check one frame; returns the snapshot that is coming in, None outside of one."""
        match message.json:
            case {"type": "reset", "reason": reason}:
                assert snapshot is None
                assert not message.has_id_line
                self.resets.append(reason)
                return []
            case {"type": "bookmark", "cursor": cursor}:
                position = EventId.parse(cursor)
                assert message.id == cursor
                if snapshot is None:
                    self._advance(position)
                else:
                    self._check_snapshot([told.json["id"] for told in snapshot], position)
                self.cursor = position
            case {"type": "dropped"} as missing:
                assert snapshot is None
                assert not message.has_id_line
                self._note_missing(missing)
            case {"snapshot": True}:
                assert snapshot is not None, "a snapshot's event outside of a snapshot"
                assert not message.has_id_line
                return [*snapshot, message]
            case event:
                assert snapshot is None, "an event within a snapshot"
                assert message.id == event["id"]
                self._note(event)
        return None

    def _note(self, event: dict[str, Any]) -> None:
        event_id = EventId.parse(event["id"])
        told = self.chronicle.at(event_id.seq)
        assert (event["key"], event["type"], event["uid"]) == (told.key, told.type, told.uid)
        assert self.chosen.wants(told), f"{event} isn't wanted by {self.chosen.query}"
        self._advance(EventId(event_id.epoch, event_id.seq - 1))
        assert self.cursor is not None
        assert self.cursor.seq < event_id.seq, f"{event_id} after {self.cursor}"
        self.cursor = event_id
        self.heard.append(event_id.seq)

    def _advance(self, position: EventId) -> None:
        """Everything up to this position has been told, or said to be missing."""
        assert self.cursor is not None
        assert position.epoch == self.cursor.epoch
        for seq, event in self.chronicle.between(self.cursor.seq, position.seq):
            said = event.type in EXPENDABLE and (event.type.value, seq) in self._missing
            assert said or not self.chosen.wants(event), f"{seq} {event.type} is missing in silence: {self.chosen.query}"
        if position.seq > self.cursor.seq:
            self.cursor = position

    def _note_missing(self, missing: dict[str, Any]) -> None:
        after, before = EventId.parse(missing["after"]).seq, EventId.parse(missing["before"]).seq
        assert set(missing["types"]) <= EXPENDABLE & self.chosen.types
        assert self.cursor is not None
        assert after >= self.cursor.seq
        for type_ in missing["types"]:
            found = [seq for seq, event in self.chronicle.between(after, before - 1) if event.type == type_]
            assert found, f"no {type_} was told between {after} and {before}"
            self._missing.update((type_, seq) for seq in found)

    def _check_snapshot(self, told: Sequence[str], position: EventId) -> None:
        assert [EventId.parse(each).seq for each in told] == self.chronicle.snapshot(self.chosen, position.seq)
