"""How is a caller told what is wrong with his request?

Everything that reads a caller's bytes raises this one error. It names the place (a JSON path, a query
parameter or a header), a stable code for programs, and what to do for people.
"""

from __future__ import annotations

import re

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")


class Invalid(Exception):
    """A request that can't be taken as it is; the fault is the caller's.

    ``status`` is the HTTP status (400: not readable at all, 413: too large, 415: not JSON, 422: readable
    but not acceptable); ``path`` the JSON path at fault (``$.to[3].user``), or the name of a header or
    parameter.
    """

    def __init__(self, status: int, code: str, path: str, message: str, hint: str = "") -> None:
        super().__init__(f"{code} at {path}: {message}")
        self.status = status
        self.code = code
        self.path = path
        self.message = message
        self.hint = hint


def invalid(code: str, path: str, message: str, hint: str = "") -> Invalid:
    """Readable, but not acceptable: 422."""
    return Invalid(422, code, path, message, hint)


def under(path: str, key: str | int) -> str:
    """The path of a member of ``path``; keys that are no plain words are quoted and cut."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if _PLAIN_KEY.match(key):
        return f"{path}.{key}"
    shown = key[:40].encode("unicode_escape").decode("ascii").replace("'", "\\'")
    return f"{path}['{shown}']"


def moved(error: Invalid, prefix: str) -> Invalid:
    """The same fault, its path hung below ``prefix`` (``$.notifications[2]``) instead of ``$``."""
    path = prefix + error.path[1:] if error.path.startswith("$") else error.path
    return Invalid(error.status, error.code, path, error.message, error.hint)
