"""Waiting for a condition that no stream tells, such as what kubectl sees."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def until(condition: Callable[[], T], expected: str, *, within: float = 30, every: float = 0.2) -> T:
    """The first true value of `condition`.

    Raises:
        AssertionError: it isn't true after `within` seconds; `expected` says what was waited for.
    """
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, f"after {within} s still not so: {expected}"
        await asyncio.sleep(every)
    return value
