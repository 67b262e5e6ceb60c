"""Process 1 of the node: makes the node's mounts and network, then supervises its components.

Run by `launching` as `unshare ... python -m local_cluster.node IDENTITY`, in namespaces of its own, with the plan on standard
input; the argument is for those who read `ps`. All that is made here belongs to those namespaces and ends with this process; the
machine keeps its mounts, links and settings.
"""

import os
import socket
import sys
from pathlib import Path

from local_cluster.api import Api
from local_cluster.commands import run
from local_cluster.errors import ClusterError
from local_cluster.layout import API_PORT, NODE_ADDRESS, NODE_NAME, NODE_STATE
from local_cluster.plan import Plan
from local_cluster.supervising import Supervisor

_SHADOWED = ("/etc", "/var/lib", "/var/log")
"""Written to at places that no setting moves (/var/lib/kubelet, /var/log/containers, /var/lib/cni)."""

_SYSCTLS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""What the kubelet sets for the whole machine: there is no namespace for these."""

_NETWORK = f"""\
link set lo up
link add node0 type bridge
address add {NODE_ADDRESS}/24 dev node0
link set node0 up
route add default via 172.30.0.254 dev node0
"""
"""An address that isn't loopback and a default route, as kubelet and kube-proxy want them; the route leads nowhere."""


def main() -> None:
    """Become the node that standard input describes."""
    # The plan comes only after this process was recorded. If the starter died in between, there is none, and this one ends too.
    plan = Plan.decode(sys.stdin.buffer.read())
    for component in plan.components:
        for fd in component.sockets:
            os.set_inheritable(fd, False)  # the supervisor hands it to that component alone
    _mount(plan.state)
    _protect_sysctls()
    socket.sethostname(NODE_NAME)
    network = Path("/run/network")
    network.write_text(_NETWORK)
    _run("ip", "-batch", str(network))
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    state = Path(NODE_STATE)
    api = Api(API_PORT, authority=state / "pki/ca.crt")
    Supervisor(plan.components, logs=state / "log", report=state / "components.json", api_ready=api.ready).run()


def _mount(state: str) -> None:
    """Give the node its own /run with the state directory in it, and its own writable layer over the machine's folders."""
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    Path(NODE_STATE).mkdir()
    _run("mount", "--bind", state, str(NODE_STATE))
    for folder in _SHADOWED:
        layer = Path("/run/shadow") / folder.strip("/").replace("/", "-")
        for part in ("upper", "work"):
            (layer / part).mkdir(parents=True)
        options = f"lowerdir={folder},upperdir={layer}/upper,workdir={layer}/work"
        _run("mount", "-t", "overlay", "-o", options, "overlay", folder)
    # Pulls from foreign registries fail at once instead of asking the machine's own resolver.
    _replace(Path("/etc/resolv.conf"), f"nameserver {NODE_ADDRESS}\n")
    _replace(Path("/etc/hosts"), f"127.0.0.1 localhost\n{NODE_ADDRESS} {NODE_NAME}\n")
    # Volumes are mounted with propagation into pods; the machine itself is not reached from here.
    _run("mount", "--make-rshared", "/")


def _protect_sysctls() -> None:
    for name in _SYSCTLS:
        real, own = Path("/proc/sys") / name, Path("/run/sysctl") / name
        if not real.exists():
            continue
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(real.read_text())
        _run("mount", "--bind", str(own), str(real))


def _replace(file: Path, text: str) -> None:
    file.unlink(missing_ok=True)  # it may be a link into the machine's /run
    file.write_text(text)


def _run(*argv: str) -> None:
    run(argv, failure=f"The node can't be made: `{' '.join(argv)}` failed.")


if __name__ == "__main__":
    try:
        main()
    except ClusterError as error:
        sys.exit(str(error))
