"""Filters over HTTP: what is chosen is the same in a snapshot, live, in a replay, on a page and in the list of servers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from mcp_operator.model.events import Event, LogLevel
from mcp_operator.model.labels import Labels
from mcp_operator.model.statuses import Status
from tests.component.conftest import Loopback, StartGateway, one_engine
from tests.events import line, metrics, progress, response, status, uid_of

JSON = {"Accept": "application/json"}

MAPS: Labels = (("team", "maps"), ("tier", "web"))
WEATHER: Labels = (("legacy", ""), ("team", "weather"))


def labelled(event: Event, labels: Labels) -> Event:
    return replace(event, labels=labels)


STORY: list[Event] = [
    labelled(status("geo/maps"), MAPS),
    labelled(line("geo/maps", "tile (a+)+$ missing", level=LogLevel.ERROR), MAPS),
    labelled(progress("geo/maps", 50), MAPS),
    labelled(status("default/weather"), WEATHER),
    labelled(line("default/weather", "a 50% chance of rain"), WEATHER),
    labelled(metrics("default/weather", 3), WEATHER),
    status("default/clock"),
    line("default/clock", "TICK", level=LogLevel.WARN),
    response("default/clock"),
]
UID = uid_of("default/weather")

TABLE: list[tuple[str, list[str]]] = [
    ("types=status,response", ["maps status", "weather status", "clock status", "clock response"]),
    ("types=metrics", ["weather metrics"]),
    ("namespace=geo", ["maps status", "maps log", "maps progress"]),
    ("namespace=geo,default&types=status", ["maps status", "weather status", "clock status"]),
    ("servers=clock", ["clock status", "clock log", "clock response"]),
    ("servers=geo:maps,clock&types=log", ["maps log", "clock log"]),
    (f"servers={UID},geo:maps&types=status", ["maps status", "weather status"]),
    (f"servers={UID}", ["weather status", "weather log", "weather metrics"]),
    (f"servers={UID}&namespace=geo", []),
    ("servers=maps", []),
    ("selector=team", ["maps status", "maps log", "maps progress", "weather status", "weather log", "weather metrics"]),
    ("selector=team%3Dmaps", ["maps status", "maps log", "maps progress"]),
    ("selector=team!%3Dmaps&types=status", ["weather status", "clock status"]),
    ("selector=team+in+(maps,weather),!legacy&types=status", ["maps status"]),
    ("selector=!team", ["clock status", "clock log", "clock response"]),
    ("selector=team&namespace=default&types=status,log", ["weather status", "weather log"]),
    ("level=warn&types=log", ["maps log", "clock log"]),
    (
        "level=error",
        ["maps status", "maps log", "maps progress", "weather status", "weather metrics", "clock status", "clock response"],
    ),
    ("grep=a%2B)%2B%24&types=log", ["maps log"]),
    ("grep=.&types=log", []),
    ("grep=tick&types=log", []),
    ("grep=TICK&types=log&level=error", []),
    ("grep=50%25&selector=legacy&servers=weather&namespace=default&types=log", ["weather log"]),
]


def words(events: Iterable[dict[str, Any]]) -> list[str]:
    return [f"{event['server'].partition('/')[2]} {event['type']}" for event in events]


@pytest.mark.parametrize(("query", "told"), TABLE)
async def test_live_in_a_replay_and_on_a_page_it_is_the_same_choice(loopback: Loopback, query: str, told: list[str]) -> None:
    start = str(loopback.log.head)
    async with loopback.subscribe(f"/api/events?{query}") as subscriber:
        await subscriber.until("bookmark")
        await loopback.tell(*STORY)
        live = await subscriber.take(len(told))
    async with loopback.subscribe(f"/api/events?{query}", cursor=start) as subscriber:
        await subscriber.next()
        replay = await subscriber.take(len(told))
        await loopback.gateway.stop()
        rest = await subscriber.rest()

    assert words(message.json for message in live) == told
    assert [message.data for message in replay] == [message.data for message in live]
    assert [message.event for message in rest] == ["bye"]


@one_engine
@pytest.mark.parametrize(("query", "told"), TABLE)
async def test_on_a_page_and_in_its_snapshot_it_is_the_same_choice(loopback: Loopback, query: str, told: list[str]) -> None:
    start = str(loopback.log.head)
    await loopback.tell(*STORY)
    _, page = await loopback.get(f"/api/events?{query}&last_event_id={start}", headers=JSON)
    _, first = await loopback.get(f"/api/events?{query}&tail=5", headers=JSON)

    assert words(page["events"]) == told
    assert page["next"] == first["next"] == str(loopback.log.head)
    assert sorted(words(first["snapshot"])) == sorted(word for word in told if "response" not in word)


@one_engine
@pytest.mark.parametrize(
    ("query", "servers"),
    [
        ("", ["default/clock", "default/weather", "geo/maps"]),
        ("namespace=geo", ["geo/maps"]),
        ("servers=clock,geo:maps", ["default/clock", "geo/maps"]),
        (f"servers={UID}", ["default/weather"]),
        ("servers=nobody", []),
        ("selector=team", ["default/weather", "geo/maps"]),
        ("selector=team,tier%3Dweb&namespace=geo,default", ["geo/maps"]),
        ("selector=tier&servers=weather", []),
        ("namespace=&servers=&selector=", ["default/clock", "default/weather", "geo/maps"]),
    ],
)
async def test_the_list_takes_those_that_choose_servers(loopback: Loopback, query: str, servers: list[str]) -> None:
    await loopback.tell(*STORY)

    code, listed = await loopback.get(f"/api/servers?{query}")

    assert (code, [item["server"] for item in listed["items"]]) == (200, servers)


@one_engine
@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/api/servers?servers=a/b", "servers"),
        ("/api/servers?selector=a%3D%3D%3Db", "selector"),
        ("/api/servers?types=log", "types"),
        ("/api/servers/weather/events?servers=clock", "servers"),
        ("/api/servers/weather/events?selector=team", "selector"),
        ("/api/events?selector=a+in+b", "selector"),
        ("/api/events?grep=a%00", "grep"),
    ],
)
@pytest.mark.parametrize("accept", ["*/*", "application/json"])
async def test_what_is_no_filter_here_is_refused_by_name(loopback: Loopback, path: str, parameter: str, accept: str) -> None:
    code, problem = await loopback.get(path, headers={"Accept": accept})

    assert (code, problem["parameter"]) == (400, parameter)


async def test_a_bare_name_among_servers_means_the_default_namespace(start_gateway: StartGateway) -> None:
    loopback = await start_gateway(http={"default_namespace": "geo"})
    await loopback.tell(*STORY)

    _, listed = await loopback.get("/api/servers?servers=maps,weather")

    assert [item["server"] for item in listed["items"]] == ["geo/maps"]


async def test_a_selector_judges_each_event_by_the_labels_it_was_made_with(loopback: Loopback) -> None:
    [start] = await loopback.tell(labelled(status("geo/maps", Status.PENDING), MAPS))
    await loopback.tell(
        labelled(status("geo/maps", Status.DEPLOYING), WEATHER),
        labelled(status("geo/maps", Status.RUNNING), MAPS),
    )
    async with loopback.subscribe("/api/events?selector=team%3Dmaps", cursor=start) as subscriber:
        _, told = await subscriber.take(2)

    assert told.json["status"] == "running"


async def test_servers_outlive_their_objects_on_the_cluster_stream(loopback: Loopback) -> None:
    """By name the next object goes on; a UID is quiet after its end, and the stream stays open for the others."""
    await loopback.tell(status("default/weather"), status("default/clock"))
    async with loopback.subscribe(f"/api/events?servers={UID},clock") as subscriber:
        await subscriber.until("bookmark")
        await loopback.tell(
            status("default/weather", Status.DELETED),
            status("default/weather", Status.PENDING, life=2),
            status("default/clock", Status.DELETED),
            status("default/clock", Status.PENDING, life=2),
        )
        told = await subscriber.take(3)

    assert [(message.json["server"], message.json["status"]) for message in told] == [
        ("default/weather", "deleted"),
        ("default/clock", "deleted"),
        ("default/clock", "pending"),
    ]


async def test_unnamed_streams_carry_statuses_and_responses_unless_asked_otherwise(loopback: Loopback) -> None:
    async with loopback.subscribe("/api/events?named=0") as subscriber:
        await subscriber.until("bookmark")
        await loopback.tell(*STORY)
        told = await subscriber.take(4)

    assert words(message.json for message in told) == ["maps status", "weather status", "clock status", "clock response"]
    assert {message.event for message in told} == {"message"}
