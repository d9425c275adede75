"""How does a test wait without sleeping for luck, and what if the machine lacks what it needs?"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
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


def from_npm(folder: Path, name: str, what: str) -> Path:
    """Where the programs are that a folder's lock file pins, installed once for each state of it; see ``missing``."""
    npm = program("npm", package="npm")
    lock = (folder / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ulak"
    made = cache / f"{name}-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not made.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=cache))
        for file in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(folder / file, fresh)
        command = [npm, "ci", "--ignore-scripts", "--no-progress", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=fresh, capture_output=True, text=True, check=False, timeout=300)
        with suppress(OSError):  # another run may have been quicker
            if done.returncode == 0:
                fresh.rename(made)
        shutil.rmtree(fresh, ignore_errors=True)
        if not made.exists():
            missing(f"needs {what}, which npm could not install: {done.stderr[-500:]}")
    return made / "node_modules" / ".bin"


async def eventually(
    condition: Callable[[], Any | Awaitable[Any]], *, within: float = 30.0, every: float = 0.01, what: str = ""
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


def cpu_seconds(call: Callable[[], object], *, under: float, tries: int = 5) -> float:
    """CPU time of ``call``: of the quickest of some tries, until one is ``under`` so many seconds.

    A collection of garbage that others have left, or a neighbour on the same core, is not the code's.
    """
    least = float("inf")
    for _ in range(tries):
        began = time.process_time()
        call()
        least = min(least, time.process_time() - began)
        if least < under:
            break
    return least
