"""The installed operator as tests use it: its streams, and the faults that befall it."""

import contextlib
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from local_cluster import Cluster
from local_stack.stack import NAMESPACE, Stack
from tests.e2e.acting import User
from tests.e2e.subscribing import Subscriber
from tests.waiting import until

_FIREWALL = "cut"
"""Name of the nftables table that a cut watch is made with."""


@dataclass(frozen=True)
class Installation:
    """The operator in its cluster."""

    stack: Stack

    @property
    def cluster(self) -> Cluster:
        return self.stack.cluster

    @property
    def gateway(self) -> str:
        return self.stack.gateway

    @property
    def sample(self) -> str:
        return self.stack.sample

    @property
    def sample_next(self) -> str:
        return self.stack.sample_next

    def cluster_stream(self, user: User, *, last_event_id: str | None = None) -> Subscriber:
        """The cluster's stream, of the user's namespace alone."""
        return Subscriber(f"{self.gateway}/api/events?namespace={user.namespace}", last_event_id=last_event_id)

    @asynccontextmanager
    async def stream(self, user: User, server: str, *, since: str = "") -> AsyncIterator[Subscriber]:
        """A server's stream by name, as soon as the operator knows the server.

        Args:
            since: from when on; `earliest` has all that this operator has told. Empty: from now on.
        """
        path = f"/api/servers/{user.namespace}:{server}"
        await until(lambda: self._answers(path), f"{server} is known to the operator")
        async with Subscriber(f"{self.gateway}{path}/events{f'?since={since}' if since else ''}") as subscriber:
            yield subscriber

    async def get_json(self, path: str) -> tuple[int, Any]:
        """Status and body of a GET."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
            session.get(f"{self.gateway}{path}") as response,
        ):
            return response.status, await response.json(content_type=None)

    async def ready(self) -> None:
        """Wait until the gateway answers from a state that knows the whole cluster."""
        await until(lambda: self._answers("/api/servers"), "the gateway is ready", within=120)

    def api_ready(self) -> bool:
        """Whether the API server answers."""
        argv = [str(self.cluster.kubectl), f"--kubeconfig={self.cluster.kubeconfig}", "get", "--raw=/readyz"]
        return subprocess.run(argv, check=False, capture_output=True, timeout=120).returncode == 0

    async def kill_operator(self) -> None:
        """SIGKILL to the operator's process, as the kernel's OOM killer would; wait until another has started."""
        before = self._container()
        self.inside("ctr", "--namespace=k8s.io", "tasks", "kill", "--signal=SIGKILL", before)
        await until(lambda: self._container() not in ("", before), "another operator has started", within=120)
        await self.ready()

    @asynccontextmanager
    async def operator_stopped(self) -> AsyncIterator[None]:
        """No operator runs while the body does."""
        self._scale_operator(0)
        await until(lambda: not self._operator_pods(), "the operator has stopped")
        try:
            yield
        finally:
            self._scale_operator(1)
            await self.ready()

    @asynccontextmanager
    async def watch_cut(self) -> AsyncIterator[None]:
        """The operator can't reach the API server while the body runs; its open connections are reset."""
        address = self.stack.kubectl("get", "pods", f"--namespace={NAMESPACE}", "--output=jsonpath={.items[0].status.podIP}")
        rules = f"""
            table inet {_FIREWALL} {{
                chain input {{
                    type filter hook input priority filter; policy accept;
                    ip saddr {address} tcp dport 6443 reject with tcp reset
                }}
            }}
        """
        self.inside("nft", "--file", "-", input=rules)
        try:
            yield
        finally:
            self.inside("nft", "delete", "table", "inet", _FIREWALL)

    async def _answers(self, path: str) -> bool:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            return (await self.get_json(path))[0] == 200
        return False

    def _container(self) -> str:
        """Id of the operator's running container, empty while there is none."""
        pods = json.loads(self.stack.kubectl("get", "pods", f"--namespace={NAMESPACE}", "--output=json"))["items"]
        statuses = [status for pod in pods for status in pod["status"].get("containerStatuses", ())]
        running = [status["containerID"] for status in statuses if "running" in status["state"]]
        return str(running[0]).removeprefix("containerd://") if running else ""

    def _operator_pods(self) -> str:
        return self.stack.kubectl("get", "pods", f"--namespace={NAMESPACE}", "--output=name").strip()

    def _scale_operator(self, replicas: int) -> None:
        self.stack.kubectl("scale", "deployment/mcp-operator", f"--namespace={NAMESPACE}", f"--replicas={replicas}")

    def inside(self, *argv: str, input: str | None = None) -> None:
        """Run a command inside the node."""
        subprocess.run(self.cluster.nsenter(argv), check=True, input=input, text=True, capture_output=True, timeout=120)
