"""Every error before the first byte of an answer is a problem document (RFC 9457) that says what would be right."""

import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import http_exceptions, web
from aiohttp.typedefs import Handler
from aiohttp.web_request import BaseRequest

from mcp_operator.eventlog.encoding import to_json
from mcp_operator.gateway.admitting import Refusal
from mcp_operator.gateway.crossing import allowed_methods

logger = logging.getLogger(__name__)

_SHOWN_VALUE = 200


class ProblemError(Exception):
    """Ends the handling of a request with this answer.

    `members` are extension members of the document: a bad parameter has `parameter`, `value` and `expected`.
    """

    def __init__(self, status: HTTPStatus, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}
        self.members = members

    def response(self) -> web.Response:
        return web.Response(status=self.status, headers=self._headers(), body=self._body())

    def raw_response(self) -> bytes:
        """The answer as it goes onto a connection that is closed after it, where there is no request to answer."""
        body = self._body()
        headers = {**self._headers(), "Content-Length": str(len(body)), "Connection": "close"}
        lines = [f"HTTP/1.1 {self.status.value} {self.status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("ascii") + body

    def _headers(self) -> Mapping[str, str]:
        return {**self.headers, "Cache-Control": "no-store", "Content-Type": "application/problem+json"}

    def _body(self) -> bytes:
        document = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
            **self.members,
        }
        return to_json(document) + b"\n"


def bad_parameter(parameter: str, value: str, *, expected: str) -> ProblemError:
    """400 for a parameter of the path or the query: which, what it was, what it may be."""
    shown = _shown(value)
    return ProblemError(
        HTTPStatus.BAD_REQUEST,
        f"{parameter}={shown} can't be used: expected {expected}",
        parameter=parameter,
        value=shown,
        expected=expected,
    )


def not_ready(*, retry_after_seconds: int) -> ProblemError:
    """503 while the gateway doesn't know the whole cluster yet."""
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The operator has not read the whole cluster yet: ask again soon",
        headers={"Retry-After": str(retry_after_seconds)},
    )


def overloaded(refusal: Refusal) -> ProblemError:
    """503 for what isn't an event stream, while the gateway has as much to do as it may."""
    seconds = refusal.least_retry_ms + secrets.randbelow(refusal.most_retry_ms - refusal.least_retry_ms + 1)
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The gateway has as much to do as it may: ask again later",
        headers={"Retry-After": str(-(-seconds // 1000))},
        reason=refusal.reason,
    )


def unreadable(error: BaseException | None) -> ProblemError:
    """The answer to what aiohttp can't read as a request."""
    match error:
        case http_exceptions.LineTooLong():
            return ProblemError(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"The request line, or a header, is longer than {error.args[1]} bytes",
            )
        case http_exceptions.BadHttpMessage() if error.message.startswith("Too many headers"):
            return ProblemError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The request has too many headers")
        case _:
            return ProblemError(HTTPStatus.BAD_REQUEST, "This can't be read as an HTTP/1.1 request")


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer with a problem document wherever a handler or aiohttp itself gives up."""
    try:
        return await handler(request)
    except ProblemError as problem:
        return problem.response()
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        return from_aiohttp(request, error).response()
    except Exception:
        logger.exception("%s %.200r failed", request.method, request.path)
        return ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, "The gateway failed to answer; its log says why").response()


def from_aiohttp(request: BaseRequest, error: web.HTTPException) -> ProblemError:
    """The document of an error that aiohttp itself found."""
    headers = {}
    match error:
        case web.HTTPNotFound():
            detail = f"Nothing is at {_shown(request.path)}: GET / lists what is"
        case web.HTTPMethodNotAllowed():
            headers["Allow"] = allowed_methods(error)
            detail = f"{_shown(request.method)} is not possible here, only {headers['Allow']}"
        case web.HTTPExpectationFailed():
            detail = "The only expectation that can be met is 100-continue"
        case _:
            detail = error.reason
    return ProblemError(HTTPStatus(error.status), detail, headers=headers)


def _shown(value: str) -> str:
    return value if len(value) <= _SHOWN_VALUE else value[:_SHOWN_VALUE] + "…"
