"""Which lines of the stages can a test kill a process at?

A stage calls ``hit(name)`` where a crash would be most telling; in production it does nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

NAMES = (
    "accept.before_commit",
    "accept.after_commit",
    "plan.before_commit",
    "plan.after_commit",
    "attempt.after_begin",
    "attempt.after_reply",
    "attempt.after_finish",
    "receipts.before_commit",
    "receipts.after_commit",
    "callbacks.after_take",
    "callbacks.before_commit",
    "callbacks.after_commit",
)
"""Every failpoint, in the order in which a notification passes them."""


class Failpoints(Protocol):
    """What a stage is given."""

    def hit(self, name: str) -> None:
        """Pass the line called ``name``."""


class NoFailpoints:
    """Production: every line is just passed."""

    def hit(self, name: str) -> None:
        """Do nothing."""


def parse(text: str) -> Mapping[str, int]:
    """Read ``name:count[,name:count]``; raises ``ValueError`` on a name that no stage has."""
    wanted: dict[str, int] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, count = part.partition(":")
        if name not in NAMES:
            raise ValueError(f"no failpoint is called {name!r}; there are: {', '.join(NAMES)}")
        wanted[name] = int(count or "1")
    return wanted
