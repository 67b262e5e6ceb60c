"""Coming back: what a subscriber with a cursor hears, and that nothing is ever missing in silence."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from mcp_operator.eventlog.log import EventId
from mcp_operator.model.events import EventType
from mcp_operator.model.statuses import Status
from tests.component.conftest import Loopback, StartGateway
from tests.events import line, progress, status, uid_of


class TestHeldCursors:
    async def test_replay_starts_behind_the_cursor_and_goes_on_live(self, loopback: Loopback) -> None:
        cursor, *later = await loopback.tell(*(progress("default/weather", percent) for percent in range(10)))

        async with loopback.subscribe("/api/events", cursor=cursor) as subscriber:
            hello, *replay = await subscriber.take(10)
            live = await loopback.tell(status("default/weather"))
            replay.append(await subscriber.next())

        assert hello.json["cursor"] == subscriber.response.headers["Event-Cursor"] == str(cursor)
        assert not hello.has_id_line
        assert [message.id for message in replay] == [str(event_id) for event_id in later + live]
        assert not any("snapshot" in message.json for message in replay)

    async def test_a_cursor_of_any_stream_and_filter_is_good_for_any_other(self, loopback: Loopback) -> None:
        await loopback.tell(status("team/maps"), progress("default/weather", 10))
        async with loopback.subscribe("/api/events?types=progress&namespace=default") as subscriber:
            *_, bookmark = await subscriber.until("bookmark")
        missed = await loopback.tell(progress("team/maps", 5), status("default/weather"), status("team/maps"))

        async with loopback.subscribe("/api/servers/team:maps/events?types=status", cursor=bookmark.id) as subscriber:
            _, replayed = await subscriber.take(2)

        assert replayed.id == str(missed[2])

    async def test_the_head_itself_is_a_cursor(self, loopback: Loopback) -> None:
        [head] = await loopback.tell(status("default/weather"))

        async with loopback.subscribe("/api/events", cursor=head) as subscriber:
            await subscriber.next()
            [live] = await loopback.tell(status("default/weather", Status.DEGRADED))
            assert (await subscriber.next()).id == str(live)

    async def test_a_list_gives_the_cursor_to_go_on_from(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"))
        _, listed = await loopback.get("/api/servers")
        [missed] = await loopback.tell(status("default/weather", Status.DEGRADED))

        async with loopback.subscribe(f"/api/events?last_event_id={listed['cursor']}") as subscriber:
            _, replayed = await subscriber.take(2)

        assert replayed.id == str(missed)

    async def test_the_header_wins_over_the_query(self, loopback: Loopback) -> None:
        first, second, third = await loopback.tell(*(progress("default/weather", percent) for percent in range(3)))

        async with loopback.subscribe(f"/api/events?last_event_id={first}", cursor=second) as subscriber:
            _, replayed = await subscriber.take(2)

        assert replayed.id == str(third)

    async def test_resuming_often_while_events_keep_coming_misses_and_repeats_nothing(self, loopback: Loopback) -> None:
        """The subscriber hangs up after a few events, again and again, wherever it happens to be."""
        told: list[str] = []

        async def tell() -> None:
            for number in range(600):
                told.extend(str(event_id) for event_id in await loopback.tell(progress("default/weather", number % 100)))
                if number % 3 == 0:
                    await asyncio.sleep(0)

        heard: list[str] = []
        [cursor] = await loopback.tell(status("default/weather"))
        last = str(cursor)
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(tell())
            while not (telling.done() and heard and heard[-1] == told[-1]):
                async with loopback.subscribe("/api/events", cursor=last) as subscriber:
                    await subscriber.next()
                    for _ in range(1 + len(heard) % 23):
                        if telling.done() and heard and heard[-1] == told[-1]:
                            break
                        heard.append((await subscriber.next()).id)
                        last = heard[-1]

        assert heard == told

    async def test_snapshot_and_live_join_while_events_keep_coming(self, loopback: Loopback) -> None:
        async def tell() -> None:
            for percent in itertools.cycle(range(100)):
                await loopback.tell(progress("default/weather", percent))
                await asyncio.sleep(0)

        await loopback.tell(progress("default/weather", 0))
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(tell())
            for _ in range(30):
                async with loopback.subscribe("/api/events") as subscriber:
                    _, snapshot, bookmark = await subscriber.until("bookmark")
                    live = await subscriber.next()
                assert snapshot.json["id"] == bookmark.id
                assert EventId.parse(live.id).seq == EventId.parse(bookmark.id).seq + 1
            telling.cancel()


class TestCursorsThatCannotBeContinued:
    """Each gets `reset`, why, and a snapshot: the subscriber starts over knowing that it does."""

    @pytest.mark.parametrize(
        ("cursor", "reason"),
        [
            ("0123456789-3", "epoch"),
            ("{epoch}-10000", "ahead"),
            ("{epoch}-1", "expired"),
            ("{epoch}-0", "expired"),
            ("17", "malformed"),
            ("not a cursor", "malformed"),
            ("{epoch}-01", "malformed"),
            ("{epoch}-1e3", "malformed"),
            ("{epoch}-99999999999999999999999", "malformed"),
            ("{epoch}-٣", "malformed"),
            ("x" * 5000, "malformed"),
            ('"><script>', "malformed"),
        ],
    )
    async def test_it_is_reset_with_the_reason(self, start_gateway: StartGateway, cursor: str, reason: str) -> None:
        loopback = await start_gateway(capacity=10)
        *_, head = await loopback.tell(status("default/weather"), *(progress("default/weather", n) for n in range(30)))

        async with loopback.subscribe("/api/events", cursor=cursor.format(epoch=head.epoch)) as subscriber:
            hello, reset, *snapshot, bookmark = await subscriber.until("bookmark")
            [live_id] = await loopback.tell(status("default/weather", Status.DEGRADED))
            live = await subscriber.next()

        assert (reset.event, reset.json["type"], reset.json["reason"]) == ("reset", "reset", reason)
        assert reset.json["cursor"] == hello.json["cursor"] == subscriber.response.headers["Event-Cursor"] == str(head)
        assert not reset.has_id_line
        assert [message.event for message in snapshot] == ["status", "progress"]
        assert bookmark.id == str(head)
        assert live.id == str(live_id)
        assert loopback.figure("mcp_operator_stream_resets_total", reason=reason) == 1

    async def test_a_loss_that_the_filter_does_not_want_is_none(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(capacity=10)
        _, cursor = await loopback.tell(status("default/weather"), status("default/maps"))
        await loopback.tell(*(progress("default/weather", number) for number in range(30)))

        async with loopback.subscribe("/api/events?types=status", cursor=cursor) as subscriber:
            await subscriber.next()
            [live] = await loopback.tell(status("default/maps", Status.DEGRADED))
            assert (await subscriber.next()).id == str(live)

    async def test_an_empty_cursor_is_none(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"))
        for query, headers in (("?last_event_id=", {}), ("", {"Last-Event-ID": ""}), ("?last_event_id=", {"Last-Event-ID": " "})):
            async with loopback.subscribe(f"/api/events{query}", **headers) as subscriber:
                opening = await subscriber.until("bookmark")
                assert [message.event for message in opening] == ["hello", "status", "bookmark"]

    async def test_an_empty_header_leaves_the_query(self, loopback: Loopback) -> None:
        first, second = await loopback.tell(status("default/weather"), status("default/maps"))
        async with loopback.subscribe(f"/api/events?last_event_id={first}", cursor="") as subscriber:
            _, replayed = await subscriber.take(2)
        assert replayed.id == str(second)

    async def test_a_cursor_in_the_query_that_is_none_is_refused(self, loopback: Loopback) -> None:
        code, problem = await loopback.get("/api/events?last_event_id=yesterday")

        assert code == 400
        assert (problem["parameter"], problem["value"]) == ("last_event_id", "yesterday")
        assert "<epoch>-<number>" in problem["expected"]


async def test_a_duration_ends_with_each_request_anew(loopback: Loopback) -> None:
    for message in ("one", "two"):
        async with loopback.subscribe("/api/events?since=0s") as subscriber:
            await subscriber.next()
            [live_id] = await loopback.tell(status("default/weather", message=message))
            assert (await subscriber.next()).id == str(live_id), "nothing from before the request"


class TestByName:
    """A stream by name outlives its server: a server that is created again must find its workflow listening."""

    async def test_it_tells_the_end_stays_and_goes_on_with_the_next_object_of_the_name(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"))
        async with loopback.subscribe("/api/servers/weather/events") as subscriber:
            await subscriber.until("bookmark")
            await loopback.tell(status("default/weather", Status.DELETED), status("default/maps"))
            await loopback.tell(status("default/weather", Status.PENDING, life=2))
            gone, back = await subscriber.take(2)

        assert (gone.json["status"], gone.json["uid"]) == ("deleted", uid_of("default/weather"))
        assert (back.json["status"], back.json["uid"]) == ("pending", uid_of("default/weather", life=2))

    async def test_a_server_that_nobody_knows_is_not_found(self, loopback: Loopback) -> None:
        code, problem = await loopback.get("/api/servers/team:nobody/events")

        assert (code, problem["parameter"], problem["value"]) == (404, "id", "team:nobody")

    async def test_a_server_that_is_gone_is_not_found(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"), status("default/weather", Status.DELETED))

        code, _ = await loopback.get("/api/servers/weather/events")

        assert code == 404

    @pytest.mark.parametrize("cursor", ["{head}", "0123456789-3", "malformed"])
    async def test_with_a_cursor_no_answer_is_final(self, loopback: Loopback, cursor: str) -> None:
        [head] = await loopback.tell(status("default/maps"))

        async with loopback.subscribe("/api/servers/weather/events", cursor=cursor.format(head=head)) as subscriber:
            hello = await subscriber.next()
            if cursor != "{head}":
                reset, bookmark = await subscriber.take(2)
                assert (reset.event, bookmark.event) == ("reset", "bookmark")
            await loopback.tell(status("default/weather", Status.PENDING))
            created = await subscriber.next()

        assert hello.event == "hello"
        assert created.json["status"] == "pending"

    async def test_who_starts_over_hears_that_the_server_is_gone(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"), status("default/weather", Status.DELETED))

        async with loopback.subscribe("/api/servers/weather/events", cursor="0123456789-3") as subscriber:
            _, _, snapshot, _ = await subscriber.until("bookmark")
            await loopback.tell(status("default/weather", Status.PENDING, life=2))
            created = await subscriber.next()

        assert (snapshot.json["status"], snapshot.json["snapshot"]) == ("deleted", True)
        assert created.json["status"] == "pending"

    async def test_a_deleted_server_is_in_no_snapshot_of_the_cluster(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"), status("default/weather", Status.DELETED), status("default/maps"))

        async with loopback.subscribe("/api/events") as subscriber:
            _, *snapshot, _ = await subscriber.until("bookmark")

        assert [message.json["server"] for message in snapshot] == ["default/maps"]


class TestByUid:
    """A stream by UID is about one object: it ends with it, and afterwards says so as each client understands it."""

    path = f"/api/servers/{uid_of('default/weather')}/events"

    @pytest.mark.parametrize("query", ["", "?types=progress", "?types=log", "?named=0"])
    async def test_it_ends_with_bye_after_the_last_word(self, loopback: Loopback, query: str) -> None:
        await loopback.tell(status("default/weather"))
        async with loopback.subscribe(self.path + query) as subscriber:
            await subscriber.until("bookmark")
            [last_word] = await loopback.tell(status("default/weather", Status.DELETED))
            await loopback.tell(status("default/weather", Status.PENDING, life=2))
            *said, bye = await subscriber.rest()

        assert [message.json["status"] for message in said] == ([] if "types" in query else ["deleted"])
        assert (bye.event, bye.id, bye.json["cursor"]) == ("bye", str(last_word), str(last_word))
        assert bye.json["reason"] == "deleted"

    async def test_a_cursor_at_the_last_word_or_past_it_needs_nothing_more(self, loopback: Loopback) -> None:
        _, last_word, later = await loopback.tell(
            status("default/weather"), status("default/weather", Status.DELETED), status("default/maps")
        )

        for cursor in (last_word, later):
            assert await loopback.get(self.path, headers={"Last-Event-ID": str(cursor)}) == (204, None)
            assert await loopback.get(f"{self.path}?last_event_id={cursor}") == (204, None)

    async def test_an_older_cursor_gets_what_it_missed_and_then_bye(self, loopback: Loopback) -> None:
        seen, missed, last_word = await loopback.tell(
            status("default/weather"), progress("default/weather", 10), status("default/weather", Status.DELETED)
        )

        async with loopback.subscribe(self.path, cursor=seen) as subscriber:
            _, *replay, bye = await subscriber.rest()

        assert [message.id for message in replay] == [str(missed), str(last_word)]
        assert (bye.event, bye.id) == ("bye", str(last_word))

    @pytest.mark.parametrize("cursor", ["0123456789-3", "{epoch}-1000", "malformed"])
    async def test_a_cursor_that_cannot_be_continued_gets_the_last_word_and_then_bye(
        self, loopback: Loopback, cursor: str
    ) -> None:
        _, last_word = await loopback.tell(status("default/weather"), status("default/weather", Status.DELETED))

        async with loopback.subscribe(self.path, cursor=cursor.format(epoch=last_word.epoch)) as subscriber:
            messages = await subscriber.rest()

        assert [message.event for message in messages] == ["hello", "reset", "status", "bookmark", "bye"]
        assert messages[2].json["status"] == "deleted"
        assert messages[-1].id == str(last_word)
        assert await loopback.get(self.path, headers={"Last-Event-ID": messages[-1].id}) == (204, None)

    async def test_without_a_cursor_a_gone_object_is_not_found(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"), status("default/weather", Status.DELETED))

        assert (await loopback.get(self.path))[0] == 404

    async def test_an_object_that_nobody_knows_is_not_found_whatever_the_cursor(self, loopback: Loopback) -> None:
        [cursor] = await loopback.tell(status("default/maps"))

        for headers in ({}, {"Last-Event-ID": str(cursor)}, {"Last-Event-ID": "0123456789-3"}):
            assert (await loopback.get(self.path, headers=headers))[0] == 404

    async def test_a_replay_that_wants_nothing_of_the_end_is_over_with_it(self, loopback: Loopback) -> None:
        first, _, last_word = await loopback.tell(
            status("default/weather"), line("default/weather"), status("default/weather", Status.DELETED)
        )
        path = f"/api/servers/{uid_of('default/weather')}/events?types=log"
        async with loopback.subscribe(path, cursor=first) as subscriber:
            *_, bye = await subscriber.rest()
        assert (bye.json["reason"], bye.id) == ("deleted", str(last_word))
        assert await loopback.get(path, headers={"Last-Event-ID": bye.id}) == (204, None)

    async def test_a_line_behind_the_last_word_is_not_told(self, loopback: Loopback) -> None:
        await loopback.tell(status("default/weather"))
        async with loopback.subscribe(f"/api/servers/{uid_of('default/weather')}/events") as subscriber:
            await subscriber.until("bookmark")
            last_word, _ = await loopback.tell(status("default/weather", Status.DELETED), line("default/weather", "late"))
            *heard, bye = await subscriber.rest()

        assert [message.id for message in heard] == [bye.id] == [str(last_word)]

    async def test_an_open_stream_ends_even_if_its_object_was_forgotten_meanwhile(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(capacity=10)
        await loopback.tell(status("default/weather"))
        async with loopback.subscribe(self.path) as subscriber:
            await subscriber.until("bookmark")
            # All in one turn of the event loop: the stream can't read in between.
            await loopback.tell(status("default/weather", Status.DELETED), *(status("default/maps") for _ in range(30)))
            messages = await subscriber.rest()

        assert [message.event for message in messages] == ["reset", "bookmark", "bye"]


async def test_a_replay_longer_than_a_batch_is_whole(start_gateway: StartGateway) -> None:
    loopback = await start_gateway(capacity=5000)
    cursor, *later = await loopback.tell(*(progress("default/weather", number % 100) for number in range(3000)))

    async with loopback.subscribe("/api/events", cursor=cursor) as subscriber:
        _, *replay = await subscriber.take(3000)

    assert [message.id for message in replay] == [str(event_id) for event_id in later]
    assert loopback.figure("mcp_operator_stream_replays_total") == 1
    assert loopback.figure("mcp_operator_events_delivered_total", type=EventType.PROGRESS) == 2999
