"""The images and the manifests of deploy/samples/ on a real node, in a namespace that enforces the restricted pod standard."""

from pathlib import Path

import pytest

from local_images import build
from local_stack.stack import Stack
from tests.e2e.acting import User
from tests.e2e.side_by_side import side_by_side
from tests.waiting import until

SAMPLES = Path(__file__).parents[2] / "deploy/samples"


def restrict(user: User) -> None:
    """Have the namespace take only pods of the restricted standard."""
    user.kubectl("label", "namespace", user.namespace, "pod-security.kubernetes.io/enforce=restricted")


@pytest.mark.parametrize("image", ["operator", "sample"])
@side_by_side
def test_an_unchanged_image_is_found_and_known_to_the_node_at_once(stack: Stack, image: str) -> None:
    stack.cluster.load_image(build(image).archive)
    assert stack.cluster.load_image(build(image).archive) is False


@pytest.mark.parametrize("sample", ["hello", "production"])
@side_by_side
def test_a_sample_manifest_gets_ready(stack: Stack, user: User, sample: str) -> None:
    restrict(user)
    stack.cluster.load_image(build("sample").archive)
    user.run("apply", f"--filename={SAMPLES / sample}.yaml")
    user.run("wait", "--for=condition=Ready", f"mcpserver/{sample}", "--timeout=180s")

    (pod,) = user.pods(sample)
    log = user.run("logs", pod["metadata"]["name"], "--container=mcp")
    assert '"msg": "listening", "port": 8080' in log


@side_by_side
def test_the_sample_of_an_observed_workload_gets_ready(stack: Stack, user: User) -> None:
    restrict(user)
    stack.cluster.load_image(build("sample").archive)
    user.run("apply", f"--filename={SAMPLES}/observed.yaml")
    user.run("wait", "--for=condition=Ready", "mcpserver/notes", "--timeout=180s")

    assert user.get("mcpserver", "notes")["status"]["instances"] == "2/2"


@side_by_side
async def test_the_crashing_sample_fails_with_its_own_words(user: User) -> None:
    restrict(user)
    user.run("apply", f"--filename={SAMPLES}/crashing.yaml")
    user.run("wait", "--for=condition=Stalled", "mcpserver/crashing", "--timeout=180s")

    (pod,) = user.pods("crashing")

    def last_words() -> str:
        # The previous run is another one after each crash: kubelet may just have removed the log that it was asked for.
        return user.run("logs", pod["metadata"]["name"], "--container=mcp", "--previous", check=False).strip().split("\n")[-1]

    await until(lambda: last_words() == "RuntimeError: database 'orders' not found", "its own words are its last ones")
