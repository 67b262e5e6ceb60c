"""The form of an answer on the events URLs: the Accept header decides between the stream and the JSON page. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from http import HTTPStatus

from mcp_operator.gateway.problems import ProblemError


class Form(Enum):
    """What an events URL can answer with; the value is its media type."""

    STREAM = "text/event-stream"
    PAGE = "application/json"


_QUALITY = re.compile(r"(0(\.[0-9]{0,3})?|1(\.0{0,3})?)")


def negotiate(accept: Iterable[str]) -> Form:
    """The form that the client likes best: RFC 9110, quality first, then the more exact name. In doubt it is the stream.

    So `*/*`, `text/*` and no header at all mean the stream, and who names application/json beside a wildcard, as many HTTP
    libraries do by themselves, gets an answer that ends.

    Args:
        accept: the values of the request's Accept headers.

    Raises:
        ProblemError: 406, neither form will do.
    """
    ranges = [_media_range(part) for value in accept for part in value.split(",") if part.strip()] or [("*/*", 1.0)]
    stream, page = _preference(Form.STREAM, ranges), _preference(Form.PAGE, ranges)
    if max(stream, page)[0] == 0:
        raise ProblemError(
            HTTPStatus.NOT_ACCEPTABLE,
            "This URL answers with text/event-stream (or */*) as a stream, with application/json as a page of the same events: "
            "name one of them in the Accept header",
            expected="text/event-stream or application/json",
        )
    return Form.PAGE if page > stream else Form.STREAM


def _preference(form: Form, ranges: list[tuple[str, float]]) -> tuple[float, int]:
    """How much a form is liked, and how exactly it was named: the most exact range that covers it says so."""
    names = ("*/*", f"{form.value.partition('/')[0]}/*", form.value)
    found = [(names.index(name), quality) for name, quality in ranges if name in names]
    exactness = max((exactness for exactness, _ in found), default=0)
    return max((quality for each, quality in found if each == exactness), default=0.0), exactness


def _media_range(text: str) -> tuple[str, float]:
    """A media range and its quality; one that can't be read is as good as none."""
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            quality = value.strip()
            return name, float(quality) if _QUALITY.fullmatch(quality) else 1.0
    return name, 1.0
