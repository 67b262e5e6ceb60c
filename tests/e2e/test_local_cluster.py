"""The local cluster is a real one, runs beside others, heals, and leaves the machine as it found it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import pytest

from local_cluster import Cluster, ClusterError
from local_cluster.cgroups import hierarchies
from local_cluster.launching import listener
from local_cluster.pause import ARCHIVE, build_image
from local_cluster.record import Record
from tests.waiting import until

NODE_PORT = 30080

GREETER = Path(__file__).with_name("greeter.c")

LOOK_UP = """
import socket, sys, time
began = time.monotonic()
try:
    answer = socket.gethostbyname(sys.argv[1])
except OSError:
    answer = "unknown"
print(answer, time.monotonic() - began)
"""

COMPONENTS = [
    *("etcd", "containerd", "kube-apiserver", "forwarder", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"),
    *("coredns", "metrics-server"),
]


def kubectl(cluster: Cluster, *args: str, given: object = None) -> str:
    """What kubectl answers the cluster's administrator."""
    argv = [str(cluster.kubectl), f"--kubeconfig={cluster.kubeconfig}", *args]
    done = subprocess.run(argv, check=False, input=json.dumps(given), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"kubectl {' '.join(args)} failed: {done.stderr}"
    return done.stdout


def read(cluster: Cluster, *args: str) -> Any:
    return json.loads(kubectl(cluster, "get", "--output=json", *args))


def run_greeter(cluster: Cluster, name: str) -> None:
    """Run a Deployment of two pods that answer on port 8080, and a Service with a NodePort; wait until they are there."""
    pod = {"containers": [{"name": "greeter", "image": "localhost/greeter:1"}], "terminationGracePeriodSeconds": 1}
    labels = {"app": name}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"type": "NodePort", "selector": labels, "ports": [{"port": 80, "targetPort": 8080, "nodePort": NODE_PORT}]},
    }
    kubectl(cluster, "apply", "--filename=-", given={"apiVersion": "v1", "kind": "List", "items": [deployment, service]})
    kubectl(cluster, "rollout", "status", f"deployment/{name}", "--timeout=180s")


@pytest.fixture(scope="module")
def greeter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of an image that answers every connection with its pod's name."""
    folder = tmp_path_factory.mktemp("greeter")
    build_image(GREETER, "localhost/greeter:1", folder)
    return folder / ARCHIVE


@pytest.fixture(scope="module")
def cluster(clusters: Path, greeter: Path) -> Iterator[Cluster]:
    """A cluster with the greeter running in it."""
    flags = {"kube-apiserver": ["--etcd-compaction-interval=1s"]}
    with Cluster.at("alone", clusters) as stale:
        stale.stop()
    with Cluster.start("alone", directory=clusters, forwards={NODE_PORT: 0}, flags=flags) as started:
        started.load_image(greeter)
        run_greeter(started, "greeter")
        yield started


class TestARealCluster:
    def test_it_runs_one_ready_node_of_kubectls_version(self, cluster: Cluster) -> None:
        versions = json.loads(kubectl(cluster, "version", "--output=json"))
        node = read(cluster, "node", "local")

        assert versions["clientVersion"]["gitVersion"] == versions["serverVersion"]["gitVersion"]
        assert node["status"]["nodeInfo"]["kubeletVersion"] == versions["serverVersion"]["gitVersion"]
        assert {each["type"]: each["status"] for each in node["status"]["conditions"]}["Ready"] == "True"

    def test_every_component_runs_and_none_had_to_be_restarted(self, cluster: Cluster) -> None:
        assert [each.name for each in cluster.status()] == COMPONENTS
        assert {each.name: each.restarts for each in cluster.status() if each.restarts} == {}

    async def test_a_node_port_is_reached_from_the_machine(self, cluster: Cluster) -> None:
        port = cluster.forwards[NODE_PORT]

        assert (await until(lambda: ask(port), "the greeter answers")).startswith("greeter-")

    def test_a_pod_reaches_pods_through_a_service(self, cluster: Cluster) -> None:
        pods = {each["metadata"]["name"] for each in read(cluster, "pods", "--selector=app=greeter")["items"]}
        address = read(cluster, "service", "greeter")["spec"]["clusterIP"]
        pod = min(pods)

        answers = kubectl(cluster, "exec", pod, "--", "/program", address, "80", "30").split()

        assert len(answers) == 30
        assert set(answers) == pods  # itself included

    def test_service_names_have_addresses_inside_and_foreign_ones_fail_at_once(self, cluster: Cluster) -> None:
        inside = [sys.executable, "-c", LOOK_UP]
        name = "greeter.default.svc.cluster.local"
        found = subprocess.run(cluster.nsenter([*inside, name]), check=True, capture_output=True, text=True, timeout=60)
        assert found.stdout.split()[0] == read(cluster, "service", "greeter")["spec"]["clusterIP"]

        foreign = subprocess.run(
            cluster.nsenter([*inside, "example.com"]), check=True, capture_output=True, text=True, timeout=60
        )
        answer, seconds = foreign.stdout.split()
        assert answer == "unknown"
        assert float(seconds) < 5, "a resolver that waits for an answer waits at least this long"

    async def test_metrics_of_pods_come_by_themselves(self, cluster: Cluster) -> None:
        def figures() -> list[Any]:
            path = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"
            answer = subprocess.run(
                [str(cluster.kubectl), f"--kubeconfig={cluster.kubeconfig}", "get", "--raw", path],
                check=False,
                capture_output=True,
                timeout=120,
            )
            return [each["containers"] for each in json.loads(answer.stdout)["items"]] if answer.returncode == 0 else []

        containers = await until(figures, "metrics-server has figures", within=180)
        assert all("memory" in each["usage"] for pod in containers for each in pod)

    async def test_a_component_is_started_with_the_flags_it_was_given(self, cluster: Cluster) -> None:
        """Here: the API server forgets history within seconds, so that an old position in a list is gone."""
        page = json.loads(kubectl(cluster, "get", "--raw", "/api/v1/namespaces?limit=1"))
        rest = f"/api/v1/namespaces?limit=1&continue={page['metadata']['continue']}"

        def gone() -> bool:
            kubectl(cluster, "annotate", "namespace", "default", f"at={time.monotonic()}", "--overwrite")
            argv = [str(cluster.kubectl), f"--kubeconfig={cluster.kubeconfig}", "get", "--raw", rest]
            return b"too old" in subprocess.run(argv, check=False, capture_output=True, timeout=120).stderr

        await until(gone, "the position is too old", every=0.5)

    def test_an_image_is_loaded_once(self, cluster: Cluster, greeter: Path) -> None:
        assert not cluster.load_image(greeter)

    def test_an_archive_that_is_none_is_refused(self, cluster: Cluster, tmp_path: Path) -> None:
        archive = tmp_path / "image.tar"
        archive.write_text("no archive")
        with pytest.raises(ClusterError, match=r"`ctr .*import -` failed inside cluster alone\. nsenter said:"):
            cluster.load_image(archive)


class TestSupervision:
    async def test_the_api_server_killed_alone_comes_back_and_pods_run_on(self, cluster: Cluster) -> None:
        before = read(cluster, "pods", "--selector=app=greeter")["items"]
        port, killed = cluster.forwards[NODE_PORT], cluster.pid_of("kube-apiserver")

        cluster.kill("kube-apiserver")

        assert ask(port)
        await until(lambda: answers_again(cluster), "the API server is ready")
        assert cluster.pid_of("kube-apiserver") != killed
        after = read(cluster, "pods", "--selector=app=greeter")["items"]
        assert {each["metadata"]["uid"] for each in before} == {each["metadata"]["uid"] for each in after}
        assert [each["status"]["containerStatuses"][0]["restartCount"] for each in after] == [0, 0]

    @pytest.mark.parametrize("component", [each for each in COMPONENTS if each != "kube-apiserver"])
    async def test_every_component_comes_back(self, component: str, cluster: Cluster) -> None:
        killed = cluster.pid_of(component)

        cluster.kill(component)

        def back() -> bool:
            return any(each.name == component and each.pid not in (None, killed) for each in cluster.status())

        await until(back, f"{component} runs again")

    async def test_after_all_that_a_pod_can_still_be_started(self, cluster: Cluster) -> None:
        await until(lambda: answers_again(cluster), "the API server is ready")
        kubectl(cluster, "rollout", "restart", "deployment/greeter")
        kubectl(cluster, "rollout", "status", "deployment/greeter", "--timeout=180s")


class TestStarting:
    def test_a_running_cluster_is_taken_as_it_is(self, cluster: Cluster, clusters: Path) -> None:
        pids = cluster.status()
        flags = {"kube-apiserver": ["--etcd-compaction-interval=1s"]}

        again = Cluster.start("alone", directory=clusters, forwards={NODE_PORT: 0}, flags=flags)

        assert again.status() == pids

    def test_a_running_cluster_is_not_taken_for_another(self, cluster: Cluster, clusters: Path) -> None:
        with pytest.raises(ClusterError, match="Cluster alone runs already with other ports or flags: stop it first"):
            Cluster.start("alone", directory=clusters)

    def test_a_taken_port_is_told(self, clusters: Path) -> None:
        with listener(0) as taken, Cluster.at("ports", clusters) as other:
            port = taken.getsockname()[1]
            with pytest.raises(ClusterError, match=f"Port {port} of 127.0.0.1 can't be opened .*: end what uses it"):
                Cluster.start("ports", directory=clusters, forwards={NODE_PORT: port})
            assert not other.running

    def test_a_component_that_does_not_come_up_is_told_with_its_last_words(self, clusters: Path) -> None:
        with Cluster.at("broken", clusters) as broken:
            with pytest.raises(ClusterError) as error:
                Cluster.start("broken", directory=clusters, flags={"kube-scheduler": ["--no-such-flag"]})

            assert str(error.value).startswith("Component kube-scheduler does not come up. The last lines of ")
            assert "unknown flag: --no-such-flag" in str(error.value)
            assert broken.status() == ()

    def test_a_folder_of_somebody_else_is_not_removed(self, tmp_path: Path) -> None:
        (tmp_path / "home" / "thesis").mkdir(parents=True)

        for use in (lambda: Cluster.at("home", tmp_path).stop(), lambda: Cluster.start("home", directory=tmp_path)):
            with pytest.raises(ClusterError, match="is not a cluster's state directory: give another name or directory"):
                use()

        assert (tmp_path / "home" / "thesis").exists()


async def test_two_clusters_run_side_by_side(cluster: Cluster, greeter: Path, tmp_path: Path) -> None:
    """Of one name, as two clones would have them."""
    uids = {each["metadata"]["uid"] for each in read(cluster, "pods", "--selector=app=greeter")["items"]}
    with Cluster.start("alone", directory=tmp_path, forwards={NODE_PORT: 0}) as other:
        other.load_image(greeter)
        run_greeter(other, "neighbour")
        ports = cluster.forwards[NODE_PORT], other.forwards[NODE_PORT]
        await until(lambda: ask(ports[1]), "the other cluster's greeter answers")
        assert [ask(port).split("-")[0] for port in ports] == ["greeter", "neighbour"]

    assert ask(ports[0]).startswith("greeter-")
    pods = read(cluster, "pods", "--selector=app=greeter")["items"]
    assert {each["metadata"]["uid"] for each in pods} == uids
    assert [each["status"]["containerStatuses"][0]["restartCount"] for each in pods] == [0, 0]
    kubectl(cluster, "scale", "deployment/greeter", "--replicas=3")
    kubectl(cluster, "rollout", "status", "deployment/greeter", "--timeout=180s")


class TestStopping:
    """Whatever happened, a stopped cluster has left nothing."""

    @pytest.fixture(autouse=True)
    def provided(self, cluster: Cluster) -> None:
        """Packages and tools are on the machine since an earlier start, and stay there."""

    def test_after_a_life_with_pods(self, greeter: Path, tmp_path: Path) -> None:
        cluster = Cluster.at("gone", tmp_path)
        before = Machine.now(cluster)

        with Cluster.start("gone", directory=tmp_path):
            cluster.load_image(greeter)
            run_greeter(cluster, "greeter")
            meanwhile = Machine.now(cluster).since(before)
            assert set(meanwhile) == {"processes", "cgroups"}
            assert all(cluster.layout.identity in each for each in meanwhile["cgroups"])

        assert Machine.now(cluster).since(before) == {}
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(("end", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
    async def test_after_its_starter_was_ended(self, end: signal.Signals, code: int, tmp_path: Path) -> None:
        cluster = Cluster.at("gone", tmp_path)
        before = Machine.now(cluster)
        starter = await asyncio.create_subprocess_exec(
            *("env", "--default-signal=INT"),  # as at a terminal, even where the tests run in the background
            *(sys.executable, "-m", "local_cluster", "up", "--name=gone", f"--directory={tmp_path}"),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stderr=subprocess.PIPE,
        )
        await until(cluster.status, "components were started", every=0.02)
        starter.send_signal(end)
        _, said = await starter.communicate()
        assert starter.returncode == code
        assert b"Traceback" not in said
        assert not cluster.running

        cluster.stop()

        assert Machine.now(cluster).since(before) == {}
        assert not cluster.state.exists()

    def test_after_its_node_was_killed(self, tmp_path: Path) -> None:
        cluster = Cluster.at("gone", tmp_path)
        before = Machine.now(cluster)
        with Cluster.start("gone", directory=tmp_path):
            record = Record.read(cluster.layout.record)
            assert record is not None
            record.process.kill()
            assert not cluster.running
            with pytest.raises(ClusterError, match=r"Cluster gone of .* doesn't run: start it first"):
                cluster.nsenter(["true"])

        assert Machine.now(cluster).since(before) == {}


def ask(port: int) -> str:
    """What the greeter says; empty while nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            return connection.makefile().read().strip()
    except OSError:
        return ""


def answers_again(cluster: Cluster) -> bool:
    argv = [str(cluster.kubectl), f"--kubeconfig={cluster.kubeconfig}", "get", "--raw", "/readyz"]
    return subprocess.run(argv, check=False, capture_output=True, timeout=120).stdout == b"ok"


@dataclass(frozen=True)
class Machine:
    """What a cluster could leave behind on the machine, each as a set of names."""

    processes: frozenset[str]
    mounts: frozenset[str]
    links: frozenset[str]
    cgroups: frozenset[str]
    files: frozenset[str]
    settings: frozenset[str]

    @classmethod
    def now(cls, cluster: Cluster) -> Self:
        """The machine without its other clusters, which may come and go meanwhile."""
        folders = (Path(each) for each in ("/run", "/var/lib", "/var/log", "/etc", "/opt"))
        ruleset = subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout
        sysctls = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")
        return cls(
            processes=frozenset(_node_processes(cluster)),
            mounts=frozenset(Path("/proc/self/mounts").read_text().splitlines()),
            links=frozenset(name for _, name in socket.if_nameindex()),
            cgroups=frozenset(_cgroups(cluster)),
            files=frozenset(str(each) for folder in folders for each in folder.rglob("*")),
            settings=frozenset(
                [*ruleset.splitlines(), *(f"{each} {Path('/proc/sys', each).read_text()}" for each in sysctls)]
                + [Path(each).read_text() for each in ("/etc/resolv.conf", "/etc/hosts", "/etc/hostname")]
            ),
        )

    def since(self, before: Self) -> dict[str, set[str]]:
        """What is there now and wasn't, or was there and isn't."""
        pairs = ((field.name, getattr(before, field.name), getattr(self, field.name)) for field in fields(self))
        return {name: set(then ^ now) for name, then, now in pairs if then != now}


def _node_processes(cluster: Cluster) -> Iterator[str]:
    """Processes that left the machine's mount namespace while their parent hasn't: the first of a node, if all is in order."""
    machine = Path("/proc/self/ns/mnt").readlink()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = process.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            command = process.joinpath("cmdline").read_text().split("\0")
            left = process.joinpath("ns/mnt").readlink() != machine == Path(f"/proc/{parent}/ns/mnt").readlink()
        except OSError:
            continue  # it has ended, or it is the kernel's
        if left and ("local_cluster.node" not in command or cluster.layout.identity in command):
            yield f"{process.name} {command}"


def _cgroups(cluster: Cluster) -> Iterator[str]:
    for hierarchy in hierarchies(Path("/proc/self/mounts").read_text()):
        for group in hierarchy.rglob("*/"):
            uppermost = group.relative_to(hierarchy).parts[0]
            if uppermost == cluster.layout.identity or not uppermost.startswith("mcp-operator-"):
                yield str(group)
