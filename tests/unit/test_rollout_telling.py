"""Events and conditions: what an evaluation makes known, in which order, under which keys, and how kstatus reads it."""

from typing import Any

import pytest

from mcp_operator.model.base import Object
from mcp_operator.model.events import StatusPayload
from mcp_operator.model.labels import Labels
from mcp_operator.model.statuses import ConditionType, MCPServerStatus
from mcp_operator.rollout.conditions import status_of
from mcp_operator.rollout.restoring import restore
from tests.builders import (
    Modifier,
    at,
    condition,
    counting,
    deleting,
    deployment,
    generation,
    having,
    mcpserver,
    observed,
    pod,
    ready,
    replicaset,
    scheduled,
    started,
    templated,
)
from tests.kstatus import Kstatus, kstatus
from tests.stories import Story, applied, fields_of

OLD = "weather-7d4b9"
NEXT_IMAGE = "registry.example/weather:2.0"


def version(value: str) -> Modifier:
    return having("metadata.resourceVersion", value)


def settled(wanted: int, *modifiers: Modifier, generation_: int = 1) -> Object:
    count = counting(wanted=wanted, updated=wanted, ready=wanted, available=wanted)
    return deployment("weather", generation(generation_), observed(generation_), count, *modifiers)


def serving(number: int) -> tuple[Object, ...]:
    return tuple(pod(f"{OLD}-{each}", scheduled(), started(), ready(at(1))) for each in range(number))


def a_running_server(replicas: int = 1, **spec: Any) -> Story:
    story = Story()
    server = mcpserver(spec={"replicas": replicas, **spec})
    story.see(at=0, server=server)
    story.see(at=1, deployment=deployment("weather", counting(wanted=replicas)), replica_sets=(replicaset(OLD),))
    story.see(at=2, deployment=settled(replicas), pods=serving(replicas))
    return story


def written(story: Story) -> Object:
    """The MCPServer with the status that would be written."""
    server = story.observation.server
    assert server is not None
    status = status_of(story.state, selector="app=weather", endpoint="http://weather.default.svc:8080/mcp").to_json_object()
    return {**server, "status": {field: value for field, value in status.items() if value is not None}}


def scaled(story: Story, wanted: int, *, at: float, suspend: bool = False) -> None:
    spec = {"replicas": wanted, "suspend": suspend}
    child = settled(1, having("spec.replicas", 0 if suspend else wanted), generation_=2)
    story.see(at=at, server=mcpserver("weather", generation(2), spec=spec), deployment=child)


# --- events -----------------------------------------------------------------------------------------------------------------


def test_the_end_of_an_operation_comes_before_the_status_and_the_next_beginning_after_it() -> None:
    story = a_running_server()
    scaled(story, 3, at=3)
    third = settled(1, templated(image=NEXT_IMAGE), generation_=3)
    story.see(at=4, server=mcpserver("weather", generation(3), spec={"replicas": 3}), deployment=third)
    assert story.told == ["scale 0% superseded", "status deploying", "rollout 0%"]


def test_the_end_of_an_operation_has_one_key_whoever_tells_it() -> None:
    story = a_running_server()
    scaled(story, 3, at=3)
    open_ = story.state.operation
    assert open_ is not None
    again = restore(written(story))
    done = {"deployment": settled(3, generation_=2), "pods": serving(3)}
    story.see(at=4, **done)
    first = story.step[0].key
    story._state = again
    story.see(at=5, **done)
    assert story.step[0].key == first == f"{story.state.uid}/{open_.id}/succeeded"


def test_what_is_told_of_different_moments_has_different_keys() -> None:
    """An instance that flaps makes the same picture twice: a subscriber that drops repeats must not drop the second."""
    story = a_running_server()
    for number in range(6):
        unready = (pod(f"{OLD}-0", scheduled(), started(), version(f"{number}-a")),)
        story.see(at=10 + number, pods=unready)
        story.see(at=10.5 + number, pods=tuple({**each, **version_of(each, number)} for each in serving(1)))
    keys = [event.key for event in story.events]
    assert len(keys) > 12
    assert len(set(keys)) == len(keys)


def version_of(target: Object, number: int) -> Object:
    return {"metadata": {**target["metadata"], "resourceVersion": f"{number}-b"}}


def test_a_status_event_carries_the_counts_and_the_conditions_that_changed() -> None:
    story = a_running_server(replicas=2)
    story.see(at=9, pods=serving(1))
    told = fields_of(story.step[0])
    assert (told["status"], told["instances"], told["desired"], told["available"]) == ("degraded", 1, 2, 1)
    changed = {each["type"]: each["status"] for each in told["conditions"] if each["type"] in ("Available", "Ready")}
    assert changed == {"Available": "False", "Ready": "False"}
    assert told["operation"] is None
    assert told["revision"] == "7d4b9"


WEB, API = (("tier", "web"),), (("tier", "api"),)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        pytest.param((WEB, WEB), [], id="none is new"),
        pytest.param((WEB, API), ["status running"], id="another value"),
        pytest.param(((), WEB), ["status running"], id="the first"),
        pytest.param((WEB, ()), ["status running"], id="the last one is gone"),
    ],
)
def test_new_labels_alone_are_told_because_streams_choose_by_them(labels: tuple[Labels, Labels], told: list[str]) -> None:
    story = a_running_server()
    before, after = labels
    story.see(at=3, labels=before)
    last = story.events[-1].key
    story.see(at=4, labels=after)
    assert story.told == told
    assert last not in {event.key for event in story.step}


def test_new_labels_during_an_operation_are_told_once_and_by_the_status() -> None:
    story = Story()
    story.see(at=0, server=mcpserver(), labels=WEB)
    story.see(at=1, deployment=deployment("weather", counting(wanted=1)), replica_sets=(replicaset(OLD),))
    story.see(at=2, labels=API)
    assert [told.split()[0] for told in story.told] == ["status"]
    story.see(at=3)
    assert story.told == []


def test_labels_from_while_the_operator_was_away_are_told_and_not_late() -> None:
    story = a_running_server()
    story.see(at=3, labels=WEB)
    story.restart()
    story.see(at=4, labels=API, server=written(story))
    assert story.told == ["status running"]
    assert not story.step[0].late


def test_a_progress_event_shows_every_instance_of_each_revision() -> None:
    story = a_running_server()
    sets = (replicaset(OLD), replicaset("weather-5c6f8", templated(image=NEXT_IMAGE)))
    child = settled(1, templated(image=NEXT_IMAGE), generation_=2)
    story.see(at=3, server=mcpserver("weather", generation(2)), deployment=child, replica_sets=sets)
    new, old = pod("weather-5c6f8-1", scheduled()), pod(f"{OLD}-0", scheduled(), started(), ready(at(1)), deleting(at(3)))
    story.see(at=4, pods=(new, old))
    told = fields_of(story.step[-1])
    assert told["revisions"] == [
        {"revision": "5c6f8", "current": True, "instances": [{"name": "weather-5c6f8-1", "step": "scheduled"}]},
        {"revision": "7d4b9", "current": False, "instances": [{"name": f"{OLD}-0", "step": "terminating"}]},
    ]
    assert (told["updated"], told["old"], told["terminating"], told["ready"]) == (1, 0, 1, 0)


def test_an_evicted_pod_that_stays_as_an_object_is_no_instance() -> None:
    story = a_running_server()
    evicted = pod(f"{OLD}-evicted", scheduled(), having("status.phase", "Failed"))
    story.see(at=30, pods=(*serving(1), evicted))
    assert story.told == [], "its successor has proved itself"
    assert (story.state.counts.replicas, story.state.counts.ready) == (1, 1)


def test_deleted_is_the_last_word_and_comes_when_nothing_can_make_another_pod() -> None:
    story = a_running_server()
    story.see(at=3, server=mcpserver("weather", deleting(at(3))))
    assert story.told == ["status terminating"]
    story.see(at=4, server=None)
    story.see(at=5, pods=())
    story.see(at=6, deployment=None)
    assert story.status == "terminating", "the ReplicaSet is still there, and might make a pod"
    story.see(at=7, replica_sets=())
    assert story.told == ["status deleted"]


# --- conditions -------------------------------------------------------------------------------------------------------------


def values(story: Story) -> dict[str, str]:
    return {str(each.type): each.status for each in story.state.conditions}


def test_conditions_of_a_server_that_is_done() -> None:
    story = a_running_server()
    assert values(story) == {"Accepted": "True", "Available": "True", "Reconciling": "False", "Stalled": "False", "Ready": "True"}
    assert kstatus(dict(written(story))) is Kstatus.CURRENT
    assert {each.observed_generation for each in story.state.conditions} == {1}


def test_ready_is_false_while_a_rollout_runs_although_all_instances_serve() -> None:
    story = a_running_server()
    child = settled(1, templated(image=NEXT_IMAGE), generation_=2)
    story.see(at=3, server=mcpserver("weather", generation(2)), deployment=child)
    assert values(story) | {"Accepted": "True"} == {
        "Accepted": "True",
        "Available": "True",
        "Reconciling": "True",
        "Stalled": "False",
        "Ready": "False",
    }
    assert kstatus(dict(written(story))) is Kstatus.IN_PROGRESS


def test_an_edit_that_is_not_applied_yet_is_never_current() -> None:
    story = a_running_server()
    before = story.observation.applied
    edited = mcpserver("weather", generation(2), spec={"replicas": 3})
    assert kstatus({**written(story), "metadata": edited["metadata"]}) is Kstatus.IN_PROGRESS
    story.see(at=3, server=edited, applied=before)
    assert kstatus(dict(written(story))) is Kstatus.IN_PROGRESS
    accepted = story.state.condition(ConditionType.ACCEPTED)
    assert accepted is not None
    assert accepted.observed_generation == 1


def test_a_failed_operation_is_stalled_and_not_reconciling() -> None:
    story = a_running_server()
    exceeded = condition("Progressing", "False", "ProgressDeadlineExceeded", since=at(3))
    child = settled(1, templated(image=NEXT_IMAGE), exceeded, generation_=2)
    story.see(at=3, server=mcpserver("weather", generation(2)), deployment=child)
    assert (values(story)["Stalled"], values(story)["Reconciling"], values(story)["Available"]) == ("True", "False", "True")
    assert kstatus(dict(written(story))) is Kstatus.FAILED


def test_a_suspended_server_is_ready_because_it_is_as_wanted() -> None:
    story = a_running_server()
    scaled(story, 1, at=3, suspend=True)
    story.see(at=4, pods=(), deployment=settled(0, having("spec.replicas", 0), generation_=2))
    assert story.status == "stopped"
    now_ready = story.state.condition(ConditionType.READY)
    assert now_ready is not None
    assert (now_ready.status, now_ready.reason) == ("True", "Stopped")
    assert kstatus(dict(written(story))) is Kstatus.CURRENT


def test_a_suspended_server_whose_spec_is_refused_is_not_ready() -> None:
    story = Story()
    server = mcpserver(spec={"suspend": True})
    story.see(at=0, server=server, applied=applied(server, None, reason="InvalidPodTemplate", message="spec.podTemplate: no"))
    assert (values(story)["Ready"], values(story)["Stalled"], values(story)["Accepted"]) == ("False", "True", "False")
    assert kstatus(dict(written(story))) is Kstatus.FAILED


@pytest.mark.parametrize(
    ("strategy", "enough"),
    [
        ({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}, "False"),
        ({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}, "True"),
        ({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "30%"}}, "True"),
        ({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "20%"}}, "True"),
        ({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "1%", "maxUnavailable": "20%"}}, "False"),
        ({"type": "Recreate"}, "False"),
    ],
)
def test_available_allows_what_the_strategy_lets_be_unavailable(strategy: object, enough: str) -> None:
    """Four are wanted, three are available. With neither surge nor unavailable instances Kubernetes allows one."""
    story = a_running_server(replicas=4)
    story.see(at=3, pods=serving(3), deployment=settled(4, having("spec.strategy", strategy)))
    assert values(story)["Available"] == enough
    assert values(story)["Ready"] == "False"


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    story = a_running_server()
    became = story.state.condition(ConditionType.READY)
    story.see(at=60, pods=serving(2))
    still = story.state.condition(ConditionType.READY)
    assert became is not None
    assert still is not None
    assert still.last_transition_time == became.last_transition_time
    story.see(at=90, pods=())
    now = story.state.condition(ConditionType.READY)
    assert now is not None
    assert (now.last_transition_time - story.observation.now).total_seconds() == 0


def test_the_status_subresource_tells_the_state_and_is_read_back() -> None:
    story = a_running_server(replicas=2)
    scaled(story, 3, at=3)
    told = written(story)["status"]
    assert (told["phase"], told["instances"], told["replicas"], told["observedGeneration"]) == ("scaling", "2/3", 2, 2)
    assert told["selector"] == "app=weather"
    again = restore(written(story))
    assert again is not None
    assert again.restored
    assert (again.status, again.operation, again.target) == (story.state.status, story.state.operation, story.state.target)
    assert again.conditions == story.state.conditions
    assert MCPServerStatus.model_validate(told) == MCPServerStatus.model_validate(
        status_of(again, selector=told["selector"], endpoint=told["endpoint"]).to_json_object() | {"instances": "2/3"}
    )


def test_the_message_of_a_status_is_a_sentence() -> None:
    for event in a_running_server().events:
        if isinstance(event.payload, StatusPayload):
            assert event.payload.message
            assert event.payload.reason.isalnum()
