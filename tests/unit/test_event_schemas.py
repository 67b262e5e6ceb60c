"""The JSON Schemas of events: whatever the models allow passes, however it was shortened; what they don't allow doesn't."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from local_stack.contract import ContractError
from mcp_operator.eventlog.encoding import MAX_EVENT_BYTES, encode
from mcp_operator.eventlog.log import EventId
from mcp_operator.model.authors import Author, AuthorKind
from mcp_operator.model.causes import Cause
from mcp_operator.model.events import (
    Event,
    EventType,
    Follow,
    InstanceMetrics,
    KubernetesPayload,
    LogLevel,
    LogPayload,
    MetricsPayload,
    ProgressPayload,
    ResponsePayload,
    StatusPayload,
)
from mcp_operator.model.schemas import event_definitions, event_name
from mcp_operator.model.servers import ServerName
from mcp_operator.model.statuses import Condition
from tests import events
from tests.contract import contract
from tests.streams import told

AT = "#/$defs/"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)

STORY = {
    "a status": events.status("default/weather"),
    "a status with a cause": events.status(
        "default/weather", causes=[Cause(id="1", reason="OOMKilled", message="Out of memory", since=NOON, exit_code=137)]
    ),
    "a status of an operation whose author has no name": events.status("default/weather", by=Author(kind=AuthorKind.UNDO)),
    "a progress": events.progress("default/weather", 40),
    "metrics": events.metrics("default/weather"),
    "metrics that can't be read": events.metrics("default/weather", None),
    "a line": events.line("default/weather", "ready", level=LogLevel.FATAL, fields={"a": {"b": [1, None]}}),
    "the beginning of a log": events.follow("default/weather", Follow.STARTED),
    "a step of a call": events.response("default/weather"),
    "a warning of Kubernetes": events.warning("default/weather"),
}


def changed(**fields: Any) -> Mapping[str, Any]:
    (body,) = told(events.status("default/weather"))
    return {**body, **fields}


def without(field: str) -> Mapping[str, Any]:
    return {name: value for name, value in changed().items() if name != field}


WRONG: Mapping[str, Mapping[str, Any]] = {
    "a field that nobody knows": changed(mood="good"),
    "a field of another type of events": changed(percent=40),
    "no id": without("id"),
    "no time": without("time"),
    "a payload's field left out": without("revision"),
    "a number in words": changed(instances="2"),
    "a fraction of an instance": changed(instances=1.5),
    "a status that there isn't": changed(status="happy"),
    "a time without milliseconds": changed(time="2026-11-23T12:00:00Z"),
    "a time of another zone": changed(time="2026-11-23T12:00:00.000+01:00"),
    "an id that is no cursor": changed(id="7"),
    "a server without a namespace": changed(server="weather"),
    "late, but not really": changed(late=False),
    "a cause with a field that nobody knows": changed(causes=[{"id": "1"}]),
    "a condition that isn't so": changed(conditions=[{"type": "Ready", "status": True}]),
    "no type": without("type"),
    "a type that there isn't": changed(type="mood"),
}


@pytest.mark.parametrize("event", STORY.values(), ids=STORY)
@pytest.mark.parametrize("snapshot", [False, True], ids=["live", "in a snapshot"])
def test_what_is_told_is_as_described(event: Event, snapshot: bool) -> None:
    for body in told(event, snapshot=snapshot):
        contract().check_event(body)


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_what_is_not_described_is_noticed(body: Mapping[str, Any]) -> None:
    with pytest.raises(ContractError):
        contract().check_event(body)


def test_what_happened_while_the_operator_was_away_is_marked() -> None:
    contract().check_event(changed(late=True))


TIMES = st.datetimes(timezones=st.just(UTC))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.dictionaries(st.text(), inner)
)
AUTHORS = st.none() | st.builds(Author, operation=st.none() | st.sampled_from(["Apply", "Update"]))
CAUSES = st.lists(st.builds(Cause, since=TIMES, exitCode=st.none() | st.integers()), max_size=3)
INSTANCES = st.lists(st.builds(InstanceMetrics, sampledAt=st.none() | TIMES), max_size=3)
CONDITIONS = st.lists(st.builds(Condition, lastTransitionTime=TIMES), max_size=3)

ANY_PAYLOAD: Mapping[EventType, st.SearchStrategy[Any]] = {
    EventType.STATUS: st.builds(StatusPayload, by=AUTHORS, causes=CAUSES, conditions=CONDITIONS),
    EventType.PROGRESS: st.builds(ProgressPayload, stalledSince=st.none() | TIMES),
    EventType.METRICS: st.builds(MetricsPayload, sampledAt=TIMES, perInstance=INSTANCES),
    EventType.LOG: st.builds(
        LogPayload, fields=st.none() | st.dictionaries(st.text(), JSON), follow=st.none() | st.sampled_from(Follow)
    ),
    EventType.RESPONSE: st.builds(ResponsePayload, message=st.none() | st.text()),
    EventType.KUBERNETES: st.builds(KubernetesPayload),
}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(*ANY_PAYLOAD.values()))
def test_whatever_a_payload_may_be_is_described(payload: Any) -> None:
    event = Event(ServerName("default", "weather"), "uid", "key", payload)
    contract().check_event(json.loads(encode(event, event_id=EventId("epoch", 1), time=NOON)))


def test_every_type_of_events_is_tried() -> None:
    assert set(ANY_PAYLOAD) == set(EventType) == {event.type for event in STORY.values()}


LONG = 2 * MAX_EVENT_BYTES

SHORTENED: Mapping[str, Callable[[], Event]] = {
    "a long message": lambda: events.status("default/weather", message="x" * 30_000, causes=_causes(20, message="y" * 30_000)),
    "many causes": lambda: events.status("default/weather", causes=_causes(5000)),
    "a long line": lambda: events.line("default/weather", "x" * LONG),
    "a line of many fields": lambda: events.line("default/weather", fields={f"field{i}": "x" * 50 for i in range(5000)}),
    "many instances": lambda: events.metrics("default/weather", per_instance=[_instance(i) for i in range(3000)]),
    "many revisions": lambda: events.progress(
        "default/weather",
        40,
        revisions=[
            {"revision": f"{i}", "current": False, "instances": [{"name": "x" * 60, "step": "ready"}] * 5} for i in range(1000)
        ],
    ),
}


@pytest.mark.parametrize("make", SHORTENED.values(), ids=SHORTENED)
def test_what_was_shortened_is_as_described(make: Callable[[], Event]) -> None:
    (body,) = told(make())
    assert body["truncated"] is True
    contract().check_event(body)


def test_every_type_and_field_says_what_it_means() -> None:
    for name, schema in event_definitions(at=AT).items():
        assert schema.get("description"), name
        for field, meaning in schema.get("properties", {}).items():
            assert meaning.get("description") or meaning.get("const"), f"{name}.{field}"


@pytest.mark.parametrize("type_", EventType, ids=str)
def test_a_client_with_the_published_schema_survives_new_fields(type_: EventType) -> None:
    published = {"$defs": event_definitions(at=AT), "$ref": AT + event_name(type_)}
    Draft202012Validator.check_schema(published)
    (body,) = told(next(event for event in STORY.values() if event.type is type_))
    Draft202012Validator(published).validate({**body, "field of a later version": 1})


def _causes(count: int, *, message: str = "It crashes") -> list[Cause]:
    return [Cause(id=f"{number}", reason="CrashLoopBackOff", message=message, since=NOON) for number in range(count)]


def _instance(number: int) -> Mapping[str, Any]:
    figures = {
        **dict.fromkeys((field.alias or name for name, field in InstanceMetrics.model_fields.items()), 1),
        "sampledAt": NOON,
    }
    return {**figures, "name": f"weather-7d4b9-{number}"}
