"""A list and its watch, line by line: what comes out as changes, and which lines mean that the list must be read again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.apiserver.errors import ApiError
from mcp_operator.cluster.watching import Change, Lines, Reflection
from mcp_operator.model.base import Object
from tests.builders import having, pod, uid


def keep(body: dict[str, Any]) -> Object:
    return body


def line(kind: str, body: Object) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode()


def versioned(name: str, version: int, identity: str | None = None) -> dict[str, Any]:
    return pod(name, having("metadata.resourceVersion", str(version)), uid(identity or f"uid-of-{name}"))


def page(*items: Object, version: int = 10, token: str | None = None) -> Object:
    return {"metadata": {"resourceVersion": str(version), **({"continue": token} if token else {})}, "items": list(items)}


def error(**status: Any) -> Object:
    return {"type": "ERROR", "object": {"kind": "Status", **status}}


def listed(*items: Object) -> Reflection:
    reflection = Reflection(trim=keep)
    reflection.start_list()
    reflection.read_page(page(*items))
    return reflection


def names(changes: list[Change]) -> list[tuple[str | None, str | None]]:
    """Name and version before and after."""

    def name(body: Object | None) -> str | None:
        return None if body is None else f"{body['metadata']['name']}@{body['metadata']['resourceVersion']}"

    return [(name(change.old), name(change.new)) for change in changes]


def test_the_first_list_tells_every_object_as_new_and_a_watch_starts_from_its_version() -> None:
    reflection = Reflection(trim=keep)
    reflection.start_list()
    assert reflection.resource_version is None

    assert reflection.read_page(page(versioned("a-1-x", 1), token="more")) == ("more", [])
    token, changes = reflection.read_page(page(versioned("b-1-x", 2), version=12))

    assert token is None
    assert names(changes) == [(None, "a-1-x@1"), (None, "b-1-x@2")]
    assert reflection.resource_version == "12"


def test_a_watch_tells_what_is_added_changed_and_deleted_with_what_was_before() -> None:
    reflection = listed()
    lines = [
        line("ADDED", versioned("a-1-x", 11)),
        line("MODIFIED", versioned("a-1-x", 12)),
        line("DELETED", versioned("a-1-x", 13)),
    ]
    changes = [change for each in lines if (change := reflection.read_line(each)) is not None]

    assert names(changes) == [(None, "a-1-x@11"), ("a-1-x@11", "a-1-x@12"), ("a-1-x@13", None)]
    assert not reflection.objects
    assert reflection.resource_version == "13"


def test_a_change_knows_when_a_watch_told_of_it_and_not_when_a_list_did() -> None:
    reflection = Reflection(trim=keep)
    reflection.start_list()
    _, [listed_] = reflection.read_page(page(versioned("a-1-x", 1)))
    changed = reflection.read_line(line("MODIFIED", versioned("a-1-x", 11)), observed=7.5)
    deleted = reflection.read_line(line("DELETED", versioned("a-1-x", 12)), observed=8.5)
    assert [change and change.observed for change in (listed_, changed, deleted)] == [None, 7.5, 8.5]


def test_a_bookmark_moves_the_version_and_tells_nothing() -> None:
    reflection = listed(versioned("a-1-x", 1))
    assert reflection.read_line(line("BOOKMARK", {"metadata": {"resourceVersion": "99"}})) is None
    assert reflection.resource_version == "99"


def test_a_list_replaces_what_was_held() -> None:
    reflection = listed(versioned("kept-1-x", 1), versioned("changed-1-x", 2), versioned("gone-1-x", 3))
    reflection.start_list()
    _, changes = reflection.read_page(page(versioned("kept-1-x", 1), versioned("changed-1-x", 20), versioned("new-1-x", 21)))

    assert names(changes) == [("gone-1-x@3", None), ("changed-1-x@2", "changed-1-x@20"), (None, "new-1-x@21")]
    assert {body["metadata"]["name"] for body in reflection.objects.values()} == {"kept-1-x", "changed-1-x", "new-1-x"}


def test_an_object_deleted_and_created_again_in_a_gap_is_told_as_another_one() -> None:
    reflection = listed(versioned("a-1-x", 1, "first"))
    reflection.start_list()
    _, changes = reflection.read_page(page(versioned("a-1-x", 20, "second")))
    assert names(changes) == [("a-1-x@1", None), (None, "a-1-x@20")]


def test_a_list_that_was_not_completed_leaves_no_trace() -> None:
    reflection = listed(versioned("a-1-x", 1))
    reflection.start_list()
    reflection.read_page(page(versioned("half-1-x", 5), token="expired"))
    reflection.start_list()
    _, changes = reflection.read_page(page(versioned("a-1-x", 1)))
    assert changes == []
    assert len(reflection.objects) == 1


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        pytest.param(error(code=410, reason="Expired", message="too old"), 410, "Expired", id="410"),
        pytest.param(error(code=500, message="etcd is away"), 500, "WatchError", id="500"),
        pytest.param({"type": "ERROR", "object": {}}, 500, "WatchError", id="an error that says nothing"),
        pytest.param({"type": "RENAMED", "object": versioned("a-1-x", 1)}, None, "Malformed", id="an unknown type"),
        pytest.param({"type": "ADDED", "object": {"metadata": {}}}, None, "Malformed", id="an object without a version"),
        pytest.param({"type": "ADDED", "object": None}, None, "Malformed", id="no object"),
        pytest.param([], None, "Malformed", id="no event"),
        pytest.param("<html>502 Bad Gateway</html>", None, "Malformed", id="a proxy's answer"),
    ],
)
def test_lines_after_which_the_list_is_read_again(said: Any, status: int | None, reason: str) -> None:
    with pytest.raises(ApiError) as caught:
        listed().read_line(json.dumps(said).encode())
    assert (caught.value.status, caught.value.reason) == (status, reason)


@pytest.mark.parametrize(
    "answer", [{}, {"metadata": {}}, {"metadata": {"resourceVersion": "1"}, "items": [{}]}, {"metadata": None}]
)
def test_an_answer_that_is_no_list_is_an_error_that_keeps_what_is_held(answer: Any) -> None:
    reflection = listed(versioned("a-1-x", 1))
    reflection.start_list()
    with pytest.raises(ApiError, match="Malformed"):
        reflection.read_page(answer)
    assert len(reflection.objects) == 1


def test_a_line_cut_off_at_the_end_is_an_error() -> None:
    lines = Lines()
    assert lines.read(b'{"type": "ADDED"') == []
    with pytest.raises(ApiError, match="Truncated"):
        lines.end()


@given(st.lists(st.binary(max_size=20).map(lambda raw: raw.replace(b"\n", b""))), st.data())
def test_lines_are_the_same_however_they_are_cut_into_chunks(wanted: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(each + b"\n" for each in wanted)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    lines = Lines()
    got = [each for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True) for each in lines.read(stream[start:end])]
    lines.end()
    assert got == wanted


@st.composite
def stories(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Writes to three names, seen by the watch or missed by it; a relist after any of them."""
    step = st.tuples(st.sampled_from(["write", "delete", "missed write", "missed delete", "relist"]), st.sampled_from("abc"))
    return draw(st.lists(step, max_size=40))


@given(stories(), st.integers(1, 3))
def test_after_a_relist_the_reflection_is_what_the_api_server_holds(story: list[tuple[str, str]], limit: int) -> None:
    truth: dict[str, dict[str, Any]] = {}
    told: dict[str, Object] = {}
    reflection = listed()
    version = 100

    def follow(changes: list[Change]) -> None:
        for change in changes:
            key = change.object["metadata"]["uid"]
            if change.new is None:
                assert key in told, "only what was told is told as gone"
                del told[key]
            else:
                assert (change.old is not None) == (key in told)
                told[key] = change.new

    def relist() -> None:
        items = list(truth.values())
        reflection.start_list()
        token: str | None = "0"
        while token is not None:
            start = int(token)
            rest = str(start + limit) if start + limit < len(items) else None
            token, changes = reflection.read_page(page(*items[start : start + limit], version=version, token=rest))
            follow(changes)

    for action, name in [*story, ("relist", "a")]:
        version += 1
        missed = action.startswith("missed")
        if action.endswith("write"):
            known = name in truth
            identity = truth[name]["metadata"]["uid"] if known else f"{name}-{version}"
            truth[name] = versioned(f"{name}-1-x", version, identity)
            said = None if missed else line("MODIFIED" if known else "ADDED", truth[name])
        elif action.endswith("delete"):
            body = truth.pop(name, None)
            known_to_watch = body is not None and body["metadata"]["uid"] in told
            said = line("DELETED", body) if body is not None and known_to_watch and not missed else None
        else:
            relist()
            said = None
            assert {body["metadata"]["uid"] for body in truth.values()} == set(reflection.objects) == set(told)
        if said is not None:
            change = reflection.read_line(said)
            assert change is not None
            follow([change])
    assert told == dict(reflection.objects)
