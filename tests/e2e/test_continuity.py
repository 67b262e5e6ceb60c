"""The operator is killed in the middle of rollouts, the API server dies, forgets and stalls; and the story goes on."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from random import Random
from typing import Any

import pytest

from tests.e2e.acting import Object, User
from tests.e2e.agreeing import bare_api
from tests.e2e.installation import Installation
from tests.e2e.subscribing import EventJson, Subscriber
from tests.e2e.surviving import Lives, Operator, Stopwatch, Written, compact, listening, standing_still
from tests.waiting import until

_STALL_SECONDS = 8.0
"""So long the API server answers nobody."""


def is_open(name: str, after: int, statuses: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether an operation of a server has been persisted that began with a later generation."""
    return number_of((statuses.get(name, {}).get("operation") or {}).get("id")) > after


def is_over(name: str, after: int, statuses: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the end of one has."""
    return number_of(last_end(statuses.get(name, {}))) > after


def last_end(status: Mapping[str, Any]) -> str | None:
    return next((each["id"] for each in status.get("lastOperations", ())), None)


def number_of(operation: str | None) -> int:
    """The generation with which an operation began; 0 for none."""
    return int(operation.rpartition("-")[2]) if operation else 0


def pausing_workload(replicas: int) -> Object:
    """A Deployment of somebody else, whose pods only wait."""
    labels = {"app": "theirs"}
    container = {"name": "server", "image": "localhost/pause:1", "imagePullPolicy": "Never"}
    pod = {"containers": [container], "terminationGracePeriodSeconds": 1}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "theirs"}, "spec": spec}


class Story:
    """Rollouts of a server of ours and of one that observes somebody else's Deployment, and an operator that dies in them."""

    def __init__(self, user: User, installed: Installation, written: Written, random: Random) -> None:
        self._user = user
        self._written = written
        self._random = random
        self._operator = Operator(installed)
        self._images = (installed.sample, installed.sample_next)
        self._installed = installed
        self._round = 0
        self._inherited: Mapping[str, Mapping[str, Any]] = {}
        """What stood in the statuses when the present operator started."""
        self.lives = Lives()

    async def live_and_die(self) -> None:
        """One life of the operator: rollouts begin, at a random moment it is killed, and something happens until the next."""
        self._round += 1
        await self._operator.find()
        before = await self._written.now()
        async with listening(self._installed, self._user.namespace) as stream:
            changing = asyncio.create_task(asyncio.to_thread(self._change, self._random.randint(1, 2)))
            await self._moment(stream, before)
            async with self._operator.killed():
                watch = Stopwatch()
                await changing
                away = await self._scaled_meanwhile()
                persisted = await self._written.now()
        self.lives.take(stream.events, self._inherited)
        self._inherited = persisted
        async with listening(self._installed, self._user.namespace) as stream:
            self.lives.away_seconds.append(watch.seconds)
            if away is not None:
                start = await stream.until(lambda event: event["key"].endswith(f"{away}/started"))
                assert start["late"] is True
            for name, status in persisted.items():
                operation = (status.get("operation") or {}).get("id")
                await _hears(stream, name, partial(_is_about, operation))

    async def rest(self) -> None:
        """Wait until both run, and all is told."""
        await until(self._at_rest, "both servers run, and all is told", within=150)

    async def end(self) -> None:
        """Add what the last operator has told."""
        async with listening(self._installed, self._user.namespace) as stream:
            last = {name: last_end(status) for name, status in (await self._written.now()).items()}
            for name, operation in last.items():
                if operation is not None and operation not in self.lives.ends:
                    await _hears(stream, name, partial(_ends, operation))
        self.lives.take(stream.events, self._inherited)

    async def _at_rest(self) -> bool:
        statuses = (await self._written.now()).values()
        return all(
            status.get("phase") == "running" and not status.get("operation") and not status.get("untold") for status in statuses
        )

    def _change(self, replicas: int) -> None:
        image = self._images[self._round % 2]
        self._user.patch_server("ours", {"image": image, "replicas": replicas})
        self._user.run("set", "env", "deployment/theirs", f"ROUND={self._round}")

    async def _moment(self, stream: Subscriber, before: Mapping[str, Mapping[str, Any]]) -> None:
        """Wait for a moment that chance has chosen: a start or an end that has just been persisted, or a percent."""
        name = self._random.choice(("ours", "theirs"))
        after = max(number_of((before[name].get("operation") or {}).get("id")), number_of(last_end(before[name])))
        percent = self._random.randint(1, 90)
        moments: list[Callable[[], Any]] = [
            lambda: self._written.until(partial(is_open, name, after)),
            lambda: self._written.until(partial(is_over, name, after)),
            lambda: stream.until(lambda event: _reaches(event, name, after, percent)),
            lambda: stream.until(lambda event: _reaches(event, name, after, percent)),
        ]
        await self._random.choice(moments)()

    async def _scaled_meanwhile(self) -> str | None:
        """Scale what is at rest while nobody looks; the id of the operation that this is."""
        status = (await self._written.now())["theirs"]
        deployment = await asyncio.to_thread(self._user.get, "deployment", "theirs")
        if status.get("operation") or deployment["metadata"]["generation"] != deployment["status"]["observedGeneration"]:
            return None
        replicas = 3 - deployment["spec"]["replicas"]
        await asyncio.to_thread(self._user.run, "scale", "deployment/theirs", f"--replicas={replicas}")
        return f"-{deployment['metadata']['generation'] + 1}"


def _is_about(operation: str | None, event: EventJson) -> bool:
    return operation is None or event.get("operation") == operation


def _tells_of(name: str, event: Mapping[str, Any]) -> bool:
    return str(event["server"]).endswith(f"/{name}")


def _ends(operation: str, event: EventJson) -> bool:
    return event.get("operation") == operation and event.get("outcome") is not None


def _reaches(event: Mapping[str, Any], name: str, after: int, percent: int) -> bool:
    """Whether an operation that began with a later generation is told to have come so far."""
    return bool(
        event["type"] == "progress"
        and _tells_of(name, event)
        and number_of(event["operation"]) > after
        and event["percent"] >= percent
    )


def finished_records(user: User) -> list[Object]:
    """The records of both servers, once none is open."""
    records = [each["record"] for each in user.list("mcpserverrollouts")]
    return records if all(record.get("outcome") for record in records) else []


async def test_an_operator_killed_at_random_moments_skips_no_start_no_end_and_no_percent(
    user: User, installed: Installation, pytestconfig: pytest.Config, measured: list[str]
) -> None:
    seed, kills = pytestconfig.getoption("seed"), pytestconfig.getoption("kills")
    user.apply_server("ours", image=installed.sample, rollout={"historyLimit": 50})
    user.apply(pausing_workload(2))
    user.apply_server("theirs", workloadRef={"kind": "Deployment", "name": "theirs"}, rollout={"historyLimit": 50})
    async with bare_api(installed.cluster) as api, AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        written = Written(api, user.namespace)
        watching = tasks.create_task(written.run())
        stack.callback(watching.cancel)
        story = Story(user, installed, written, Random(f"{seed}/kills"))  # noqa: S311 - it protects nothing
        await story.rest()
        for _ in range(kills):
            await story.live_and_die()
        await story.rest()
        await story.end()
        watching.cancel()
    records = await until(lambda: finished_records(user), "all records are finished")
    lives = story.lives
    assert len(records) >= kills
    assert {record["id"] for record in records} <= lives.starts, f"starts that nobody told, seed {seed}"
    assert {record["id"]: record["outcome"] for record in records}.items() <= lives.ends.items(), f"ends, seed {seed}"
    measured.append(
        f"continuity, seed {seed}: {kills} kills, {len(records)} operations, {lives.late} events late, "
        f"{lives.again} starts and ends told again; away {statistics.median(lives.away_seconds):.1f} s at the median"
    )


async def test_state_is_right_again_after_the_api_server_was_killed_forgot_its_history_and_stalled(
    user: User, installed: Installation, measured: list[str]
) -> None:
    faults = {"killed": _kill, "compacted": _compact_and_kill, "stalled": _stall}
    user.apply_servers({f"{what}-{fault}": {"image": installed.sample} for fault in faults for what in ("doomed", "kept")})
    took: dict[str, float] = {}
    async with installed.cluster_stream(user) as stream:
        for name in (f"{what}-{fault}" for fault in faults for what in ("doomed", "kept")):
            user.run("wait", "--for=condition=Ready", f"mcpserver/{name}", "--timeout=180s")
        for fault, befall in faults.items():
            watch = await befall(user, installed, partial(_edit, user, fault))
            await _hears(stream, f"doomed-{fault}", lambda event: event.get("status") in ("terminating", "deleted"))
            await _hears(stream, f"kept-{fault}", lambda event: event.get("desired") == 2)
            took[fault] = watch.seconds
            await _hears(stream, f"doomed-{fault}", lambda event: event.get("status") == "deleted")
            await _hears(stream, f"kept-{fault}", lambda event: _runs(event, instances=2))
        assert not stream.ended
    assert (await installed.get_json(f"/api/servers/{user.namespace}:kept-stalled"))[1]["status"]["instances"] == 2
    shown = ", ".join(f"{fault} {seconds:.1f} s" for fault, seconds in took.items())
    measured.append(f"state right again after the API server was back: {shown}")


async def _hears(stream: Subscriber, name: str, told: Callable[[EventJson], bool]) -> None:
    """Wait until this is told of a server, be it that it was told already."""
    stream.rewind()
    await stream.until(lambda event: _tells_of(name, event) and told(event))


def _runs(event: EventJson, *, instances: int) -> bool:
    return (event.get("status"), event.get("instances")) == ("running", instances)


def _edit(user: User, fault: str) -> None:
    user.delete("mcpserver", f"doomed-{fault}")
    user.scale(f"kept-{fault}", 2)


async def _kill(_: User, installed: Installation, edit: Callable[[], None]) -> Stopwatch:
    installed.cluster.kill("kube-apiserver")
    await until(installed.api_ready, "the API server is back", every=0.05)
    watch = Stopwatch()
    await asyncio.to_thread(edit)
    return watch


async def _compact_and_kill(user: User, installed: Installation, edit: Callable[[], None]) -> Stopwatch:
    """All that happens while the operator can't look is in no history any more when it can."""
    async with installed.watch_cut():
        await asyncio.to_thread(edit)
        await until(lambda: not user.find("deployment", "doomed-compacted"), "the garbage collector took the children")
        await until(lambda: not user.pods("doomed-compacted"), "the last instance is gone")
        compact(installed)
        installed.cluster.kill("kube-apiserver")
        await until(installed.api_ready, "the API server is back", every=0.05)
    return Stopwatch()


async def _stall(_: User, installed: Installation, edit: Callable[[], None]) -> Stopwatch:
    await asyncio.to_thread(edit)
    with standing_still(installed.cluster.pid_of("kube-apiserver")):
        await asyncio.sleep(_STALL_SECONDS)  # how long the fault lasts; nothing is waited for
        assert (await installed.get_json("/api/servers"))[0] == 200, "the gateway answers from what it knows"
    return Stopwatch()
