"""Who gets a stream: places in total and of each client, and turns when many come at once."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import pairwise

import pytest

from mcp_operator.gateway.admitting import MOST_WAITING_SECONDS, Admission, Admitted, Refusal, RefusalReason


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> object:
        heapq.heappush(self._due, (self.now + delay, len(self._due), callback))
        return None

    async def turn(self) -> None:
        """Let what is due next happen."""
        due, _, callback = heapq.heappop(self._due)
        self.now = max(self.now, due)
        callback()
        await settle()

    async def pass_(self, seconds: float) -> None:
        """Let time pass, with all that happens meanwhile."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            await self.turn()
        self.now = end
        await settle()


async def settle() -> None:
    """Let every task go on until it waits again."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission(clock: Clock) -> Admission:
    """Ten places, four for each client, a hundred a second of which five at once."""
    return Admission(max_streams=10, max_per_client=4, new_per_second=100, timers=lambda: clock)


async def admitted(admission: Admission, client: str) -> Admitted:
    answer = await admission.admit(client)
    assert isinstance(answer, Admitted), answer
    return answer


async def refused(admission: Admission, client: str) -> Refusal:
    answer = await admission.admit(client)
    assert isinstance(answer, Refusal)
    return answer


class TestPlaces:
    async def test_there_are_so_many_and_a_released_one_can_be_taken_again(self, admission: Admission, clock: Clock) -> None:
        places = []
        for number in range(10):
            places.append(await admitted(admission, f"client {number}"))
            await clock.pass_(1)

        assert (await refused(admission, "one more")).reason == RefusalReason.TOO_MANY_STREAMS
        places[3].release()
        await admitted(admission, "one more")

        assert admission.open == 10
        assert admission.refused == {"too-many-streams": 1, "too-many-of-client": 0, "too-fast": 0}

    async def test_one_client_can_not_take_them_all(self, admission: Admission, clock: Clock) -> None:
        greedy = [await admitted(admission, "greedy") for _ in range(4)]
        await clock.pass_(1)

        assert (await refused(admission, "greedy")).reason == RefusalReason.TOO_MANY_OF_CLIENT
        await admitted(admission, "modest")
        greedy[0].release()
        await admitted(admission, "greedy")

        assert admission.refused[RefusalReason.TOO_MANY_OF_CLIENT] == 1

    async def test_releasing_twice_gives_one_place_back(self, admission: Admission) -> None:
        place, _other = await admitted(admission, "a"), await admitted(admission, "a")

        place.release()
        place.release()

        assert admission.open == 1

    async def test_nothing_is_remembered_of_clients_that_left(self, admission: Admission, clock: Clock) -> None:
        for number in range(100):
            (await admitted(admission, f"client {number}")).release()
            await clock.pass_(1)

        assert not admission._of_client


class TestTurns:
    @pytest.fixture
    def admission(self, clock: Clock) -> Admission:
        return Admission(max_streams=10_000, max_per_client=10_000, new_per_second=100, timers=lambda: clock)

    async def test_those_that_come_together_get_in_one_after_the_other_in_their_order(
        self, admission: Admission, clock: Clock
    ) -> None:
        order: list[int] = []

        async def come(number: int) -> None:
            await admitted(admission, "herd")
            order.append(number)

        async with asyncio.TaskGroup() as herd:
            for number in range(200):
                herd.create_task(come(number))
            await settle()
            assert len(order) == 5
            await clock.pass_(0.5)
            assert 50 <= len(order) <= 56
            await clock.pass_(1.5)

        assert order == list(range(200))
        assert (admission.waiting, admission.open) == (0, 200)

    async def test_who_would_wait_too_long_is_refused_at_once(self, admission: Admission, clock: Clock) -> None:
        herd = [asyncio.ensure_future(admission.admit("herd")) for _ in range(400)]
        await settle()

        answers = [each.result() for each in herd if each.done()]
        assert sum(isinstance(answer, Admitted) for answer in answers) == 5
        assert sum(isinstance(answer, Refusal) for answer in answers) == 400 - 5 - 100 * MOST_WAITING_SECONDS
        assert admission.refused[RefusalReason.TOO_FAST] == 95
        assert admission.open == 305
        await clock.pass_(MOST_WAITING_SECONDS)
        assert sum(isinstance(each.result(), Admitted) for each in herd) == 305

    async def test_who_has_waited_too_long_is_refused(self, admission: Admission, clock: Clock) -> None:
        """The loop was too busy to serve the queue."""
        herd = [asyncio.ensure_future(admission.admit("herd")) for _ in range(300)]
        await settle()

        clock.now += MOST_WAITING_SECONDS + 1
        await clock.pass_(0)

        assert sum(_refused(each) for each in herd) == 300 - 5 - 5
        assert (admission.open, admission.waiting) == (10, 0)

    async def test_few_begin_at_once_however_late_they_are(self, clock: Clock) -> None:
        """The streams that are open get their turn in between."""
        admission = Admission(max_streams=10_000, max_per_client=10_000, new_per_second=2000, timers=lambda: clock)
        herd = [asyncio.ensure_future(admission.admit("herd")) for _ in range(300)]
        await settle()
        begun = [sum(each.done() for each in herd)]
        while begun[-1] < 300:
            clock.now += 0.05  # so long was the loop busy with something else
            await clock.turn()
            begun.append(sum(each.done() for each in herd))

        assert begun[0] == 100
        assert all(later - earlier <= 16 for earlier, later in pairwise(begun))

    async def test_who_leaves_the_queue_makes_room_for_the_next(self, admission: Admission, clock: Clock) -> None:
        herd = [asyncio.ensure_future(admission.admit("herd")) for _ in range(205)]
        await settle()
        for gone in herd[5:]:
            gone.cancel()
        await settle()
        assert (admission.waiting, admission.open) == (0, 5)

        late = [asyncio.ensure_future(admission.admit("late")) for _ in range(100)]
        await clock.pass_(1.1)

        assert all(isinstance(each.result(), Admitted) for each in late)
        assert admission.open == 105

    async def test_the_queue_is_bounded_whoever_comes_and_goes(self, admission: Admission) -> None:
        for _ in range(20):
            herd = [asyncio.ensure_future(admission.admit("herd")) for _ in range(200)]
            await settle()
            for each in herd:
                each.cancel()
            await settle()

        assert len(admission._waiting) <= 100 * MOST_WAITING_SECONDS

    async def test_a_quiet_time_saves_up_no_more_than_a_moments_worth(self, admission: Admission, clock: Clock) -> None:
        await admitted(admission, "first")
        await clock.pass_(3600)
        herd = [asyncio.ensure_future(admission.admit("herd")) for _ in range(20)]
        await settle()

        assert sum(each.done() for each in herd) == 5
        await clock.pass_(1)

    async def test_a_rate_below_one_a_second_lets_in_one(self, clock: Clock) -> None:
        admission = Admission(max_streams=10, max_per_client=10, new_per_second=0.5, timers=lambda: clock)

        await admitted(admission, "first")
        second = asyncio.ensure_future(admission.admit("second"))
        await clock.pass_(1.9)
        assert not second.done()
        await clock.pass_(0.2)
        assert isinstance(second.result(), Admitted)

    async def test_a_rate_with_which_nobody_has_a_turn_in_time_lets_nobody_wait(self, clock: Clock) -> None:
        admission = Admission(max_streams=10, max_per_client=10, new_per_second=0.1, timers=lambda: clock)

        await admitted(admission, "first")
        assert (await refused(admission, "second")).reason == RefusalReason.TOO_FAST


class TestRefusals:
    async def test_the_more_come_in_vain_the_later_they_are_asked_to_come_again(self, clock: Clock) -> None:
        admission = Admission(max_streams=1, max_per_client=1, new_per_second=100, timers=lambda: clock)
        await admitted(admission, "first")

        one = await refused(admission, "second")
        many = [await refused(admission, "herd") for _ in range(1000)][-1]
        flood = [await refused(admission, "herd") for _ in range(10_000)][-1]
        await clock.pass_(3600)
        later = await refused(admission, "second")

        assert (one.least_retry_ms, one.most_retry_ms) == (5000, 15_020)
        assert many.most_retry_ms == pytest.approx(35_000, abs=100)
        assert flood.most_retry_ms == 120_000
        assert later == one


def _refused(answer: asyncio.Future[Admitted | Refusal]) -> bool:
    return answer.done() and isinstance(answer.result(), Refusal)
