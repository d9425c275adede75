"""How does a test wait without sleeping for luck, and what if the machine lacks what it needs?"""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import pytest


def missing(message: str) -> NoReturn:
    """Something that a test needs is not on this machine: a failure in CI, else the reason of a skip."""
    if "CI" in os.environ:
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def program(*names: str, package: str) -> str:
    """Where a program of the system is, under the first of its names that is found; see ``missing``."""
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return found
    missing(f"needs {names[0]}: install it (Debian: apt-get install {package})")


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
