"""What lies where in a data directory, who owns it now, and where the server's socket is.

    DIR/                0700 (0711 when root made it, so that the server's account can pass)
      owner.lock        flock held by the process that runs the server; its pid and start time inside
      server.json       identity and URL of the running server, for others who want to connect
      postgres/         PostgreSQL's own data directory, 0700, of the server's account
      socket/           0700, of the server's account; under /tmp when the path is too long for a socket
      log/, pg_hba.conf, pg_ident.conf, programs/

Nothing that existed before is ever chmod-ed or chown-ed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ulak.io.embedded.account import Account
from ulak.io.embedded.errors import AlreadyOwned, EmbeddedError
from ulak.io.embedded.process import ProcessId, identify

LONGEST_SOCKET_PATH = 107  # bytes of sun_path without its NUL; 103 on macOS
SHORT_PREFIX = "ulak-"


def make_directory(path: Path, *, mode: int, account: Account | None = None) -> None:
    """Create `path` with `mode` (and give it to `account`), or leave it entirely alone when it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise EmbeddedError(f"{path} exists and is not a directory.") from None
        return
    path.chmod(mode)
    if account:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def make_root_directory(path: Path) -> None:
    """Create the data directory if needed; refuse one in which strangers could plant files."""
    try:
        make_directory(path, mode=0o711 if os.geteuid() == 0 else 0o700)
        status = path.stat()
    except OSError as error:
        raise EmbeddedError(f"Cannot create the data directory {path}: {error.strerror}.") from error
    if status.st_mode & stat.S_IWOTH:
        raise EmbeddedError(
            f"The data directory {path} is writable by everybody.",
            "Choose a directory of its own, such as one below it.",
        )
    if (path / "PG_VERSION").exists():
        raise EmbeddedError(
            f"{path} is itself a data directory of PostgreSQL.",
            "Ulak keeps its own in a subdirectory: choose another one, or set ULAK_DATABASE_URL to use that server.",
        )
    if not os.access(path, os.W_OK | os.X_OK):
        raise EmbeddedError(
            f"User id {os.geteuid()} may not write to the data directory {path} of user id {status.st_uid}.",
            "Run as its owner or choose another data directory.",
        )


@dataclass(frozen=True)
class Lock:
    """The right to run the servers of one data directory; it ends with this process, however that ends."""

    descriptor: int

    def release(self) -> None:
        """Let others have the directory."""
        os.close(self.descriptor)


def lock(directory: Path, name: str, record: str) -> Lock:
    """Take the lock file `name` of `directory` or raise AlreadyOwned with what the file `record` says of the server."""
    path = directory / name
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EmbeddedError(f"Cannot open {path}: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(descriptor, 100).decode("ascii", "replace").split()
        os.close(descriptor)
        pid = int(text[0]) if text and text[0].isdigit() else None
        who = f"process {pid}" if pid else "another process"
        message = f"The data directory {directory} is already owned by {who}."
        raise AlreadyOwned(message, pid=pid, url=read_url(directory / record)) from None
    me = identify(os.getpid())
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()} {me.start if me else ''}\n".encode(), 0)
    return Lock(descriptor)


def write_file(path: Path, text: str, *, mode: int) -> None:
    """Replace a file of ours at once, so that no reader sees half of it."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
    new.replace(path)


def write_record(path: Path, server: ProcessId, url: str) -> None:
    """Tell others which server runs and how to reach it."""
    write_file(path, json.dumps({"pid": server.pid, "start": server.start, "url": url}) + "\n", mode=0o600)


def read_url(path: Path) -> str | None:
    """The URL of the server recorded at `path` if exactly that server still runs."""
    record = _read_json(path)
    try:
        server, url = ProcessId(int(record["pid"]), str(record["start"])), str(record["url"])
    except (KeyError, TypeError, ValueError):
        return None
    return url if server.alive() else None


def socket_directory(directory: Path, socket_name: str, account: Account | None, record: Path) -> Path:
    """A private directory for a socket: `directory`, or a short random one when that path cannot hold a socket.

    A comma in the path also asks for the short one, since both PostgreSQL and its clients split lists there. The
    short one is noted in the file `record`, so that the next start can remove what a crash left behind.
    """
    forget_short_directory(record)
    path = str(directory)
    if len(os.fsencode(directory / socket_name)) <= LONGEST_SOCKET_PATH and "," not in path:
        make_directory(directory, mode=0o700, account=account)
        return directory
    short = Path(tempfile.mkdtemp(prefix=SHORT_PREFIX, dir=_short_base(account)))  # 0700, and nobody can guess it
    if account:
        os.chown(short, account.uid, account.gid)
    write_file(record, f"{short}\n", mode=0o600)
    return short


def _short_base(account: Account | None) -> str:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    usable = account is None and 0 < len(runtime) < 60 and "," not in runtime and os.access(runtime, os.W_OK | os.X_OK)
    return runtime if usable else "/tmp"  # noqa: S108  # $TMPDIR may be as long as the path that we flee


def forget_short_directory(record: Path) -> None:
    """Remove the short socket directory that the file `record` names, if there is one, and the file."""
    if not record.exists():
        return
    short = Path(record.read_text().strip())
    if short.name.startswith(SHORT_PREFIX) and short.is_dir() and not short.is_symlink():
        shutil.rmtree(short, ignore_errors=True)  # a leftover in /tmp harms nothing
    record.unlink()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
