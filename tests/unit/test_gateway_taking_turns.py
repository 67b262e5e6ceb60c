"""What comes all at once is spread over turns of the event loop, in its order."""

from __future__ import annotations

import asyncio
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.gateway.taking_turns import Turns


class Requests:
    """Things that come to a loop's turns, numbered, and when each happened."""

    def __init__(self, *, at_once: int) -> None:
        self._turns = Turns(asyncio.get_running_loop(), at_once=at_once)
        self._turn = 0
        self._came = 0
        self.happened: list[tuple[int, int]] = []
        """Turn and number."""

    def come(self, count: int) -> None:
        for _ in range(count):
            number, self._came = self._came, self._came + 1
            if self._turns.take():
                self._happen(number)
            else:
                self._turns.wait(partial(self._happen, number))

    async def next_turn(self) -> None:
        await asyncio.sleep(0)
        self._turn += 1

    async def all(self) -> None:
        """Wait until all have happened."""
        async with asyncio.timeout(60):
            while len(self.happened) < self._came:
                await self.next_turn()

    def _happen(self, number: int) -> None:
        self.happened.append((self._turn, number))


async def test_so_many_happen_at_once_and_the_others_in_the_next_turns() -> None:
    requests = Requests(at_once=3)
    requests.come(8)
    assert [number for _, number in requests.happened] == [0, 1, 2]

    await requests.all()

    assert [number for _, number in requests.happened] == list(range(8))
    assert sizes(requests) == [3, 3, 2]


async def test_after_a_quiet_turn_all_is_as_at_first() -> None:
    requests = Requests(at_once=2)
    for _ in range(3):
        requests.come(2)
        assert len(sizes(requests)) == 1
        for _ in range(3):
            await requests.next_turn()
        requests.happened.clear()


async def test_a_newcomer_does_not_overtake_those_that_wait() -> None:
    requests = Requests(at_once=2)
    requests.come(5)
    await requests.next_turn()
    requests.come(1)

    await requests.all()

    assert [number for _, number in requests.happened] == list(range(6))


@given(st.lists(st.integers(0, 7), max_size=12), st.integers(1, 4))
def test_all_happen_in_order_and_never_too_many_in_a_turn(arrivals: list[int], at_once: int) -> None:
    async def story() -> Requests:
        requests = Requests(at_once=at_once)
        for count in arrivals:
            requests.come(count)
            await requests.next_turn()
        await requests.all()
        return requests

    requests = asyncio.run(story())
    assert [number for _, number in requests.happened] == list(range(sum(arrivals)))
    assert all(size <= at_once for size in sizes(requests))


def sizes(requests: Requests) -> list[int]:
    """How many happened in each turn in which any did."""
    turns = [turn for turn, _ in requests.happened]
    return [turns.count(turn) for turn in sorted(set(turns))]
