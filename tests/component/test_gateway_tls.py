"""The gateway's port with TLS: streams as without, certificates that are renewed while it runs, and ones that can't be used."""

from __future__ import annotations

import asyncio
import logging
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from mcp_operator.gateway import securing
from mcp_operator.gateway.securing import Certificate, CertificateError
from tests.component.conftest import Loopback, StartGateway
from tests.component.raw_http import raw_client
from tests.events import line, status
from tests.waiting import until


def make_certificate(folder: Path, *, name: str = "gateway", extra: tuple[str, ...] = ()) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key, as cert-manager names them."""
    folder.mkdir(exist_ok=True, parents=True)
    certificate, key = folder / "tls.crt", folder / "tls.key"
    subprocess.run(
        ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2",
         "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key,
         *(extra or ("-nodes",))),
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key


def renew(folder: Path, certificate: Path, key: Path) -> None:
    """Replace the files at once, as a Secret's volume does."""
    for path in (certificate, key):
        (folder / path.name).replace(path)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path / "tls", name="first")


@pytest.fixture
async def start_secure(
    start_gateway: StartGateway, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[], Awaitable[Loopback]]]:
    """Start a gateway with the certificate, and a client that trusts it. Changed files are seen by the next handshake."""
    monkeypatch.setattr(securing, "_LOOK_SECONDS", 0)
    certificate, key = files
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting(certificate))) as session:

        async def start() -> Loopback:
            loopback = await start_gateway(http={"tls_certificate": certificate, "tls_key": key}, drain_seconds=0)
            loopback.url = loopback.url.replace("http:", "https:")
            loopback.session = session
            return loopback

        yield start


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


def address(loopback: Loopback) -> tuple[str, int]:
    return "127.0.0.1", int(loopback.url.rpartition(":")[2])


async def shown_name(loopback: Loopback) -> str:
    """The name in the certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with raw_client(address(loopback), tls=context) as client:
        shown = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        client.get("/")
        assert (await client.answer()).status == 200
    text = await asyncio.to_thread(
        subprocess.run, ("openssl", "x509", "-inform", "der", "-noout", "-subject"), input=shown, capture_output=True, check=True
    )
    return str(text.stdout.decode()).strip().rpartition("= ")[2].rpartition("=")[2]


StartSecure = Callable[[], Awaitable[Loopback]]


class TestStreams:
    async def test_snapshot_live_events_and_goodbye_are_as_without(self, start_secure: StartSecure) -> None:
        loopback = await start_secure()
        await loopback.tell(status("default/weather"))
        async with loopback.subscribe("/api/events") as subscriber:
            opening = await subscriber.until("bookmark")
            ids = await loopback.tell(line("default/weather", "x" * 50_000), status("default/weather"))
            live = await subscriber.take(2)
            await loopback.gateway.stop()
            [bye] = await subscriber.rest()

        assert [message.event for message in opening] == ["hello", "status", "bookmark"]
        assert [message.id for message in live] == [str(each) for each in ids]
        assert (bye.event, bye.json["reason"], bye.id) == ("bye", "shutdown", str(ids[-1]))

    async def test_a_cursor_goes_on_where_it_was(self, start_secure: StartSecure) -> None:
        loopback = await start_secure()
        first, second = await loopback.tell(status("default/weather"), status("default/maps"))
        async with loopback.subscribe("/api/events", cursor=first) as subscriber:
            _, message = await subscriber.take(2)

        assert message.id == str(second)

    async def test_a_gone_subscriber_leaves_nothing(self, start_secure: StartSecure) -> None:
        loopback = await start_secure()
        async with loopback.subscribe("/api/events") as subscriber:
            await subscriber.until("bookmark")
            assert loopback.figure("mcp_operator_streams") == 1
        await until(lambda: loopback.figure("mcp_operator_streams") == 0, "the stream is over", every=0.01)

    async def test_a_connection_serves_many_requests(self, start_secure: StartSecure, files: tuple[Path, Path]) -> None:
        loopback = await start_secure()
        async with raw_client(address(loopback), tls=trusting(files[0])) as client:
            for _ in range(5):
                client.get("/api/servers")
                assert (await client.answer()).status == 200

    async def test_the_health_port_stays_plain(self, start_secure: StartSecure) -> None:
        loopback = await start_secure()
        async with loopback.session.get(loopback.health_url + "/readyz") as response:
            assert response.status == 200


class TestHandshakes:
    async def test_old_versions_are_refused(self, start_secure: StartSecure, files: tuple[Path, Path]) -> None:
        loopback = await start_secure()
        context = trusting(files[0])
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")

        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with raw_client(address(loopback), tls=context):
                pass

    @pytest.mark.parametrize("bytes_", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x00\x05\x01", b"\x00" * 100, b""])
    async def test_what_is_no_handshake_ends_it_and_is_no_line_in_the_log(
        self, start_secure: StartSecure, caplog: pytest.LogCaptureFixture, bytes_: bytes
    ) -> None:
        loopback = await start_secure()
        async with raw_client(address(loopback)) as client:
            client.send(bytes_)
            client.send_no_more()
            await client.closed()

        assert await shown_name(loopback) == "first"
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


class TestRenewal:
    async def test_new_connections_get_the_new_certificate_and_open_ones_go_on(
        self, start_secure: StartSecure, files: tuple[Path, Path], tmp_path: Path
    ) -> None:
        loopback = await start_secure()
        async with loopback.subscribe("/api/events") as subscriber:
            await subscriber.until("bookmark")
            assert await shown_name(loopback) == "first"
            make_certificate(tmp_path / "next", name="second")
            renew(tmp_path / "next", *files)

            assert await shown_name(loopback) == "second"
            [event_id] = await loopback.tell(status("default/weather"))
            assert (await subscriber.next()).id == str(event_id)

    async def test_a_broken_one_leaves_the_old_in_use_and_is_told_once(
        self, start_secure: StartSecure, files: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        loopback = await start_secure()
        caplog.clear()
        make_certificate(tmp_path / "next", name="second")
        (tmp_path / "next" / "tls.key").replace(files[1])

        for _ in range(3):
            assert await shown_name(loopback) == "first"
        [said] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert "doesn't belong" in said
        assert str(files[1]) in said

        (tmp_path / "next" / "tls.crt").replace(files[0])
        assert await shown_name(loopback) == "second"

    async def test_files_that_are_gone_for_a_while_are_told_once(
        self, start_secure: StartSecure, files: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        loopback = await start_secure()
        caplog.clear()
        files[0].rename(tmp_path / "away")

        for _ in range(3):
            assert await shown_name(loopback) == "first"
        assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
        (tmp_path / "away").rename(files[0])
        assert await shown_name(loopback) == "first"

    def test_files_are_not_looked_at_for_every_handshake(self, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        certificate = Certificate(*files)
        looked: list[float] = []
        monkeypatch.setattr(certificate, "refresh", lambda: looked.append(securing._LOOK_SECONDS))

        for seconds in (3600, 3600, 0, 3600, 0):
            monkeypatch.setattr(securing, "_LOOK_SECONDS", seconds)
            handshake(certificate)

        assert looked == [0, 0]


def handshake(certificate: Certificate) -> None:
    """What the server's side does with a client's hello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
    client = client_context.wrap_bio(ssl.MemoryBIO(), incoming)
    server = certificate.context.wrap_bio(incoming, outgoing, server_side=True)
    for side in (client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()


def missing(certificate: Path, key: Path) -> None:
    key.unlink()


def not_pem(certificate: Path, key: Path) -> None:
    certificate.write_bytes(b"\x30\x82\x01\x0a" * 100)


def swapped(certificate: Path, key: Path) -> None:
    certificate.write_bytes(key.read_bytes())


def cut_short(certificate: Path, key: Path) -> None:
    certificate.write_text(certificate.read_text()[:200])


def of_another(certificate: Path, key: Path) -> None:
    make_certificate(certificate.parent / "other")[1].replace(key)


def encrypted(certificate: Path, key: Path) -> None:
    make_certificate(certificate.parent, extra=("-passout", "pass:secret"))


def folder(certificate: Path, key: Path) -> None:
    key.unlink()
    key.mkdir()


class TestUnusable:
    @pytest.mark.parametrize(
        ("broken", "names", "said"),
        [
            (missing, "tls.key", "No such file or directory"),
            (folder, "tls.key", "Is a directory"),
            (not_pem, "tls.crt", "no certificate in PEM form"),
            (swapped, "tls.crt", "no certificate in PEM form"),
            (cut_short, "tls.crt", "can't be used"),
            (of_another, "tls.key", "doesn't belong"),
            (encrypted, "tls.key", "passphrase"),
        ],
        ids=lambda value: value.__name__ if callable(value) else "",
    )
    async def test_it_is_one_sentence_that_names_the_file(
        self,
        start_secure: StartSecure,
        files: tuple[Path, Path],
        broken: Callable[[Path, Path], None],
        names: str,
        said: str,
    ) -> None:
        broken(*files)

        with pytest.raises(CertificateError) as refused:
            await start_secure()

        sentence = str(refused.value)
        assert names in sentence
        assert said in sentence
        assert "\n" not in sentence

    def test_certificate_and_key_may_share_a_file(self, files: tuple[Path, Path]) -> None:
        files[0].write_text(files[0].read_text() + files[1].read_text())

        Certificate(files[0], None)

    async def test_nothing_listens_then(self, start_secure: StartSecure, files: tuple[Path, Path]) -> None:
        missing(*files)
        with pytest.raises(CertificateError):
            await start_secure()
