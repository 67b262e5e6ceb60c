"""The order that the log in memory keeps its events in, beside a plain list."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_operator.eventlog.ordering import CHUNK, Order


def filled(count: int) -> Order[str]:
    order: Order[str] = Order()
    for seq in range(1, count + 1):
        order.append(seq, seq // 3, f"{seq}")
    return order


@settings(max_examples=200)
@given(
    steps=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2)), max_size=60),
    removed=st.lists(st.integers(0, 59), max_size=60),
    oldest=st.integers(0, 5),
    chunk=st.sampled_from([1, 2, 4, 8]),
)
def test_it_is_as_a_list_would_be(steps: list[tuple[int, int]], removed: list[int], oldest: int, chunk: int) -> None:
    seqs = list(accumulate(step for step, _ in steps))
    times = list(accumulate(seconds for _, seconds in steps))
    things = [(seq, float(time), f"{seq}") for seq, time in zip(seqs, times, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mcp_operator.eventlog.ordering.CHUNK", chunk)
        order: Order[str] = Order()
        for seq, time, thing in things:
            order.append(seq, time, thing)
        for at in removed:
            if at < len(things):
                seq, time, _ = things.pop(at)
                assert order.remove(seq) == time
        for _ in range(min(oldest, len(things))):
            assert order.oldest == things[0][2]
            assert order.remove_oldest() == things.pop(0)[1]

    assert len(order) == len(things)
    assert order.oldest_time == (things[0][1] if things else float("inf"))
    for seq in range(max(seqs, default=0) + 2):
        assert list(order.after(seq)) == [thing for other, _, thing in things if other > seq]
    for time in range(max(times, default=0) + 2):
        assert order.newest_before(time) == max((seq for seq, other, _ in things if other < time), default=0)


def test_few_that_are_left_of_many_lie_together() -> None:
    order = filled(100 * CHUNK)
    for seq in range(1, 100 * CHUNK + 1):
        if seq % 100:
            order.remove(seq)

    assert len(order) == CHUNK
    assert len(order._chunks) < 10
    assert list(order.after(0)) == [f"{seq}" for seq in range(100, 100 * CHUNK + 1, 100)]
