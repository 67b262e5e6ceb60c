"""The API's description over HTTP: /openapi.json for programs, /docs for people. Both are made once, when a gateway starts."""

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus

from aiohttp import ETag, hdrs, web

from mcp_operator.eventlog.encoding import to_json
from mcp_operator.gateway.describing import document
from mcp_operator.gateway.querying import read_parameters
from mcp_operator.gateway.rendering import POLICY, DocumentPage

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
_UNKNOWN_HOST = "127.0.0.1:8080"

_PAGE_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    hdrs.VARY: hdrs.HOST,
}


class DocumentHandlers:
    """The handlers of the URLs that describe the API."""

    def __init__(self) -> None:
        self._openapi, self._page = _made()

    async def openapi(self, request: web.Request) -> web.Response:
        """GET /openapi.json."""
        read_parameters(request.query, ())
        return _answer(request, self._openapi, content_type="application/json", headers={})

    async def page(self, request: web.Request) -> web.Response:
        """GET /docs: with commands that work where the reader is."""
        read_parameters(request.query, ())
        body = self._page.html(f"{request.scheme}://{_host(request)}")
        return _answer(request, body, content_type="text/html", headers=_PAGE_HEADERS)


@cache
def _made() -> tuple[bytes, DocumentPage]:
    described = document()
    return to_json(described) + b"\n", DocumentPage(described)


def _host(request: web.Request) -> str:
    """What the client calls the gateway. People paste it into a shell: whatever isn't a plain address is left out."""
    host = request.headers.get(hdrs.HOST, "")
    return host if _HOST.fullmatch(host) else _UNKNOWN_HOST


def _answer(request: web.Request, body: bytes, *, content_type: str, headers: Mapping[str, str]) -> web.Response:
    """A body that clients may keep as long as they ask each time whether it is still the same."""
    etag = ETag(hashlib.sha256(body).hexdigest()[:32])
    known = request.if_none_match or ()
    if any(each.value in {etag.value, "*"} for each in known):
        response = web.Response(status=HTTPStatus.NOT_MODIFIED)
    else:
        response = web.Response(body=body, content_type=content_type, charset="utf-8" if content_type == "text/html" else None)
    response.headers.update(headers)
    response.headers[hdrs.CACHE_CONTROL] = "no-cache"
    response.etag = etag
    return response
