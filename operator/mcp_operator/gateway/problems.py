"""Every error before the first byte of an answer is a problem document (RFC 9457) that says what would be right."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from mcp_operator.eventlog.encoding import to_json

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
        document = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
            **self.members,
        }
        headers = {**self.headers, "Cache-Control": "no-store", "Content-Type": "application/problem+json"}
        return web.Response(status=self.status, headers=headers, body=to_json(document) + b"\n")


def bad_parameter(parameter: str, value: str, *, expected: str) -> ProblemError:
    """400 for a parameter of the path or the query: which, what it was, what it may be."""
    shown = value if len(value) <= _SHOWN_VALUE else value[:_SHOWN_VALUE] + "…"
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
        return _from_aiohttp(request, error).response()
    except Exception:
        logger.exception("%s %.200r failed", request.method, request.path)
        return ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, "The gateway failed to answer; its log says why").response()


def _from_aiohttp(request: web.Request, error: web.HTTPException) -> ProblemError:
    match error:
        case web.HTTPNotFound():
            detail = f"Nothing is at {request.path}: GET / lists what is"
        case web.HTTPMethodNotAllowed():
            detail = f"{request.method} is not possible here, only {', '.join(sorted(error.allowed_methods))}"
        case _:
            detail = error.reason
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return ProblemError(HTTPStatus(error.status), detail, headers=headers)
