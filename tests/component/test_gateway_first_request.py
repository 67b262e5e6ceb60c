"""A request's head that begins to come with the last of the TLS handshake, before anybody waits for it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.gateway.listening import ConnectionLimits
from mcp_operator.gateway.options import HttpOptions, StreamOptions
from mcp_operator.gateway.serving import Gateway
from tests.component.raw_http import PATIENCE_SECONDS
from tests.component.test_gateway_tls import make_certificate, trusting

HEAD_SECONDS = 0.3


class EarlyClient:
    """A TLS client that says its first words in the packet that ends the handshake."""

    def __init__(self, connection: socket.socket, trust: ssl.SSLContext) -> None:
        self._connection = connection
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = trust.wrap_bio(self._received, self._to_send, server_hostname="127.0.0.1")

    async def say(self, words: bytes) -> None:
        """Shake hands, and say this at once."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await loop.sock_sendall(self._connection, self._to_send.read())
                self._received.write(await loop.sock_recv(self._connection, 65536))
        self._tls.write(words)
        await loop.sock_sendall(self._connection, self._to_send.read())

    async def answer(self) -> bytes:
        """What comes until the other side closes."""
        loop, answer = asyncio.get_running_loop(), b""
        async with asyncio.timeout(PATIENCE_SECONDS):
            with suppress(ConnectionError):
                while data := await loop.sock_recv(self._connection, 65536):
                    self._received.write(data)
                    with suppress(ssl.SSLWantReadError):
                        while words := self._tls.read(65536):
                            answer += words
                        return answer
        return answer


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET / HTTP/1.1\r\nHos", b""),
    ],
    ids=["whole", "never whole"],
)
async def test_it_is_answered_or_given_up_like_any_other(tmp_path: Path, words: bytes, answer: bytes) -> None:
    certificate, key = make_certificate(tmp_path / "tls")
    gateway = Gateway(
        log=MemoryLog(capacity=100),
        synced=lambda: True,
        registry=CollectorRegistry(),
        http=HttpOptions(host="127.0.0.1", port=0, health_port=0, tls_certificate=certificate, tls_key=key),
        streams=StreamOptions(drain_seconds=0),
        connections=ConnectionLimits(head_seconds=HEAD_SECONDS, idle_seconds=10 * PATIENCE_SECONDS),
    )
    ports = await gateway.start()
    try:
        with socket.create_connection(("127.0.0.1", ports.gateway)) as connection:
            connection.setblocking(False)
            client = EarlyClient(connection, trusting(certificate))
            await client.say(words)
            assert (await client.answer())[: len(answer) or None] == answer
    finally:
        await gateway.stop()
