"""Chromium's EventSource over a network that cuts, tears and stalls, and over gateways that go and come back."""

from __future__ import annotations

import pytest

from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.model.statuses import Status
from tests.component.clients.browsing import Chromium
from tests.component.clients.cutting import PLACES, anywhere, cut_at
from tests.component.clients.hearing import assert_hears_everything, events, has_heard, joined
from tests.component.clients.numbering import assert_exactly_once, happening, told
from tests.component.clients.troublemaking import End, Trouble, no_trouble, troublemaking
from tests.component.conftest import StartGateway
from tests.events import line, status, uid_of

RECONNECTS = 360
"""Two hours on a train whose radio link breaks every 20 s."""

LONG = 100_000
"""Events that a log holds so that nothing of a story leaves it."""

SERVER = "default/weather"


async def test_two_hours_of_broken_connections(start_gateway: StartGateway, chromium: Chromium) -> None:
    gateway = await start_gateway(capacity=LONG)
    async with (
        troublemaking(gateway.address) as network,
        chromium.page(network.url) as page,
        happening(gateway.log) as happenings,
    ):
        network.begin(anywhere(1, bytes_at_most=3_000))
        source = await page.event_source("/api/events")

        await source.until(lambda: network.cuts >= RECONNECTS, f"{RECONNECTS} connections are cut", within=450)
        network.begin(no_trouble)
        await assert_hears_everything(source, happenings)
        assert source.opened > RECONNECTS / 2  # the others were cut within the head


@pytest.mark.parametrize("place", PLACES)
async def test_a_cut_anywhere_in_a_frame(start_gateway: StartGateway, chromium: Chromium, place: str) -> None:
    gateway = await start_gateway(capacity=LONG)
    async with (
        troublemaking(gateway.address) as network,
        chromium.page(network.url) as page,
        happening(gateway.log) as happenings,
    ):
        ends = (End.CLOSE, End.RESET)
        network.begin(lambda number: Trouble(cut=cut_at(place, end=ends[number % 2], after=1500)))
        source = await page.event_source("/api/events")

        await source.until(lambda: network.cuts >= 4, "4 connections are cut")
        network.begin(no_trouble)
        await assert_hears_everything(source, happenings)


async def test_bytes_that_come_one_by_one(start_gateway: StartGateway, chromium: Chromium) -> None:
    gateway = await start_gateway(capacity=LONG)
    texts = ["é💥\u2028\r\n\r\n\ndata: x", "\ufeff\0", "x" * 20_000, "\udc80"]
    async with troublemaking(gateway.address) as network, chromium.page(network.url) as page:
        network.begin(lambda _: Trouble(piece=1))
        source = await page.event_source("/api/events?types=log")
        await source.hears("bookmark")

        ids = [str(await gateway.log.append(line(SERVER, text))) for text in texts]
        await has_heard(source, ids[-1])

        assert events(source) == ids
        messages = [heard.json["msg"] for heard in source.of("log")]
        assert messages[:2] == texts[:2]
        assert source.errors == 0


async def test_gateways_that_are_restarted_over_the_same_log(start_gateway: StartGateway, chromium: Chromium) -> None:
    gateway = await start_gateway(capacity=LONG)
    _, port = gateway.address
    async with (
        troublemaking(gateway.address) as network,
        chromium.page(network.url) as page,
        happening(gateway.log) as happenings,
    ):
        source = await page.event_source("/api/events")
        for times in range(1, 6):
            await source.connects(times)
            await gateway.gateway.stop()
            gateway = await start_gateway(log=gateway.log, http={"port": port})

        await source.connects(6)
        await assert_hears_everything(source, happenings)
        assert {bye.json["reason"] for bye in source.of("bye")} == {"shutdown"}


async def test_a_killed_operator_whose_successor_has_another_history(start_gateway: StartGateway, chromium: Chromium) -> None:
    first, second = await start_gateway(capacity=LONG), await start_gateway(capacity=LONG)
    async with troublemaking(first.address) as network, chromium.page(network.url) as page:
        async with happening(first.log) as before:
            source = await page.event_source("/api/events")
            await source.until(lambda: len(events(source)) > 50, "some events are heard")
            network.up = False
            network.cut()
            await source.until(lambda: source.errors >= 5, "it has tried in vain")
        async with happening(second.log) as after:
            network.target, network.up = second.address, True
            await source.hears("reset")
            await has_heard(source, await after.end())

        assert [reset.json["reason"] for reset in source.of("reset")] == ["epoch"]
        heard = events(source)
        old = [event_id for event_id in heard if event_id in before.ids]
        assert_exactly_once(old, before.since(source.of("bookmark")[0].id)[: len(old)])
        assert_exactly_once(heard[len(old) :], after.since(joined(source)))


async def test_an_operator_that_does_not_know_its_cluster_yet(start_gateway: StartGateway, chromium: Chromium) -> None:
    gateway = await start_gateway()
    gateway.synced = False
    async with troublemaking(gateway.address) as network, chromium.page(network.url) as page:
        source = await page.event_source("/api/events")
        await source.until(lambda: len(source.of("bye")) >= 3, "it was sent away and came back")
        gateway.synced = True

        await source.hears("bookmark")
        last = str(await gateway.log.append(status(SERVER)))
        await has_heard(source, last)
        assert {bye.json["reason"] for bye in source.of("bye")} == {"starting"}
        assert not source.closed


async def test_a_stream_that_has_ended_is_not_asked_for_again(start_gateway: StartGateway, chromium: Chromium) -> None:
    gateway = await start_gateway()
    await gateway.tell(status(SERVER))
    async with troublemaking(gateway.address) as network, chromium.page(network.url) as page:
        source = await page.event_source(f"/api/servers/{uid_of(SERVER)}/events")
        await source.hears("bookmark")
        (last,) = await gateway.tell(status(SERVER, Status.DELETED))

        await source.until(lambda: source.closed, "the browser stops by itself")
        assert events(source) == [str(last)]
        assert source.of("bye")[0].id == str(last)
        assert source.opened == 1


async def test_a_page_that_listens_to_unnamed_events_only(start_gateway: StartGateway, chromium: Chromium) -> None:
    gateway = await start_gateway(capacity=LONG)
    async with (
        troublemaking(gateway.address) as network,
        chromium.page(network.url) as page,
        happening(gateway.log) as happenings,
    ):
        network.begin(anywhere(2, bytes_at_most=5_000, places={*PLACES} - {"within an event's name"}))
        source = await page.event_source("/api/events?named=0&types=status,progress,log")
        await source.until(lambda: network.cuts >= 20, "20 connections are cut")
        network.begin(no_trouble)
        last = await happenings.end()
        await has_heard(source, last)

        heard = told(message.json for message in source.of("message"))
        assert_exactly_once(heard, happenings.since(source.of("bookmark")[0].id))


async def test_a_page_of_another_origin(start_gateway: StartGateway, chromium: Chromium) -> None:
    """With cookies, so the answers must name the page's origin; on a bad network, so it resumes across origins."""
    front = await start_gateway()
    gateway = await start_gateway(capacity=LONG, http={"cors_origins": (front.url,)})
    async with (
        troublemaking(gateway.address) as network,
        chromium.page(front.url) as page,
        happening(gateway.log) as happenings,
    ):
        source = await page.event_source(f"{network.url}/api/events", withCredentials=True)
        await source.hears("bookmark")  # and with it how long to wait before it comes back
        network.begin(anywhere(5, bytes_at_most=5_000))
        await source.until(lambda: network.cuts >= 20, "20 connections are cut")
        network.begin(no_trouble)
        await assert_hears_everything(source, happenings)


async def test_a_page_of_an_origin_that_may_not(start_gateway: StartGateway, chromium: Chromium) -> None:
    stranger = await start_gateway()
    gateway = await start_gateway(http={"cors_origins": ("http://dashboard.example:8080",)})
    async with chromium.page(stranger.url) as page:
        source = await page.event_source(f"{gateway.url}/api/events")

        await source.until(lambda: source.errors, "the browser refuses")
        assert source.opened == 0


async def test_streams_of_limited_age(start_gateway: StartGateway, chromium: Chromium) -> None:
    gateway = await start_gateway(capacity=LONG, max_age_seconds=0.2, heartbeat_seconds=0.1)
    async with (
        troublemaking(gateway.address) as network,
        chromium.page(network.url) as page,
        happening(gateway.log) as happenings,
    ):
        source = await page.event_source("/api/events")
        await source.connects(4)
        await assert_hears_everything(source, happenings)
        assert {bye.json["reason"] for bye in source.of("bye")} == {"age"}


async def test_an_empty_history_begins(start_gateway: StartGateway, chromium: Chromium) -> None:
    gateway = await start_gateway(log=MemoryLog(capacity=10))
    async with troublemaking(gateway.address) as network, chromium.page(network.url) as page:
        source = await page.event_source("/api/events")
        await source.hears("bookmark")
        network.cut()
        await source.connects(2)

        await has_heard(source, str((await gateway.tell(status(SERVER)))[0]))
        assert not source.of("reset")
