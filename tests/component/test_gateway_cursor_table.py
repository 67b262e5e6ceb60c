"""What each cursor gets, as one table: the stream and the JSON page of the same URL give the same answer.

The log has room for four events of each type, so of the eight steps of a rollout and of the eight lines the first four are
gone; the newest event of each server and type is held whatever happens.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from mcp_operator.eventlog.log import EVERYTHING, Batch, EventId, Gap, Selection
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.model.events import Event, EventType
from mcp_operator.model.servers import ServerName
from mcp_operator.model.statuses import Status
from tests.component.conftest import Loopback, StartGateway
from tests.events import line, progress, status, uid_of
from tests.waiting import until

STORY: list[Event] = [
    status("default/weather"),  # 1
    *(progress("default/maps", 10 * step) for step in range(1, 9)),  # 2 to 9: 40 % and less are gone
    *(line("default/weather", f"line {number}") for number in range(1, 9)),  # 10 to 17: line 4 and older are gone
    status("default/maps"),  # 18
]
CAPACITY = 4

SNAPSHOT = ["status maps", "progress maps 80", "status weather"]
LINES = ["line 5", "line 6", "line 7", "line 8"]
STEPS = ["progress maps 50", "progress maps 60", "progress maps 70", "progress maps 80"]


@dataclass(frozen=True)
class Row:
    """A cursor and what it gets. `{epoch}` is the epoch of the log."""

    what: str
    told: list[str]
    header: str | None = None
    query: str = ""
    served: int = 18
    """The position in Event-Cursor."""
    filters: str = field(default="", kw_only=True)

    @property
    def path(self) -> str:
        return f"/api/events?{self.query}&{self.filters}".replace("?&", "?").rstrip("&?")


TABLE = [
    Row("none", SNAPSHOT),
    Row("empty header and query", SNAPSHOT, "", "last_event_id=&since="),
    Row("held", ["line 8", "status maps"], "{epoch}-16", served=16),
    Row("held, in the query", ["line 8", "status maps"], None, "last_event_id={epoch}-16", served=16),
    Row("the newest event", [], "{epoch}-18", served=18),
    Row("an event that is gone itself", ["dropped log", *LINES, "status maps"], "{epoch}-12", served=12),
    Row("an event that this filter wouldn't have told", ["status maps"], "{epoch}-16", served=16, filters="types=status"),
    Row("log events after it are gone", ["dropped log", *LINES, "status maps"], "{epoch}-10", served=10),
    Row("the same, unwanted", ["status maps"], "{epoch}-10", served=10, filters="types=status,progress,metrics"),
    Row("progress events after it are gone", ["reset expired", *SNAPSHOT], "{epoch}-2"),
    Row("the same, unwanted", ["dropped log", *LINES, "status maps"], "{epoch}-2", served=2, filters="types=status,log"),
    Row("the same of a server that isn't wanted", ["dropped log", *LINES], "{epoch}-2", served=2, filters="servers=weather"),
    Row("the last progress event that is gone", ["dropped log", *STEPS, *LINES, "status maps"], "{epoch}-5", served=5),
    Row("the beginning of history", ["reset expired", *SNAPSHOT], "{epoch}-0"),
    Row("another epoch", ["reset epoch", *SNAPSHOT], "0123456789-3"),
    Row("an unreadable header", ["reset malformed", *SNAPSHOT], "yesterday"),
    Row("an unreadable header beside a good query", ["reset malformed", *SNAPSHOT], "17", "last_event_id={epoch}-16"),
    Row("ahead of the log", ["reset ahead", *SNAPSHOT], "{epoch}-19"),
    Row("header before query", ["status maps"], "{epoch}-17", "last_event_id={epoch}-16&since=earliest", served=17),
    Row("query before since", ["status maps"], None, "last_event_id={epoch}-17&since=earliest", served=17),
    Row("since earliest", ["dropped log", *STEPS, *LINES, "status maps"], None, "since=earliest", served=5),
    Row("since earliest, statuses", ["status weather", "status maps"], None, "since=earliest", served=0, filters="types=status"),
    Row("since a time when there were none", ["reset expired", *SNAPSHOT], None, "since=1h"),
    Row("since a time to come", [], None, "since=2999-01-01T00:00:00Z", served=18),
]


def words(event: dict[str, Any]) -> str:
    name = event.get("server", "").removeprefix("default/")
    match event["type"]:
        case "status":
            return f"status {name}"
        case "progress":
            return f"progress {name} {event['percent']}"
        case "log":
            return str(event["msg"])
        case "reset":
            return f"reset {event['reason']}"
        case "dropped":
            return f"dropped {','.join(event['types'])}"
        case other:
            return str(other)


def page_words(page: dict[str, Any]) -> list[str]:
    """A page in the order in which a stream would tell it."""
    reset = [] if page["reset"] is None else [f"reset {page['reset']['reason']}"]
    dropped = [f"dropped {','.join(missing['types'])}" for missing in page["dropped"]]
    return [*reset, *map(words, page["snapshot"] or ()), *dropped, *map(words, page["events"])]


@pytest.fixture
async def told(start_gateway: StartGateway) -> Loopback:
    loopback = await start_gateway(capacity=CAPACITY)
    await loopback.tell(*STORY)
    return loopback


def of(row: Row, loopback: Loopback) -> tuple[str, dict[str, str]]:
    """The URL and the headers of a row."""
    epoch = loopback.log.head.epoch
    headers = {} if row.header is None else {"Last-Event-ID": row.header.format(epoch=epoch)}
    return row.path.format(epoch=epoch), headers


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.what}-{row.filters}")
class TestTable:
    async def test_the_stream(self, told: Loopback, row: Row) -> None:
        path, headers = of(row, told)
        anew = row.told[-1:] == SNAPSHOT[-1:]
        async with told.subscribe(path, **headers) as subscriber:
            hello = await subscriber.next()
            heard = await subscriber.take(len(row.told))
            if anew:
                bookmark = await subscriber.next()
                assert (bookmark.event, bookmark.id) == ("bookmark", f"{told.log.head.epoch}-18")
            [live] = await told.tell(status("default/weather", Status.DEGRADED))
            assert (await subscriber.next()).id == str(live)

        assert [words(message.json) for message in heard] == row.told
        assert all(message.json.get("snapshot", False) == anew for message in heard if message.event not in {"reset", "dropped"})
        served = f"{told.log.head.epoch}-{row.served}"
        assert (hello.event, hello.json["cursor"]) == ("hello", served)
        assert subscriber.response.headers["Event-Cursor"] == served

    async def test_the_page(self, told: Loopback, row: Row) -> None:
        path, headers = of(row, told)
        head = str(told.log.head)
        async with told.session.get(told.url + path, headers={**headers, "Accept": "application/json"}) as response:
            assert response.status == 200
            page = await response.json()
        [live] = await told.tell(status("default/weather", Status.DEGRADED))
        code, after = await told.get(
            f"/api/events?last_event_id={page['next']}&{row.filters}".rstrip("&"), headers={"Accept": "application/json"}
        )

        assert page_words(page) == row.told
        assert (page["next"], page["more"]) == (head, False)
        assert response.headers["Event-Cursor"] == f"{live.epoch}-{row.served}"
        assert (code, [event["id"] for event in after["events"]]) == (200, [str(live)])


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
@pytest.mark.parametrize("query", ["last_event_id=yesterday", "last_event_id=17", "since=yesterday"])
async def test_an_unreadable_query_is_refused(told: Loopback, query: str, accept: str) -> None:
    code, problem = await told.get(f"/api/events?{query}", headers={"Accept": accept})

    assert (code, f"{problem['parameter']}={problem['value']}") == (400, query)


class Replica(MemoryLog):
    """One of several readers of a log: what has been appended reaches it with a delay."""

    def __init__(self) -> None:
        super().__init__(capacity=100)
        self._known: EventId | None = None
        self.caught_up = asyncio.Event()

    def fall_behind(self) -> None:
        """What is appended from here on isn't known yet, only that it exists."""
        self._known = super().head

    def catch_up(self) -> None:
        self._known = None
        self.caught_up.set()

    @property
    def head(self) -> EventId:
        return self._known or super().head

    async def read(self, after: EventId, selection: Selection, *, limit: int) -> Batch | Gap:
        if self._known is not None and after.epoch == self._known.epoch and self._known.seq <= after.seq <= super().head.seq:
            return Batch((), after, ended=False)
        return await super().read(after, selection, limit=limit)

    async def wait(self, after: EventId, selection: Selection = EVERYTHING) -> None:
        if self._known is not None:
            await self.caught_up.wait()
        await super().wait(after, selection)


class TestAheadOfThisReplica:
    """A subscriber comes from a replica that knows more: it hears nothing twice and no reset, only later."""

    async def a_cursor_from_another_replica(self, loopback: Loopback, log: Replica) -> tuple[EventId, EventId]:
        """Its cursor and the event that it hasn't seen; this replica knows of neither."""
        await loopback.tell(status("default/weather"))
        log.fall_behind()
        cursor, unseen = await loopback.tell(status("default/weather", Status.DEGRADED), status("default/weather"))
        return cursor, unseen

    async def test_the_stream_says_hello_and_waits(self, start_gateway: StartGateway) -> None:
        log = Replica()
        loopback = await start_gateway(log=log)
        cursor, unseen = await self.a_cursor_from_another_replica(loopback, log)
        async with loopback.subscribe("/api/events", cursor=cursor) as subscriber:
            hello = await subscriber.next()
            log.catch_up()
            told = await subscriber.next()

        assert (hello.event, hello.json["cursor"]) == ("hello", str(cursor))
        assert told.id == str(unseen)

    async def test_the_page_is_empty_or_waits(self, start_gateway: StartGateway) -> None:
        log = Replica()
        loopback = await start_gateway(log=log)
        cursor, unseen = await self.a_cursor_from_another_replica(loopback, log)
        json_page = {"Accept": "application/json", "Last-Event-ID": str(cursor)}
        _, empty = await loopback.get("/api/events", headers=json_page)
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(loopback.get("/api/events?wait=30", headers=json_page))
            uid = uid_of("default/weather")
            await until(
                lambda: log.demand.wanted(EventType.LOG, ServerName("default", "weather"), uid), "the page waits", every=0.01
            )
            log.catch_up()
        _, page = asked.result()

        assert (empty["events"], empty["reset"], empty["snapshot"], empty["next"]) == ([], None, None, str(cursor))
        assert ([event["id"] for event in page["events"]], page["next"]) == ([str(unseen)], str(unseen))
