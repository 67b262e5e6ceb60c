"""Waiting for a condition that no stream tells, such as what kubectl sees."""

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def until(
    condition: Callable[[], Coroutine[Any, Any, T]], expected: str, *, within: float = 60, every: float = 0.1
) -> T: ...
@overload
async def until(condition: Callable[[], T], expected: str, *, within: float = 60, every: float = 0.1) -> T: ...
async def until(condition: Callable[[], Any], expected: str, *, within: float = 60, every: float = 0.1) -> Any:
    """The first true value of `condition`, which may be a coroutine function.

    Raises:
        AssertionError: it isn't true after `within` seconds; `expected` says what was waited for.
    """
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"after {within} s still not so: {expected}"
        await asyncio.sleep(every)
