"""How are our node and the peers' servers started and told to send, and what do they take of the machine?

Every server gets the same messages of 200 bytes of JSON, which hold ``MARK``. The peers' servers are told by their
standard input, which costs them less than a request would; ours is told by its HTTP API.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.gateway_client import FOLDER, SERVER_CORE, cache, core

MARK = "~m~"
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Taken:
    """What a process and its children have taken: CPU-seconds by mode, and bytes of memory now."""

    user: float
    system: float
    memory: int

    @property
    def cpu(self) -> float:
        """Both modes together."""
        return self.user + self.system


def taken(root: int) -> Taken:
    """Of a process tree, children that have ended included (proc(5), stat and statm)."""
    tree = _tree()
    user = system = memory = 0
    todo = [root]
    while todo:
        pid = todo.pop()
        if pid not in tree:
            continue
        user, system = user + tree[pid][1], system + tree[pid][2]
        memory += _memory(pid)
        todo += [child for child, row in tree.items() if row[0] == pid]
    return Taken(user / _TICK, system / _TICK, memory)


def _tree() -> dict[int, tuple[int, int, int]]:
    """Parent, user ticks and system ticks of every process."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  # called often
        if name.isdigit():
            try:
                fields = Path("/proc", name, "stat").read_text(errors="replace").rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            ticks = [int(value) for value in fields[11:15]]
            found[int(name)] = (int(fields[1]), ticks[0] + ticks[2], ticks[1] + ticks[3])
    return found


def _memory(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (FileNotFoundError, ProcessLookupError):
        return 0


Tell = Callable[[str, int], Awaitable[None]]
"""Has a server send so many messages: ``broadcast``, or ``targeted``, each in a turn of its loop."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is up. ``ready`` marks the frame by which a client knows that it is in, ``hello`` is what the
    client says first, ``acks`` says that it acknowledges what came."""

    pid: int
    port: int
    path: str
    tell: Tell
    subprotocol: str = "-"
    ready: str = "-"
    hello: str = ""
    acks: bool = False

    def taken(self) -> Taken:
        """CPU and memory so far."""
        return taken(self.pid)


async def calm(pid: int, patience: float = 30.0) -> None:
    """Wait until a process tree has done what it had to do: under a tenth of a core for half a second."""
    end, before = time.monotonic() + patience, taken(pid).cpu
    while time.monotonic() < end:
        await asyncio.sleep(0.5)
        now = taken(pid).cpu
        if now - before < 0.05:
            return
        before = now


def raise_limits() -> None:
    """As many open files as we may have; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def most_sockets() -> int:
    """How many sockets one process can hold here, with some files to spare."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 500


def install() -> Path | None:
    """Install the Node peers once; None where there is no Node."""
    if not (shutil.which("node") and shutil.which("npm")):
        return None
    folder = cache() / "node"
    folder.mkdir(exist_ok=True)
    wanted = (FOLDER / "peers" / "package.json").read_text()
    for name in ("ws.js", "socketio.js", "common.js"):
        shutil.copy(FOLDER / "peers" / name, folder / name)
    done = folder / "installed.json"
    if not done.exists() or done.read_text() != wanted:
        (folder / "package.json").write_text(wanted)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True)
        done.write_text(wanted)
    return folder


@asynccontextmanager
async def process(
    *command: str | Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, str | int]]]:
    """A server's process on the servers' core, with the line of JSON that it says when it is up."""
    with core(SERVER_CORE):
        server = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=FOLDER.parent,
            env=environment,
        )
    assert server.stdout is not None
    try:
        line = await server.stdout.readline()
        if not line:
            raise RuntimeError("a server did not start; its message is above")
        yield server, json.loads(line)
    finally:
        if server.returncode is None:
            server.kill()
        await server.wait()


@asynccontextmanager
async def peer(name: str) -> AsyncIterator[Running]:
    """A peer's server: ``ws``, ``socketio`` or ``websockets``."""
    if name == "websockets":
        command: list[str | Path] = [sys.executable, FOLDER / "peers" / "websockets_server.py"]
    else:
        folder = await asyncio.to_thread(install)
        if folder is None:
            raise RuntimeError("the Node peers need node and npm")
        command = ["node", folder / f"{name}.js"]
    async with process(*command) as (server, said):
        tell, port = by_lines(server), int(said["port"])
        if name == "socketio":
            path = "/socket.io/?EIO=4&transport=websocket"
            yield Running(server.pid, port, path, tell, ready="40{", hello="40")
        else:
            yield Running(server.pid, port, "/", tell)


def by_lines(server: asyncio.subprocess.Process) -> Tell:
    """How a server is told by its standard input."""

    async def tell(what: str, number: int) -> None:
        assert server.stdin is not None
        server.stdin.write(f"{what} {number}\n".encode())

    return tell
