"""Who scaled or changed a server, as the stream names it, against what was really done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.e2e.acting import User
from tests.e2e.installation import Installation
from tests.e2e.side_by_side import side_by_side
from tests.e2e.subscribing import EventJson, Subscriber

API_VERSION = "mcp-operator.dev/v1alpha1"
BUSY = "import time\nend = time.monotonic() + 240\nwhile time.monotonic() < end: pass"


def manifest(name: str, **spec: Any) -> str:
    return json.dumps({"apiVersion": API_VERSION, "kind": "MCPServer", "metadata": {"name": name}, "spec": spec})


def merge(user: User, spec: dict[str, Any], *options: str) -> None:
    user.run("patch", "mcpserver", "weather", "--type=merge", f"--patch={json.dumps({'spec': spec})}", *options)


def steps(user: User, image: str, other: str) -> Sequence[tuple[str, Callable[[], Any], dict[str, Any]]]:
    """What somebody does with a server of two instances, and what `by` has to say of it."""

    def applied(*options: str, **spec: Any) -> None:
        user.run("apply", *options, "--filename=-", input=manifest("weather", **{"image": image, **spec}))

    def by(kind: str, manager: str, from_: Any, to: Any, operation: str = "Update") -> dict[str, Any]:
        return {"kind": kind, "manager": manager, "operation": operation, "from": from_, "to": to, "hpa": None}

    return (
        ("scale", lambda: user.scale("weather", 3), by("scale", "kubectl", 2, 3)),
        ("scale once more", lambda: user.scale("weather", 2), by("scale", "kubectl", 3, 2)),
        ("patch", lambda: merge(user, {"replicas": 1}), by("patch", "kubectl-patch", 2, 1)),
        ("apply", lambda: applied(replicas=2), by("apply", "kubectl-client-side-apply", 1, 2)),
        ("suspend", lambda: merge(user, {"suspend": True}), by("patch", "kubectl-patch", 2, 0)),
        ("resume", lambda: merge(user, {"suspend": False}), by("patch", "kubectl-patch", 0, 2)),
        ("a new image", lambda: applied(replicas=2, image=other), by("apply", "kubectl-client-side-apply", image, other)),
        ("the old image", lambda: applied(replicas=2), by("undo", "kubectl-client-side-apply", other, image)),
        (
            "server-side apply",
            lambda: applied("--server-side", "--force-conflicts", replicas=1),
            by("apply", "kubectl", 2, 1, "Apply"),
        ),
        ("Helm", lambda: merge(user, {"replicas": 2}, "--field-manager=helm"), by("helm", "helm", 1, 2)),
        (
            "Argo CD",
            lambda: applied("--server-side", "--force-conflicts", "--field-manager=argocd-controller", replicas=1),
            by("argocd", "argocd-controller", 2, 1, "Apply"),
        ),
        (
            "Flux",
            lambda: applied("--server-side", "--force-conflicts", "--field-manager=kustomize-controller", replicas=2),
            by("flux", "kustomize-controller", 1, 2, "Apply"),
        ),
        ("another controller", lambda: merge(user, {"replicas": 1}, "--field-manager=tide"), by("other", "tide", 2, 1)),
    )


async def settled(stream: Subscriber) -> EventJson:
    """The next status of a server that does nothing more."""
    return await stream.until(lambda event: event["type"] == "status" and event["status"] in ("running", "stopped"))


@side_by_side
async def test_each_way_to_scale_or_change_a_server_is_named(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample, replicas=2)
    async with installed.stream(user, "weather") as stream:
        await settled(stream)
        for name, act, by in steps(user, installed.sample, installed.sample_next):
            act()
            begun = await stream.until(lambda event: event["type"] == "status" and event["by"] is not None)
            assert begun["by"] == by, name
            if begun["operation"] is not None:  # a scale down may be over as soon as it is seen
                assert (await settled(stream))["by"] == by


@contextmanager
def busy(user: User, pod: str) -> Iterator[None]:
    """A process in the pod takes all the CPU that it may have, while the body runs."""
    nowhere = "stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL"
    start = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', sys.argv[1]], {nowhere}).pid)"
    pid = user.run("exec", pod, "--", "python3", "-c", start, BUSY).strip()
    try:
        yield
    finally:
        user.run("exec", pod, "--", "python3", "-c", f"import os; os.kill({pid}, 9)", check=False)


@side_by_side
async def test_an_autoscaler_is_named_with_the_metric_that_it_scaled_by_and_its_limit(
    user: User, installed: Installation
) -> None:
    resources = {"requests": {"cpu": "20m"}, "limits": {"cpu": "200m"}}
    user.apply_server("weather", image=installed.sample, resources=resources)
    async with installed.stream(user, "weather") as stream:
        await settled(stream)
        (pod,) = user.pods("weather")
        user.apply(
            {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": "by-load"},
                "spec": {
                    "scaleTargetRef": {"apiVersion": API_VERSION, "kind": "MCPServer", "name": "weather"},
                    "minReplicas": 1,
                    "maxReplicas": 2,
                    "metrics": [
                        {
                            "type": "Resource",
                            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
                        }
                    ],
                },
            }
        )
        with busy(user, pod["metadata"]["name"]):
            told = await stream.until(
                lambda event: event["type"] == "status" and event["by"] is not None and event["by"]["hpa"]["desired"] is not None,
                within=240,
            )
        by, hpa = told["by"], told["by"]["hpa"]
        assert (by["kind"], by["manager"], by["from"], by["to"]) == ("hpa", "kube-controller-manager", 1, 2)
        assert (hpa["name"], hpa["owner"], hpa["min"], hpa["max"], hpa["desired"]) == ("by-load", None, 1, 2, 2)
        [metric] = hpa["metrics"]
        assert (metric["name"], metric["target"]) == ("cpu", "50%")
        assert int(metric["current"].removesuffix("%")) > 50
        assert hpa["limited"] == "TooManyReplicas"
        seen = user.get("horizontalpodautoscaler", "by-load")["status"]
        assert datetime.fromisoformat(seen["lastScaleTime"]) > datetime.now(UTC) - timedelta(minutes=5)
        assert (await settled(stream))["instances"] == 2


@side_by_side
async def test_who_scaled_the_deployment_behind_the_operator_s_back_is_named(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample)
    async with installed.stream(user, "weather") as stream:
        await settled(stream)
        user.run("scale", "deployment", "weather", "--replicas=3")
        begun = await stream.until(lambda event: event["type"] == "status" and event["by"] is not None)
        assert (begun["by"]["kind"], begun["by"]["manager"], begun["by"]["from"], begun["by"]["to"]) == ("scale", "kubectl", 1, 3)
        assert (await settled(stream))["instances"] == 1
