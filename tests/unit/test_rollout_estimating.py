"""How long an operation will still take, judged by the server's earlier ones: what is estimated, and when nothing is said."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.model.events import ProgressPayload
from mcp_operator.model.operations import OperationKind, Outcome
from mcp_operator.model.records import Failure, InstanceRecord, OtherInstances, Phases, RolloutRecord, Spread, Spreads
from mcp_operator.rollout.estimating import Pace, Paces, Shape, paces_of, remaining_seconds, shape_of
from mcp_operator.rollout.timing import Times, Timing
from tests.builders import (
    START,
    at,
    counting,
    created,
    deployment,
    generation,
    mcpserver,
    observed,
    pod,
    replicaset,
    scheduled,
    waiting,
)
from tests.stories import Story

ROLLOUT, SCALE = OperationKind.ROLLOUT, OperationKind.SCALE


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def record(
    seconds: float,
    *,
    kind: OperationKind = ROLLOUT,
    before: int = 2,
    desired: int = 2,
    phases: Phases | None = None,
    **fields: Any,
) -> RolloutRecord:
    """An operation that took so long and whose instances took 1 s to be scheduled, 4 s to start and 5 s to be ready."""
    each = phases or Phases(scheduled=1, started=4, ready=5, available=0)
    instances = tuple(
        InstanceRecord(name=f"{n}", created_at=START, phases=each, seconds=10)
        for n in range(desired if kind is ROLLOUT else desired - before)
    )
    return RolloutRecord(
        **{
            "id": "1",
            "kind": kind,
            "server": "default/weather",
            "uid": "u",
            "before": before,
            "desired": desired,
            "started_at": START,
            "ended_at": after(seconds),
            "outcome": Outcome.SUCCEEDED,
            "percent": 100,
            "instances": instances,
            **fields,
        }
    )


FAILURE = Failure(id="1", reason="ErrImagePull", message="no such image", since=START)


@pytest.mark.parametrize(
    ("kind", "before", "desired", "shape"),
    [
        (ROLLOUT, 0, 3, Shape.CREATE),
        (ROLLOUT, 3, 3, Shape.REPLACE),
        (ROLLOUT, 1, 5, Shape.REPLACE),
        (SCALE, 1, 3, Shape.GROW),
        (SCALE, 3, 1, Shape.SHRINK),
        (SCALE, 3, 0, Shape.STOP),
    ],
)
def test_operations_are_compared_with_those_of_their_shape(kind: OperationKind, before: int, desired: int, shape: Shape) -> None:
    assert shape_of(kind, before=before, desired=desired) is shape


def test_the_pace_is_the_median_of_what_succeeded_undisturbed() -> None:
    records = [
        record(24),
        record(20),
        record(90),
        record(900, failures=(FAILURE,)),
        record(800, paused=True),
        record(801, paused=True),
        record(1, outcome=Outcome.SUPERSEDED),
        record(5, outcome=None, ended_at=None, percent=40),
        record(7, kind=SCALE, before=1, desired=3),
    ]
    paces = paces_of(records)
    assert paces[Shape.REPLACE] == Pace(12, (1, 4, 5, 0))
    assert paces[Shape.GROW].per_instance == 3.5
    assert Shape.CREATE not in paces


def test_a_pull_that_was_seen_counts_towards_the_start() -> None:
    paces = paces_of([record(20, phases=Phases(scheduled=1, pulled=3, started=1, ready=5, available=0))])
    assert paces[Shape.REPLACE].steps == (1, 4, 5, 0)


def test_instances_that_were_summed_up_count_with_their_median() -> None:
    spread = Spread(min=1, p50=2, p90=2, max=2)
    others = OtherInstances(count=100, spreads=Spreads(scheduled=spread, ready=spread, started=spread, available=spread))
    assert paces_of([record(20, others=others)])[Shape.REPLACE].steps == (2, 2, 2, 2)


def test_operations_that_brought_nothing_tell_nothing() -> None:
    assert paces_of([record(20, instances=())]) == {}


def test_a_way_back_that_needed_only_one_new_instance_is_measured_by_that_one() -> None:
    whole = record(20)
    assert paces_of([record(10, instances=whole.instances[:1])]) == paces_of([whole])


def timing(*reached: float, revision: str = "new", terminating: bool = False, began: float = 0) -> Timing:
    """An instance that reached its steps at these seconds."""
    names = ("scheduled", "started", "ready", "available")
    times = {name: after(seconds) for name, seconds in zip(names, reached, strict=False)}
    return Timing(f"{revision}-{began}", revision, terminating, Times(created=after(began), **times))


ONE_BY_ONE = Pace(12, (1, 4, 5, 0))
AT_ONCE = Pace(3, (1, 4, 5, 0))


@pytest.mark.parametrize(
    ("pace", "timings", "now", "seconds"),
    [
        (ONE_BY_ONE, (), 0, 24),
        (ONE_BY_ONE, (timing(revision="old"),), 0, 24),
        (ONE_BY_ONE, (timing(),), 0, 24),
        (ONE_BY_ONE, (timing(1, 5),), 5, 18),  # half of the first instance, and the second
        (ONE_BY_ONE, (timing(1, 5),), 8, 15),  # 3 of the 5 s to ready are over
        (ONE_BY_ONE, (timing(1, 5),), 60, 12),  # it takes longer than ever before: at least the other one is left
        (ONE_BY_ONE, (timing(1, 5, 10, 10),), 10, 12),
        (ONE_BY_ONE, (timing(1, 5, 10, 10), timing(began=11)), 11, 12),
        (ONE_BY_ONE, (timing(1, 5, 10, 10), timing(12, 16, 21, 21, began=11)), 21, 0),
        (AT_ONCE, (timing(), timing()), 0, 10),  # six seconds' worth of work, but each instance takes ten
        (AT_ONCE, (timing(1, 5), timing(1)), 5, 5),
        (Pace(12, (0, 0, 0, 0)), (timing(),), 0, 24),  # too fast for whole seconds: only the count of instances tells
        (Pace(12, (0, 0, 0, 0)), (timing(0, 0, 0, 0), timing(0)), 0, 12),
    ],
)
def test_what_is_left_is_measured_in_instances(pace: Pace, timings: tuple[Timing, ...], now: float, seconds: int) -> None:
    assert remaining_seconds(pace, Shape.REPLACE, timings, revision="new", desired=2, now=after(now)) == seconds


@pytest.mark.parametrize(
    ("desired", "alive", "terminating", "seconds"), [(1, 3, 0, 8), (1, 1, 2, 0), (0, 1, 2, 12), (2, 1, 0, 0)]
)
def test_a_scale_down_is_measured_by_what_goes(desired: int, alive: int, terminating: int, seconds: int) -> None:
    timings = [timing()] * alive + [timing(terminating=True)] * terminating
    told = remaining_seconds(
        Pace(4, ()), shape_of(SCALE, before=3, desired=desired), timings, revision="new", desired=desired, now=after(0)
    )
    assert told == seconds


@given(
    pace=st.builds(Pace, st.floats(0, 1e5), st.tuples(*[st.floats(0, 1e4)] * 4)),
    timings=st.lists(st.builds(timing, *[st.floats(0, 1000)] * 2, terminating=st.booleans()), max_size=6),
    desired=st.integers(0, 5),
    now=st.floats(0, 1e6),
    shape=st.sampled_from(Shape),
)
def test_it_is_never_negative(pace: Pace, timings: list[Timing], desired: int, now: float, shape: Shape) -> None:
    assert remaining_seconds(pace, shape, timings, revision="new", desired=desired, now=after(now)) >= 0


def begin(story: Story, *, paces: Paces) -> None:
    """The first rollout of a server, seen from its beginning."""
    story.see(
        at=0,
        server=mcpserver(),
        deployment=deployment("weather", generation(1), observed(1), counting(wanted=1)),
        replica_sets=(replicaset("weather-7d4b9"),),
        paces=paces,
    )


def estimates(story: Story) -> list[int | None]:
    return [event.payload.remaining_seconds for event in story.events if isinstance(event.payload, ProgressPayload)]


PACES = {Shape.CREATE: Pace(10, (1, 4, 5, 0))}


def test_progress_says_how_long_it_will_take_where_the_past_tells() -> None:
    story = Story()
    begin(story, paces=PACES)
    story.see(at=2, pods=(pod("weather-7d4b9-x", created(at(0)), scheduled(since=at(1))),))
    assert estimates(story) == [10, 8]


def test_without_a_past_nothing_is_said() -> None:
    story = Story()
    begin(story, paces={Shape.REPLACE: Pace(10, (1, 4, 5, 0))})
    assert estimates(story) == [None]


def test_an_estimate_that_changes_by_time_alone_is_no_event() -> None:
    story = Story()
    begin(story, paces=PACES)
    scheduled_pod = pod("weather-7d4b9-x", created(at(0)), scheduled(since=at(1)))
    story.see(at=2, pods=(scheduled_pod,))
    story.see(at=4)
    assert story.state.remaining_seconds == 6
    assert story.told == []


def test_what_is_stuck_has_no_estimate() -> None:
    story = Story()
    begin(story, paces=PACES)
    story.see(at=700)
    assert story.status == "failed"
    assert estimates(story)[-1] is None


def test_an_active_cause_takes_the_estimate_away() -> None:
    story = Story()
    begin(story, paces=PACES)
    story.see(at=2, pods=(pod("weather-7d4b9-x", created(at(0)), scheduled(since=at(1)), waiting("ErrImagePull")),))
    assert story.causes
    assert story.state.remaining_seconds is None
