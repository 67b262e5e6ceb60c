"""How every event log shows who listens to what."""

from __future__ import annotations

import asyncio

import pytest

from mcp_operator.eventlog.log import EVERYTHING, Demand, EventLog, Selection
from mcp_operator.model.events import Event, EventType, LogLevel
from mcp_operator.model.labels import Selector
from tests.events import labelled, line, metrics, status, uid_of
from tests.logs import LOGS, MakeLog, only

pytestmark = pytest.mark.parametrize("make_log", LOGS)


class TestDemand:
    """Who listens to what."""

    def wants(self, demand: Demand, event: Event) -> bool:
        return demand.wanted(event.type, event.server, event.uid, event.labels)

    @pytest.mark.parametrize(
        ("selection", "wanted"),
        [
            (Selection(), ["a log", "a metrics", "a status", "b log", "reborn log"]),
            (only(EventType.LOG), ["a log", "b log", "reborn log"]),
            (only(EventType.METRICS), ["a metrics"]),
            (only(EventType.LOG, uid=uid_of("default/a")), ["a log"]),
            (only(EventType.LOG, servers=frozenset({status("default/a").server})), ["a log", "reborn log"]),
            (only(EventType.LOG, namespaces=frozenset({"team", "other"})), ["b log"]),
            (only(EventType.LOG, servers=frozenset({status("default/a").server}), namespaces=frozenset({"team"})), []),
            (only(EventType.LOG, selector=Selector.parse("team=sea")), ["b log"]),
            (only(EventType.LOG, selector=Selector.parse("!team")), ["a log", "reborn log"]),
            (only(EventType.LOG, selector=Selector.parse("team"), namespaces=frozenset({"default"})), []),
            (only(EventType.LOG, level=LogLevel.FATAL, grep="nowhere"), ["a log", "b log", "reborn log"]),
        ],
    )
    async def test_what_somebody_listens_to_is_wanted_as_long_as_they_do(
        self, make_log: MakeLog, selection: Selection, wanted: list[str]
    ) -> None:
        log = make_log(10)
        events = {
            "a log": line("default/a"),
            "a metrics": metrics("default/a"),
            "a status": status("default/a"),
            "b log": labelled(line("team/b"), team="sea"),
            "reborn log": line("default/a", life=2),
        }

        before = [name for name, event in events.items() if self.wants(log.demand, event)]
        with log.listening(selection):
            during = [name for name, event in events.items() if self.wants(log.demand, event)]
        after = [name for name, event in events.items() if self.wants(log.demand, event)]

        assert (before, during, after) == ([], wanted, [])

    async def test_it_lasts_until_the_last_listener_has_left_however(self, make_log: MakeLog) -> None:
        log = make_log(10)
        wanted = []
        with log.listening(EVERYTHING):
            with pytest.raises(RuntimeError), log.listening(EVERYTHING):
                raise RuntimeError("the subscriber's connection broke")
            wanted.append(self.wants(log.demand, line("default/a")))
        wanted.append(self.wants(log.demand, line("default/a")))

        assert wanted == [True, False]

    async def test_the_longest_tail_of_those_who_listen_to_the_log_counts(self, make_log: MakeLog) -> None:
        log = make_log(10)
        server, uid = status("default/a").server, uid_of("default/a")
        tails = [log.demand.tail(server, uid)]
        with log.listening(only(EventType.METRICS), tail=5000), log.listening(only(EventType.LOG, uid=uid), tail=10):
            tails.append(log.demand.tail(server, uid))
            with log.listening(EVERYTHING, tail=200), log.listening(EVERYTHING, tail=200):
                tails.append(log.demand.tail(server, uid))
            with log.listening(only(EventType.LOG, namespaces=frozenset({"team"})), tail=300):
                tails.append(log.demand.tail(server, uid))
        tails.append(log.demand.tail(server, uid))

        assert tails == [0, 10, 200, 10, 0]

    async def test_only_who_selects_a_server_wants_the_past_of_its_log(self, make_log: MakeLog) -> None:
        log = make_log(10)
        sea = labelled(line("team/b"), team="sea")
        with (
            log.listening(only(EventType.LOG, selector=Selector.parse("team=sea")), tail=20),
            log.listening(only(EventType.LOG, selector=Selector.parse("team=sky")), tail=300),
        ):
            tails = [log.demand.tail(sea.server, sea.uid, labels) for labels in (sea.labels, (("team", "sky"),), ())]

        assert tails == [20, 300, 0]

    async def test_a_listener_with_another_selector_is_a_change_too(self, make_log: MakeLog) -> None:
        log = make_log(10)
        with log.listening(only(EventType.LOG, selector=Selector.parse("team=sea"))):
            version = await log.demand.changed(0)
            with log.listening(only(EventType.LOG, selector=Selector.parse("team=sky"))):
                later = await log.demand.changed(version)
            last = await log.demand.changed(later)

        assert version < later < last

    async def test_a_change_wakes_those_who_serve_it(self, make_log: MakeLog) -> None:
        log = make_log(10)
        versions = [0]
        heard = asyncio.Event()

        async def serve() -> None:
            while len(versions) < 3:
                versions.append(await log.demand.changed(versions[-1]))
                heard.set()

        async def come_and_go(log: EventLog) -> None:
            with log.listening(EVERYTHING):
                await heard.wait()

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(serve())
            tasks.create_task(come_and_go(log))

        assert versions == sorted(set(versions))
        # Whoever has served an older version is told at once.
        assert await log.demand.changed(0) == versions[-1]
