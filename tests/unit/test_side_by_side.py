"""Stories side by side: they meet, each ends in its own way, and none outlives the run. No cluster: its kubectl is `true`."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from local_stack.stack import Stack
from tests.e2e.acting import User
from tests.e2e.installation import Installation
from tests.e2e.side_by_side import Stories, side_by_side

STACK = cast("Stack", SimpleNamespace(cluster=SimpleNamespace(kubectl="true", kubeconfig="none")))
"""A stack, as far as stories need one."""


def item(name: str, story: Any, **parameters: str) -> pytest.Item:
    """A test as pytest collects it."""
    (mark,) = side_by_side(story).pytestmark  # type: ignore[attr-defined]  # pytest puts it there
    callspec = SimpleNamespace(params=parameters)
    return cast("pytest.Item", SimpleNamespace(nodeid=name, callspec=callspec, get_closest_marker=lambda _: mark))


@pytest.fixture
def meeting() -> Iterator[threading.Barrier]:
    """Where two stories wait for each other."""
    barrier = threading.Barrier(2, timeout=60)
    yield barrier
    barrier.abort()


def test_two_stories_are_told_at_once_in_namespaces_of_their_own(meeting: threading.Barrier) -> None:
    told: dict[str, User] = {}

    async def story(user: User, installed: Installation, who: str) -> None:
        assert installed.stack is STACK
        await asyncio.to_thread(meeting.wait)
        told[who] = user

    with Stories.of([item("a", story, who="Ann"), item("b", story, who="Bob")], STACK) as stories:
        stories.result("a")
        stories.result("b")
    assert told["Ann"].namespace != told["Bob"].namespace


def test_a_story_that_fails_fails_its_own_test_and_no_other() -> None:
    def story(who: str) -> None:
        assert who != "Ann", "it rains"

    with Stories.of([item("a", story, who="Ann"), item("b", story, who="Bob")], STACK) as stories:
        with pytest.raises(AssertionError, match="it rains"):
            stories.result("a")
        stories.result("b")


def test_a_story_that_nobody_waits_for_any_more_is_cancelled() -> None:
    begun, ended = threading.Event(), threading.Event()

    async def story() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    with Stories.of([item("a", story)], STACK):
        assert begun.wait(60)
    assert ended.is_set()


def test_pytest_is_asked_for_the_parameters_alone() -> None:
    async def story(user: User, installed: Installation, who: str) -> None: ...

    assert list(inspect.signature(side_by_side(story)).parameters) == ["request", "stories", "who"]
