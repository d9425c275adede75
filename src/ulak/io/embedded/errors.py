"""What can go wrong with an embedded server, told so that its owner knows what to do.

EmbeddedError
└── AlreadyOwned     another process runs this data directory
"""

from __future__ import annotations


class EmbeddedError(Exception):
    """An embedded server cannot run; `message` says why, `hint` what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}\n{hint}" if hint else message)
        self.message = message
        self.hint = hint


class AlreadyOwned(EmbeddedError):
    """Another process holds the lock of the data directory; `url` reaches its server once that is ready."""

    def __init__(self, message: str, *, pid: int | None, url: str | None) -> None:
        super().__init__(message, "Stop that process, use another data directory, or connect to its server.")
        self.pid = pid
        self.url = url
