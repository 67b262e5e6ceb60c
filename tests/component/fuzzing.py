"""Broken requests, drawn at random: what a fuzzing client sends a gateway, and how it behaves meanwhile.

The tests play a short series. `python -m tests.component.fuzzing HOST:PORT --seconds 3600` plays a long one against a gateway
that runs somewhere, and asks after every hundred connections whether it still serves. The seed is printed: with it the same bytes
are sent again.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise

from tests.component.raw_http import RawClient, raw_client

_PATHS = [
    "/",
    "/api/servers",
    "/api/servers/weather",
    "/api/events",
    "/api/servers/weather/events",
    "/api/servers/../events",
    "/api/servers/%2e%2e/events",
    "/api/servers/%00/events",
    "/api/servers/a%2Fb",
    "*",
    "//api//events",
    "/api/events/",
    "http://a/api/events",
    "http://[::1/api/events",
    "/\xff\xfe",
    "/api/events?" + "&" * 500,
    "/api/events#x",
    "/%",
    "/api/events?%zz",
]
_QUERIES = [
    "",
    "?types=status",
    "?types=",
    "?named=0",
    "?last_event_id=x-1",
    "?grep=%ff%fe",
    "?namespace=a,b",
    "?tail=99999999999",
    "?since=5m",
    "?selector=a%3Db",
    "?servers=x",
    "?limit=5&wait=1s",
    "?" + "types=status&" * 50,
]
_METHODS = ["GET"] * 8 + ["HEAD", "OPTIONS", "POST", "DELETE", "CONNECT", "TRACE", "get", "M-SEARCH", "\x00GET", "PRI"]
_VERSIONS = ["HTTP/1.1"] * 8 + ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9.9", "", "HTTP/1.1 x", "ICY"]
_HEADERS = [
    "Accept: text/event-stream",
    "Accept: application/json",
    "Accept: */*;q=\xff",
    "Last-Event-ID: \x01",
    "Last-Event-ID: a-1",
    "Last-Event-ID: " + "9" * 500,
    "Content-Length: 5",
    "Content-Length: -5",
    "Content-Length: 99999999999999999999",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked, chunked",
    "Connection: close",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Upgrade: h2c",
    "Expect: 100-continue",
    "Expect: x",
    "Origin: https://evil.example",
    ": x",
    "X",
    "Host: b",
    "Host: [",
    "X: " + "x" * 9000,
    " folded",
    "Content-Encoding: gzip",
    "Cookie: \x00",
    "Range: bytes=0-",
    "Authorization: Basic \xff",
    "Access-Control-Request-Headers: " + "mcp-x," * 300,
    "\xa0: \xa0",
]
_BODIES = [
    b"",
    b"hello",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"ZZ\r\n",
    b"fffffffffffffffff\r\n",
    b"5\r\nhel",
    b"\x00" * 5000,
    b"-1\r\n\r\n",
    b"0\r\nX: y\r\n\r\n",
    b"\x1f\x8b\x08\x00",
]


def broken_request(source: random.Random) -> bytes:
    """A request that may be nearly right, or far from it."""
    line = " ".join((source.choice(_METHODS), source.choice(_PATHS) + source.choice(_QUERIES), source.choice(_VERSIONS)))
    headers = ["Host: gateway"] * source.choice((0, 1, 1, 1, 1)) + source.sample(_HEADERS, source.choice((0, 0, 1, 1, 2, 3, 8)))
    end = source.choice(("\r\n", "\r\n", "\r\n", "\n", "\r"))
    request = end.join([line, *headers, "", ""]).encode("latin-1") + source.choice(_BODIES)
    for _ in range(source.choice((0, 0, 0, 1, 2, 10))):
        request = source.choice(_DAMAGES)(request, source)
    return request


def _insert(data: bytes, source: random.Random) -> bytes:
    at = source.randrange(len(data) + 1)
    return data[:at] + source.randbytes(source.choice((1, 1, 4, 100))) + data[at:]


def _remove(data: bytes, source: random.Random) -> bytes:
    at = source.randrange(len(data) + 1)
    return data[:at] + data[at + source.choice((1, 1, 4, 20)) :]


def _flip(data: bytes, source: random.Random) -> bytes:
    if not data:
        return data
    at = source.randrange(len(data))
    return data[:at] + bytes((data[at] ^ (1 << source.randrange(8)),)) + data[at + 1 :]


def _double(data: bytes, source: random.Random) -> bytes:
    begin, end = sorted(source.randrange(len(data) + 1) for _ in "12")
    return data[:end] + data[begin:end] + data[end:]


_DAMAGES: Sequence[Callable[[bytes, random.Random], bytes]] = (_insert, _remove, _flip, _double)


async def attack(address: tuple[str, int], source: random.Random) -> bytes:
    """One connection with a few broken requests, that is left in one of many ways. What came back."""
    requests = b"".join(broken_request(source) for _ in range(source.choice((1, 1, 1, 2, 5))))
    pieces = _cut(requests, source)
    received = b""
    with suppress(OSError):
        async with raw_client(address) as client:
            for piece in pieces:
                client.writer.write(piece)
                await client.writer.drain()
                if source.random() < 0.3:
                    received += await _taste(client, source)
            match source.randrange(4):
                case 0:
                    client.send_no_more()
                    received += await _taste(client, source)
                case 1:
                    client.writer.close()
                case 2:
                    received += await _taste(client, source)
                case _:
                    pass  # it is cut
    return received


def _cut(data: bytes, source: random.Random) -> list[bytes]:
    places = sorted({0, len(data), *(source.randrange(len(data) + 1) for _ in range(source.choice((0, 0, 1, 3, 10))))})
    return [data[begin:end] for begin, end in pairwise(places)]


async def _taste(client: RawClient, source: random.Random) -> bytes:
    """A little of what comes, if something comes soon. Not to synchronise with anything: haste is part of the attack."""
    try:
        async with asyncio.timeout(0.02):
            return await client.reader.read(source.choice((1, 10, 1000)))
    except TimeoutError:
        return b""


async def _alive(address: tuple[str, int]) -> None:
    async with raw_client(address) as client:
        client.get("/")
        answer = await client.answer()
        if answer.status != 200:
            raise RuntimeError(f"the gateway answers {answer.status}")


async def _series(address: tuple[str, int], *, seconds: float, seed: int) -> int:
    source = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        await attack(address, source)
        count += 1
        if count % 100 == 0:
            await _alive(address)
    await _alive(address)
    return count


def main() -> None:
    """Play a series against one gateway."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    given = parser.parse_args()
    host, _, port = given.address.rpartition(":")
    sys.stdout.write(f"seed {given.seed}\n")
    count = asyncio.run(_series((host, int(port)), seconds=given.seconds, seed=given.seed))
    sys.stdout.write(f"{count} connections; the gateway serves\n")


if __name__ == "__main__":
    main()
