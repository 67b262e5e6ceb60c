"""Probes that fail: no trouble while an instance merely starts, told when it doesn't get ready, or was ended for it."""

from typing import Any

import pytest

from mcp_operator.model.base import Object
from tests.builders import (
    Modifier,
    at,
    condition,
    counting,
    crashed,
    deployment,
    having,
    kubernetes_event,
    mcpserver,
    observed,
    pod,
    ready,
    replicaset,
    scheduled,
    started,
)
from tests.stories import Story

REVISION = "weather-7d4b9"
POD = f"{REVISION}-x2x7q"
REFUSED = "dial tcp 10.0.0.9:8080: connect: connection refused"
PROBE = {"periodSeconds": 5, "failureThreshold": 3}


def probed(**probes: Any) -> Modifier:
    """The container has these probes: `readinessProbe={...}`."""
    return having("spec.containers", [{"name": "mcp", **probes}])


def starting() -> Modifier:
    """The container runs and has yet to pass its startup probe."""

    def modify(target: Object) -> None:
        target["status"]["containerStatuses"][0]["started"] = False

    return modify


def unhealthy(probe: str, target: Object, *, seen: float, count: int = 1, container: str = "mcp") -> Object:
    """kubelet's warning that a probe has failed so often, last at this time."""
    field = having("involvedObject.fieldPath", f"spec.containers{{{container}}}")
    seen_last = having("lastTimestamp", at(seen))
    return kubernetes_event("Unhealthy", f"{probe} probe failed: {REFUSED}", field, seen_last, about=target, count=count)


def watching(instance: Object, *warnings: Object, now: float) -> Story:
    """A server that is being created, with one instance."""
    story = Story()
    story.see(at=0, server=mcpserver(), deployment=deployment("weather", observed(1)), replica_sets=(replicaset(REVISION),))
    story.see(at=now, pods=(instance,), warnings=warnings)
    return story


class TestReadiness:
    RUNS = (scheduled(), probed(readinessProbe=PROBE), started(since=at(0)))

    @pytest.mark.parametrize(
        ("seen", "reasons"), [(0, []), (5, []), (10, ["ReadinessProbeFailed"]), (300, ["ReadinessProbeFailed"])]
    )
    def test_an_instance_merely_starts_until_the_probe_has_had_the_time_to_give_up(self, seen: float, reasons: list[str]) -> None:
        slow = pod(POD, *self.RUNS)
        assert list(watching(slow, unhealthy("Readiness", slow, seen=seen), now=seen).causes) == reasons

    def test_an_initial_delay_is_part_of_the_start(self) -> None:
        slow = pod(POD, *self.RUNS, probed(readinessProbe={**PROBE, "initialDelaySeconds": 30}))
        assert watching(slow, unhealthy("Readiness", slow, seen=35), now=35).causes == {}
        assert watching(slow, unhealthy("Readiness", slow, seen=40), now=40).causes

    def test_it_is_told_with_what_kubelet_said_and_fails_nothing_by_itself(self) -> None:
        slow = pod(POD, *self.RUNS)
        story = watching(slow, unhealthy("Readiness", slow, seen=10, count=3), now=10)
        cause = story.causes["ReadinessProbeFailed"]
        assert cause.message == f"container mcp isn't ready: Readiness probe failed: {REFUSED}"
        assert (cause.instance, cause.container, cause.exit_code, story.status) == (POD, "mcp", None, "deploying")
        assert story.state.reason == "ReadinessProbeFailed"

    def test_more_failures_are_no_news(self) -> None:
        slow = pod(POD, *self.RUNS)
        story = watching(slow, unhealthy("Readiness", slow, seen=10), now=10)
        story.see(at=15, warnings=(unhealthy("Readiness", slow, seen=15, count=4),))
        assert story.told == []

    def test_an_instance_that_was_ready_has_the_trouble_at_once(self) -> None:
        done = deployment("weather", observed(1), counting(wanted=1, updated=1, ready=1, available=1))
        story = watching(pod(POD, *self.RUNS, ready(at(2))), now=3)
        story.see(at=4, deployment=done)
        assert story.status == "running"
        story.see(at=90, pods=(pod(POD, *self.RUNS, condition("Ready", "False", "ContainersNotReady", since=at(90))),))
        assert (story.status, story.state.reason) == ("degraded", "ReadinessProbeFailed")
        story.see(at=100, pods=(pod(POD, *self.RUNS, ready(at(95))),))
        story.see(at=105)
        assert story.causes == {}

    def test_another_containers_probe_is_not_this_ones(self) -> None:
        slow = pod(POD, *self.RUNS)
        assert watching(slow, unhealthy("Readiness", slow, seen=20, container="proxy"), now=20).causes == {}

    def test_a_crash_that_is_long_past_is_not_told_again(self) -> None:
        restarted = (crashed(1, finished=at(1)), started(since=at(2), restarts=1))
        unready = condition("Ready", "False", "ContainersNotReady", since=at(500))
        slow = pod(POD, scheduled(), probed(readinessProbe=PROBE), *restarted, unready)
        assert list(watching(slow, now=500).causes) == ["ReadinessProbeFailed"]


def test_a_readiness_gate_that_nobody_opens_is_told_after_a_minute() -> None:
    said = 'corresponding condition of pod readiness gate "example.com/ok" does not exist.'
    closed = condition("Ready", "False", "ReadinessGatesNotReady", said, since=at(0))
    waiting = pod(POD, scheduled(), probed(), started(since=at(1)), condition("ContainersReady", "True", since=at(2)), closed)
    story = watching(waiting, now=3)
    assert story.causes == {}
    assert story.state.due is not None
    assert (story.state.due - story.observation.now).total_seconds() == 59
    story.see(at=62)
    assert (story.status, story.causes["ReadinessGatesNotReady"].message) == ("deploying", said)
    story.see(at=63, pods=(pod(POD, scheduled(), started(since=at(1)), ready(at(63))),))
    story.see(at=73)
    assert story.causes == {}


class TestStartup:
    RUNS = (scheduled(), probed(startupProbe={"periodSeconds": 1, "failureThreshold": 300}), started(since=at(0)), starting())

    def test_it_is_told_after_a_minute_by_time_alone(self) -> None:
        slow = pod(POD, *self.RUNS)
        story = watching(slow, unhealthy("Startup", slow, seen=24, count=25), now=30)
        assert story.causes == {}
        assert story.state.due is not None
        assert (story.state.due - story.observation.now).total_seconds() == 30
        story.see(at=60)
        assert story.causes["StartupProbeFailed"].message == f"container mcp isn't ready: Startup probe failed: {REFUSED}"
        assert story.status == "deploying"

    def test_its_end_by_kubelet_is_the_same_cause_told_again_with_the_exit_code(self) -> None:
        slow = pod(POD, *self.RUNS)
        told = unhealthy("Startup", slow, seen=24, count=25)
        story = watching(slow, told, now=60)
        first = story.causes["StartupProbeFailed"]
        ended = pod(POD, *self.RUNS, crashed(137, finished=at(301)), started(since=at(302), restarts=1), starting())
        story.see(at=302, pods=(ended,))
        assert list(story.causes) == ["StartupProbeFailed"]
        assert (story.causes["StartupProbeFailed"].id, story.causes["StartupProbeFailed"].exit_code) == (first.id, 137)
        assert story.told == ["status deploying"], "now there is an exit code"


ENDS = [
    # liveness probe, ends after, last failure at, failures, exit code, reason
    ("given up", PROBE, 60, 58, 3, 137, "LivenessProbeFailed"),
    ("gone by itself when asked to", PROBE, 60, 58, 3, 0, "LivenessProbeFailed"),
    ("another failure long before", PROBE, 600, 20, 1, 1, "CrashLoopBackOff"),
    ("too short for the probe to give up", PROBE, 4, 3, 1, 1, "CrashLoopBackOff"),
    ("once failed, later killed by somebody", PROBE, 600, 20, 1, 137, "CrashLoopBackOff"),
    ("in the run before", PROBE, 60, -20, 3, 137, "CrashLoopBackOff"),
    ("without a probe", None, 60, 58, 3, 137, "CrashLoopBackOff"),
]


@pytest.mark.parametrize(("probe", "end", "seen", "count", "code", "reason"), [row[1:] for row in ENDS], ids=[r[0] for r in ENDS])
def test_a_container_was_ended_for_its_liveness_probe_if_that_had_failed_often_enough_until_the_end(
    *, probe: Any, end: float, seen: float, count: int, code: int, reason: str
) -> None:
    spec = probed(livenessProbe=probe) if probe else probed()
    ended = pod(POD, scheduled(), spec, crashed(code, finished=at(end)))
    story = watching(ended, unhealthy("Liveness", ended, seen=seen, count=count), now=end)
    cause = story.causes[reason]
    assert (list(story.causes), cause.exit_code) == ([reason], code)


HOOKS = [
    # hook failed first at, last at, container it is told of, reason
    ("in this run", 20, 20, "mcp", "PostStartHookError"),
    ("in this run and the next", 20, 50, "mcp", "PostStartHookError"),
    ("in the run before", -20, -20, "mcp", "CrashLoopBackOff"),
    ("in the next run alone", 50, 50, "mcp", "CrashLoopBackOff"),
    ("of another container", 20, 20, "proxy", "CrashLoopBackOff"),
]


@pytest.mark.parametrize(("first", "last", "container", "reason"), [row[1:] for row in HOOKS], ids=[row[0] for row in HOOKS])
def test_a_container_that_kubelet_ended_for_its_post_start_hook_is_told_so(
    *, first: float, last: float, container: str, reason: str
) -> None:
    ended = pod(POD, scheduled(), crashed(137, finished=at(21)))
    field = having("involvedObject.fieldPath", f"spec.containers{{{container}}}")
    seen = (having("firstTimestamp", at(first)), having("lastTimestamp", at(last)))
    failed = kubernetes_event("FailedPostStartHook", "PostStartHook failed", field, *seen, about=ended)
    story = watching(ended, failed, now=60)
    assert [(cause.reason, cause.exit_code) for cause in story.causes.values()] == [(reason, 137)]
    assert not any(event.payload.type == "kubernetes" for event in story.events)


def test_a_container_that_ate_its_memory_was_not_ended_for_a_probe() -> None:
    ended = pod(POD, scheduled(), probed(livenessProbe=PROBE), crashed(137, reason="OOMKilled", finished=at(60)))
    assert list(watching(ended, unhealthy("Liveness", ended, seen=58, count=3), now=60).causes) == ["OOMKilled"]


def test_a_liveness_probe_that_fails_once_in_a_while_is_no_trouble() -> None:
    well = pod(POD, scheduled(), probed(livenessProbe=PROBE), started(since=at(0)), ready(at(1)))
    assert watching(well, unhealthy("Liveness", well, seen=100), now=100).causes == {}
