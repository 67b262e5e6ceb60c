"""Lines as real programs print them, read for their level and message; and lines that nobody expects, survived."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.cluster.podlogs.parsing import MOST_BYTES, Parsed, parse
from mcp_operator.eventlog.encoding import MAX_EVENT_BYTES, encode
from mcp_operator.eventlog.log import EventId
from mcp_operator.model.events import Event, LogLevel, LogPayload
from mcp_operator.model.servers import ServerName
from mcp_operator.model.spec import LogFormat
from tests.builders import START

TRACE, DEBUG, INFO, WARN, ERROR, FATAL = LogLevel

TEXT = [
    # In capitals.
    ("WARNING:root:disk is almost full", WARN),
    ("2026-11-23 09:00:00,123 - weather.forecast - ERROR - no answer", ERROR),
    ("2026-11-23T09:00:00.123Z  INFO weather::server: listening", INFO),
    ("[2026-11-23T09:00:00Z WARN  weather] slow", WARN),
    ("09:00:00.123 [main] ERROR com.example.Weather - no answer", ERROR),
    ("[09:00:00 WRN] slow", WARN),
    ("3:04PM DBG cache hit key=berlin", DEBUG),
    ("ERRO[0000] no answer                     status=502", ERROR),
    ("E, [2026-11-23T09:00:00.123456 #7] ERROR -- : no answer", ERROR),
    ("2026-11-23 09:00:00.000 UTC [7] FATAL:  password authentication failed", FATAL),
    ("2026-11-23 09:00:00.123 | SUCCESS  | weather:main:7 - done", INFO),
    ("npm ERR! code ELIFECYCLE", ERROR),
    ("2026-11-23T09:00:00.123Z\tDEBUG\tcontroller\tReconciling", DEBUG),
    ("\x1b[32mINFO\x1b[0m:     Application startup complete.", INFO),
    ("\x1b[31mERROR\x1b[0m:    Application startup failed.", ERROR),
    ("CRITICAL weather: out of memory", FATAL),
    # Before a colon.
    ("error: no such city", ERROR),
    ("warn: Microsoft.AspNetCore.Server.Kestrel[0]", WARN),
    ("fail: Microsoft.Extensions.Hosting.Internal.Host[9]", ERROR),
    ("dbug: Weather.Cache[1]", DEBUG),
    ("(node:7) Warning: Setting the NODE_TLS_REJECT_UNAUTHORIZED", WARN),
    ('INFO:     127.0.0.1:40312 - "GET /ERROR HTTP/1.1" 500 Internal Server ERROR', INFO),
    ("panic: runtime error: index out of range [3] with length 3", FATAL),
    ("SEVERE: no answer", ERROR),
    # In brackets, between tabs or bars.
    ("2026/11/23 09:00:00 [error] 7#7: *1 open() failed", ERROR),
    ("[Mon Nov 23 09:00:00.123 2026] [core:error] [pid 7] no such file", ERROR),
    ("2026-11-23 09:00:00 [warning  ] slow   city=berlin", WARN),
    ("2026-11-23T09:00:00.123Z\twarn\tcache/cache.go:7\tslow", WARN),
    ("09:00:00 | debug | cache hit", DEBUG),
    ("<trace> enter", TRACE),
    # As the value of a field.
    ('time=2026-11-23T09:00:00Z level=error msg="no answer"', ERROR),
    ('ts=2026-11-23T09:00:00Z lvl=eror msg="no answer"', ERROR),
    ('time="2026-11-23T09:00:00Z" level="warning" msg="slow"', WARN),
    ("{'level': 'error', 'text': 'a Python dict'}", ERROR),
    ('{"time":"09:00:00","level":"error","msg":"cut off in the midd', ERROR),
    # klog.
    ("E1123 09:00:00.123456       7 reflector.go:150] no answer", ERROR),
    ("I1123 09:00:00.123456       7 main.go:7] ERROR is only a word here", INFO),
    ("W1123 09:00:00.123456       7 main.go:7] slow", WARN),
    ("E20261123 09:00:00.123456     7 weather.cc:7] no answer", ERROR),
    # Python's logging, uvicorn and gunicorn.
    ("ERROR:    Exception in ASGI application", ERROR),
    ('INFO:     10.0.0.7:51234 - "POST /mcp HTTP/1.1" 202 Accepted', INFO),
    ("WARNING:  Invalid HTTP request received.", WARN),
    ("2026-11-23 09:00:00,123 [mcp.server.lowlevel] [DEBUG] Received message", DEBUG),
    ("2026-11-23 09:00:00,123 CRITICAL [root] out of memory", FATAL),
    ("[2026-11-23 09:00:00 +0000] [7] [INFO] Booting worker with pid: 7", INFO),
    ("[11/23/26 09:00:00] ERROR    no answer                              server.py:7", ERROR),
    # Exceptions.
    ("Traceback (most recent call last):", ERROR),
    ("ValueError: no such city", ERROR),
    ("KeyError", ERROR),
    ("psycopg2.OperationalError: could not connect", ERROR),
    ("java.lang.IllegalStateException: no answer", ERROR),
    ('Exception in thread "main" java.lang.RuntimeException: no answer', ERROR),
    ("Unhandled exception. System.InvalidOperationException: no answer", ERROR),
    ("Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'mcp'", ERROR),
    ("  + Exception Group Traceback (most recent call last):", ERROR),
    ("thread 'main' panicked at src/main.rs:7:5:", ERROR),
    ("thread 'main' (7) panicked at src/main.rs:7:5:", ERROR),
    # No level, or a word that isn't meant as one.
    ("listening on :8080", INFO),
    ('  File "/app/weather.py", line 7, in forecast', INFO),
    ("no error occurred", INFO),
    ("error handling is on", INFO),
    ("GET /error/42 200", INFO),
    ("LOG_LEVEL=DEBUG", INFO),
    ("started with --log-level=debug", INFO),
    ("ERRORS 0, TERROR 0, ERROR_RATE 0", INFO),
    ("informational: nothing", INFO),
    ("x" * 100 + " ERROR far from the beginning", INFO),
    ("42", INFO),
    ('["error", "an array"]', INFO),
    ("", INFO),
    ("   ", INFO),
]

JSON: list[tuple[dict[str, Any], LogLevel, str, dict[str, Any]]] = [
    ({"level": "error", "msg": "no answer", "city": "Berlin"}, ERROR, "no answer", {"city": "Berlin"}),  # zap, zerolog, logrus
    ({"time": "09:00", "level": "ERROR+2", "msg": "no"}, ERROR, "no", {"time": "09:00"}),  # Go's slog
    ({"level": 50, "time": 1795424400, "pid": 7, "msg": "no"}, ERROR, "no", {"time": 1795424400, "pid": 7}),  # pino, bunyan
    ({"name": "w", "hostname": "h", "pid": 7, "level": 40, "msg": "slow", "v": 0}, WARN, "slow",
     {"name": "w", "hostname": "h", "pid": 7, "v": 0}),  # bunyan
    ({"level": 10, "msg": "enter"}, TRACE, "enter", {}),
    ({"level": 20, "msg": "hit"}, DEBUG, "hit", {}),
    ({"level": 30, "msg": "ready"}, INFO, "ready", {}),
    ({"level": "50", "msg": "a number as text"}, ERROR, "a number as text", {}),
    ({"lvl": "warn", "msg": "slow"}, WARN, "slow", {}),  # log15
    ({"level": 35, "msg": "between two"}, INFO, "between two", {}),
    ({"level": 60, "msg": "the end"}, FATAL, "the end", {}),
    ({"level": 4, "short_message": "slow", "version": "1.1"}, WARN, "slow", {"version": "1.1"}),  # GELF: syslog's numbers
    ({"level": 0, "message": "the end"}, FATAL, "the end", {}),
    ({"severity": "WARNING", "message": "slow"}, WARN, "slow", {}),  # Google Cloud
    ({"severity": "NOTICE", "message": "so"}, INFO, "so", {}),
    ({"levelname": "CRITICAL", "message": "x", "taskName": None}, FATAL, "x", {"taskName": None}),  # python-json-logger
    ({"event": "slow", "level": "warning", "timestamp": "t"}, WARN, "slow", {"timestamp": "t"}),  # structlog
    ({"log.level": "debug", "message": "hit", "ecs.version": "1"}, DEBUG, "hit", {"ecs.version": "1"}),  # Elastic
    ({"log": {"level": "error"}, "message": "no"}, ERROR, "no", {"log": {"level": "error"}}),
    ({"@t": "t", "@m": "no", "@l": "Error"}, ERROR, "no", {"@t": "t"}),  # Serilog
    ({"Timestamp": "t", "LogLevel": "Critical", "Message": "no"}, FATAL, "no", {"Timestamp": "t"}),  # .NET
    ({"SeverityText": "Debug", "Body": "b", "msg": "m"}, DEBUG, "m", {"Body": "b"}),  # OpenTelemetry
    ({"msg": "no level"}, INFO, "no level", {}),
    ({"level": "loud", "msg": "a level of its own"}, INFO, "a level of its own", {"level": "loud"}),
    ({"level": True, "lvl": "error", "msg": "x"}, ERROR, "x", {"level": True}),
    ({"level": 1000, "msg": "x"}, INFO, "x", {"level": 1000}),
    ({"msg": {"an": "object"}, "message": "text"}, INFO, "text", {"msg": {"an": "object"}}),
    ({"msg": "", "level": "info"}, INFO, "", {}),
]  # fmt: skip


@pytest.mark.parametrize(("line", "level"), TEXT)
def test_a_text_line_has_the_level_that_its_beginning_says(line: str, level: LogLevel) -> None:
    assert parse(line, LogFormat.AUTO) == Parsed(level=level, msg=line, fields=None, truncated=False)
    assert parse(line, LogFormat.TEXT).level is level


@pytest.mark.parametrize(("record", "level", "msg", "fields"), JSON)
def test_a_json_line_has_level_message_and_other_fields(
    record: dict[str, Any], level: LogLevel, msg: str, fields: dict[str, Any]
) -> None:
    told = Parsed(level=level, msg=msg, fields=fields, truncated=False)
    assert parse(json.dumps(record), LogFormat.AUTO) == told
    assert parse(f"  {json.dumps(record, ensure_ascii=False)} ", LogFormat.JSON) == told


def test_a_json_line_without_a_message_is_told_as_it_is() -> None:
    line = '{"level":"error","code":5}'
    assert parse(line, LogFormat.AUTO) == Parsed(level=ERROR, msg=line, fields={"code": 5}, truncated=False)


def test_the_format_says_whether_json_and_levels_of_text_are_looked_for() -> None:
    record, text = '{"level":"error","msg":"no answer"}', "ERROR: no answer"
    assert parse(record, LogFormat.TEXT).msg == record
    assert parse(record, LogFormat.TEXT).fields is None
    assert parse(text, LogFormat.JSON).level is INFO
    assert parse(record, LogFormat.JSON) == parse(record, LogFormat.AUTO)


@pytest.mark.parametrize("line", ["x" * MOST_BYTES, "€" * (MOST_BYTES // 3)])
def test_a_message_that_just_fits_is_whole(line: str) -> None:
    assert parse(line, LogFormat.AUTO) == Parsed(level=INFO, msg=line, fields=None, truncated=False)


@pytest.mark.parametrize("line", ["x" * (MOST_BYTES + 1), "€" * MOST_BYTES, json.dumps({"msg": "é" * MOST_BYTES})])
def test_a_message_that_is_too_long_is_cut_with_a_mark(line: str) -> None:
    parsed = parse(line, LogFormat.AUTO)
    assert parsed.truncated
    assert parsed.msg.endswith("…")
    assert MOST_BYTES - 4 < len(parsed.msg.encode()) <= MOST_BYTES


def test_fields_that_do_not_fit_into_an_event_are_left_out_with_a_mark() -> None:
    record = {"msg": "much", "first": 1, "large": ["x" * 1000] * 60, "last": 2}
    parsed = parse(json.dumps(record), LogFormat.AUTO)
    assert (parsed.msg, parsed.fields, parsed.truncated) == ("much", {"first": 1, "last": 2}, True)


def test_what_json_can_not_say_is_null() -> None:
    parsed = parse('{"msg":"x","ratio":NaN,"most":Infinity,"large":1e999,"list":[-Infinity,1.5]}', LogFormat.AUTO)
    assert parsed.fields == {"ratio": None, "most": None, "large": None, "list": [None, 1.5]}


def test_half_a_surrogate_pair_is_a_replacement_character() -> None:
    parsed = parse(r'{"msg":"\ud83d\ude00 \ud83d \\ud83d","\udead":"\uDE00\uD83D"}', LogFormat.AUTO)
    assert parsed.msg == "\N{GRINNING FACE} \N{REPLACEMENT CHARACTER} \\ud83d"
    assert parsed.fields == {"\N{REPLACEMENT CHARACTER}": "\N{REPLACEMENT CHARACTER}" * 2}


BOMBS = {
    "arrays deeper than a parser goes": '{"a":' + "[" * 30_000,
    "objects deeper than an encoder goes": '{"msg":"x","a":' + '{"b":' * 400 + "1" + "}" * 401,
    "thousands of short fields": json.dumps({f"{n}": n for n in range(5000)}),
    "long names of control characters": json.dumps({"\x7f" * 5000 + str(n): n for n in range(10)}, ensure_ascii=False),
    "a number of more digits than Python reads": '{"a":' + "9" * 60_000 + "}",
    "numbers of many digits": json.dumps({f"{n}": 10**4000 for n in range(15)}),
    "a message of nothing but control characters": "\x01" * 60_000,
    "escapes without end": '{"msg":"' + "\\ud83d" * 10_000,
    "backslashes without end": '{"\\ud' + "\\" * 60_000,
    "words without end": "error" * 12_000,
    "letters, points and no error": "a." * 30_000,
    "colours without end": "\x1b[" + "1;" * 30_000,
    "brackets without end": "{" * 60_000,
}


@pytest.mark.parametrize("line", BOMBS.values(), ids=BOMBS)
def test_a_line_made_to_break_things_becomes_an_event_that_can_be_sent(line: str) -> None:
    for format_ in LogFormat:
        for redacted in (False, True):
            assert sent(parse(line, format_, redacted=redacted))["type"] == "log"


_VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists)


@given(st.text() | st.dictionaries(st.text(), _VALUES).map(json.dumps), st.sampled_from(LogFormat))
def test_any_line_becomes_an_event_that_can_be_sent(line: str, format_: LogFormat) -> None:
    parsed = parse(line, format_, redacted=True)
    told = sent(parsed)
    assert told["msg"] == parsed.msg
    assert (told["fields"], told["level"]) == (parsed.fields, parsed.level)


@given(st.text(st.characters(), max_size=200))
def test_even_text_that_is_no_unicode_is_told(line: str) -> None:
    assert sent(parse(line, LogFormat.AUTO))["level"]


def sent(parsed: Parsed) -> dict[str, Any]:
    """The event's JSON as a subscriber reads it; strictly JSON, and within its bound."""
    payload = LogPayload(
        level=parsed.level,
        msg=parsed.msg,
        fields=parsed.fields,
        truncated=parsed.truncated,
        instance="weather-7d4b9-x2x7q",
        container="mcp",
        timestamp="2026-11-23T09:00:00.123456789Z",
    )
    event = Event(ServerName("default", "weather"), "uid", "key", payload)
    data = encode(event, event_id=EventId("epoch", 1), time=START)
    assert len(data) <= MAX_EVENT_BYTES
    told: dict[str, Any] = json.loads(data, parse_constant=pytest.fail)
    return told
