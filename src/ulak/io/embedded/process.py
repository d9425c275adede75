"""What proves that a process lives and is the one we mean, and how a child is started that cannot outlive us.

Theory: a pid alone proves nothing. It may have been recycled or belong to a zombie, so a process is its pid *and* its
start time, and a zombie is dead. The parent-death signal of Linux belongs to the thread that forked: when that thread
ends, the child is told that its parent died. So only the main thread may start one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ulak.io.embedded.account import Account
from ulak.io.embedded.errors import EmbeddedError

LINUX = sys.platform == "linux"
# Nothing else of our environment reaches the server, which may run as another user: secrets stand in there.
KEPT_ENVIRONMENT = ("PATH", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH")
_STATE, _START = 0, 19  # fields 3 and 22 of /proc/PID/stat, counted from behind the command's closing parenthesis


@dataclass(frozen=True)
class ProcessId:
    """One process for ever: the pid and when it was started (clock ticks after boot on Linux, else text of ps)."""

    pid: int
    start: str

    def alive(self) -> bool:
        """True while exactly this process runs (a zombie does not)."""
        return start_of(self.pid) == self.start


def start_of(pid: int) -> str | None:
    """When process `pid` was started, or None if there is none or only its zombie."""
    return _start_from_proc(pid) if LINUX else _start_from_ps(pid)


def identify(pid: int) -> ProcessId | None:
    """The identity of a process that runs now; None if it does not."""
    start = start_of(pid)
    return None if start is None else ProcessId(pid, start)


def _start_from_proc(pid: int) -> str | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[_STATE] in "ZXx" else fields[_START]


def _start_from_ps(pid: int) -> str | None:
    command = ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    state, _, start = text.partition(" ")
    return None if not state or state.startswith("Z") else start.strip()


def works_in(pid: int, directory: Path) -> bool:
    """Whether process `pid` has `directory` as its working directory; only Linux can tell, else True (unproven)."""
    if not LINUX:
        return True
    try:
        return Path(f"/proc/{pid}/cwd").samefile(directory)
    except OSError:  # gone, or another user's and so never one that serves from our directory
        return False


def servers_in(directory: Path, program: str) -> list[int]:
    """Pids of the living processes named `program` that work in `directory` (Linux; elsewhere none can be known)."""
    if not LINUX:
        return []
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    named = [pid for pid in pids if _command(pid) == program]
    return [pid for pid in named if works_in(pid, directory) and start_of(pid) is not None]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        return ""


def require_main_thread() -> None:
    """Refuse to fork where the child's parent-death signal would fire at the end of a mere thread."""
    if (threading.get_native_id() != os.getpid()) if LINUX else (threading.current_thread().name != "MainThread"):
        raise EmbeddedError(
            "An embedded server must be started from the main thread: it dies with the thread that forks it.",
            "Start it before asyncio and any worker thread, or run the server apart and set ULAK_DATABASE_URL.",
        )


def launch(
    argv: Sequence[str | Path],
    *,
    death_signal: int,
    account: Account | None,
    output: int,
    stdin: int = subprocess.DEVNULL,
    watch: bool = False,
) -> subprocess.Popen[bytes]:
    """Start argv as a child that gets `death_signal` when we die; both its outputs go to the descriptor `output`.

    The child has a session of its own, so that Ctrl-C on the terminal reaches us alone and we stop it in good order.
    With `watch` a launcher stays in between and looks out for our death, where the kernel offers no signal for that.
    """
    require_main_thread()
    uid, gid = (account.uid, account.gid) if account else (-1, -1)
    launcher = Path(__file__).with_name("launcher.py")
    head = [sys.executable, "-I", "-S", launcher, "watch" if watch else "exec"]
    environment = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    return subprocess.Popen(
        [str(word) for word in (*head, os.getpid(), int(death_signal), uid, gid, *argv)],
        stdin=subprocess.PIPE if watch else stdin,
        stdout=output,
        stderr=subprocess.STDOUT if output == subprocess.PIPE else output,
        cwd="/",
        env=environment | {"LC_ALL": "C"},
        start_new_session=True,
    )


def end(child: subprocess.Popen[bytes], ways: Sequence[tuple[signal.Signals, float]]) -> int | None:
    """Send each signal in turn until the child is gone within its seconds; the exit code, None if it is still there."""
    for number, patience in ways:
        child.send_signal(number)
        try:
            child.wait(patience)
            break
        except subprocess.TimeoutExpired:
            continue
    close(child)
    return child.returncode


def close(child: subprocess.Popen[bytes]) -> None:
    """Give back what `launch` opened for a child."""
    if child.stdin is not None:
        child.stdin.close()
