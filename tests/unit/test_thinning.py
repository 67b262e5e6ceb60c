"""What a slow client is spared, and what never."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.eventlog.log import EVERYTHING, Gap, Record
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.gateway.thinning import Thinned, thin
from mcp_operator.model.events import Event, EventType
from mcp_operator.model.operations import Outcome
from mcp_operator.model.statuses import Status
from tests.events import follow, line, metrics, progress, response, status, warning
from tests.logs import start_of

EVENTS = st.lists(
    st.one_of(
        st.sampled_from(["default/a", "default/b"]).flatmap(
            lambda server: st.sampled_from(
                [
                    status(server),
                    status(server, Status.DEPLOYING),
                    line(server),
                    follow(server),
                    follow(server, dropped=True),
                    metrics(server, 1),
                    metrics(server, 2),
                    progress(server, 10),
                    progress(server, 20),
                    progress(server, 10, operation="another"),
                    progress(server, 100, outcome=Outcome.SUCCEEDED),
                    response(server, 1),
                    warning(server),
                ]
            )
        )
    ),
    max_size=60,
)


NEVER_LEFT_OUT = {EventType.STATUS, EventType.RESPONSE, EventType.KUBERNETES}


async def recorded(events: list[Event]) -> list[Record]:
    log = MemoryLog(capacity=1000)
    for event in events:
        await log.append(event)
    batch = await log.read(await start_of(log), EVERYTHING, limit=1000)
    assert not isinstance(batch, Gap)
    return list(batch.records)


@given(events=EVENTS)
async def test_what_is_left_says_all_that_is_needed_and_the_rest_is_counted(events: list[Event]) -> None:
    records = await recorded(events)
    backlog = Thinned(list(records))
    thin(backlog)
    kept = set(backlog.records)

    assert backlog.records == [record for record in records if record in kept], "in order"
    assert all(record in kept for record in records if record.type in NEVER_LEFT_OUT)
    assert all(record in kept for record in records if record.closes_topic or record.announces_loss)
    for record in records:
        if record.topic is not None and record not in kept:
            newer = [other for other in records if (other.type, other.topic) == (record.type, record.topic)]
            assert newer[-1] in kept
            assert newer[-1].id.seq > record.id.seq
    lines = [record for record in records if record.type is EventType.LOG and not record.announces_loss]
    assert backlog.lines == len(lines)
    assert backlog.newest_line == (lines[-1].id if lines else None)
    assert len(records) == len(kept) + backlog.lines + backlog.coalesced.total()


@given(events=EVENTS, cut=st.integers(0, 60))
async def test_thinning_in_parts_comes_to_the_same(events: list[Event], cut: int) -> None:
    records = await recorded(events)
    at_once = Thinned(list(records))
    thin(at_once)
    in_parts = Thinned(list(records[:cut]))
    thin(in_parts)
    in_parts.records += records[cut:]
    thin(in_parts)

    assert in_parts == at_once


async def test_an_operation_that_has_ended_needs_no_word_from_before() -> None:
    open_, ended = await recorded([progress("default/a", 90), progress("default/a", 100, outcome=Outcome.SUCCEEDED)])
    backlog = Thinned([open_, ended])
    thin(backlog)

    assert backlog.records == [ended]
    assert backlog.coalesced == {EventType.PROGRESS: 1}
