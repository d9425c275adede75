"""What does a run stand on, and how is it made sure that nothing of it is left behind?

A PostgreSQL of its own (a child of this process), the sandbox and the node in processes of their own.
Every child is bound to this process's life by the launcher of the embedded servers, so that even a
``kill -9`` of the demo leaves no orphan; the folder is removed when the run ends in any other way.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ulak.cli.demonstration.program import Kill
from ulak.io.embedded import launcher
from ulak.io.embedded.process import LINUX

READY_SECONDS = 60.0
NODE = "demo"
LEASE_SECONDS = 10
LOOPBACK = "127.0.0.1"


class StackError(Exception):
    """A part of the stack did not start or died of itself; the text holds its last words."""


@dataclass(slots=True)
class Child:
    """A process of ours, with everything that it says on its error output in a file."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    async def ready(self) -> dict[str, Any]:
        """The one JSON line that it prints when it is ready; raises ``StackError`` with its last words."""
        assert self.process.stdout is not None  # it is a pipe: see spawn
        try:
            async with asyncio.timeout(READY_SECONDS):
                line = await self.process.stdout.readline()
        except TimeoutError:
            raise StackError(f"{self.name} was not ready in {READY_SECONDS:.0f} s\n{self.last_words()}") from None
        if not line:
            code = await self.process.wait()
            raise StackError(f"{self.name} ended ({code}) before it was ready\n{self.last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def last_words(self, lines: int = 15) -> str:
        """The end of its error output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def kill(self) -> None:
        """SIGKILL."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)

    async def stop(self, grace: float = 10.0) -> None:
        """SIGTERM, then SIGKILL after ``grace`` seconds."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await self.process.wait()
        except TimeoutError:
            self.kill()
            await self.process.wait()


async def spawn(name: str, arguments: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> Child:
    """Start ``python -m ulak ARGUMENTS`` as a child that can't outlive us. Called in the main thread."""
    mode = "exec" if LINUX else "watch"
    head = [sys.executable, "-I", "-S", launcher.__file__, mode, str(os.getpid()), str(int(signal.SIGKILL)), "-1", "-1"]
    log = folder / f"{name}.log"
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *head,
            sys.executable,
            "-m",
            "ulak",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL if LINUX else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=dict(os.environ) | dict(env or {}),
            start_new_session=True,  # Ctrl-C reaches us alone, and we stop it in good order
        )
    return Child(name, process, log)


async def say(name: str, arguments: Sequence[str], folder: Path, env: Mapping[str, str]) -> str:
    """Run a command of ours to its end and return what it printed; raises ``StackError`` when it fails."""
    child = await spawn(name, arguments, folder, env)
    out, _ = await child.process.communicate()
    if child.process.returncode:
        raise StackError(f"`ulak {' '.join(arguments)}` failed\n{child.last_words()}")
    return out.decode()


@dataclass(frozen=True, slots=True)
class Death:
    """One death of the node: where it was meant to happen, and whether the failpoint brought it about."""

    kill: Kill
    at_failpoint: bool


@dataclass(slots=True)
class Keeper:
    """Keeps the node alive: starts it with the next failpoint armed, and again whenever it was killed.

    ``sandbox`` is what the node is told of the fake vendors. ``deaths`` are those that were meant to happen; any other
    end of the node stops the run.
    """

    project: Path
    folder: Path
    database: str
    kills: Sequence[Kill]
    sandbox: Mapping[str, str] = field(default_factory=dict)
    told: Callable[[Death], None] = lambda _death: None
    deaths: list[Death] = field(default_factory=list)
    url: str = ""
    _child: Child | None = None
    _by_hand: bool = False
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def spent(self) -> bool:
        """Whether all kills have happened."""
        return len(self.deaths) >= len(self.kills)

    def environment(self) -> dict[str, str]:
        """What the node is told beside its arguments."""
        env = {"ULAK_DATABASE_URL": self.database, "ULAK_NODE": NODE, "ULAK_LEASE_SECONDS": str(LEASE_SECONDS)}
        env |= self.sandbox
        if not self.spent:
            kill = self.kills[len(self.deaths)]
            env["ULAK_FAILPOINTS"] = f"{kill.failpoint}:{kill.count}"
        return env

    async def start(self) -> None:
        """Start the node; its address stays the same over all its lives."""
        port = self.url.rpartition(":")[2] or "0"
        arguments = ["serve", "--host", LOOPBACK, "--port", port, "--project", str(self.project), "--ready-json"]
        self._child = await spawn("node", arguments, self.folder, self.environment())
        while True:
            try:
                self.url = str((await self._child.ready())["url"]).rstrip("/")
            except StackError:
                if self._child.process.returncode != -signal.SIGKILL or self.spent:
                    raise
                await self._died()  # the backlog of its former life led it to the failpoint before it was ready
                arguments[4] = self.url.rpartition(":")[2] or "0"
                self._child = await spawn("node", arguments, self.folder, self.environment())
                continue
            return

    async def keep(self) -> None:
        """Restart the node whenever it was killed, until it is stopped; raises ``StackError`` if it died of itself."""
        while True:
            assert self._child is not None  # start() comes first
            code = await self._child.process.wait()
            if self._stopping.is_set():
                return
            if code != -signal.SIGKILL or self.spent:
                raise StackError(f"the node ended of itself ({code})\n{self._child.last_words()}")
            await self._died()
            await self.start()

    async def _died(self) -> None:
        death = Death(self.kills[len(self.deaths)], not self._by_hand)
        self._by_hand = False
        async with self._moved:
            self.deaths.append(death)
            self._moved.notify_all()
        self.told(death)

    async def until_deaths(self, number: int) -> None:
        """Wait until the node has died ``number`` times (or as often as it will)."""
        async with self._moved:
            await self._moved.wait_for(lambda: len(self.deaths) >= number or self.spent)

    def kill(self) -> None:
        """Kill it here and now, where its failpoint is not reached."""
        if self._child is not None and not self.spent and self._child.process.returncode is None:
            self._by_hand = True
            self._child.kill()

    async def stop(self) -> None:
        """Let it end in good order."""
        self._stopping.set()
        if self._child is not None:
            await self._child.stop()
