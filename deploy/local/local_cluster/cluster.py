"""The handle by which tests, the demo and the command line start, use and stop a local cluster."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from types import TracebackType

from local_cluster.caching import locked
from local_cluster.errors import ClusterError
from local_cluster.inside import command, import_images
from local_cluster.layout import Layout
from local_cluster.machine import RUN_BYTES, check_platform, check_rights, check_space
from local_cluster.packages import install_packages
from local_cluster.pause import provide_pause
from local_cluster.processes import ProcessId
from local_cluster.record import Options, Record
from local_cluster.starting import clear, running, start
from local_cluster.status import ComponentStatus, read_status
from local_cluster.tools import provide_tools


@dataclass(frozen=True)
class Cluster:
    """A cluster by its name and state directory, running or not; as a context manager it is stopped at the end."""

    layout: Layout

    @classmethod
    def at(cls, name: str, directory: Path) -> "Cluster":
        """The handle of cluster `name` below `directory`; starts nothing."""
        return cls(Layout.of(name, directory))

    @classmethod
    def start(
        cls,
        name: str,
        *,
        directory: Path,
        api_port: int = 0,
        forwards: Mapping[int, int] | None = None,
        flags: Mapping[str, Sequence[str]] | None = None,
    ) -> "Cluster":
        """Start a cluster, or take the one that runs already, and wait until pods can be created.

        Tools and packages that the machine lacks are provided first, which takes minutes the first time.

        Args:
            name: Up to 20 characters of a DNS label.
            directory: State is kept in `directory/name`; clusters of different directories don't meet.
            api_port: The API server's port on 127.0.0.1; 0 takes a free one.
            forwards: A NodePort to the port of 127.0.0.1 that leads to it; 0 takes a free one, see the property `forwards`.
            flags: A component's name to further command line arguments, such as
                {"kube-apiserver": ["--etcd-compaction-interval=2s"]}.

        Raises:
            ClusterError: The machine lacks something, a port is taken, the cluster runs with other options, or a component
                doesn't come up; the message then has the last lines of its log.
        """
        layout = Layout.of(name, directory)
        options = Options(
            api_port=api_port,
            forwards=dict(forwards or {}),
            flags={component: tuple(given) for component, given in (flags or {}).items()},
        )
        check_platform()
        check_rights()
        check_space(layout.state, RUN_BYTES)
        install_packages()
        tools, pause = provide_tools(), provide_pause()
        with locked(layout.state):
            start(layout, options, tools=tools, pause=pause)
        return cls(layout)

    def stop(self) -> None:
        """End the cluster and remove all that it made; nothing happens where there is none."""
        check_rights()
        if not self.state.exists():
            return
        with locked(self.state):
            clear(self.layout)
            self.state.rmdir()

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def name(self) -> str:
        return self.layout.name

    @property
    def state(self) -> Path:
        return self.layout.state

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, for use on the machine; it is there when the cluster is ready."""
        return self.layout.kubeconfig

    @property
    def kubectl(self) -> Path:
        """kubectl of the cluster's version."""
        return (self.layout.tools / "kubectl").resolve()

    @property
    def running(self) -> bool:
        """Whether the cluster was started completely and hasn't ended."""
        return running(self.layout)

    @property
    def api_port(self) -> int:
        return self._record().api_port

    @property
    def forwards(self) -> Mapping[int, int]:
        """Each forwarded NodePort with the port of 127.0.0.1 that leads to it."""
        return self._record().forwards

    def nsenter(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` inside the node: its network, names and mounts, its tools and kubeconfig.

        Raises:
            ClusterError: The cluster doesn't run.
        """
        return command(self.layout, argv)

    def status(self) -> tuple[ComponentStatus, ...]:
        """The components in the order of their start; empty when the cluster doesn't run."""
        record = Record.read(self.layout.record)
        return read_status(self.layout, record) if record else ()

    def pid_of(self, component: str) -> int:
        """The machine's process id of a component.

        Raises:
            ClusterError: It doesn't run, perhaps because it is about to be started again.
        """
        for each in self.status():
            if each.name == component and each.pid is not None:
                return each.pid
        raise ClusterError(f"Component {component!r} of cluster {self.name} doesn't run.")

    def kill(self, component: str) -> None:
        """Kill a component and wait until it is gone; supervision starts it again.

        Raises:
            ClusterError: It doesn't run.
        """
        process = ProcessId.of(self.pid_of(component))
        if process is not None:
            process.kill()

    def load_image(self, archive: Path) -> bool:
        """Load the images of an archive (of `docker save`, or an OCI layout); False when the node has them already.

        Raises:
            ClusterError: The cluster doesn't run, or containerd refuses the archive.
        """
        with archive.open("rb") as content:
            digest = file_digest(content, "sha256").hexdigest()
        self._record()
        with locked(self.state):
            loaded = json.loads(self.layout.images.read_text()) if self.layout.images.exists() else []
            if digest in loaded:
                return False
            import_images(self.layout, archive)
            self.layout.images.write_text(json.dumps([*loaded, digest]))
        return True

    def log_tail(self, component: str, lines: int = 20) -> str:
        """The last lines of a component's log."""
        return self.layout.log_tail(component, lines)

    def _record(self) -> Record:
        record = Record.read(self.layout.record)
        if record is None:
            raise ClusterError(f"There is no cluster {self.name} in {self.state.parent}: start it first.")
        return record
