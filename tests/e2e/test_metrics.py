"""What a server uses and how much it is used, against what kubectl and the server itself say."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise

import pytest

from local_stack.stack import NAMESPACE
from tests.e2e.acting import User
from tests.e2e.installation import Installation
from tests.e2e.side_by_side import side_by_side
from tests.e2e.subscribing import EventJson, Subscriber

MIB = 2**20
USAGE = ("cpu", "cpuMillicores", "memory", "memoryBytes", "memoryPercent")


def is_sample(event: EventJson) -> bool:
    return event["type"] == "metrics" and not event.get("snapshot")


def is_whole(event: EventJson) -> bool:
    """Whether it is a sample in which nothing is missing."""
    return is_sample(event) and event["perInstance"] != [] and event["unavailable"] == []


def is_taken_since(time: datetime, event: EventJson) -> bool:
    return is_whole(event) and datetime.fromisoformat(event["sampledAt"]) > time


def is_without_metrics_server(event: EventJson) -> bool:
    """Whether it is a sample of all that doesn't depend on metrics-server."""
    missing = {each["reason"] for each in event.get("unavailable", ())}
    return is_sample(event) and missing == {"MetricsUnavailable"} and event["requests"] is not None


def top(user: User, server: str) -> dict[str, tuple[int, int]]:
    """What `kubectl top pod` shows of a server's pods: millicores and MiB, by name."""
    lines = user.run("top", "pod", f"--selector=app.kubernetes.io/instance={server}", "--no-headers").splitlines()
    rows = [line.split() for line in lines]
    return {name: (int(cpu.removesuffix("m")), int(memory.removesuffix("Mi"))) for name, cpu, memory in rows}


def as_kubectl_rounds(event: EventJson) -> dict[str, tuple[int, int]]:
    return {
        instance["name"]: (math.ceil(instance["cpuMillicores"]), instance["memoryBytes"] // MIB)
        for instance in event["perInstance"]
    }


def call(installed: Installation, url: str, *options: str) -> None:
    """Call tools of a server, as an MCP client in the cluster does: an initialize and a call at least."""
    argv = installed.cluster.nsenter([sys.executable, "-m", "local_stack.calling", url, *options])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr


@contextmanager
def frozen(installed: Installation, component: str) -> Iterator[None]:
    """A component of the cluster neither works nor ends while the body runs."""
    pid = installed.cluster.pid_of(component)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def figure(installed: Installation, name: str) -> float:
    """One of the operator's own figures, summed over its labels."""
    pods = installed.stack.kubectl("get", "pods", f"--namespace={NAMESPACE}", "--output=jsonpath={.items[*].metadata.name}")
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pods.split()[0]}:8081/proxy/metrics"
    lines = installed.stack.kubectl("get", f"--raw={path}").splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


SPEC = {
    "replicas": 2,
    "metrics": {"intervalSeconds": 1, "prometheus": {}},
    "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}},
}


def served(installed: Installation, user: User, pod: str) -> tuple[float, float]:
    """What the pod itself says: requests, and how many of these failed."""
    path = f"/api/v1/namespaces/{user.namespace}/pods/{pod}:8080/proxy/metrics"
    lines = installed.stack.kubectl("get", f"--raw={path}").splitlines()
    counted = [line for line in lines if line.startswith("mcp_server_operation_duration_seconds_count{")]
    failed = [line for line in counted if 'error_type=""' not in line]
    return sum(float(line.split()[-1]) for line in counted), sum(float(line.split()[-1]) for line in failed)


async def check_rates(installed: Installation, user: User, stream: Subscriber) -> None:
    """Calls to one instance, some of which fail: counted, told per second, and told again by the history."""
    calm = await stream.until(lambda event: is_whole(event) and event["requestsPerSecond"] == 0)
    pod = calm["perInstance"][0]["name"]
    before = served(installed, user, pod)
    address = user.get("pod", pod)["status"]["podIP"]
    call(installed, f"http://{address}:8080/mcp", "--calls=20", "--failing=5")
    requests, errors = served(installed, user, pod)
    assert (requests - before[0] >= 25, errors - before[1]) == (True, 5)

    def told(event: EventJson) -> bool:
        return is_whole(event) and event["perInstance"][0]["requests"] == requests

    samples = [calm]
    while not told(samples[-1]):
        samples.append(await stream.until(is_sample))
    assert samples[-1]["perInstance"][0]["errors"] == errors
    assert samples[-1]["errors"] == calm["errors"] + 5
    assert samples[-1]["inFlight"] == 0
    for earlier, later in pairwise(samples):
        if is_whole(earlier) and is_whole(later):
            assert (later["requestsPerSecond"] > 0) == (later["requests"] > earlier["requests"])

    code, history = await installed.get_json(f"/api/servers/{user.namespace}:weather/metrics?since=1h&points=1000")
    assert code == 200
    points = {point["time"]: point for point in history["points"] if point["samples"] == 1}
    assert history["dropped"] == []
    for sample in samples:
        assert [points[sample["time"]][name] for name in ("requests", "errors", "requestsPerSecond", "cpu")] == [
            sample[name] for name in ("requests", "errors", "requestsPerSecond", "cpu")
        ]


@side_by_side
async def test_figures_agree_with_kubectl_top_and_the_calls_made(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample, **SPEC)
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running", instances=2)
        before = await stream.until(is_whole)
        for _ in range(10):
            shown = top(user, "weather")
            sample = await stream.until(partial(is_taken_since, datetime.now(UTC)))
            if top(user, "weather") == shown:
                break
        else:
            pytest.fail("kubectl top never showed the same before and after a sample")
        assert as_kubectl_rounds(sample) == shown
        assert sample["cpuMillicores"] == pytest.approx(sum(each["cpuMillicores"] for each in sample["perInstance"]))
        assert sample["memoryBytes"] == sum(each["memoryBytes"] for each in sample["perInstance"])
        assert sample["memory"] == pytest.approx(sample["memoryBytes"] / MIB, abs=0.001)
        assert sample["cpu"] == pytest.approx(sample["cpuMillicores"] / 1000 * 100, abs=0.001), "of two limits of half a core"
        assert sample["memoryPercent"] == pytest.approx(sample["memoryBytes"] / (512 * MIB) * 100, abs=0.001)

        for each in sample["perInstance"]:
            assert datetime.fromisoformat(each["sampledAt"]) < datetime.fromisoformat(sample["sampledAt"])
            assert 1 < each["windowSeconds"] < 120

        service = f"http://{user.get('service', 'weather')['spec']['clusterIP']}:8080/mcp"
        call(installed, service)
        after = await stream.until(lambda event: is_sample(event) and (event["requests"] or 0) >= before["requests"] + 2)
        assert after["requestsSource"] == "pod"
        assert after["requests"] == sum(each["requests"] for each in after["perInstance"])
        await check_rates(installed, user, stream)


async def test_a_server_is_measured_on_while_metrics_server_says_nothing(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample, **SPEC)
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running", instances=2)
        await stream.until(is_whole)
        with frozen(installed, "metrics-server"):
            without = await stream.until(is_without_metrics_server)
        assert [without[field] for field in USAGE] == [None] * len(USAGE)
        (trouble,) = without["unavailable"]
        assert (trouble["instance"], sorted(trouble["fields"])) == (None, sorted(USAGE))
        await stream.until(is_whole)


async def test_without_a_listener_nothing_is_measured(user: User, installed: Installation) -> None:
    await installed.kill_operator()  # so that nothing is under way for those who listened before
    counters = [f"mcp_operator_metrics_{name}_total" for name in ("samples", "usage_requests", "scrapes")]
    user.apply_server("weather", image=installed.sample, **SPEC)
    events = f"{installed.gateway}/api/events?namespace={user.namespace}"
    async with Subscriber(f"{events}&types=status,progress,log") as stream:
        await stream.until_status("running", instances=2)
        assert [figure(installed, name) for name in counters] == [0, 0, 0]
    async with Subscriber(f"{events}&types=metrics") as stream:
        await stream.until(lambda event: is_sample(event) and event["requests"] is not None)
    assert all(figure(installed, name) > 0 for name in counters)
