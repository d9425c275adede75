"""What the tests of the embedded servers do by hand: wait, ask, and own a server in a process that can be killed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

SOURCE = Path(__file__).parents[3] / "src"
OWNER = """
import json, sys
from pathlib import Path
from ulak.io.embedded import postgres, valkey
say = lambda **words: print(json.dumps(words), flush=True)
module = {"postgres": postgres, "valkey": valkey}[sys.argv[1]]
extra = {"progress": lambda text: say(progress=text)} if module is postgres else {}
server = module.start(Path(sys.argv[2]), **extra)
say(pid=server.pid, url=server.url)
sys.stdin.read()
"""


class Owner:
    """A process that owns a server until it is killed."""

    def __init__(self, what: str, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, what, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path])},
        )

    def read(self, key: str) -> Any:
        """What it says under `key`; fails when it ends without that, or by the time limit of the test."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if key in (words := json.loads(line)):
                return words[key]
        pytest.fail(f"the owner ended with {self.process.wait()} and said no {key}")

    def kill(self) -> None:
        """SIGKILL, as the kernel's out-of-memory killer would."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


def wait_until(condition: Callable[[], Any], within: float = 60.0) -> float:
    """Poll until `condition` holds; how many seconds that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within, "it did not happen"
        time.sleep(0.01)
    return time.monotonic() - began


def ask(url: str, query: str) -> Any:
    """One value from a database."""

    async def run() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(run())


def modes(root: Path) -> dict[str, tuple[int, int, int]]:
    """Mode, owner and group of `root` and all its parents."""
    return {str(path): (s.st_mode, s.st_uid, s.st_gid) for path in (root, *root.parents) for s in [path.stat()]}
