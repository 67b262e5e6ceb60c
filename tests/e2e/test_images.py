"""The images and the manifests of deploy/samples/ on a real node, in a namespace that enforces the restricted pod standard."""

from pathlib import Path

import pytest

from local_images import build
from local_stack.stack import Stack
from tests.e2e.acting import Kubectl, User
from tests.waiting import until

SAMPLES = Path(__file__).parents[2] / "deploy/samples"


@pytest.fixture
def restricted(kubectl: Kubectl, user: User) -> User:
    kubectl("label", "namespace", user.namespace, "pod-security.kubernetes.io/enforce=restricted")
    return user


@pytest.mark.parametrize("image", ["operator", "sample"])
def test_an_unchanged_image_is_found_and_known_to_the_node_at_once(stack: Stack, image: str) -> None:
    stack.cluster.load_image(build(image).archive)
    assert stack.cluster.load_image(build(image).archive) is False


@pytest.mark.parametrize("sample", ["hello", "production"])
def test_a_sample_manifest_gets_ready(stack: Stack, restricted: User, sample: str) -> None:
    stack.cluster.load_image(build("sample").archive)
    restricted.run("apply", f"--filename={SAMPLES / sample}.yaml")
    restricted.run("wait", "--for=condition=Ready", f"mcpserver/{sample}", "--timeout=180s")

    (pod,) = restricted.pods(sample)
    log = restricted.run("logs", pod["metadata"]["name"], "--container=mcp")
    assert '"msg": "listening", "port": 8080' in log


def test_the_sample_of_an_observed_workload_gets_ready(stack: Stack, restricted: User) -> None:
    stack.cluster.load_image(build("sample").archive)
    restricted.run("apply", f"--filename={SAMPLES}/observed.yaml")
    restricted.run("wait", "--for=condition=Ready", "mcpserver/notes", "--timeout=180s")

    assert restricted.get("mcpserver", "notes")["status"]["instances"] == "2/2"


async def test_the_crashing_sample_fails_with_its_own_words(restricted: User) -> None:
    restricted.run("apply", f"--filename={SAMPLES}/crashing.yaml")
    restricted.run("wait", "--for=condition=Stalled", "mcpserver/crashing", "--timeout=180s")

    (pod,) = restricted.pods("crashing")

    def last_words() -> str:
        # The previous run is another one after each crash: kubelet may just have removed the log that it was asked for.
        return (
            restricted.run("logs", pod["metadata"]["name"], "--container=mcp", "--previous", check=False).strip().split("\n")[-1]
        )

    await until(lambda: last_words() == "RuntimeError: database 'orders' not found", "its own words are its last ones")
