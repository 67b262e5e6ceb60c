"""Bringing the stack up: cluster, images, operator, and a sample server where one is wanted.

The commands (`make up`, `make demo`) and the tests on a real cluster all start here, so that what tests prove is what users get.
"""

import http.client
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local_cluster import Cluster
from local_cluster.progress import step
from local_images import build

REPOSITORY = Path(__file__).parents[3]
GATEWAY_NODE_PORT = 30080
NAMESPACE = "mcp-operator-system"
OPERATOR_IMAGE = "localhost/mcp-operator:dev"
"""What the manifests call the operator's image; the built one takes its place. So with the sample server's:"""
SAMPLE_IMAGE = "localhost/mcp-sample-server:dev"
SAMPLE = "hello"
"""Name of the sample server."""

READY_SECONDS = 120
_ASK_EVERY_SECONDS = 0.1


class StackError(Exception):
    """Why the stack can't come up, in words for the person at the terminal."""


@dataclass(frozen=True)
class Stack:
    """A cluster with the operator in it."""

    cluster: Cluster
    sample: str
    """Reference of the sample server's image."""
    sample_next: str
    """Another version of it."""

    @property
    def gateway(self) -> str:
        """Base URL of the gateway on this machine."""
        return f"http://127.0.0.1:{self.cluster.forwards[GATEWAY_NODE_PORT]}"

    def kubectl(self, *args: str, input: str | None = None) -> str:
        """Run kubectl as the cluster's administrator; its output.

        Raises:
            StackError: kubectl failed; the message has what it said.
        """
        argv = [str(self.cluster.kubectl), f"--kubeconfig={self.cluster.kubeconfig}", *args]
        done = subprocess.run(argv, check=False, input=input, capture_output=True, text=True, timeout=2 * READY_SECONDS)
        if done.returncode != 0:
            raise StackError(f"kubectl {' '.join(args)} failed: {done.stderr.strip()}")
        return done.stdout

    def apply_sample(self) -> None:
        """Apply deploy/samples/hello.yaml, with the image as it was built now, in the default namespace."""
        manifest = (REPOSITORY / "deploy/samples/hello.yaml").read_text().replace(SAMPLE_IMAGE, self.sample)
        self.kubectl("apply", "--namespace=default", "--filename=-", input=manifest)

    def call_sample(self) -> None:
        """Call a tool of the sample server, through its Service, as an MCP client in the cluster does.

        Raises:
            StackError: the call failed.
        """
        address = self.kubectl(
            "get", "service", SAMPLE, "--namespace=default", "--output=jsonpath={.spec.clusterIP}:{.spec.ports[0].port}"
        )
        argv = self.cluster.nsenter([sys.executable, str(Path(__file__).with_name("calling.py")), f"http://{address}/mcp"])
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=READY_SECONDS)
        if done.returncode != 0:
            raise StackError(f"calling a tool of {SAMPLE} failed: {done.stderr.strip()}")

    def install(self, operator: str) -> None:
        """Install the operator with this image, or update it, and wait until its gateway answers."""
        overlay = str(REPOSITORY / "deploy" / "local" / "overlay")
        manifests = self.kubectl("kustomize", overlay).replace(OPERATOR_IMAGE, operator)
        with step("install the operator"):
            self.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", input=manifests)
            timeout = f"--timeout={READY_SECONDS}s"
            self.kubectl("wait", "--for=condition=Established", "crd/mcpservers.mcp-operator.dev", timeout)
            try:
                self.kubectl("rollout", "status", "--namespace", NAMESPACE, "deployment/mcp-operator", timeout)
            except StackError as error:
                said = self.kubectl("logs", "--namespace", NAMESPACE, "deployment/mcp-operator", "--tail=20")
                raise StackError(f"{error}\nThe operator's last lines:\n{said}") from None
            self._await_gateway()

    def _await_gateway(self) -> None:
        """Wait until the gateway answers on this machine: kube-proxy leads to a pod a moment after it is ready."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{self.gateway}/api/servers", timeout=5).close()  # noqa: S310 - it is http on loopback
            except (OSError, http.client.HTTPException) as error:
                if time.monotonic() > deadline:
                    raise StackError(f"The gateway does not answer at {self.gateway}: {error}") from None
                time.sleep(_ASK_EVERY_SECONDS)
            else:
                return


def start(*, name: str, directory: Path, port: int, flags: Mapping[str, Sequence[str]] | None = None) -> Stack:
    """Start a cluster, or take the one that runs, with the operator installed from the source as it is now.

    Args:
        name: the cluster's.
        directory: where clusters keep their state.
        port: of the gateway on 127.0.0.1; 0 takes a free one.
        flags: as `Cluster.start` takes them.

    Raises:
        StackError, ClusterError, BuildError: in words for the person at the terminal.
    """
    cluster = Cluster.start(name, directory=directory, forwards={GATEWAY_NODE_PORT: port}, flags=flags)
    operator = build("operator")
    sample = build("sample")
    sample_next = build("sample", environment={"VERSION": "2.0.0"})
    with step("load the images"):
        for image in (operator, sample, sample_next):
            cluster.load_image(image.archive)
    stack = Stack(cluster=cluster, sample=sample.reference, sample_next=sample_next.reference)
    stack.install(operator.reference)
    return stack


@contextmanager
def started(*, name: str, directory: Path, port: int, flags: Mapping[str, Sequence[str]] | None = None) -> Iterator[Stack]:
    """A fresh stack that is there while the body runs; nothing of it stays, nor of one that a killed run left behind."""
    with Cluster.at(name, directory) as cluster:
        cluster.stop()
        yield start(name=name, directory=directory, port=port, flags=flags)
