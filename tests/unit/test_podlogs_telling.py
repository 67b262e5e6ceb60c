"""Log events: what a subscriber reads of a line, and by what it knows one that it has seen."""

from __future__ import annotations

import pytest

from mcp_operator.cluster.podlogs.interpreting import Interpreter
from mcp_operator.cluster.podlogs.lines import Line
from mcp_operator.cluster.podlogs.telling import Origin, tell_ended, tell_last_line, tell_line, tell_started
from mcp_operator.model.events import LogPayload
from mcp_operator.model.servers import ServerName
from mcp_operator.model.spec import LogFormat, LogsSpec
from tests.stories import fields_of

TIME = "2026-11-23T04:41:23.836112345Z"
ORIGIN = Origin(
    server=ServerName("default", "weather"), uid="server-uid", instance="weather-7d4b9-0", pod_uid="pod-uid", container="mcp"
)


def test_a_line_is_told_with_its_origin_and_its_place() -> None:
    line = Line(TIME, '{"level": "warn", "msg": "late", "ms": 12}', truncated=False)
    event = tell_line(ORIGIN, line, nth=2, spec=LogsSpec(), interpreter=Interpreter())
    assert (event.server, event.uid, event.key) == (ORIGIN.server, "server-uid", f"server-uid/pod-uid/mcp/{TIME}/2")
    assert fields_of(event) == {
        "level": "warn",
        "msg": "late",
        "instance": "weather-7d4b9-0",
        "container": "mcp",
        "timestamp": TIME,
        "fields": {"ms": 12},
        "truncated": False,
        "continues": None,
        "previous": False,
        "cause": None,
        "follow": None,
        "dropped": False,
    }


def test_a_line_that_was_cut_while_it_was_read_says_so() -> None:
    line, spec = Line(TIME, "short", truncated=True), LogsSpec(format=LogFormat.TEXT)
    event = tell_line(ORIGIN, line, nth=1, spec=spec, interpreter=Interpreter())
    assert fields_of(event)["truncated"] is True


def test_the_last_lines_of_a_crash_have_keys_of_their_own() -> None:
    line = Line(TIME, "Traceback", truncated=False)
    event = tell_last_line(ORIGIN, line, nth=1, spec=LogsSpec(), interpreter=Interpreter(), cause="cause-1")
    told = fields_of(event)
    assert (told["previous"], told["cause"]) == (True, "cause-1")
    assert event.key != tell_line(ORIGIN, line, nth=1, spec=LogsSpec(), interpreter=Interpreter()).key


@pytest.mark.parametrize(
    ("restarts", "again", "dropped", "msg"),
    [
        (0, False, False, "The lines of container mcp are told from here on"),
        (1, False, False, "The lines of container mcp, restarted once, are told from here on"),
        (3, False, False, "The lines of container mcp, restarted 3 times, are told from here on"),
        (0, True, False, "The lines of container mcp are told again, from where they were left"),
        (0, True, True, "The lines of container mcp are told again; some before are missing, nobody knows how many"),
        (2, True, False, "The lines of container mcp, restarted twice, are told again, from where they were left"),
    ],
)  # fmt: skip
def test_a_beginning_is_a_sentence(restarts: int, again: bool, dropped: bool, msg: str) -> None:
    event = tell_started(ORIGIN, restarts=restarts, again=again, dropped=dropped, key="now")
    assert isinstance(event.payload, LogPayload)
    assert (event.payload.level, event.payload.follow, event.payload.dropped) == (None, "started", dropped)
    assert event.payload.msg == msg


def test_an_end_is_a_sentence_too() -> None:
    event = tell_ended(ORIGIN, why="Instance weather-7d4b9-0 is gone", dropped=True, key="now")
    assert isinstance(event.payload, LogPayload)
    assert (event.payload.level, event.payload.follow, event.payload.dropped) == (None, "ended", True)
    assert event.payload.msg == "Instance weather-7d4b9-0 is gone; some lines before are missing, nobody knows how many"
