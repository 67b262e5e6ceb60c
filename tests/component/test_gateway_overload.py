"""More streams than the gateway takes: each client hears it in the way that it survives, and those that are in notice nothing."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.component.conftest import Loopback, StartGateway, Subscriber
from tests.component.raw_http import raw_client
from tests.events import status
from tests.waiting import until


async def declined(loopback: Loopback, path: str = "/api/events", **headers: str) -> tuple[str, int, Subscriber]:
    """Why a stream was declined, and when to come back."""
    async with loopback.subscribe(path, **headers) as subscriber:
        hello, bye = await subscriber.rest()
    assert (hello.event, hello.json["cursor"], hello.has_id_line) == ("hello", None, False)
    assert (bye.event, bye.json["cursor"], bye.has_id_line) == ("bye", None, False)
    assert subscriber.parser.retry_ms is not None
    assert subscriber.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    return bye.json["reason"], subscriber.parser.retry_ms, subscriber


class TestTooManyStreams:
    @pytest.mark.parametrize(("limits", "reason"), [
        ({"max_streams": 2}, "too-many-streams"),
        ({"max_streams_per_client": 2}, "too-many-of-client"),
    ])  # fmt: skip
    async def test_one_more_is_told_to_come_later_and_the_others_go_on(
        self, start_gateway: StartGateway, limits: dict[str, int], reason: str
    ) -> None:
        loopback = await start_gateway(**limits)
        async with loopback.subscribe("/api/events") as one, loopback.subscribe("/api/events?named=0") as other:
            await one.until("bookmark")
            await other.until("bookmark")
            for accept in ("text/event-stream", "*/*"):
                said, retry_ms, _ = await declined(loopback, Accept=accept)
                assert said == reason
                assert 5000 <= retry_ms <= 16_000
            assert loopback.figure("mcp_operator_streams_refused_total", reason=reason) == 2
            [event_id] = await loopback.tell(status("default/weather"))
            assert [(await each.next()).id for each in (one, other)] == [str(event_id)] * 2

    async def test_a_place_that_is_left_can_be_taken(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(max_streams=1)
        for _ in range(5):
            async with loopback.subscribe("/api/events") as subscriber:
                await subscriber.until("bookmark")
                assert (await declined(loopback))[0] == "too-many-streams"
            await until(lambda: loopback.figure("mcp_operator_streams") == 0, "the place is free", every=0.01)

    @pytest.mark.parametrize(
        ("path", "code"), [("/api/servers/never-was/events", 404), ("/api/events?types=logs", 400), ("/nothing", 404)]
    )
    async def test_what_never_was_a_stream_took_no_place(self, start_gateway: StartGateway, path: str, code: int) -> None:
        loopback = await start_gateway(max_streams=1)
        for _ in range(5):
            assert (await loopback.get(path))[0] == code

        async with loopback.subscribe("/api/events") as subscriber:
            await subscriber.until("bookmark")

    async def test_what_costs_no_place_is_served(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(max_streams=1)
        async with loopback.subscribe("/api/events") as subscriber:
            await subscriber.until("bookmark")
            assert (await loopback.get("/api/servers"))[0] == 200
            async with loopback.session.head(loopback.url + "/api/events") as response:
                assert response.status == 200

    async def test_a_page_is_unavailable(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(max_streams=1)
        async with loopback.subscribe("/api/events") as subscriber:
            await subscriber.until("bookmark")
            async with loopback.session.get(loopback.url + "/api/events", headers={"Accept": "application/json"}) as response:
                problem = await response.json(content_type="application/problem+json")

        assert (response.status, problem["reason"]) == (503, "too-many-streams")
        assert 5 <= int(response.headers["Retry-After"]) <= 16

    async def test_pages_can_ask_when_they_may_have_their_place_again(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(max_streams=1)
        for _ in range(5):
            assert (await loopback.get("/api/events", headers={"Accept": "application/json"}))[0] == 200


class TestTooFast:
    async def test_those_that_can_not_have_their_turn_soon_come_later(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(new_streams_per_second=0.1)
        async with loopback.subscribe("/api/events") as subscriber:
            await subscriber.until("bookmark")
            assert (await declined(loopback))[0] == "too-fast"

    async def test_the_others_wait_a_moment(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(new_streams_per_second=20, drain_seconds=0)
        async with AsyncExitStack() as stack:
            crowd = [stack.enter_async_context(loopback.subscribe("/api/events")) for _ in range(10)]
            for subscriber in await asyncio.gather(*crowd):
                await subscriber.until("bookmark")
            assert loopback.figure("mcp_operator_streams") == 10

    async def test_who_leaves_while_it_waits_gives_its_turn_and_place_to_others(self, start_gateway: StartGateway) -> None:
        loopback = await start_gateway(new_streams_per_second=0.7, max_streams=3)
        async with loopback.subscribe("/api/events") as subscriber:
            await subscriber.until("bookmark")
            async with raw_client(loopback.address) as one, raw_client(loopback.address) as other:
                one.get("/api/events")
                other.get("/api/events")
                await until(lambda: loopback.gateway._admission.waiting == 2, "two wait", every=0.01)
                assert (await declined(loopback))[0] == "too-many-streams"
            admission = loopback.gateway._admission
            await until(lambda: (admission.waiting, admission.open) == (0, 1), "nobody waits, one is open", every=0.01)
