"""Requests per second from counters that begin anew, instances that come and go, and endpoints that are away for a while."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.cluster.podmetrics.rating import Rates, Sighting
from mcp_operator.cluster.podmetrics.readings import Count, Missing, Reason

REFUSED = Missing(Reason.SCRAPE_REFUSED, "refused")
MINUTE = 60.0

Seen: TypeAlias = Mapping[str, Sighting | Missing]


def at(seconds: float, value: float, *, restarts: int = 0, series: str = "mcp_requests_total") -> Sighting:
    return Sighting(count=Count(series=series, value=value), at=1000 + seconds, restarts=restarts)


def told(rates: Mapping[str, float | Missing]) -> dict[str, float | str]:
    """The rates, and reasons of those that can't be told; `of server` where it is no single instance that lacks it."""
    return {
        name: f"{rate.reason}{' of server' if rate.of_server else ''}" if isinstance(rate, Missing) else round(rate, 3)
        for name, rate in rates.items()
    }


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        pytest.param([{"a": at(0, 7)}], {"a": "NotYetMeasured of server"}, id="the first sample"),
        pytest.param([{"a": at(0, 7)}, {"a": at(15, 37)}], {"a": 2.0}, id="a steady counter"),
        pytest.param([{"a": at(0, 7)}, {"a": at(15, 7)}], {"a": 0.0}, id="nobody asks"),
        pytest.param([{"a": at(0, 0)}, {"a": at(0.5, 100)}], {"a": 200.0}, id="half a second"),
        pytest.param([{"a": at(0, 7)}, {"a": at(0, 9)}], {"a": "NotYetMeasured"}, id="no time between"),
        pytest.param([{"a": at(0, 900)}, {"a": at(10, 30, restarts=1)}], {"a": 3.0}, id="a restart: what it has served since"),
        pytest.param([{"a": at(0, 900)}, {"a": at(10, 0, restarts=1)}], {"a": 0.0}, id="a restart, and nothing since"),
        pytest.param(
            [{"a": at(0, 9)}, {"a": at(10, 39, restarts=1)}], {"a": 3.0}, id="a restart that has served more than before"
        ),
        pytest.param([{"a": at(0, 900)}, {"a": at(10, 850)}], {"a": "CounterReset"}, id="a fall without a restart"),
        pytest.param(
            [{"a": at(0, 900)}, {"a": at(10, 850)}, {"a": at(20, 870)}],
            {"a": 2.0},
            id="a fall without a restart, and the next one",
        ),
        pytest.param(
            [{"a": at(0, 900)}, {"a": at(10, 5)}, {"a": at(20, 25, restarts=1)}],
            {"a": 2.0},
            id="the restart shows a sample later",
        ),
        pytest.param(
            [{"a": at(0, 10), "b": at(0, 5)}, {"a": at(10, 30), "b": at(10, 5)}], {"a": 2.0, "b": 0.0}, id="two instances"
        ),
        pytest.param([{"a": at(0, 10)}, {"a": at(10, 30), "b": at(10, 4000)}], {"a": 2.0, "b": "NotYetMeasured"}, id="one comes"),
        pytest.param([{"a": at(0, 10), "b": at(0, 4000)}, {"a": at(10, 30)}], {"a": 2.0}, id="one goes"),
        pytest.param([{"a": at(0, 10)}, {"b": at(10, 4000)}], {"b": "NotYetMeasured of server"}, id="one goes as another comes"),
        pytest.param(
            [{"a": at(0, 10), "b": at(0, 4000)}, {"a": at(10, 30)}, {"a": at(20, 40), "b": at(20, 4000)}],
            {"a": 1.0, "b": "NotYetMeasured"},
            id="one that was gone is another",
        ),
        pytest.param([{"a": at(0, 10)}, {"a": REFUSED}], {"a": "ScrapeRefused"}, id="refused"),
        pytest.param([{"a": at(0, 10)}, {"a": REFUSED}, {"a": at(20, 50)}], {"a": 2.0}, id="refused for one sample"),
        pytest.param([{"a": REFUSED}, {"a": at(15, 10)}], {"a": "NotYetMeasured of server"}, id="refused at first"),
        pytest.param([{"a": at(0, 10)}, {"a": at(61, 50)}], {"a": "NotYetMeasured of server"}, id="nobody listened for long"),
        pytest.param(
            [{"a": at(0, 10), "b": at(0, 1)}, {"a": at(50, 15), "b": REFUSED}, {"a": at(70, 35), "b": at(70, 71)}],
            {"a": 1.0, "b": "NotYetMeasured"},
            id="one was refused for long",
        ),
        pytest.param(
            [{"a": at(0, 10)}, {"a": at(10, 4000, series="http_requests_total")}],
            {"a": "NotYetMeasured"},
            id="another series is another counter",
        ),
        pytest.param([{}, {}], {}, id="no instances"),
    ],
)
def test_a_rate_is_what_was_served_since_the_sample_before(samples: list[Seen], expected: dict[str, float | str]) -> None:
    rates = Rates()
    results = [rates.take(seen, longest_seconds=MINUTE) for seen in samples]
    assert told(results[-1]) == expected


LIVES = st.lists(
    st.dictionaries(
        st.sampled_from("abc"),
        st.one_of(st.just(REFUSED), st.tuples(st.integers(0, 10**6), st.integers(0, 1))),
        max_size=3,
    ),
    max_size=8,
)


@given(lives=LIVES)
def test_whatever_counters_do_no_rate_is_negative_or_more_than_what_was_counted(lives: list[dict[str, object]]) -> None:
    rates, restarts = Rates(), dict.fromkeys("abc", 0)
    for number, life in enumerate(lives):
        seen: dict[str, Sighting | Missing] = {}
        for name, said in life.items():
            if isinstance(said, tuple):
                restarts[name] += said[1]
                seen[name] = at(10 * number, said[0], restarts=restarts[name])
            else:
                seen[name] = REFUSED
        result = rates.take(seen, longest_seconds=MINUTE)
        assert result.keys() == seen.keys()
        for name, rate in result.items():
            sighting = seen[name]
            if not isinstance(rate, Missing):
                assert isinstance(sighting, Sighting)
                assert math.isfinite(rate)
                assert 0 <= rate <= sighting.count.value / 10
