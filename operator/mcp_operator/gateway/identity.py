"""Who asks: the one place where a request gets its identity. Everyone is anonymous until the gateway knows rights."""

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


@web.middleware
async def identity_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every request has an identity before any handler sees it."""
    request[IDENTITY] = await identify(request)
    return await handler(request)
