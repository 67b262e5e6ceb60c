"""JSON from the API server: whatever it holds is read, and what is nested too deep is cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.apiserver.parsing import parse_json

_LEAVES = st.none() | st.booleans() | st.integers() | st.text()
_JSON = st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def nested(levels: int) -> str:
    return '{"a": [' * (levels // 2) + "1" + "]}" * (levels // 2)


def test_one_object_that_is_nested_too_deep_does_not_hide_the_others() -> None:
    page = f'{{"items": [{{"name": "deep", "spec": {nested(9000)}}}, {{"name": "next \\"{{", "spec": {{}}}}]}}'.encode()
    items = parse_json(page)["items"]
    assert [item["name"] for item in items] == ["deep", 'next "{']
    assert _depth(items[0]["spec"]) > 32, "deep enough that it is still refused as too deep"


@given(_JSON)
def test_all_else_is_read_as_it_is(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value


def test_what_is_not_json_is_an_error() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        parse_json(b"<html>")


def _depth(value: Any) -> int:
    depth = 0
    while isinstance(value, dict | list) and value:
        value = value["a"] if isinstance(value, dict) else value[0]
        depth += 1
    return depth
