"""Who asks: the one place where a request gets its identity. Everyone is anonymous until the gateway knows rights."""

import ipaddress
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler


@dataclass(frozen=True, slots=True)
class Identity:
    """Whoever sent a request."""

    name: str


ANONYMOUS = Identity("anonymous")

IDENTITY = web.RequestKey("identity", Identity)


async def identify(request: web.Request) -> Identity:
    """The identity behind a request."""
    return ANONYMOUS


def client_of(request: web.Request) -> str:
    """Whose share of the gateway a request uses: its identity's, or its address's while it has none.

    An IPv6 subscriber has a whole /64 to itself, which counts as one. Behind a proxy all the anonymous share the proxy's address.
    """
    identity = request[IDENTITY]
    if identity != ANONYMOUS:
        return f"identity {identity.name}"
    return f"address {_network(request.remote or 'unknown')}"


def _network(remote: str) -> str:
    try:
        address = ipaddress.ip_address(remote.partition("%")[0])
    except ValueError:
        return remote
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


@web.middleware
async def identity_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every request has an identity before any handler sees it."""
    request[IDENTITY] = await identify(request)
    return await handler(request)
