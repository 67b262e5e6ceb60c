"""Debian's nginx in front of a gateway, each with a folder and a port of its own.

async with nginx(tmp_path, gateway.address, {"/": "proxy_buffering on;"}) as proxy:
    ... proxy.url ...
"""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from local_cluster.commands import run
from local_cluster.machine import search_path

_CONFIGURATION = """\
daemon off;
user {user};
worker_processes 1;
worker_shutdown_timeout 200ms;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    upstream gateway {{ server {upstream}; keepalive 8; }}
    gzip on; gzip_types text/event-stream application/json; gzip_min_length 0; gzip_proxied any;
    server {{
        listen {listen};
        {tls}
{servers}
    }}
}}
"""

_LOCATION = """\
        location {path} {{
            proxy_pass http://gateway/;
{words}
        }}
"""

_TLS = "ssl_certificate certificate.pem; ssl_certificate_key key.pem;"


@dataclass(frozen=True)
class Nginx:
    """A running nginx."""

    process: asyncio.subprocess.Process
    url: str
    certificate: Path
    """Whom to trust if it speaks HTTPS."""

    def reload(self) -> None:
        """Read the configuration anew: other worker processes take over, the old ones end their streams soon."""
        self.process.send_signal(signal.SIGHUP)


@asynccontextmanager
async def nginx(
    folder: Path, upstream: tuple[str, int], locations: Mapping[str, str], *, tls: bool = False
) -> AsyncIterator[Nginx]:
    """nginx for the duration of the block; gzip is on for event streams.

    Args:
        folder: where it keeps its files.
        locations: paths that lead to the gateway's root, each with its directives.
        tls: it speaks HTTPS and HTTP/2, with a certificate that it signed itself.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        servers = "".join(_LOCATION.format(path=path, words=words) for path, words in locations.items())
        configuration = folder / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                user=getpass.getuser(),
                upstream=f"{upstream[0]}:{upstream[1]}",
                listen=f"{host}:{port} ssl http2" if tls else f"{host}:{port}",
                tls=_TLS if tls else "",
                servers=servers,
            )
        )
        if tls:
            _certify(folder)
        with (folder / "words").open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                shutil.which("nginx", path=search_path()) or "nginx",
                *("-p", str(folder), "-c", str(configuration), "-e", "stderr"),
                stdin=asyncio.subprocess.DEVNULL,
                stderr=out,
                start_new_session=True,
                pass_fds=[listening.fileno()],
                # The socket is open already and nginx inherits it, as from an older nginx: nobody else can take the port.
                env={**os.environ, "NGINX": f"{listening.fileno()};"},
            )
    try:
        yield Nginx(process, f"{'https' if tls else 'http'}://{host}:{port}", folder / "certificate.pem")
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _certify(folder: Path) -> None:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    names = ("-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem"))
    run((*command.split(), *names, *files), failure="No certificate can be made.")
