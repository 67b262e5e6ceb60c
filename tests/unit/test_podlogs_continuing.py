"""Stack traces and indented lines as real programs print them: which line belongs to which, and how grave it is with it.

In a story `+` marks a line that belongs to the newest one without that mark; what follows is the line as it is printed.
"""

from __future__ import annotations

import pytest

from mcp_operator.cluster.podlogs.continuing import MOST_LINES
from mcp_operator.cluster.podlogs.interpreting import Interpreter
from mcp_operator.cluster.podlogs.lines import Line
from mcp_operator.model.events import LogLevel
from mcp_operator.model.spec import LogFormat, LogsSpec
from tests.kubelet import at

SECOND = 10**9

TRACES = {
    "a Python traceback": """
         INFO:     Application startup complete.
         Traceback (most recent call last):
        +  File "/app/weather.py", line 7, in forecast
        +    raise RuntimeError("ERROR: no answer")
        +weather.errors.NoAnswerError: no answer
         INFO:     Shutting down
    """,
    "chained Python tracebacks are one": """
         Traceback (most recent call last):
        +  File "/app/weather.py", line 7, in forecast
        +KeyError: 'Berlin'
        +
        +During handling of the above exception, another exception occurred:
        +
        +Traceback (most recent call last):
        +  File "/app/weather.py", line 9, in <module>
        +    forecast("Berlin")
        +    ~~~~~~~~^^^^^^^^^^
        +ValueError: no such city
    """,
    "two Python tracebacks in a row are two": """
         Traceback (most recent call last):
        +  File "/app/weather.py", line 7, in forecast
        +KeyboardInterrupt
         Traceback (most recent call last):
        +  File "/app/weather.py", line 7, in forecast
        +KeyboardInterrupt
    """,
    "the traceback of a logged exception, as logging and uvicorn print it": """
         ERROR:    Exception in ASGI application
        +  + Exception Group Traceback (most recent call last):
        +  |   File "/app/weather.py", line 7, in forecast
        +  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
        +  +-+---------------- 1 ----------------
        +    | ValueError: no such city
        +    +------------------------------------
         ERROR:root:no answer
        +Traceback (most recent call last):
        +  File "/app/weather.py", line 7, in forecast
        +TimeoutError
         INFO:root:trying again
    """,
    "Java, with causes": """
         Exception in thread "main" java.lang.RuntimeException: no answer
        +\tat com.example.Weather.main(Weather.java:7)
        +Caused by: java.net.ConnectException: Connection refused
        +\tat java.base/sun.nio.ch.Net.connect0(Native Method)
        +\t... 12 more
         09:00:01.123 [main] INFO  com.example.Weather - trying again
    """,
    "Java's logged exception": """
         09:00:00.123 [main] ERROR com.example.Weather - no answer
        +java.lang.IllegalStateException: no answer
        +\tat com.example.Weather.main(Weather.java:7)
         09:00:01.123 [main] ERROR com.example.Weather - no answer again
    """,
    "a Go panic": """
         panic: runtime error: index out of range [3] with length 3
        +
        +goroutine 1 [running]:
        +main.(*Server).forecast(0xc000012345, {0x1234, 0x5})
        +\t/app/main.go:7 +0x1d
        +main.main()
        +\t/app/main.go:3 +0x2a
        +created by main.serve in goroutine 7
        +\t/app/main.go:9 +0x1d
        +exit status 2
         2026/11/23 09:00:01 listening on :8080
    """,
    "a Go panic that a server survives": """
         2026/11/23 09:00:00 http: panic serving 127.0.0.1:40312: no answer
        +goroutine 7 [running]:
        +net/http.(*conn).serve.func1()
        +\t/usr/local/go/src/net/http/server.go:1947 +0xbe
    """,
    "JavaScript": """
         /app/server.js:3
        +    throw new TypeError("no answer");
        +    ^

         TypeError: no answer
        +    at Object.<anonymous> (/app/server.js:3:9)
        +    at node:internal/main/run_main_module:28:49

         Node.js v22.11.0
    """,
    "a Rust panic with its backtrace": """
         thread 'main' panicked at src/main.rs:7:5:
        +index out of bounds: the len is 3 but the index is 99
        +stack backtrace:
        +   0: rust_begin_unwind
        +             at /rustc/07dca489/library/std/src/panicking.rs:645:5
        +   1: weather::main
        +note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.
         listening on 8080
    """,
    "a Rust panic without one, and as older versions print it": """
         thread 'tokio-runtime-worker' (17) panicked at src/main.rs:7:5:
        +error: no answer
        +note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
         thread 'main' panicked at 'no answer', src/main.rs:7:5
        +note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
         thread 'main' panicked at src/main.rs:9:5:

         nothing was said
    """,
    "a Ruby exception with its cause": """
         /app/weather.rb:9:in `rescue in forecast': no answer (RuntimeError)
        +\tfrom /app/weather.rb:6:in `forecast'
        +\tfrom /app/weather.rb:12:in `<main>'
        +/app/weather.rb:7:in 'Weather#forecast': no such city (KeyError)
        +\tfrom /app/weather.rb:12:in `<main>'
         Exiting
    """,
    "Ruby's logged exception": """
         E, [2026-11-23T09:00:00.123456 #7] ERROR -- : no answer (RuntimeError)
        +/app/weather.rb:7:in 'Weather#forecast'
        +app/server.rb:12:in `block in <main>'
         I, [2026-11-23T09:00:01.123456 #7]  INFO -- : trying again
         app/server.rb:12:in `a line that tells of no trouble'
    """,
    "details under a line": """
         WARN slow
        +    at src/main.rs:7
        +    in forecast with city: "Berlin"
         2026-11-23T09:00:00.123Z  INFO weather: listening
           2026-11-23T09:00:00.123Z  INFO weather: indented, and says its level itself
         listening on
        +  http://localhost:8080
         .
    """,
    "errors in a row are as many": """
         Error: connect ECONNREFUSED 127.0.0.1:5432
         psycopg2.OperationalError: could not connect
         psycopg2.OperationalError: could not connect
         ValueError: no such city
    """,
    "lines of JSON stand for themselves": """
         {"level":"error","msg":"no answer"}
           an indented line
         Traceback (most recent call last):
         {"level":"info","msg":"between"}
           File "/app/weather.py", line 7, in forecast
    """,
}  # fmt: skip


def told(*lines: tuple[str, int], spec: LogsSpec | None = None) -> list[tuple[str, LogLevel, str | None]]:
    """What is told of lines, each printed so many nanoseconds after START: message, level, and the message that it continues."""
    interpreter, by_key, said = Interpreter(), {}, []
    for number, (text, at_ns) in enumerate(lines):
        parsed, continues = interpreter.read(Line(at(at_ns), text, truncated=False), spec or LogsSpec(), key=str(number))
        by_key[str(number)] = parsed.msg
        said.append((parsed.msg, parsed.level, by_key[continues] if continues is not None else None))
    return said


@pytest.mark.parametrize("story", TRACES.values(), ids=TRACES)
def test_the_lines_of_a_trace_belong_to_its_first_one_and_are_as_grave(story: str) -> None:
    lines = [(line[8:9], line[9:]) for line in story.rstrip().removeprefix("\n").split("\n")]
    said = told(*((text, number) for number, (_, text) in enumerate(lines)))
    first, level = "", LogLevel.INFO
    for (mark, _), (msg, said_level, continues) in zip(lines, said, strict=True):
        if mark == "+":
            assert (continues, said_level) == (first, level), msg
        else:
            assert continues is None, msg
            first, level = msg, said_level


def test_of_a_traceback_every_line_passes_a_filter_for_errors() -> None:
    lines = ["Traceback (most recent call last):", '  File "/app/weather.py", line 7, in forecast', "ValueError: no such city"]
    assert [level for _, level, _ in told(*((line, 0) for line in lines))] == [LogLevel.ERROR] * 3


def test_what_is_indented_seconds_later_is_something_else() -> None:
    said = told(("ERROR: no answer", 0), ("  from Berlin", 4 * SECOND), ("  another matter", 11 * SECOND))
    assert [(level, continues) for _, level, continues in said] == [
        (LogLevel.ERROR, None),
        (LogLevel.ERROR, "ERROR: no answer"),
        (LogLevel.INFO, None),
    ]


def test_a_clock_that_is_set_back_ends_what_belongs_together() -> None:
    said = told(("ERROR: no answer", 3600 * SECOND), ("  another matter", 0))
    assert [continues for _, _, continues in said] == [None, None]


def test_no_more_than_so_many_lines_belong_to_one() -> None:
    said = told(("first", 0), *((f"  {number}", 0) for number in range(MOST_LINES + 2)))
    assert [continues for _, _, continues in said[1 : MOST_LINES + 1]] == ["first"] * MOST_LINES
    assert [continues for _, _, continues in said[MOST_LINES + 1 :]] == [None, f"  {MOST_LINES}"]


def test_with_the_format_text_json_may_be_the_detail_of_a_line() -> None:
    said = told(("answer:", 0), ('  {"level":"error"}', 0), spec=LogsSpec(format=LogFormat.TEXT))
    assert [continues for _, _, continues in said] == [None, None], "it names a level"
    said = told(("answer:", 0), ('  {"city":"Berlin"}', 0), spec=LogsSpec(format=LogFormat.TEXT))
    assert [continues for _, _, continues in said] == [None, "answer:"]
