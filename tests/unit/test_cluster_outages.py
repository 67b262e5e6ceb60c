"""What fails again and again is tried again soon, however long it fails, and is told without filling the log."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.cluster import outages, reflecting, triggering
from mcp_operator.cluster.outages import Backoff, Outage


@given(failures=st.integers(0, 200), longest=st.floats(0.1, 60))
def test_waiting_times_double_up_to_the_longest(failures: int, longest: float) -> None:
    backoff = Backoff(first=0.05, longest=longest)
    waited = [backoff.next() for _ in range(failures)]
    for tries, seconds in enumerate(waited):
        wanted = min(0.05 * 2**tries, longest)
        assert wanted / 2 <= seconds <= wanted


def test_after_a_success_they_start_over() -> None:
    backoff = Backoff(first=0.05, longest=2)
    for _ in range(10):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 0.05


@pytest.mark.parametrize("room", [reflecting, triggering])
def test_an_api_server_that_is_back_is_found_within_two_seconds(room: ModuleType) -> None:
    assert room._LONGEST_BACKOFF <= 2


def test_an_outage_is_told_when_it_begins_each_minute_and_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", outages.__name__)
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(outages, "time", SimpleNamespace(monotonic=lambda: clock.now))
    outage = Outage("Following pods")
    outage.works()
    for _ in range(100):
        outage.fails(OSError("refused"))
        clock.now += 1
    outage.works()
    outage.works()
    assert [record.getMessage() for record in caplog.records] == [
        "Following pods fails and is tried again: refused",
        "Following pods fails and is tried again: refused",
        "Following pods works again after 100.0 s.",
    ]
