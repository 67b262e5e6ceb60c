"""What can go wrong does, side by side: each failure is told at once, with its cause and the last words."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.acting import User
from tests.e2e.installation import Installation
from tests.e2e.side_by_side import side_by_side
from tests.e2e.subscribing import EventJson, Subscriber
from tests.failures import FAILURES, SELDOM, Failure, alone_on_its_node, lines_in, listening, main, manifests, spec_of
from tests.recorder.cases import standing_still

PLACES = sorted({failure.place for failure in FAILURES.values()})


@contextmanager
def places(user: User) -> Iterator[Mapping[str, User]]:
    """Somebody in each place that failures stand in; the places go with all that is in them."""
    made = {place: User(user.kubectl, f"{user.namespace}-{place}") for place in PLACES}
    try:
        for place, each in made.items():
            each.apply(*manifests(place, each.namespace))
        yield made
    finally:
        user.kubectl("delete", "node", "gpu", "--ignore-not-found", "--wait=false")
        user.kubectl("delete", "namespace", *(each.namespace for each in made.values()), "--wait=false")


class Told:
    """What a stream of all servers has told so far of each of them."""

    def __init__(self) -> None:
        self.causes: dict[str, dict[str, EventJson]] = defaultdict(dict)
        """Active ones by server and reason, as they were told last."""
        self.failed: dict[str, str] = {}
        """Why servers have failed."""
        self.lines: dict[str, set[str]] = defaultdict(set)
        """The last lines of crashed containers, by the cause's id."""

    def take(self, event: EventJson) -> None:
        name = event["server"].rpartition("/")[2]
        if event["type"] == "log" and event["previous"]:
            self.lines[event["cause"]].add(event["msg"])
        if event["type"] != "status":
            return
        for cause in event["causes"]:
            self.causes[name][cause["reason"]] = cause
        if event["status"] == "failed":
            self.failed.setdefault(name, event["reason"])

    def lacks(self, name: str, failure: Failure) -> list[str]:
        """What is still to be told of a failure, in words."""
        cause = self.causes[name].get(failure.reason)
        if cause is None:
            return [f"{failure.reason}, but only {list(self.causes[name])}"]
        expected = {
            "container": failure.container,
            "exitCode": failure.exit_code,
            "signal": failure.signal,
            **({} if failure.count is None else {"count": failure.count}),
        }
        lacking = [f"{field} {value}, not {cause[field]}" for field, value in expected.items() if cause[field] != value]
        if failure.words not in cause["message"]:
            lacking.append(f"{failure.words!r} in {cause['message']!r}")
        lines = self.lines[cause["id"]]
        if failure.last_line is not None and not any(failure.last_line in line for line in lines):
            lacking.append(f"the line {failure.last_line!r} among {sorted(lines)}")
        if failure.fails and name not in self.failed:
            lacking.append("that it has failed")
        return lacking + [f"{reason} as well" for reason in failure.spares if reason not in self.causes[name]]


@side_by_side
async def test_each_failure_is_told_with_its_cause(user: User, installed: Installation) -> None:
    told = Told()
    with places(user) as users:
        namespaces = ",".join(each.namespace for each in users.values())
        async with Subscriber(f"{installed.gateway}/api/events?types=status,log&namespace={namespaces}") as stream:
            for place, each in users.items():
                failing = {name: failure for name, failure in FAILURES.items() if failure.place == place}
                each.apply_servers({name: spec_of(failure, installed.sample) for name, failure in failing.items()})

            def is_all(event: EventJson) -> bool:
                told.take(event)
                return not any(told.lacks(name, failure) for name, failure in FAILURES.items())

            try:
                await stream.until(is_all, within=180)
            except TimeoutError:
                lacking = {name: told.lacks(name, failure) for name, failure in FAILURES.items()}
                pytest.fail(f"not told: { {name: each for name, each in lacking.items() if each} }")

    wrongly_failed = {name: told.failed[name] for name, each in FAILURES.items() if each.fails is False and name in told.failed}
    assert not wrongly_failed, "an autoscaler may bring a node, and a probe may pass in the end"
    for name, failure in FAILURES.items():
        cause = told.causes[name][failure.reason]
        assert cause["revision"] is not None
        of_the_whole = failure.reason in ("FailedCreate", "ProgressDeadlineExceeded")
        assert (cause["instance"] is None) == of_the_whole, f"{name}: {cause}"
        assert cause["instance"] is None or cause["instance"].startswith(f"{name}-")


@pytest.mark.parametrize("name", ["low-port", "not-restricted"])
@side_by_side
async def test_the_lines_of_pod_template_in_a_message_cure_it(user: User, installed: Installation, name: str) -> None:
    user.apply(*manifests(FAILURES[name].place, user.namespace))
    user.apply_server(name, **spec_of(FAILURES[name], installed.sample))
    async with installed.stream(user, name) as stream:
        told = await stream.until(lambda event: any("podTemplate: {" in cause["message"] for cause in event.get("causes", ())))
        user.patch_server(name, {"podTemplate": cured(user, name, told["causes"][0]["message"])})
        await stream.until_status("running", instances=1)


def cured(user: User, name: str, message: str) -> Any:
    """A server's podTemplate with the one that a message asks for put into it."""
    lines = lines_in(message)
    assert lines, message
    spec = dict(user.get("mcpserver", name)["spec"].get("podTemplate", {}).get("spec", {}))
    for field, value in lines.items():
        by_name = {each["name"]: each for each in spec.get(field, ())} if isinstance(value, list) else {}
        spec[field] = [{**by_name.get(each["name"], {}), **each} for each in value] if by_name else value
    return {"spec": spec}


@side_by_side
async def test_an_eviction_is_over_when_the_next_instance_has_proved_itself(user: User, installed: Installation) -> None:
    def is_recovery(event: EventJson) -> bool:
        causes = event["causes"] if event["type"] == "status" else []
        return any((cause["reason"], cause["state"]) == ("Evicted", "recovered") for cause in causes)

    user.apply_server("evicted", **spec_of(FAILURES["evicted"], installed.sample))
    async with installed.stream(user, "evicted") as stream:
        await stream.until(is_recovery)


@side_by_side
async def test_a_scale_that_gets_no_further_has_a_deadline_too(user: User, installed: Installation) -> None:
    user.apply_server("narrow", image=installed.sample, **alone_on_its_node("narrow"), **listening())
    async with installed.stream(user, "narrow") as stream:
        await stream.until_status("running")
        user.patch_server("narrow", {"rollout": {"progressDeadlineSeconds": 5}})
        user.scale("narrow", 2)
        told = await stream.until(lambda event: bool(event.get("causes")))
        assert (told["status"], told["causes"][0]["reason"]) == ("scaling", "Unschedulable")
        failed = await stream.until_status("failed")
        assert {cause["reason"] for cause in failed["causes"]} == {"Unschedulable", "ProgressDeadlineExceeded"}


@side_by_side
async def test_a_warning_that_fits_no_cause_is_told_as_kubernetes_says_it(user: User, installed: Installation) -> None:
    hook = {"lifecycle": {"preStop": {"exec": {"command": ["/no/such/hook"]}}}}
    user.apply_server("hooked", image=installed.sample, **main(**SELDOM, **hook))
    async with installed.stream(user, "hooked") as stream:
        await stream.until_status("running")
        (pod,) = user.pods("hooked")
        user.delete("pod", pod["metadata"]["name"])
        warned = await stream.until(lambda event: event["type"] == "kubernetes")
        assert (warned["reason"], warned["kind"], warned["name"], warned["count"]) == (
            *("FailedPreStopHook", "Pod"),
            *(pod["metadata"]["name"], 1),
        )


async def test_instances_on_a_node_that_says_nothing_are_told_as_lost_until_it_speaks_again(
    user: User, installed: Installation
) -> None:
    user.apply_server("calm", image=installed.sample)
    async with installed.stream(user, "calm") as stream:
        await stream.until_status("running")
        with standing_still(installed.cluster, "kubelet"):
            degraded = await stream.until_status("degraded", reason="NodeNotReady", instances=0)
            (cause,) = degraded["causes"]
            assert cause["message"] == "node local doesn't answer: how the instance is isn't known"
        recovered = await stream.until(lambda event: any(each["state"] == "recovered" for each in event.get("causes", ())))
        assert [each["reason"] for each in recovered["causes"]] == ["NodeNotReady"]
        if recovered["status"] != "running":  # the Deployment's status may not count the instance yet
            await stream.until_status("running", instances=1)
    await installed.ready()  # its instance was on the node too
