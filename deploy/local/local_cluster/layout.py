"""Names, paths and addresses of a cluster: all that must differ between two clusters derives from one name and one directory.

Inside the node all clusters look alike: each has a network and mounts of its own, so addresses and paths there are constants.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from local_cluster.errors import ClusterError

NODE_STATE = PurePosixPath("/run/node")
"""Where the node sees the cluster's state directory; short, as a Unix socket's path ends at 107 bytes."""

NODE_NAME = "local"
NODE_ADDRESS = "172.30.0.1"
SERVICE_ADDRESSES = "10.96.0.0/16"
API_PORT = 6443
"""The API server's port on the node's own loopback."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?")


@dataclass(frozen=True)
class Layout:
    """Where one cluster keeps its things on the machine."""

    name: str
    state: Path

    @classmethod
    def of(cls, name: str, directory: Path) -> "Layout":
        """The layout of cluster `name` below `directory`.

        Raises:
            ClusterError: The name can't serve as a directory and as a control group.
        """
        if not _NAME.fullmatch(name):
            raise ClusterError(
                f"{name!r} can't name a cluster: use 1 to 20 lower-case letters, digits and dashes, beginning and ending "
                "with a letter or digit."
            )
        return cls(name=name, state=directory.resolve() / name)

    @property
    def identity(self) -> str:
        """Unique on this machine: clusters of one name in two directories don't meet."""
        digest = hashlib.sha256(str(self.state).encode()).hexdigest()
        return f"mcp-operator-{self.name}-{digest[:8]}"

    @property
    def mark(self) -> Path:
        """Says that the state directory is one, and so may be removed."""
        return self.state / ".mcp-operator-cluster"

    @property
    def record(self) -> Path:
        return self.state / "cluster.json"

    @property
    def components(self) -> Path:
        """What the supervisor last wrote about its components."""
        return self.state / "components.json"

    @property
    def images(self) -> Path:
        """The digests of the archives that were loaded."""
        return self.state / "images.json"

    @property
    def config(self) -> Path:
        return self.state / "config"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def logs(self) -> Path:
        return self.state / "log"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, for the machine; it is written last, when the cluster is ready."""
        return self.state / "kubeconfig"

    @property
    def tools(self) -> Path:
        """A link to the folder of the cluster's binaries."""
        return self.state / "bin"

    def log(self, component: str) -> Path:
        return self.logs / f"{component}.log"

    def log_tail(self, component: str, lines: int = 20) -> str:
        """The last lines of a component's log; empty when it has none."""
        log = self.log(component)
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""
