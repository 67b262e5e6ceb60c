"""The servers that are measured really serve: few streams and few events, through the same code as in a long run."""

from __future__ import annotations

import pytest

from tests.bench.loading import Pace, loading
from tests.bench.rows import fanout, filtering, idle, returning, stopped
from tests.bench.servers import gateway, plain

FEW = 20


def test_every_subscriber_of_the_gateway_gets_every_event() -> None:
    trials = [fanout.Trial("", FEW, pace, {}) for pace in (Pace(1, 200, 2, 20), Pace(100, 0, 1, 3))]
    with gateway() as server:
        single, bursts = fanout.run_trials(server, trials)
        stall = fanout.stall(server, trials[1])
    assert (single.deliveries, bursts.deliveries) == (FEW * 20, FEW * 300)
    assert min(single.server_cpu, bursts.server_cpu) > 0
    assert stall >= 0


def test_idle_streams_are_weighed() -> None:
    with plain() as server:
        weighed = idle.weigh(server, 200)
    assert weighed.resident > 1000
    assert weighed.runtime.startswith("Python 3.")


def test_who_comes_back_gets_what_he_missed_or_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(returning, "_QUIET_SECONDS", 1)
    monkeypatch.setattr(returning, "_WINDOW_SECONDS", 1)
    with gateway() as server:
        came_back = returning.come_back(server, streams=FEW)
    assert came_back.replay.opened.deliveries == FEW * returning.MISSED
    assert (came_back.reset.opened.deliveries, came_back.reset.opened.resets) == (0, FEW)
    assert came_back.replay.during.deliveries == came_back.reset.during.deliveries == 50


@pytest.mark.parametrize("filters", [1, filtering.FILTERS])
def test_filtered_streams_get_what_they_want_and_nothing_else(filters: int) -> None:
    with gateway(servers=filtering.FILTERS) as server:
        delivered = filtering.deliver(server, filters=filters, pace=Pace(1, 1000, 200, 400))
    assert delivered.deliveries == 400


def test_who_has_stopped_reading_keeps_nothing_from_the_others() -> None:
    with gateway() as server:
        measured = stopped.run(server, streams=FEW, pace=Pace(10, 100, 1, 20))
    assert measured.without.deliveries == measured.beside.deliveries == 200


def test_a_stream_whose_filter_nothing_passes_gets_nothing() -> None:
    with gateway() as server, loading(server, streams=1, path="/api/events?types=status&namespace=elsewhere", hold=True) as quiet:
        quiet.opened()
        with loading(server, streams=1, paces=[Pace(10, 0, 0, 2)]) as load:
            load.opened()
            assert load.delivered().deliveries == 20
        assert quiet.held() == 0
