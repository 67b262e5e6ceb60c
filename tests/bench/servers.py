"""Starts the servers that are measured beside each other, all on the same CPU; the load comes from another (`loading`).

`gateway` is ours; `nchan`, `sendloop` and `plain` are peers. Rows use them as context managers. docs/benchmarks.md says how nchan
is configured, and why.
"""

from __future__ import annotations

import http.client
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_cluster.packages import install_packages
from tests.bench.building import BUILT, built
from tests.bench.probing import ProbeError

TICK_MS = 5
"""Events that come within this time of each other share a write: in the gateway, and so in the C loop."""

FILTERED = "/api/events?types=status,progress&namespace=tools"
"""A stream of ours with filters that everything published to the namespace `tools` passes."""

_PACKAGES: Mapping[str, str] = {
    "nginx": "/usr/sbin/nginx",
    "libnginx-mod-nchan": "/usr/lib/nginx/modules/ngx_nchan_module.so",
}
_CONFIGURATION = Path(__file__).with_name("nchan.conf")
_START_SECONDS = 30.0
_STOP_SECONDS = 20.0
_REQUEST_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that runs, and how to talk to it."""

    name: str
    port: int
    path: str
    """Of a stream."""
    pid: int
    """Of its main process."""
    publish_port: int = 0
    publish_path: str = "/publish/tools"
    ready_event: str | None = None
    """The frame with which a stream has been opened; None: it is with the response's head."""
    tls: bool = False
    runtime: str = ""
    """Python's version and the event loop, of a server in Python."""

    @property
    def pids(self) -> Sequence[int]:
        """All its processes."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            children = []
        return [self.pid, *map(int, children)]

    @property
    def resident(self) -> int:
        """Bytes of its processes in memory; what they share counts for each, so only growth says something."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids)
        return pages * resource.getpagesize()

    def ask(self, method: str, path: str) -> Any:
        """What the port that events are published to answers.

        Raises:
            OSError: nothing, in time.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.publish_port, timeout=_REQUEST_SECONDS)
        try:
            connection.request(method, path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


@contextmanager
def gateway(*, tls: Path | None = None, path: str = FILTERED, **options: Any) -> Iterator[Server]:
    """The operator's gateway; `serving.gateway` says which options there are."""
    with _python("gateway", tls=tls, **options) as (process, said):
        yield Server(
            name="gateway",
            port=said["port"],
            path=path,
            pid=process.pid,
            publish_port=said["publish_port"],
            ready_event="bookmark",
            tls=tls is not None,
            runtime=said["runtime"],
        )


@contextmanager
def plain(*, tls: Path | None = None) -> Iterator[Server]:
    """An aiohttp server that does nothing but hold streams open."""
    with _python("plain", tls=tls) as (process, said):
        yield Server(
            name="plain aiohttp",
            port=said["port"],
            path="/events",
            pid=process.pid,
            tls=tls is not None,
            runtime=said["runtime"],
        )


@contextmanager
def nchan(*, tls: Path | None = None) -> Iterator[Server]:
    """nginx with nchan: one channel, one worker."""
    install_packages(_PACKAGES)
    port, publish_port = _free_ports(2)
    with tempfile.TemporaryDirectory(prefix="mcp-operator-nchan-") as folder:
        configuration = Path(folder, "nginx.conf")
        certificate = "" if tls is None else f"ssl_certificate {tls}; ssl_certificate_key {tls};"
        words = {
            "FOLDER": folder,
            "FILES": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
            "PORT": port,
            "PUBLISH_PORT": publish_port,
            "SSL": "" if tls is None else "ssl",
            "CERTIFICATE": certificate,
        }
        text = _CONFIGURATION.read_text()
        for word, value in words.items():
            text = text.replace(f"@{word}@", str(value))
        configuration.write_text(text)
        with _started("/usr/sbin/nginx", "-p", folder, "-c", str(configuration)) as process:
            server = Server(
                name="nchan", port=port, path="/events", pid=process.pid, publish_port=publish_port, tls=tls is not None
            )
            _until(lambda: _listens(publish_port) and _listens(port) and len(server.pids) > 1, process, name=server.name)
            yield server


@contextmanager
def sendloop() -> Iterator[Server]:
    """The plain send() loop in C, with the gateway's batching."""
    with _started(str(built("sendloop")), str(TICK_MS)) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield Server(name="C send() loop", port=port, path="/", pid=process.pid, publish_port=port, publish_path="/publish")


@contextmanager
def _python(kind: str, *, tls: Path | None, **options: Any) -> Iterator[tuple[subprocess.Popen[bytes], Mapping[str, Any]]]:
    arguments = json.dumps({"kind": kind, "tls": None if tls is None else str(tls), **options})
    with _started(sys.executable, "-m", "tests.bench.serving", arguments) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        if not said:
            raise ProbeError(f"{kind} did not start: {_last_words(process)}")
        yield process, json.loads(said)


@contextmanager
def _started(*argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process on the first CPU while the body runs; its errors are told if it ends badly."""
    pinned = ["taskset", "--cpu-list", "0", *argv]
    with tempfile.TemporaryFile() as errors, ExitStack() as stack:
        process = subprocess.Popen(pinned, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        stack.callback(_end, process)
        try:
            yield process
        except ProbeError as error:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip()
            if not said:
                raise
            raise ProbeError(f"{error}; the server said: {said[-1000:]}") from error


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def certificate() -> Path:
    """A PEM file with a self-signed certificate of the elliptic curve P-256 and its key.

    Raises:
        ProbeError: openssl can't make it.
    """
    install_packages({"openssl": "openssl"})
    BUILT.mkdir(parents=True, exist_ok=True)
    path = BUILT / "certificate.pem"
    key, chain = BUILT / f"key.{os.getpid()}", BUILT / f"chain.{os.getpid()}"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", str(key), "-out", str(chain))
    what = ("openssl", "req", "-x509", *curve, "-subj", "/CN=localhost", "-days", "2")
    done = subprocess.run(what, check=False, capture_output=True, text=True, timeout=_START_SECONDS)
    if done.returncode != 0:
        raise ProbeError(f"openssl made no certificate: {done.stderr.strip()[-500:]}")
    path.write_text(chain.read_text() + key.read_text())
    key.unlink()
    chain.unlink()
    return path


def _free_ports(count: int) -> Sequence[int]:
    """Ports that nobody listens on; somebody else may before they are used, and then the start fails."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _listens(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(_REQUEST_SECONDS)
        return client.connect_ex(("127.0.0.1", port)) == 0


def _until(condition: Callable[[], bool], process: subprocess.Popen[bytes], *, name: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise ProbeError(f"{name} did not start: {_last_words(process)}")
        time.sleep(0.02)


def _last_words(process: subprocess.Popen[bytes]) -> str:
    """How it ended; what it wrote to its standard error is added by `_started`."""
    try:
        return f"exit code {process.wait(_STOP_SECONDS)}"
    except subprocess.TimeoutExpired:
        return "it runs, but isn't ready"
