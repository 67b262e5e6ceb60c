"""What the MCPServer's status says, as kubectl, kstatus and people read it."""

from tests.e2e.acting import User
from tests.e2e.installation import Installation
from tests.e2e.side_by_side import side_by_side
from tests.kstatus import Kstatus, kstatus
from tests.waiting import until


@side_by_side
async def test_a_running_server_is_ready_for_kubectl_wait_and_kstatus(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample, replicas=2)
    user.run("wait", "--for=condition=Ready", "mcpserver/weather", "--timeout=180s")
    server = user.get("mcpserver", "weather")
    assert kstatus(server) is Kstatus.CURRENT
    status = server["status"]
    assert (status["phase"], status["instances"]) == ("running", "2/2")
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"], status["availableReplicas"]) == (2, 2, 2, 2)
    assert status["observedGeneration"] == server["metadata"]["generation"]
    conditions = user.conditions("weather")
    assert {name: condition["status"] for name, condition in conditions.items()} == {
        "Accepted": "True",
        "Available": "True",
        "Reconciling": "False",
        "Stalled": "False",
        "Ready": "True",
    }
    assert all(c["observedGeneration"] == status["observedGeneration"] for c in conditions.values())
    assert all(c["reason"].isalnum() for c in conditions.values())


@side_by_side
async def test_a_rollout_is_in_progress_and_a_broken_one_has_failed_for_kstatus(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample)
    user.run("wait", "--for=condition=Ready", "mcpserver/weather", "--timeout=180s")
    seen: list[Kstatus] = []

    def kstatus_now() -> Kstatus:
        now = kstatus(user.get("mcpserver", "weather"))
        if not seen or seen[-1] is not now:
            seen.append(now)
        return now

    user.patch_server("weather", {"image": "registry.invalid/nobody/has:this", "rollout": {"progressDeadlineSeconds": 5}})
    await until(lambda: kstatus_now() is Kstatus.FAILED, "kstatus says Failed")
    assert seen[0] is not Kstatus.CURRENT, "an edited server is never Current before the operator has seen the edit"
    conditions = user.conditions("weather")
    assert conditions["Ready"]["status"] == "False"
    assert conditions["Stalled"]["status"] == "True"
    assert conditions["Available"]["status"] == "True", "the old instance goes on serving"

    user.patch_server("weather", {"image": installed.sample_next})
    user.run("wait", "--for=condition=Ready", "mcpserver/weather", "--timeout=180s")
    await until(lambda: kstatus_now() is Kstatus.CURRENT, "kstatus says Current")


@side_by_side
async def test_a_suspended_server_is_ready_because_it_is_as_wanted(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample, suspend=True)
    user.run("wait", "--for=condition=Ready", "mcpserver/weather", "--timeout=180s")
    assert user.conditions("weather")["Ready"]["reason"] == "Stopped"
    assert kstatus(user.get("mcpserver", "weather")) is Kstatus.CURRENT


@side_by_side
async def test_kubectl_get_shows_status_instances_ready_and_progress(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample)
    user.run("wait", "--for=condition=Ready", "mcpserver/weather", "--timeout=180s")
    header, row = user.run("get", "mcps").splitlines()
    assert header.split() == ["NAME", "STATUS", "INSTANCES", "READY", "PROGRESS", "AGE"]
    assert row.split()[:4] == ["weather", "running", "1/1", "True"]
    wide = user.run("get", "mcp", "--output=wide")
    assert "ENDPOINT" in wide
    assert f"http://weather.{user.namespace}.svc:8080/mcp" in wide


@side_by_side
async def test_big_steps_are_kubernetes_events_without_repeats(user: User, installed: Installation) -> None:
    user.apply_server("weather", image=installed.sample)
    async with installed.stream(user, "weather") as stream:
        await stream.until_status("running")
        user.scale("weather", 2)
        await stream.until_status("running", instances=2)
        user.patch_server("weather", {"image": "registry.invalid/nobody/has:this", "rollout": {"progressDeadlineSeconds": 5}})
        await stream.until_status("failed")

    def events() -> list[tuple[str, str]]:
        selector = "--field-selector=involvedObject.kind=MCPServer,involvedObject.name=weather"
        lines = user.run("get", "events", selector, "--output=jsonpath={range .items[*]}{.type} {.reason} {.message}{'\\n'}{end}")
        return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines.splitlines()]

    await until(lambda: any(kind == "Warning" for kind, _ in events()), "a Warning on the MCPServer")
    told = events()
    assert len(told) == len(set(told)), f"an event was repeated: {told}"
    assert len(told) >= 5, f"fewer big steps than happened: {told}"
