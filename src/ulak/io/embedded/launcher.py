"""What a child does between fork and exec: drop root, bind its life to its parent's, become the server.

Run as `python -I -S launcher.py MODE PARENT SIGNAL UID GID PROGRAM [ARGUMENT …]` with the standard library alone.
It is a program of its own because none of this may happen between fork and exec of a process with threads.
MODE `exec`:  the kernel sends SIGNAL when the parent is gone (Linux; elsewhere nobody does: for short commands only).
MODE `watch`: stays in between and sends SIGNAL when standard input ends, i.e. when the parent is gone (elsewhere).
UID and GID are -1 when nothing has to be dropped. Exit code 111: the launcher itself failed, its last line says why.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

PR_SET_PDEATHSIG = 1
FAILED = 111


def listen_again() -> None:
    """Undo what was ignored or blocked before us: a shell ignores SIGINT and SIGQUIT in what it runs behind."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def drop_root(uid: int, gid: int) -> None:
    """Become uid:gid for good, with no supplementary group left."""
    if uid < 0:
        return
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def load_bind_to_parent() -> Callable[[int, int], None]:
    """The function that asks for a signal at the parent's death; loaded while we may still read the library.

    The kernel forgets the request at a change of uid, so it is made after that, when an interpreter in root's home can
    no longer be read. It belongs to the thread that forked us.
    """
    if sys.platform != "linux":
        return lambda _parent, _signum: None
    import ctypes  # only where it is used: elsewhere than on Linux it may not load

    libc = ctypes.CDLL(None, use_errno=True)

    def bind(parent: int, signum: int) -> None:
        if libc.prctl(PR_SET_PDEATHSIG, signum, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        if os.getppid() != parent:  # it died before the request was in place
            sys.exit(FAILED)

    return bind


def watch(signum: int, argv: Sequence[str]) -> int:
    """Run argv as a child, pass signals on to it, and send it `signum` when standard input ends."""
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.execv(argv[0], list(argv))
    for passed in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(passed, lambda number, _frame: os.kill(child, number))

    def wait_for_parent() -> None:
        while os.read(0, 64):
            pass
        os.kill(child, signum)

    threading.Thread(target=wait_for_parent, daemon=True).start()
    _, status = os.waitpid(child, 0)
    return abs(os.waitstatus_to_exitcode(status))


def main(arguments: Sequence[str]) -> int:
    """Do what the module says; returns only in mode `watch` or after a failure."""
    mode, parent, signum, uid, gid, *argv = arguments
    try:
        os.umask(0o077)
        listen_again()
        bind_to_parent = load_bind_to_parent()
        drop_root(int(uid), int(gid))
        if mode == "watch":
            return watch(int(signum), argv)
        bind_to_parent(int(parent), int(signum))
        os.execv(argv[0], argv)
    except OSError as error:
        sys.stderr.write(f"launcher: cannot run {argv[0]}: {error}\n")
    return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
