"""An event's JSON: what stands in it, and that no text from outside breaks its line or makes it too long."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.eventlog.encoding import MAX_EVENT_BYTES, encode, shorten, timestamp, to_json
from mcp_operator.eventlog.log import EventId, Selection
from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.model.causes import Cause
from mcp_operator.model.events import Event, LogPayload, Payload
from mcp_operator.model.operations import InstanceStep
from mcp_operator.model.statuses import Status
from tests.events import line, metrics, progress, status, uid_of
from tests.logs import Clock

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
ENVELOPE = ("id", "type", "server", "uid", "time", "key", "late")


def encoded(event: Event) -> bytes:
    return encode(event, event_id=EventId("abc", 7), time=NOON)


def test_an_event_tells_its_envelope_and_then_its_payload() -> None:
    told = json.loads(encoded(status("default/weather", Status.DEPLOYING, key="k")))

    assert list(told)[:7] == ["id", "type", "server", "uid", "time", "key", "status"]
    assert {name: told[name] for name in ("id", "type", "server", "uid", "time", "key", "status", "instances")} == {
        "id": "abc-7",
        "type": "status",
        "server": "default/weather",
        "uid": uid_of("default/weather"),
        "time": "2026-11-23T12:00:00.123Z",
        "key": "k",
        "status": "deploying",
        "instances": 1,
    }


def test_payload_fields_have_their_outside_names() -> None:
    assert json.loads(encoded(progress("default/weather", 40)))["deadlineSeconds"] == 600


def test_only_what_happened_while_the_operator_was_away_is_late() -> None:
    event = status("default/weather")
    late = Event(event.server, event.uid, event.key, event.payload, late=True)

    assert "late" not in json.loads(encoded(event))
    assert json.loads(encoded(late))["late"] is True


def test_no_payload_has_a_field_of_the_envelope() -> None:
    for payload in get_args(Payload):
        outside = {field.alias for field in payload.model_fields.values()}
        assert not outside & {*ENVELOPE, "snapshot"}, payload


def test_times_are_utc_with_milliseconds() -> None:
    assert timestamp(datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))) == "2026-01-02T01:04:05.000Z"


async def test_time_stands_still_when_the_clock_goes_back() -> None:
    clock = Clock()
    log = MemoryLog(capacity=10, clock=clock)

    times = []
    for clock.now in (NOON, NOON - timedelta(hours=1), NOON + timedelta(seconds=1)):
        await log.append(status("default/weather"))
        known = (await log.snapshot(Selection())).servers[0].status
        assert known is not None
        times.append(json.loads(known.data)["time"])

    assert times == ["2026-11-23T12:00:00.123Z", "2026-11-23T12:00:00.123Z", "2026-11-23T12:00:01.123Z"]


@given(st.text())
def test_any_text_stays_on_its_line_and_comes_back(text: str) -> None:
    line = encoded(status("default/weather", message=text))

    assert line.decode("utf-8").splitlines() == [line.decode("utf-8")]
    assert not any(0x7F <= ord(character) <= 0x9F for character in line.decode("utf-8"))
    assert json.loads(line)["message"] == text


def test_half_a_surrogate_pair_does_no_harm() -> None:
    assert to_json({"message": "\ud800"}) == b'{"message":"?"}'
    assert json.loads(encoded(line("default/weather", "\ud800", fields={"\udc00": ["\ud800"]})))["msg"] == "?"


@given(
    event=st.builds(
        line,
        st.just("default/weather"),
        st.text(),
        fields=st.none()
        | st.dictionaries(st.text(), st.text() | st.integers() | st.floats(allow_nan=False) | st.lists(st.text())),
    )
)
def test_quick_json_says_the_same(event: Event) -> None:
    told = json.loads(encoded(event))

    payload = json.loads(json.dumps(event.payload.to_json_object()))
    assert {name: value for name, value in told.items() if name in payload} == payload


def test_null_fields_stay() -> None:
    told = json.loads(encoded(line("default/weather")))

    assert list(told)[6:] == [field.alias for field in LogPayload.model_fields.values()]
    assert (told["fields"], told["cause"], told["follow"]) == (None, None, None)


def test_what_is_no_number_in_json_is_null() -> None:
    line_of_json = line("default/weather", fields={"rate": float("nan"), "limits": [float("inf"), 1.5]})
    half_a_pair = line("default/weather", "\ud800", fields={"rate": float("nan")})

    assert json.loads(encoded(line_of_json))["fields"] == {"rate": None, "limits": [None, 1.5]}
    assert json.loads(encoded(half_a_pair))["fields"] == {"rate": None}
    assert json.loads(encoded(metrics("default/weather", float("inf"))))["cpu"] is None


def test_a_long_message_is_cut_between_characters() -> None:
    told = json.loads(encoded(status("default/weather", message="é" * 100_000)))

    assert told["truncated"] is True
    assert told["message"].startswith("ééé")
    assert told["message"].endswith("é…")
    assert told["status"] == "running"


def test_strings_are_cut_before_arrays() -> None:
    causes = [Cause(id=str(number), reason="Crash", message="x" * 2000, since=NOON) for number in range(100)]

    told = json.loads(encoded(status("default/weather", causes=causes)))

    assert told["truncated"] is True
    assert len(told["causes"]) == 100
    assert {cause["reason"] for cause in told["causes"]} == {"Crash"}
    assert all(cause["message"].endswith("…") for cause in told["causes"])


def test_a_long_line_is_cut_once_and_says_so_once() -> None:
    cut_before = encoded(line("default/weather", "short", truncated=True))
    cut_here = encoded(line("default/weather", "x" * 70_000))

    for told in (cut_before, cut_here):
        assert told.count(b'"truncated":true') == told.count(b'"truncated"') == 1
    assert list(json.loads(cut_here)) == list(json.loads(cut_before))


@pytest.mark.parametrize(
    "fields",
    [
        {f"{number:07}": number for number in range(6000)},
        {"x" * 62_000: 1},
        {"deep": {f"{number:07}": {"x": ["y" * 20] * 9} for number in range(400)}},
        {f"{number}": "x" * 100 for number in range(1000)},
    ],
    ids=["many", "a long name", "nested", "many strings"],
)
def test_whatever_a_pod_prints_as_json_fits(fields: dict[str, Any]) -> None:
    event = line("default/weather", "GET /mcp", fields=fields)

    data = encoded(event)
    told = json.loads(data)

    assert len(data) <= MAX_EVENT_BYTES
    assert (told["msg"], told["truncated"]) == ("GET /mcp", True)
    assert told["fields"].keys() <= fields.keys()


def test_a_thousand_instances_are_shortened_too() -> None:
    instances = [{"name": f"weather-7d4b9-{number:05}", "step": InstanceStep.READY} for number in range(5000)]
    revisions = [{"revision": "7d4b9", "current": True, "instances": instances}]

    line = encoded(progress("default/weather", 50, revisions=revisions))

    told = json.loads(line)
    assert len(line) <= MAX_EVENT_BYTES
    assert told["truncated"] is True
    assert told["percent"] == 50
    assert 0 < len(told["revisions"][0]["instances"]) < 5000


def test_what_fits_is_left_alone() -> None:
    value = {"message": "x" * 1000}

    assert json.loads(shorten(value, 2000)) == value


def test_an_object_of_too_many_fields_is_refused() -> None:
    with pytest.raises(ValueError, match="too many fields"):
        shorten({str(number): number for number in range(1000)}, 2000)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=400),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner),
    max_leaves=60,
)


@given(value=st.fixed_dictionaries({"message": st.text(max_size=3000), "items": st.lists(json_values)}))
def test_whatever_is_shortened_fits_and_says_so(value: dict[str, Any]) -> None:
    line = shorten(value, 2048)

    told = json.loads(line)
    assert len(line) <= 2048
    assert told.keys() - {"truncated"} == value.keys()
    assert told.get("truncated", False) == (told != value)
