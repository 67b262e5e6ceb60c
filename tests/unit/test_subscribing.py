"""What a query and its headers ask for: filters, cursors, and what is refused and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yarl

from mcp_operator.eventlog.log import EventId, Selection
from mcp_operator.gateway.negotiating import Form
from mcp_operator.gateway.problems import ProblemError
from mcp_operator.gateway.subscribing import (
    CLUSTER_STREAM_PARAMETERS,
    EARLIEST,
    SERVER_STREAM_PARAMETERS,
    Subscription,
    subscription,
)
from mcp_operator.model.events import EventType, LogLevel
from mcp_operator.model.labels import Selector
from mcp_operator.model.servers import ServerName
from tests.events import uid_of

UID = uid_of("team/maps")
HEADER, QUERY = EventId("header", 7), EventId("query", 3)


def ask(
    query: str, *, cursor: str | None = None, known: tuple[str, ...] = CLUSTER_STREAM_PARAMETERS, form: Form = Form.STREAM
) -> Subscription:
    headers = {} if cursor is None else {"Last-Event-ID": cursor}
    url = yarl.URL(f"/api/events?{query}", encoded=True)
    return subscription(url.query, headers, selection=Selection(), known=known, default_namespace="home", form=form)


def selected(query: str) -> Selection:
    return ask(query).selection


def types(*chosen: EventType) -> frozenset[EventType]:
    return frozenset(chosen)


class TestFilters:
    @pytest.mark.parametrize(
        ("query", "selection"),
        [
            ("", Selection()),
            ("types=status", Selection(types=types(EventType.STATUS))),
            ("types=log,response", Selection(types=types(EventType.LOG, EventType.RESPONSE))),
            ("named=0", Selection(types=types(EventType.STATUS, EventType.RESPONSE))),
            ("named=0&types=log", Selection(types=types(EventType.LOG))),
            ("namespace=a,b", Selection(namespaces=frozenset({"a", "b"}))),
            ("servers=weather", Selection(servers=frozenset({ServerName("home", "weather")}))),
            (f"servers=team:maps,{UID}", Selection(servers=frozenset({ServerName("team", "maps"), UID}))),
            ("servers=team%3Amaps", Selection(servers=frozenset({ServerName("team", "maps")}))),
            ("selector=tier%20in%20(web,api),!old", Selection(selector=Selector.parse("!old,tier in (api,web)"))),
            ("level=warn", Selection(level=LogLevel.WARN)),
            ("grep=timed+out", Selection(grep="timed out")),
            ("grep=a,b%09%2B", Selection(grep="a,b\t+")),
            ("grep=(a%2B)%2B$", Selection(grep="(a+)+$")),
            ("grep=" + "%C3%A9" * 256, Selection(grep="é" * 256)),
            (
                "types=log&namespace=a&servers=x:y&selector=k&level=error&grep=z",
                Selection(
                    types=types(EventType.LOG),
                    namespaces=frozenset({"a"}),
                    servers=frozenset({ServerName("x", "y")}),
                    selector=Selector.parse("k"),
                    level=LogLevel.ERROR,
                    grep="z",
                ),
            ),
        ],
    )
    def test_a_comma_is_or_and_two_parameters_are_and(self, query: str, selection: Selection) -> None:
        assert selected(query) == selection

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("", "types=kubernetes,response,log,metrics,progress,status"),
            ("types=log,status", "types=status,log,status"),
            ("namespace=a,b", "namespace=b,a"),
            ("servers=weather,b", "servers=b,home:weather"),
            ("selector=a%3Db,c", "selector=c,a%3D%3Db"),
            ("selector=%20", ""),
            ("types=status", "types=status&level=warn&grep=x"),
            ("types=&namespace=&servers=&selector=&level=&grep=&since=&tail=", ""),
        ],
    )
    def test_what_means_the_same_is_one_selection(self, one: str, other: str) -> None:
        assert selected(one) == selected(other)
        assert hash(selected(one)) == hash(selected(other))

    def test_equal_requests_are_equal_and_hashable(self) -> None:
        assert ask("types=log&servers=a,b&tail=3", cursor=str(HEADER)) == ask("servers=b,a&tail=3&types=log", cursor=str(HEADER))
        assert len({ask("selector=a"), ask("selector=a"), ask("selector=b")}) == 2


NAMES = ",".join(f"n{number}" for number in range(101))

REFUSED: list[tuple[str, str, str]] = [
    # query, parameter, what the answer says would be right
    ("types=status,logs", "types", "status, progress, metrics, log, response, kubernetes"),
    ("types=Status", "types", "separated by commas"),
    ("types=status,", "types", "separated by commas"),
    ("types=" + "log," * 100 + "log", "types", "at most 100"),
    ("namespace=Team", "namespace", "names of namespaces"),
    ("namespace=a,,b", "namespace", "names of namespaces"),
    (f"namespace={NAMES}", "namespace", "at most 100 names"),
    ("namespace=" + "n" * 64, "namespace", "names of namespaces"),
    ("servers=team/maps", "servers", "namespace:name, UID, or name in the namespace 'home'"),
    ("servers=a,", "servers", "separated by commas"),
    ("servers=a:b:c", "servers", "namespace:name"),
    ("servers=*", "servers", "namespace:name"),
    (f"servers={NAMES}", "servers", "at most 100 servers"),
    ("selector=a%3D%3D%3Db", "selector", "as kubectl takes it"),
    ("selector=tier%20in%20web", "selector", "as kubectl takes it"),
    ("selector=" + "k" * 5000, "selector", "at most"),
    ("level=warning", "level", "trace, debug, info, warn, error, fatal"),
    ("level=warn,error", "level", "one of"),
    ("grep=" + "x" * 257, "grep", "at most 256 characters"),
    ("grep=a%00b", "grep", "control character"),
    ("grep=a%0Ab", "grep", "control character"),
    ("grep=%1B[31m", "grep", "control character"),
    ("grep=%C2%85", "grep", "control character"),
    ("tail=-1", "tail", "from 0 to 10000"),
    ("tail=10001", "tail", "from 0 to 10000"),
    ("tail=9999999999999999999999", "tail", "from 0 to 10000"),
    ("tail=%D9%A1", "tail", "from 0 to 10000"),
    ("named=yes", "named", "0 or 1"),
    ("snapshot=2", "snapshot", "0 or 1"),
    ("last_event_id=yesterday", "last_event_id", "<epoch>-<number>"),
    ("limit=10", "limit", "Accept: application/json"),
    ("wait=10", "wait", "Accept: application/json"),
    ("type=status", "type", "namespace, servers, selector, types"),
    ("types=status&types=log", "types", "once"),
]


class TestRefused:
    @pytest.mark.parametrize(("query", "parameter", "expected"), REFUSED, ids=[query[:40] for query, *_ in REFUSED])
    def test_the_answer_names_the_parameter_its_value_and_what_is_expected(
        self, query: str, parameter: str, expected: str
    ) -> None:
        assert refusal(query)["parameter"] == parameter
        assert expected in refusal(query)["expected"]

    def test_a_bad_value_is_refused_even_where_a_better_one_wins(self) -> None:
        assert refusal("last_event_id=17&since=5m", cursor="a-1")["parameter"] == "last_event_id"
        assert refusal("last_event_id=a-1&since=noon")["parameter"] == "since"

    def test_the_stream_of_one_server_chooses_no_servers(self) -> None:
        for name in ("namespace", "servers", "selector"):
            assert refusal(f"{name}=a", known=SERVER_STREAM_PARAMETERS)["parameter"] == name

    def test_a_long_value_is_shown_by_its_beginning(self) -> None:
        problem = refusal("selector=" + "k%20" * 1000)
        assert len(problem["value"]) == 201
        assert len(problem["expected"]) < 500


def refusal(query: str, **asked: Any) -> dict[str, str]:
    with pytest.raises(ProblemError) as refused:
        ask(query, **asked)
    assert refused.value.status == 400
    return refused.value.members


class TestCursor:
    @pytest.mark.parametrize(
        ("query", "header", "cursor", "malformed", "since"),
        [
            ("", None, None, False, None),
            ("", "", None, False, None),
            ("last_event_id=&since=", "", None, False, None),
            ("", str(HEADER), HEADER, False, None),
            (f"last_event_id={QUERY}", None, QUERY, False, None),
            ("since=earliest", None, None, False, EARLIEST),
            (f"last_event_id={QUERY}&since=earliest", str(HEADER), HEADER, False, None),
            (f"last_event_id={QUERY}&since=earliest", "", QUERY, False, None),
            (f"last_event_id={QUERY}&since=earliest", "17", None, True, None),
            ("last_event_id=&since=earliest", "", None, False, EARLIEST),
        ],
    )
    def test_the_header_wins_over_the_query_and_that_over_since(
        self, query: str, header: str | None, cursor: EventId | None, malformed: bool, since: object
    ) -> None:
        asked = ask(query, cursor=header)
        assert (asked.cursor, asked.cursor_malformed, asked.since) == (cursor, malformed, since)
        assert asked.resumes == (cursor is not None or malformed)


class TestSince:
    @pytest.mark.parametrize(
        ("text", "time"),
        [
            ("2026-11-23T08:15:00Z", datetime(2026, 11, 23, 8, 15, tzinfo=UTC)),
            ("2026-11-23t08:15:00z", datetime(2026, 11, 23, 8, 15, tzinfo=UTC)),
            ("2026-11-23T08:15:00.5Z", datetime(2026, 11, 23, 8, 15, 0, 500_000, tzinfo=UTC)),
            ("2026-11-23T08:15:00.123456789Z", datetime(2026, 11, 23, 8, 15, 0, 123_456, tzinfo=UTC)),
            ("2026-11-23T10:15:00%2B02:00", datetime(2026, 11, 23, 8, 15, tzinfo=UTC)),
            ("2026-11-23T10:15:00+02:00", datetime(2026, 11, 23, 8, 15, tzinfo=UTC)),
            ("2026-11-23T03:15:00-05:00", datetime(2026, 11, 23, 8, 15, tzinfo=UTC)),
        ],
    )
    def test_a_time(self, text: str, time: datetime) -> None:
        assert ask(f"since={text}").since == time

    @pytest.mark.parametrize(
        ("text", "ago"),
        [
            ("30s", timedelta(seconds=30)),
            ("5m", timedelta(minutes=5)),
            ("2h", timedelta(hours=2)),
            ("1d", timedelta(days=1)),
            ("1h30m", timedelta(minutes=90)),
            ("1d2h3m4s", timedelta(days=1, hours=2, minutes=3, seconds=4)),
            ("0s", timedelta()),
            ("366d", timedelta(days=366)),
        ],
    )
    def test_a_duration_is_one_whenever_it_is_asked_for(self, text: str, ago: timedelta) -> None:
        assert ask(f"since={text}").since == ago

    @pytest.mark.parametrize(
        "text",
        [
            *("5", "m", "5 m", "-5m", "5M", "5min", "1.5h", "30m1h", "367d", "999999d999999h", "9999999s", "%D9%A1m"),
            *("EARLIEST", "now", "yesterday", "1763884800"),
            *("2026-11-23", "2026-11-23T08:15Z", "2026-11-23T08:15:00", "2026-11-23 08:15:00Z", "2026-W48-1T08:15:00Z"),
            *("2026-02-30T08:15:00Z", "2026-11-23T24:15:00Z", "2026-11-23T08:15:00+25:00", "0001-01-01T00:00:00%2B01:00"),
            *("2026-11-23T08:15:00.Z", "2026-11-23T08:15:00.1234567890Z", "20261123T081500Z"),
        ],
    )
    def test_anything_else_is_refused(self, text: str) -> None:
        problem = refusal(f"since={text}")
        assert problem["parameter"] == "since"
        assert "earliest" in problem["expected"]


class TestPage:
    @pytest.mark.parametrize(
        ("query", "limit", "wait"),
        [
            ("", 100, 0),
            ("limit=1&wait=30", 1, 30),
            ("limit=1000&wait=20s", 1000, 20),
            ("wait=0.25&limit=", 100, 0.25),
            ("wait=30.000s", 100, 30),
        ],
    )
    def test_it_has_a_size_and_a_patience(self, query: str, limit: int, wait: float) -> None:
        asked = ask(query, form=Form.PAGE)
        assert (asked.limit, asked.wait_seconds) == (limit, wait)

    @pytest.mark.parametrize(
        ("query", "parameter"),
        [
            *(
                ("limit=0", "limit"),
                ("limit=1001", "limit"),
                ("limit=-1", "limit"),
                ("limit=ten", "limit"),
                ("limit=1.5", "limit"),
            ),
            *(("wait=31", "wait"), ("wait=30.001", "wait"), ("wait=-1", "wait"), ("wait=1m", "wait"), ("wait=nan", "wait")),
            *(("wait=1e1", "wait"), ("wait=inf", "wait"), ("wait=9999", "wait"), ("wait=.5", "wait")),
        ],
    )
    def test_both_are_bounded(self, query: str, parameter: str) -> None:
        with pytest.raises(ProblemError) as refused:
            ask(query, form=Form.PAGE)
        assert refused.value.members["parameter"] == parameter
