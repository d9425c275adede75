"""How is the load client started and asked: the program in C where there is a compiler, else one in Python?

Both understand the same lines; ``peers/client.c`` lists them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
PATIENCE = 60.0
"""Seconds that one answer may take."""

SERVER_CORE, CLIENT_CORE = 0, 1


def cache() -> Path:
    """Where compiled and installed things of the benches stay from run to run."""
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "ulak-bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def program() -> list[str]:
    """The load client's command; the one in C is compiled if it has not been."""
    source = FOLDER / "peers" / "client.c"
    compiler = shutil.which("cc")
    if compiler is None:
        return [sys.executable, "-m", "bench.gateway_plain"]
    binary = cache() / f"client-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}"
    if not binary.exists():
        new = binary.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-O2", "-o", str(new), str(source)], check=True)
        new.replace(binary)
    return [str(binary)]


@contextmanager
def core(number: int) -> Iterator[None]:
    """What is started inside runs on this core alone, where the machine has more than one."""
    before = os.sched_getaffinity(0)
    chosen = sorted(before)
    if len(chosen) > 1:
        os.sched_setaffinity(0, {chosen[number % len(chosen)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(slots=True)
class Client:
    """A running load client."""

    process: asyncio.subprocess.Process
    _steps: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    _answers: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)

    def say(self, *lines: str) -> None:
        """Hand over commands that have no answer."""
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines).encode())

    async def ask(self, line: str) -> dict[str, Any]:
        """Hand over a command and wait for its answer."""
        self.say(line)
        async with asyncio.timeout(PATIENCE):
            return await self._answers.get()

    async def expect(self, *lines: str) -> dict[str, Any]:
        """Hand over commands and wait until they hold: what comes from now on is counted so. The counters as yet."""
        self.say(*lines)
        return await self.ask("report")

    async def open(self, number: int, ready: str, hellos: Sequence[str] = (), width: int = 64) -> dict[str, Any]:
        """Open sockets, ``width`` at a time; raises ``RuntimeError`` unless all are open."""
        file = Path("-")
        if hellos:
            file = cache() / f"hellos-{os.getpid()}"
            file.write_text("".join(f"{hello}\n" for hello in hellos))
        try:
            opened = await self.ask(f"open {number} {width} {ready} {file}")
        finally:
            if hellos:
                file.unlink()
        if opened["ready"] != number:
            raise RuntimeError(f"only {opened['ready']} of {number} sockets could be opened")
        return opened

    async def step(self) -> None:
        """Wait until as many more messages have come as ``step`` said."""
        async with asyncio.timeout(PATIENCE):
            await self._steps.get()

    async def tickets(self) -> list[str]:
        """The ticket of each open socket; an empty text where the welcome had none."""
        file = cache() / f"tickets-{os.getpid()}"
        await self.ask(f"tickets {file}")
        lines = file.read_text().splitlines()
        file.unlink()
        return lines

    async def listen(self) -> None:
        """Sort what the process says; runs until it ends."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            said = json.loads(line)
            if "step" in said:
                self._steps.put_nowait(said["step"])
            else:
                self._answers.put_nowait(said)


@asynccontextmanager
async def client(port: int, path: str, subprotocol: str = "-") -> AsyncIterator[Client]:
    """Run a load client beside a server on loopback."""
    with core(CLIENT_CORE):
        process = await asyncio.create_subprocess_exec(
            *program(),
            "127.0.0.1",
            str(port),
            path,
            subprotocol,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=FOLDER.parent,
        )
    running = Client(process)
    listening = asyncio.create_task(running.listen())
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await listening
