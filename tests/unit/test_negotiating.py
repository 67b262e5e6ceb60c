"""Which form an Accept header means: the stream, the JSON page, or neither."""

from __future__ import annotations

import pytest

from mcp_operator.gateway.negotiating import Form, negotiate
from mcp_operator.gateway.problems import ProblemError

STREAM, PAGE = Form.STREAM, Form.PAGE


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ([], STREAM),
        ([""], STREAM),
        (["*/*"], STREAM),
        (["text/event-stream"], STREAM),
        (["text/*"], STREAM),
        (["TEXT/Event-Stream ; q=0.5"], STREAM),
        (["application/json"], PAGE),
        (["Application/JSON; charset=utf-8"], PAGE),
        (["application/*"], PAGE),
        # named beside a wildcard, as HTTP libraries do: an answer that ends
        (["application/json, text/plain, */*"], PAGE),
        (["application/json,text/html,application/xml,text/*;q=0.9, image/*;q=0.8, */*;q=0.7"], PAGE),
        (["application/json", "*/*"], PAGE),
        (["*/*", "application/json"], PAGE),
        # both by name: the stream is what the URL is for
        (["application/json, text/event-stream"], STREAM),
        (["text/event-stream", "application/json"], STREAM),
        # quality counts first
        (["text/event-stream;q=0.4, application/json;q=0.5"], PAGE),
        (["text/event-stream;q=0.5, application/json;q=0.4"], STREAM),
        (["*/*, application/json;q=0.9"], STREAM),
        (["application/json;q=0.1, */*;q=0.05"], PAGE),
        (["text/*;q=0.3, text/event-stream;q=0.8, application/json;q=0.5"], STREAM),
        (["text/*, text/event-stream;q=0.2, application/json;q=0.5"], PAGE),
        (["text/event-stream;q=0, */*"], PAGE),
        (["application/json;q=0, */*"], STREAM),
        (["application/json;q=1.000, text/event-stream;q=0.999"], PAGE),
        # what can't be read is as good as not said
        (["application/json;q=lots, text/event-stream;q=0.9"], PAGE),
        (["application/json;q=0.0001, text/event-stream;q=0.9"], PAGE),
        ([",,; , application/json"], PAGE),
        (["image/*, application/json;q=0.9"], PAGE),
    ],
)
def test_the_form_that_is_liked_best_wins_and_in_doubt_the_stream(accept: list[str], form: Form) -> None:
    assert negotiate(accept) is form


@pytest.mark.parametrize(
    "accept",
    [
        ["text/html"],
        ["image/png, application/xml;q=0.9"],
        ["application/json;q=0"],
        ["*/*;q=0"],
        ["text/event-stream;q=0, application/json;q=0.000"],
        ["application/jsonl"],
        ["json"],
        [";q=1"],
        ["*"],
    ],
)
def test_neither_will_do(accept: list[str]) -> None:
    with pytest.raises(ProblemError) as refused:
        negotiate(accept)
    assert refused.value.status == 406
    assert refused.value.members == {"expected": "text/event-stream or application/json"}
