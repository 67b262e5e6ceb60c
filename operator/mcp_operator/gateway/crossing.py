"""Cross-origin use (CORS): which web pages may use the gateway from a browser, and with what.

Only origins that the settings name are told that they may, with credentials: an origin is never echoed because it asked. Headers
go onto every answer of the application as it is about to be sent, onto errors and the beginnings of streams as well; `serving`
hangs both functions of `CrossOrigin` into the application.
"""

import re
from collections.abc import Collection, Sequence
from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

EXPOSED_HEADERS = ("Event-Cursor", "Mcp-Session-Id", "WWW-Authenticate", "Retry-After")
"""What a page may read of an answer's headers beyond those that every page may."""

REQUEST_HEADERS = ("Authorization", "Last-Event-ID", "Content-Type", "Cache-Control", "traceparent")
"""What a page may send. MCP's own headers come on top, those that it asks for."""

PREFLIGHT_SECONDS = 600
"""How long a browser may remember a preflight's answer."""

_MCP_HEADER = re.compile(r"mcp-[a-z0-9-]{1,64}", re.IGNORECASE)
_MOST_MCP_HEADERS = 32


class CrossOrigin:
    """The origins that may use one gateway."""

    def __init__(self, origins: Collection[str]) -> None:
        """
        Args:
            origins: as browsers write them, scheme://host[:port] in lower case without a default port.
        """
        self._origins = frozenset(origins)

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """For `on_response_prepare`: what a browser has to know of any answer."""
        if not self._origins:
            return
        vary = response.headers.get(hdrs.VARY)
        response.headers[hdrs.VARY] = f"{vary}, {hdrs.ORIGIN}" if vary else hdrs.ORIGIN
        origin = self._allowed(request)
        if origin is not None:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = ", ".join(EXPOSED_HEADERS)

    @web.middleware
    async def answer_options(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """OPTIONS of every URL, a browser's preflight or not: which methods it has. A route of its own for OPTIONS wins."""
        refused = request.match_info.http_exception
        if request.method != hdrs.METH_OPTIONS or not isinstance(refused, web.HTTPMethodNotAllowed):
            return await handler(request)
        methods = allowed_methods(refused)
        headers = {hdrs.ALLOW: methods}
        if self._allowed(request) is not None and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
            headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = methods
            headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = ", ".join((*REQUEST_HEADERS, *_mcp_headers(request)))
            headers[hdrs.ACCESS_CONTROL_MAX_AGE] = str(PREFLIGHT_SECONDS)
        return web.Response(status=HTTPStatus.NO_CONTENT, headers=headers)

    def _allowed(self, request: web.Request) -> str | None:
        """The request's origin if it is one of those that may."""
        origins = request.headers.getall(hdrs.ORIGIN, [])
        return origins[0] if len(origins) == 1 and origins[0] in self._origins else None


def allowed_methods(refused: web.HTTPMethodNotAllowed) -> str:
    """What an `Allow` header says of a URL: its routes' methods, and OPTIONS, which is answered everywhere."""
    return ", ".join(sorted({*refused.allowed_methods, hdrs.METH_OPTIONS}))


def _mcp_headers(request: web.Request) -> Sequence[str]:
    """The names among those that a preflight asks for that are MCP's: a page may send parameters of a tool as headers."""
    asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "").split(",")
    names = dict.fromkeys(name.strip() for name in asked)
    return [name for name in names if _MCP_HEADER.fullmatch(name)][:_MOST_MCP_HEADERS]
