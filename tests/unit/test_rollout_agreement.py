"""`running` is never told of a Deployment of which kubectl or kstatus has yet to say that it is done."""

from itertools import product

import pytest

from mcp_operator.model.base import Object
from mcp_operator.model.statuses import Status
from tests.builders import (
    Modifier,
    condition,
    counting,
    deployment,
    generation,
    having,
    mcpserver,
    observed,
    pod,
    ready,
    replicaset,
    scheduled,
)
from tests.kstatus import Kstatus, kstatus, rolled_out
from tests.stories import Story

REVISION = "weather-7d4b9"
COMPLETE = condition("Progressing", "True", "NewReplicaSetAvailable")
ROLLING = condition("Progressing", "True", "ReplicaSetUpdated")
PAUSED = condition("Progressing", "Unknown", "DeploymentPaused")
RESUMED = condition("Progressing", "Unknown", "DeploymentResumed")
AVAILABLE = condition("Available", "True", "MinimumReplicasAvailable")
SERVING = tuple(pod(f"{REVISION}-{number}", scheduled(), ready()) for number in range(2))


def of_two(*modifiers: Modifier, total: int = 2, updated: int = 2, available: int = 2) -> Object:
    """The Deployment in its second generation, with two instances wanted."""
    counts = counting(wanted=2, updated=updated, ready=available, available=available, total=total)
    return deployment("weather", generation(2), observed(2), AVAILABLE, *modifiers, counts)


def scaling() -> Story:
    """A server that ran with one instance and is to have two."""
    story = Story()
    one = deployment("weather", observed(1), counting(wanted=1, updated=1, ready=1, available=1))
    story.see(at=0, server=mcpserver(), deployment=one, replica_sets=(replicaset(REVISION),), pods=SERVING[:1])
    assert story.status == "running"
    wanted = deployment("weather", generation(2), counting(wanted=2, updated=1, ready=1, available=1))
    story.see(at=1, server=mcpserver("weather", generation(2), spec={"replicas": 2}), deployment=wanted)
    return story


@pytest.mark.parametrize("progressing", [COMPLETE, ROLLING, PAUSED, RESUMED], ids=["complete", "rolling", "paused", "resumed"])
def test_a_deployment_whose_pods_all_serve_runs_as_soon_as_kubectl_and_kstatus_say_so_and_not_before(
    progressing: Modifier,
) -> None:
    for total, updated, available, seen in product((2, 3), (1, 2), (1, 2), (1, 2)):
        written = of_two(observed(seen), progressing, total=total, updated=updated, available=available)
        story = scaling()
        story.see(at=2, deployment=written, pods=SERVING)
        agreed = rolled_out(written) and kstatus(written) is Kstatus.CURRENT
        assert (story.state.status is Status.RUNNING) == agreed, f"{written['status']}"


def test_a_deployment_without_a_deadline_has_no_condition_to_wait_for() -> None:
    story = scaling()
    written = of_two(ROLLING, having("spec.progressDeadlineSeconds", 2**31 - 1))
    story.see(at=2, deployment=written, pods=SERVING)
    assert (story.status, kstatus(written)) == ("running", Kstatus.CURRENT)


def test_a_scale_of_a_paused_deployment_ends_when_the_pause_does() -> None:
    story = scaling()
    story.see(at=2, deployment=of_two(PAUSED, having("spec.paused", True)), pods=SERVING)
    assert (story.status, story.state.reason) == ("scaling", "Paused")
    story.see(at=3, deployment=of_two(RESUMED))
    assert (story.status, story.state.reason) == ("scaling", "Scaling")
    story.see(at=4, deployment=of_two(COMPLETE))
    assert story.told == ["scale 100% succeeded", "status running"]


def test_a_pause_in_which_nothing_is_open_is_no_operation_and_nothing_runs_until_it_is_over() -> None:
    story = scaling()
    story.see(at=2, deployment=of_two(COMPLETE), pods=SERVING)
    story.see(at=3, deployment=of_two(PAUSED, having("spec.paused", True)))
    assert story.told == ["status pending"]
    assert story.state.reason == "Paused"
    story.see(at=4, deployment=of_two(RESUMED))
    assert (story.status, story.state.reason) == ("pending", "NotObserved")
    story.see(at=5, deployment=of_two(COMPLETE))
    assert story.told == ["status running"]


def test_a_deployment_that_was_paused_long_before_it_was_first_seen_has_no_operation() -> None:
    story = Story()
    paused = of_two(PAUSED, having("spec.paused", True))
    server = mcpserver("weather", generation(2), spec={"replicas": 2})
    story.see(at=0, server=server, deployment=paused, replica_sets=(replicaset(REVISION),), pods=SERVING)
    assert story.told == ["status pending"]


def test_a_paused_deployment_that_is_wanted_no_more_stops() -> None:
    story = scaling()
    none = deployment("weather", generation(3), observed(3), PAUSED, having("spec.paused", True), counting(wanted=0))
    story.see(at=2, server=mcpserver("weather", generation(3), spec={"suspend": True}), deployment=none, pods=())
    assert (story.status, story.state.operation) == ("stopped", None)


def test_a_lost_instance_is_made_good_when_the_deployment_says_so_too() -> None:
    story = scaling()
    story.see(at=2, deployment=of_two(COMPLETE), pods=SERVING)
    story.see(at=3, deployment=of_two(COMPLETE, available=1), pods=SERVING[:1])
    assert story.status == "degraded"
    story.see(at=4, pods=SERVING)
    assert story.status == "degraded"
    story.see(at=5, deployment=of_two(COMPLETE))
    assert story.status == "running"
