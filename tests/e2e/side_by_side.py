"""Stories that disturb nobody, told side by side: most of a story's time is a pod's, which starts, proves itself or ends.

A test marked `@side_by_side` is a story. Stories begin a few at a time as soon as pytest comes to the first of them (conftest.py
puts them before the other tests on a cluster), each in a thread and a namespace of its own. pytest then takes their results one
by one, so that each passes or fails as a test of its own, and `-k` and `-x` work as ever. Tests that kill, freeze or flood what
others use aren't marked: they come when all stories are over.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeAlias

import pytest

from local_stack.stack import Stack
from tests.e2e.acting import administrator, fresh_namespace
from tests.e2e.installation import Installation

AT_A_TIME = 4
"""Each starts pods, and a pod that starts takes a core for a second or two: more would wait for each other on two cores."""
_LONGEST_SECONDS = 420
"""Of a story that is a coroutine; it fails after that."""

_Story: TypeAlias = Callable[..., Any]


_GIVEN = frozenset({"user", "installed", "stack"})
"""What a story may ask for by name, beside the parameters that it is parametrized with."""


def side_by_side(story: _Story) -> Callable[..., None]:
    """A test that is a story: it may ask for `user`, `installed`, `stack`, and for no other fixture."""

    def test(request: pytest.FixtureRequest, stories: Stories, **_: Any) -> None:
        stories.result(request.node.nodeid)

    asked = [each for name, each in inspect.signature(test).parameters.items() if name != "_"]
    asked += [each for name, each in inspect.signature(story).parameters.items() if name not in _GIVEN]
    functools.update_wrapper(test, story)
    vars(test)["__signature__"] = inspect.Signature(asked)
    marked: Callable[..., None] = pytest.mark.side_by_side(story=story)(test)
    return marked


def is_story(item: pytest.Item) -> bool:
    return item.get_closest_marker("side_by_side") is not None


class Stories:
    """The stories of a run, and how each of them ended."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._pool = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="story")
        self._ends: dict[str, Future[None]] = {}
        self._telling: set[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = set()
        self._lock = Lock()

    @classmethod
    @contextmanager
    def of(cls, items: Iterable[pytest.Item], stack: Stack) -> Iterator[Stories]:
        """Begin the stories among these tests; those that aren't over when the body is are cancelled."""
        stories = cls(stack)
        try:
            for item in items:
                if mark := item.get_closest_marker("side_by_side"):
                    parameters = getattr(item, "callspec", None)
                    tell = functools.partial(stories._tell, mark.kwargs["story"], {} if parameters is None else parameters.params)
                    stories._ends[item.nodeid] = stories._pool.submit(tell)
            yield stories
        finally:
            stories._pool.shutdown(wait=False, cancel_futures=True)
            stories._cancel()
            stories._pool.shutdown()

    def result(self, nodeid: str) -> None:
        """Wait until a story is over; what it raised is raised."""
        self._ends[nodeid].result()

    def _tell(self, story: _Story, parameters: Mapping[str, Any]) -> None:
        names = inspect.signature(story).parameters
        with fresh_namespace(administrator(self._stack.cluster)) as user:
            given = {"user": user, "installed": Installation(self._stack), "stack": self._stack}
            arguments = {**parameters, **{name: value for name, value in given.items() if name in names}}
            if inspect.iscoroutinefunction(story):
                asyncio.run(self._follow(story, arguments))
            else:
                story(**arguments)

    async def _follow(self, story: _Story, arguments: Mapping[str, Any]) -> None:
        task = asyncio.current_task()
        assert task is not None
        telling = (asyncio.get_running_loop(), task)
        with self._lock:
            self._telling.add(telling)
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                await story(**arguments)
        finally:
            with self._lock:
                self._telling.discard(telling)

    def _cancel(self) -> None:
        with self._lock:
            for loop, task in self._telling:
                loop.call_soon_threadsafe(task.cancel)
