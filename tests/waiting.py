"""Waiting for a condition that no stream tells, such as what kubectl sees."""

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def until(
    condition: Callable[[], Coroutine[Any, Any, T]], expected: str, *, within: float = 60, every: float | None = None
) -> T: ...
@overload
async def until(condition: Callable[[], T], expected: str, *, within: float = 60, every: float | None = None) -> T: ...
async def until(condition: Callable[[], Any], expected: str, *, within: float = 60, every: float | None = None) -> Any:
    """The first true value of `condition`, which may be a coroutine function.

    It is asked again after `every` seconds; by default after 0.1 s, or twice as long as asking took, so that tests that wait for
    what a command says leave the processors to those who make it true.

    Raises:
        AssertionError: it isn't true after `within` seconds; `expected` says what was waited for.
    """
    deadline = time.monotonic() + within
    while True:
        asked = time.monotonic()
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        now = time.monotonic()
        assert now < deadline, f"after {within} s still not so: {expected}"
        await asyncio.sleep(max(0.1, 2 * (now - asked)) if every is None else every)
