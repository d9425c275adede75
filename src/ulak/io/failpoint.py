"""How does a node die at a chosen line, as if the machine had?"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping


class KillAt:
    """Sends this process SIGKILL when a failpoint is passed for the given time."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._left = dict(counts)

    def hit(self, name: str) -> None:
        """Count the pass; at the last one nothing after this line runs."""
        if name not in self._left:
            return
        self._left[name] -= 1
        if self._left[name] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
