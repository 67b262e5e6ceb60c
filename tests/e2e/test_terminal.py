"""The commands against a real cluster, found by nothing but a kubeconfig: for people, for scripts, over an operator's death."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import yaml

from local_stack.stack import NAMESPACE
from tests.e2e.acting import User
from tests.e2e.installation import Installation
from tests.e2e.side_by_side import side_by_side

EventJson: TypeAlias = dict[str, Any]
PATIENCE_SECONDS = 120


class Person:
    """Somebody with a kubeconfig and `mcp-operator`."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.namespace = namespace
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONPATH": "operator"}

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        command = (sys.executable, "-m", "mcp_operator", *arguments)
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=self._environment, limit=1 << 20)

    async def run(self, *arguments: str) -> tuple[int | None, str, str]:
        """A command from its beginning to its end: exit code, output, errors."""
        process = await self.start(*arguments)
        async with asyncio.timeout(PATIENCE_SECONDS):
            output, errors = await process.communicate()
        return process.returncode, output.decode(), errors.decode()

    @asynccontextmanager
    async def watching(self, *arguments: str) -> AsyncIterator[Watching]:
        """`watch --output json`, for the duration of the block."""
        process = await self.start("watch", *arguments, "--output", "json")
        watching = Watching(process)
        try:
            yield watching
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.communicate()


class Watching:
    """A running `watch` and the events that it has written so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.events: list[EventJson] = []

    async def until(self, told: Callable[[EventJson], bool]) -> EventJson:
        """The next event of which `told` is true."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            while line := await self._process.stdout.readline():
                self.events.append(json.loads(line))
                if told(self.events[-1]):
                    return self.events[-1]
        raise AssertionError(f"the watch ended after {self.events[-3:]}")

    async def until_status(self, status: str) -> EventJson:
        return await self.until(lambda event: event["type"] == "status" and event["status"] == status)


def administrator(user: User, installed: Installation) -> Person:
    """The cluster's administrator, without the gateway's address."""
    return Person(Path(installed.cluster.kubeconfig), user.namespace)


@contextmanager
def colleague(user: User, installed: Installation) -> Iterator[Person]:
    """Somebody who may look, but not touch."""
    user.run("create", "serviceaccount", "colleague")
    account = f"--serviceaccount={user.namespace}:colleague"
    user.run("create", "rolebinding", "looks", "--clusterrole=mcp-operator-view", account)
    binding = f"looks-{user.namespace}"
    user.kubectl("--namespace", NAMESPACE, "create", "rolebinding", binding, "--clusterrole=mcp-operator-terminal", account)
    config = yaml.safe_load(Path(installed.cluster.kubeconfig).read_text())
    config["users"][0]["user"] = {"token": user.run("create", "token", "colleague").strip()}
    config["contexts"][0]["context"]["namespace"] = user.namespace
    with TemporaryDirectory() as directory:
        kubeconfig = Path(directory) / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(config))
        yield Person(kubeconfig, user.namespace)
    user.kubectl("--namespace", NAMESPACE, "delete", "rolebinding", binding, "--ignore-not-found")


def percents(output: str) -> Sequence[str]:
    return [line for line in output.splitlines() if " %" in line and "rollout" in line]


@side_by_side
async def test_apply_and_watch_until_running_never_takes_the_old_state_for_the_new(user: User, installed: Installation) -> None:
    person = administrator(user, installed)
    user.apply_server("weather", image=installed.sample)
    code, output, errors = await person.run("watch", f"{user.namespace}/weather", "--until", "running", "--timeout", "100")
    assert (code, errors) == (0, "")
    assert output.splitlines()[-1].split()[1:3] == ["status", "running"]

    for _ in range(2):
        user.patch_server("weather", {"image": "localhost/no:such", "imagePullPolicy": "Never"})
        code, _, errors = await person.run("watch", "weather", "-n", user.namespace, "--until", "running", "--timeout", "100")
        assert code == 3
        assert errors.startswith(f"{user.namespace}/weather is failed, not running: ErrImageNeverPull: ")
        user.patch_server("weather", {"image": installed.sample, "imagePullPolicy": "IfNotPresent"})
        code, _, _ = await person.run("watch", "weather", "-n", user.namespace, "--until", "running", "--timeout", "100")
        assert code == 0
        assert user.get("mcpserver", "weather")["spec"]["image"] == installed.sample


async def test_a_watch_outlives_the_operator(user: User, installed: Installation) -> None:
    person = administrator(user, installed)
    user.apply_server("weather", image=installed.sample)
    async with person.watching("-n", user.namespace, "--types", "status,progress") as watching:
        before = await watching.until_status("running")
        user.kubectl("--namespace", NAMESPACE, "delete", "pods", "--selector=app.kubernetes.io/name=mcp-operator", "--wait=false")
        reset = await watching.until(lambda event: event["type"] == "reset")
        assert reset["reason"] == "epoch"
        user.scale("weather", 2)
        after = await watching.until(lambda event: event["type"] == "status" and event["instances"] == 2)
    assert after["id"].split("-")[0] != before["id"].split("-")[0]
    await installed.ready()


@side_by_side
async def test_a_restart_replaces_the_instances_and_can_be_waited_for(user: User, installed: Installation) -> None:
    person = administrator(user, installed)
    user.apply_server("weather", image=installed.sample, replicas=2)
    assert (await person.run("watch", f"{user.namespace}/weather", "--until", "running", "--timeout", "100"))[0] == 0
    before = {pod["metadata"]["name"] for pod in user.pods("weather")}
    code, output, errors = await person.run("restart", "weather", "-n", user.namespace, "--wait", "--timeout", "100")
    assert (code, errors) == (0, "")
    assert output.startswith(f"{user.namespace}/weather restarts: its 2 instances are replaced by new ones (spec.restartedAt is ")
    assert percents(output)[-1].endswith("100 %  succeeded")
    staying = {pod["metadata"]["name"] for pod in user.pods("weather") if "deletionTimestamp" not in pod["metadata"]}
    assert len(staying) == 2
    assert not staying & before
    managers = user.run(
        "get", "mcpserver", "weather", "--show-managed-fields", "--output=jsonpath={.metadata.managedFields[*].manager}"
    )
    assert "mcp-operator-cli" in managers.split()
    code, _, errors = await person.run("restart", "nobody", "-n", user.namespace)
    assert (code, errors.strip()) == (
        1,
        f"Error: There is no server {user.namespace}/nobody: `mcp-operator status` lists those that exist",
    )


@side_by_side
async def test_who_may_only_look_needs_two_roles_and_can_not_restart(user: User, installed: Installation) -> None:
    with colleague(user, installed) as onlooker:
        user.apply_server("weather", image=installed.sample)
        code, _, errors = await onlooker.run("watch", "weather", "--until", "running", "--timeout", "100")
        assert (code, errors) == (0, "")
        code, output, _ = await onlooker.run("status", "weather")
        assert code == 0
        assert output.startswith(f"{user.namespace}/weather   running   1/1 instances")
        code, _, errors = await onlooker.run("restart", "weather")
        assert code == 1
        assert f"You may not restart {user.namespace}/weather: " in errors
        assert "cannot patch resource" in errors
        user.kubectl("--namespace", NAMESPACE, "delete", "rolebinding", f"looks-{user.namespace}")
        code, _, errors = await onlooker.run("status")
        assert code == 1
        assert f"You may not look for the operator: listing the pods of the namespace {NAMESPACE} is forbidden" in errors
