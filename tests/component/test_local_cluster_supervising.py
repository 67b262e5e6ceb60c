"""The supervisor of a node keeps its components running, and a process is ended by its identity, never by its number alone."""

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local_cluster.processes import ProcessId
from tests.waiting import until

SUPERVISE = """
import sys
from pathlib import Path
from local_cluster.plan import Plan
from local_cluster.supervising import Supervisor
home = Path(sys.argv[1])
plan = Plan.decode(sys.stdin.buffer.read())
Supervisor(plan.components, logs=home, report=home / "report.json", api_ready=(home / "api-ready").exists).run()
"""


@dataclasses.dataclass
class Supervised:
    """A supervisor at work, as a process of its own."""

    home: Path
    process: subprocess.Popen[bytes]

    def state(self, component: str) -> Any:
        """What the supervisor reports about a component; None before its first report."""
        report = self.home / "report.json"
        return json.loads(report.read_text())[component] if report.exists() else None

    def log(self, component: str) -> str:
        log = self.home / f"{component}.log"
        return log.read_text() if log.exists() else ""


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    """Starts a supervisor of components given as name -> (argv, needs_api)."""
    started: list[Supervised] = []

    def start(**components: tuple[list[str], bool]) -> Supervised:
        plan = {
            "state": str(tmp_path),
            "components": [
                {"name": name, "argv": argv, "needs_api": needs_api, "sockets": []}
                for name, (argv, needs_api) in components.items()
            ],
        }
        process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISE, str(tmp_path)],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdin is not None
        with process.stdin as pipe:
            pipe.write(json.dumps(plan).encode())
        started.append(Supervised(tmp_path, process))
        return started[-1]

    yield start
    for each in started:
        each.process.terminate()
        each.process.wait(60)


async def test_a_killed_component_is_started_again_and_the_others_run_on(supervise: Callable[..., Supervised]) -> None:
    node = supervise(etcd=(["sleep", "600"], False), containerd=(["sleep", "600"], False))
    await until(lambda: node.state("etcd"), "components run", every=0.02)
    first, other = node.state("etcd"), node.state("containerd")

    os.kill(first["pid"], signal.SIGKILL)

    await until(lambda: node.state("etcd")["restarts"] == 1, "etcd was started again", every=0.02)
    assert node.state("etcd")["pid"] not in (None, first["pid"])
    assert node.state("containerd") == other


async def test_what_needs_the_api_waits_for_it(supervise: Callable[..., Supervised]) -> None:
    node = supervise(apiserver=(["sleep", "600"], False), scheduler=(["sleep", "600"], True))
    await until(lambda: node.state("apiserver"), "the API server runs", every=0.02)
    assert node.state("scheduler") == {"pid": None, "restarts": 0}

    (node.home / "api-ready").touch()

    await until(lambda: node.state("scheduler")["pid"], "the scheduler runs", every=0.02)


async def test_each_components_words_go_to_its_own_log(supervise: Callable[..., Supervised]) -> None:
    node = supervise(etcd=(["sh", "-c", "echo out; echo err >&2; exec sleep 600"], False), other=(["sleep", "600"], False))

    await until(lambda: node.log("etcd") == "out\nerr\n", "both streams are in the log", every=0.02)
    assert node.log("other") == ""


async def test_orphans_are_collected(supervise: Callable[..., Supervised]) -> None:
    """As process 1 it adopts them; here the kernel is asked to let it."""
    adopt = "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1); os.execv(sys.argv[1], sys.argv[1:])"
    orphan = "sleep 0.01 & echo $!; exec sleep 600"
    # The orphan's parent becomes `sleep`, which collects nobody: it stays until the component ends and the supervisor gets it.
    node = supervise(shim=([sys.executable, "-c", adopt, "/bin/sh", "-c", orphan], False))
    pid = int(await until(lambda: node.log("shim").strip(), "the orphan was started", every=0.02))
    await until(lambda: ProcessId.of(pid) is None, "the orphan has ended", every=0.02)

    shim = await until(lambda: node.state("shim"), "the component is reported", every=0.02)
    os.kill(shim["pid"], signal.SIGKILL)

    await until(lambda: not Path(f"/proc/{pid}").exists(), "the orphan was collected", every=0.02)


async def test_the_end_of_the_supervisor_is_the_end_of_its_components(supervise: Callable[..., Supervised]) -> None:
    node = supervise(etcd=(["sleep", "600"], False), containerd=(["sleep", "600"], False))
    await until(lambda: node.state("etcd"), "components run", every=0.02)
    pids = [node.state(name)["pid"] for name in ("etcd", "containerd")]

    node.process.terminate()

    assert await asyncio.to_thread(node.process.wait, 60) == 0
    assert [ProcessId.of(pid) for pid in pids] == [None, None]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait(60)


def test_a_process_is_ended_and_collected(sleeper: subprocess.Popen[bytes]) -> None:
    process = ProcessId.of(sleeper.pid)
    assert process is not None
    assert process.alive

    process.kill()

    assert ProcessId.of(sleeper.pid) is None
    assert not Path(f"/proc/{sleeper.pid}").exists()
    process.kill()  # once more does nothing


@pytest.mark.parametrize("other", [{"started": 1}, {"boot": "the boot before"}], ids=["an earlier start", "an earlier boot"])
def test_another_process_with_the_recorded_number_is_left_alone(sleeper: subprocess.Popen[bytes], other: dict[str, Any]) -> None:
    process = ProcessId.of(sleeper.pid)
    assert process is not None
    recorded = dataclasses.replace(process, **other)

    recorded.kill()

    assert not recorded.alive
    assert recorded.children() == []
    assert sleeper.poll() is None
