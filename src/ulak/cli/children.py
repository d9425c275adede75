"""How is a process of ours started so that it can't outlive us?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from ulak.io.embedded import launcher
from ulak.io.embedded.process import LINUX


def start(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None, keep: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Run ``python -m ulak ARGUMENTS``; its standard output is a pipe, ``keep`` are descriptors that it inherits.

    Call it in the main thread: the child dies with the thread that forked it.
    """
    mode = "exec" if LINUX else "watch"
    head = [sys.executable, "-I", "-S", launcher.__file__, mode, str(os.getpid()), str(int(signal.SIGKILL)), "-1", "-1"]
    return subprocess.Popen(
        [*head, sys.executable, "-m", "ulak", *arguments],
        env=dict(os.environ if environment is None else environment),
        stdin=subprocess.DEVNULL if LINUX else subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=list(keep),
        start_new_session=True,  # Ctrl-C reaches us alone, and we end it in good order
    )


def end(child: subprocess.Popen[bytes], patience: float = 10.0) -> None:
    """SIGTERM, then SIGKILL after ``patience`` seconds."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    try:
        child.wait(patience)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout is not None:
        child.stdout.close()
