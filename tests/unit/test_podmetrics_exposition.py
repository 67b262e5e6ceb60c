"""The number of requests is read from whatever a Prometheus endpoint answers, or it is told why not."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from mcp_operator.cluster.podmetrics.exposition import KEPT_LIMIT, LINE_LIMIT, Exposition
from mcp_operator.cluster.podmetrics.readings import Count, Missing, Reason, Traffic
from mcp_operator.cluster.podmetrics.series import ERROR_COUNTER, IN_FLIGHT_GAUGES, REQUEST_COUNTERS


def read(answer: bytes, *, piece: int = 1000) -> Traffic | Missing:
    """What is read of an answer that comes in pieces of so many bytes."""
    exposition = Exposition()
    for start in range(0, len(answer), piece):
        exposition.feed(answer[start : start + piece])
    return exposition.traffic()


def known(figure: Count | float | Missing) -> float | Reason:
    """The number, or the reason why there is none."""
    if isinstance(figure, Missing):
        return figure.reason
    return figure.value if isinstance(figure, Count) else figure


def requests(answer: bytes, *, piece: int = 1000) -> float | Reason:
    """How many requests were served, as the answer says."""
    traffic = read(answer, piece=piece)
    return traffic.reason if isinstance(traffic, Missing) else known(traffic.requests)


def figures(answer: str) -> tuple[float | Reason, float | Reason, float | Reason]:
    """How many requests were served, how many of these failed, how many are worked on."""
    traffic = read(answer.encode())
    assert isinstance(traffic, Traffic), traffic
    return known(traffic.requests), known(traffic.errors), known(traffic.in_flight)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.mark.parametrize("write", [generate_latest, openmetrics.generate_latest])
def test_a_server_that_counts_as_the_conventions_say_is_understood(registry: CollectorRegistry, write: object) -> None:
    duration = Histogram("mcp_server_operation_duration_seconds", "h", ("method", "error"), registry=registry)
    counter = Counter("mcp_requests", "h", ("method",), registry=registry)
    Counter("http_requests", "h", registry=registry).inc(500)
    assert callable(write)
    assert requests(write(registry)) == 0, "declared, and nothing counted yet"
    counter.labels("other").inc(100)
    assert requests(write(registry)) == 0, "never another counter for a while: the number would seem to fall"
    for method in ("tools/call", "tools/list", 'a"\\\n}{'):
        duration.labels(method, "").observe(0.1)
        duration.labels(method, "timeout").observe(0.1)
    assert requests(write(registry)) == 6


@pytest.mark.parametrize("series", REQUEST_COUNTERS)
def test_each_known_counter_is_summed_over_its_labels(series: str) -> None:
    lines = f'{series}{{a="1"}} 3\n{series}{{a="2",b="}} 7"}} 4.0 1700000000000\n{series}_created 9\n{series[:-2]} 11\n'
    assert requests(lines.encode()) == 7


OPERATIONS = "mcp_server_operation_duration_seconds_count"
OF_HTTP = "http_server_request_duration_seconds_count"


@pytest.mark.parametrize(
    ("answer", "errors"),
    [
        pytest.param(f'{OPERATIONS}{{error_type=""}} 5\n{OPERATIONS}{{error_type="tool_error"}} 2\n', 2, id="error.type"),
        pytest.param(f'{OPERATIONS}{{mcp_method_name="ping"}} 5\n', 0, id="without it none has failed"),
        pytest.param(f'{OF_HTTP}{{http_response_status_code="500",error_type="500"}} 3\n{OF_HTTP}{{}} 4\n', 3, id="told twice"),
        pytest.param(
            f'{OF_HTTP}{{http_response_status_code="503"}} 3\n{OF_HTTP}{{http_response_status_code="404"}} 4\n', 3, id="404"
        ),
        pytest.param(
            'http_requests_total{code="200"} 9\nhttp_requests_total{code="502"} 1\n', 1, id="code of Prometheus' examples"
        ),
        pytest.param('http_requests_total{status="2xx"} 9\nhttp_requests_total{status="5xx"} 4\n', 4, id="status in classes"),
        pytest.param('http_requests_total{status_code="500"} 2\nhttp_requests_total{status_code="301"} 4\n', 2, id="status_code"),
        pytest.param('http_server_requests_seconds_count{outcome="SERVER_ERROR",status="500"} 6\n', 6, id="Micrometer"),
        pytest.param('mcp_requests_total{status="success"} 7\nmcp_requests_total{status="error"} 2\n', 2, id="status in words"),
        pytest.param('mcp_requests_total{outcome="ok"} 7\nmcp_requests_total{outcome="Failure"} 2\n', 2, id="outcome"),
        pytest.param('mcp_requests_total 7\nmcp_errors_total{tool="add"} 3\n', 3, id="a counter of their own"),
        pytest.param("mcp_requests_total 7\n# TYPE mcp_errors_total counter\n", 0, id="declared and none yet"),
        pytest.param("# TYPE mcp_requests_total counter\n", 0, id="no request yet, so none has failed"),
        pytest.param('mcp_requests_total{status="error"} 2\nmcp_errors_total 9\n', 2, id="of the requests that are counted"),
        pytest.param('http_requests_total{code="50"} 1\nhttp_requests_total{code="5000"} 1\n', 0, id="no status"),
        pytest.param("mcp_requests_total 7\n", Reason.NO_ERROR_COUNTER, id="nothing tells"),
        pytest.param("mcp_requests_total 7\nmcp_errors_total -1\n", Reason.SCRAPE_UNREADABLE, id="no count"),
        pytest.param("mcp_requests_total NaN\nmcp_errors_total 3\n", Reason.SCRAPE_UNREADABLE, id="errors of nothing"),
        pytest.param("mcp_errors_total 3\n", Reason.NO_REQUEST_COUNTER, id="errors without requests"),
    ],
)
def test_failed_requests_are_told_apart_by_label_or_by_a_counter_of_their_own(answer: str, errors: float | Reason) -> None:
    assert figures(answer)[1] == errors


@pytest.mark.parametrize("series", IN_FLIGHT_GAUGES)
def test_each_known_gauge_tells_what_is_worked_on(series: str) -> None:
    assert figures(f'# TYPE {series} gauge\n{series}{{method="GET"}} 2\n{series}{{method="POST"}} 1\n')[2] == 3
    assert figures(f"# TYPE {series} gauge\n")[2] == 0
    assert figures(f"{series} 2\n")[2] == 2
    assert figures(f"{series} -1\n")[2] is Reason.SCRAPE_UNREADABLE


def test_what_is_worked_on_is_known_without_a_counter_and_a_counter_without_it() -> None:
    assert figures("http_server_active_requests 2\n") == (Reason.NO_REQUEST_COUNTER, Reason.NO_REQUEST_COUNTER, 2)
    assert figures(f"{OPERATIONS} 2\n") == (2, 0, Reason.NO_IN_FLIGHT_GAUGE)
    assert figures("mcp_server_active_requests 1\nhttp_server_active_requests 5\n")[2] == 1, "the more telling gauge"


def test_the_more_telling_counter_wins_whatever_the_order() -> None:
    lines = [f"{series} {10**number}\n" for number, series in enumerate(REQUEST_COUNTERS)]
    for first in range(len(lines)):
        assert requests("".join(reversed(lines[first:])).encode()) == 10**first


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (b"# TYPE mcp_requests counter\nmcp_requests 5\n", 5),
        (b"# TYPE mcp_requests_total counter\nmcp_requests_total 5\n", 5),
        (b"# TYPE http_requests gauge\nhttp_requests 5\n", Reason.NO_REQUEST_COUNTER),
        (b"mcp_requests_total 5", 5),
        (b"  mcp_requests_total\t5  \r\n\r\n", 5),
        (b'mcp_requests_total{a="b"} 5 # {trace_id="x} y"} 0.67 1.7\n# EOF\n', 5),
        (b'mcp_requests_total{a="\xff"} 1\nmcp_requests_total{a="\xfe"} 2\n', 3),
        (b"mcp_requests_total 5\nmcp_requests_total 5\n", 5),
        (b'mcp_requests_total{a="1",b="2"} 5\nmcp_requests_total{b="2",a="1"} 6\n', 5),
        (b"# TYPE mcp_requests_total counter\n# TYPE mcp_requests_total counter\nmcp_requests_total 1\n" * 2, 1),
        (b"mcp_requests_total 1e3\n", 1000),
        (b"mcp_requests_total 9007199254740993\n", 9007199254740992),
        (b"", Reason.NO_REQUEST_COUNTER),
        (b"\n \n\r\n", Reason.NO_REQUEST_COUNTER),
        (b"# nothing yet\n", Reason.NO_REQUEST_COUNTER),
        (b"up 1\nmcp_requests_total_of_others 5\n", Reason.NO_REQUEST_COUNTER),
        (b"up 1\n" * 1000, Reason.NO_REQUEST_COUNTER),
    ],
)
def test_odd_answers_are_read_as_prometheus_reads_them(answer: bytes, result: object) -> None:
    assert requests(answer) == result


@pytest.mark.parametrize(
    "answer",
    [
        b"<!doctype html>\n<html><body>Not found</body></html>\n",
        b'{"requests": 5}',
        b"Not Found",
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
        b"\x00" * 100,
        b"a" * 2**20,
        b"mcp_requests_total\n",
        b"mcp_requests_total many\n",
        b"mcp_requests_total NaN\n",
        b"mcp_requests_total +Inf\n",
        b'mcp_requests_total -Inf\nmcp_requests_total{a="b"} +Inf\n',
        b"mcp_requests_total -1\n",
        b"mcp_requests_total 1e999\n",
        b"mcp_requests_total 1e19\n",
        b"mcp_requests_total " + b"9" * 400 + b"\n",
        b"mcp_requests_total " + b"9" * 5000 + b"\n",
        b'mcp_requests_total{a="b" 5\n',
        b"# TYPE mcp_requests_total\n",
    ],
)
def test_what_is_no_count_is_never_taken_for_one(answer: bytes) -> None:
    assert requests(answer) is Reason.SCRAPE_UNREADABLE


def test_long_lines_of_other_figures_are_no_trouble() -> None:
    long = b'build_info{flags="' + b"x" * 2**20 + b'"} 1\n'
    assert requests(b"up 1\n" + long + b"mcp_requests_total 5\n" + long) == 5


def test_lines_up_to_the_bound_are_read_and_longer_ones_are_told() -> None:
    def line(length: int) -> bytes:
        start, end = b'mcp_requests_total{a="', b'"} 5'
        return start + b"x" * (length - len(start) - len(end)) + end

    for piece in (100, 2**14):
        assert requests(line(LINE_LIMIT), piece=piece) == 5
        assert requests(line(LINE_LIMIT) + b"\nmcp_requests_total 1\n", piece=piece) == 6
        assert requests(line(LINE_LIMIT + 1), piece=piece) is Reason.SCRAPE_TOO_LARGE
        assert requests(line(2**20) + b"\nmcp_requests_total 1\n", piece=piece) is Reason.SCRAPE_TOO_LARGE


def test_a_counter_of_too_many_series_is_told() -> None:
    series = [b'mcp_requests_total{id="%06d"} 1\n' % number for number in range(KEPT_LIMIT // 30)]
    assert requests(b"".join(series[:5000])) == 5000
    assert requests(b"".join(series), piece=2**14) is Reason.SCRAPE_TOO_LARGE


PIECES = st.sampled_from(
    [
        *REQUEST_COUNTERS,
        *IN_FLIGHT_GAUGES,
        ERROR_COUNTER,
        'error_type="',
        'status="5xx"',
        "gauge",
        "mcp_requests",
        "# TYPE ",
        "# HELP ",
        "{",
        "}",
        '"',
        "\\",
        "=",
        ",",
        " ",
        "\n",
        "1",
        "NaN",
        "x",
        "counter",
        "\x85",
        "é",
    ]
)


@given(text=st.lists(PIECES, max_size=40).map("".join), piece=st.integers(1, 50))
def test_any_answer_gives_a_count_or_a_reason_however_it_is_cut(text: str, piece: int) -> None:
    traffic = read(text.encode(), piece=piece)
    assert traffic == read(text.encode(), piece=10_000)
    if isinstance(traffic, Traffic):
        results = [known(traffic.requests), known(traffic.errors), known(traffic.in_flight)]
        assert all(isinstance(result, Reason) or (math.isfinite(result) and result >= 0) for result in results)
