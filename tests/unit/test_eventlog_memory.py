"""What the log in memory does beyond the contract: what it knows doesn't grow, and it looks at little for what it says."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from operator import attrgetter

from mcp_operator.eventlog.log import EVERYTHING, Record, Selection, Subject
from mcp_operator.eventlog.losing import REMEMBERED_LABELS, Losses
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.eventlog.retaining import Retained
from mcp_operator.eventlog.sharing import Held, Share
from mcp_operator.model.events import EventType
from mcp_operator.model.servers import ServerName
from mcp_operator.model.statuses import Status
from tests.events import labelled, line, metrics, progress, response, status, uid_of
from tests.logs import only


def sizes(state: object, name: str) -> Iterator[tuple[str, int]]:
    """Of all that the log's objects hold together, in any depth."""
    if isinstance(state, dict | list | tuple | set | deque):
        yield name, len(state)
        for inner in state.values() if isinstance(state, dict) else state:
            yield from sizes(inner, name)
    elif type(state).__module__.startswith("mcp_operator.eventlog"):
        slots = [slot for kind in type(state).__mro__ for slot in getattr(kind, "__slots__", ())]
        for field in {*slots, *getattr(state, "__dict__", {})} - {"__weakref__"}:
            yield from sizes(getattr(state, field), f"{name}.{field}")


async def test_servers_that_come_and_go_leave_nothing_behind() -> None:
    log = MemoryLog(capacity=10, capacity_bytes=100_000)
    for life in range(500):
        for event in (
            progress("default/a", 10, life=life),
            *(line("default/a", "x" * 5000, life=life, instance=f"a-{life}") for _ in range(life % 7)),
            metrics("default/a", life=life),
            response("default/a", life=life),
            *(labelled(status("default/a", life=life), version=f"{number}") for number in range(life % 20)),
            status("default/a", Status.DELETED, life=life),
        ):
            await log.append(event)

    found = set(sizes(log, "log"))
    assert len(found) > 20
    assert {(name, size) for name, size in found if size > 20} == set()


async def test_only_the_first_and_the_last_listener_are_news() -> None:
    """Otherwise each of a thousand streams that come and go would have every server looked at."""
    log = MemoryLog(capacity=10)
    with log.listening(EVERYTHING):
        version = await log.demand.changed(0)
        with log.listening(EVERYTHING, tail=10), log.listening(only(EventType.LOG, namespaces=frozenset({"team"}))):
            narrower = await log.demand.changed(version)
        second = asyncio.create_task(log.demand.changed(narrower + 1))
        await asyncio.sleep(0)  # it waits
        with log.listening(EVERYTHING, tail=20):
            pass
        await asyncio.sleep(0)  # it would hear
        unmoved = not second.done()
    async with asyncio.timeout(60):
        assert await second > narrower + 1

    assert unmoved


async def test_a_cursor_after_all_losses_but_a_few_has_only_those_looked_at() -> None:
    losses = Losses()
    subjects = [Subject(ServerName("default", f"{number}"), uid_of(f"default/{number}")) for number in range(1000)]
    for seq in range(1, 5001):
        losses.note(subjects[seq % 1000], seq=seq, time=seq, head=seq + 100)
    selection = Selection(namespaces=frozenset({"team"}))

    assert losses.missing_after(4900, selection, None) is None
    assert len(list(losses._later_than(4900, None))) == 200
    assert [loss.subject for loss in losses._later_than(0, [uid_of("default/7")])] == [subjects[7]]


async def test_the_newest_loss_counts_whichever_went_last() -> None:
    losses = Losses()
    losses.note_forgotten(seq=5, time=50)
    losses.note(Subject(ServerName("default", "loud"), "loud"), seq=60, time=600, head=100)
    losses.note(Subject(ServerName("default", "quiet"), "quiet"), seq=10, time=100, head=101)
    of_default, of_quiet = Selection(namespaces=frozenset({"default"})), Selection(uid="quiet")

    assert [losses.missing_after(seq, of_default, None) for seq in (0, 59, 60)] == [60, 60, None]
    assert [losses.missing_after(seq, of_quiet, ["quiet"]) for seq in (0, 9, 10)] == [10, 10, None]
    assert [losses.newest_before(time) for time in (50, 51, 101, 601)] == [0, 5, 10, 60]


async def test_losses_are_told_apart_by_so_many_labels() -> None:
    losses = Losses()
    for seq in range(1, 101):
        losses.note(Subject(ServerName("default", "a"), "u", (("version", f"{seq}"),)), seq=seq, time=seq, head=seq)

    known = losses._by_uid["u"].by_labels
    assert known is not None
    assert len(known) == REMEMBERED_LABELS - 1


def test_the_greediest_is_found_and_who_is_gone_is_not_remembered() -> None:
    share = Share(100, attrgetter("count"))
    most, less, fair = Held(), Held(), Held()
    most.count, less.count, fair.count = 90, 70, 10
    for held in (most, less, fair):
        share.watch(held, 4)
    asked = [share.greediest([most, less, fair, Held()]) for _ in range(10)]
    for held in (most, less):
        share.dismiss(held, 2)

    assert not share._suspects
    assert asked[-1] is most
    assert fair not in asked
    assert share.greediest([fair, Held()]) is None


async def test_who_takes_too_much_is_known_without_looking_at_everybody() -> None:
    looked = 0

    def count(held: Held) -> int:
        nonlocal looked
        looked += 1
        return held.count

    retained = Retained(capacity=4000, capacity_bytes=1 << 30)
    retained._count = share = Share(4000, count)
    retained._shares = (share, Share(1 << 30, attrgetter("bytes")))
    records = await records_of(1000)
    seq = 0
    for number in [*range(400)] * 10 + [*range(400, 1000)]:  # when all are there, each of the first 400 takes too much
        retained.append(placed(records[number], seq := seq + 1), seq)

    assert looked < 5 * seq
    assert retained.held == 4000


async def records_of(servers: int) -> list[Record]:
    log = MemoryLog(capacity=servers)
    for number in range(servers):
        await log.append(line(f"default/{number}"))
    answer = await log.read(await log.position(None, EVERYTHING), EVERYTHING, limit=servers)
    return list(answer.records)  # type: ignore[union-attr]  # nothing is missing


def placed(record: Record, seq: int) -> Record:
    """The same at another place."""
    return replace(record, id=replace(record.id, seq=seq))
