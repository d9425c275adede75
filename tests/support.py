"""How does a test wait for something without sleeping for luck?"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any


async def eventually(
    condition: Callable[[], Any | Awaitable[Any]], *, within: float = 10.0, every: float = 0.01, what: str = ""
) -> Any:
    """Poll until ``condition`` is true and return its value; fails after ``within`` seconds, naming what it awaited."""
    end = time.monotonic() + within
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {within:g} s: {what or inspect.getsource(condition).strip()}")
        await asyncio.sleep(every)
