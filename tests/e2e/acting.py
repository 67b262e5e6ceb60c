"""A person with kubectl in one namespace, as tests use them."""

import json
import secrets
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from local_cluster import Cluster

Object: TypeAlias = dict[str, Any]
Kubectl: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


def administrator(cluster: Cluster) -> Kubectl:
    """kubectl as a cluster's administrator."""

    def run(*args: str, input: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        argv = [str(cluster.kubectl), f"--kubeconfig={cluster.kubeconfig}", *args]
        done = subprocess.run(argv, check=False, input=input, capture_output=True, text=True, timeout=240)
        assert not check or done.returncode == 0, f"kubectl {' '.join(args)} failed: {done.stderr}"
        return done

    return run


@dataclass(frozen=True)
class User:
    """Somebody who works in `namespace`; every method is one kubectl command."""

    kubectl: Kubectl
    namespace: str

    def run(self, *args: str, input: str | None = None, check: bool = True) -> str:
        """Any kubectl command in the namespace; its output."""
        return self.kubectl("--namespace", self.namespace, *args, input=input, check=check).stdout

    def apply(self, *objects: Mapping[str, Any]) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.run("apply", "--filename=-", input=json.dumps(items))

    def apply_server(self, name: str, **spec: Any) -> None:
        """kubectl apply of an MCPServer with this spec."""
        self.apply_servers({name: spec})

    def apply_servers(self, specs: Mapping[str, Mapping[str, Any]]) -> None:
        """kubectl apply of MCPServers by their names."""
        kind = {"apiVersion": "mcp-operator.dev/v1alpha1", "kind": "MCPServer"}
        self.apply(*({**kind, "metadata": {"name": name}, "spec": spec} for name, spec in specs.items()))

    def patch_server(self, name: str, spec: Mapping[str, Any]) -> None:
        self.run("patch", "mcpserver", name, "--type=merge", f"--patch={json.dumps({'spec': spec})}")

    def scale(self, name: str, replicas: int) -> None:
        self.run("scale", "mcpserver", name, f"--replicas={replicas}")

    def delete(self, kind: str, name: str) -> None:
        """Delete without waiting until it is gone."""
        self.run("delete", kind, name, "--wait=false")

    def get(self, kind: str, name: str) -> Object:
        return dict(json.loads(self.run("get", kind, name, "--output=json")))

    def find(self, kind: str, name: str) -> Object | None:
        """The object, or None if there is none of this name."""
        text = self.run("get", kind, name, "--output=json", "--ignore-not-found")
        return dict(json.loads(text)) if text else None

    def list(self, kind: str, *, selector: str = "") -> Sequence[Object]:
        return list(json.loads(self.run("get", kind, f"--selector={selector}", "--output=json"))["items"])

    def pods(self, server: str) -> Sequence[Object]:
        return self.list("pods", selector=f"app.kubernetes.io/instance={server}")

    def conditions(self, server: str) -> dict[str, Object]:
        """The conditions of an MCPServer by their type."""
        return {
            condition["type"]: condition for condition in self.get("mcpserver", server).get("status", {}).get("conditions", ())
        }


@contextmanager
def fresh_namespace(kubectl: Kubectl) -> Iterator[User]:
    """Somebody in a namespace of their own; it goes with all that is in it."""
    name = f"test-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    try:
        yield User(kubectl, name)
    finally:
        kubectl("delete", "namespace", name, "--wait=false")
