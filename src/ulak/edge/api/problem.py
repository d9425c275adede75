"""How does an error look to a caller?

Every error is ``application/problem+json`` (RFC 9457): the status and its title, a stable ``code`` for
programs, the place at fault and what to do for people. Exceptions become problems in ``of``, in one
table; what is not in it is a fault of ours and shows nothing but an incident id.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from http import HTTPStatus

import msgspec

from ulak.core.invalid import Invalid
from ulak.io.postgres.errors import EXPECTED, Trouble, Unavailable, trouble


class Problem(msgspec.Struct, omit_defaults=True):
    """RFC 9457 §3.1, with members of our own: ``code``, ``path``, ``hint``, ``incident``."""

    title: str
    status: int
    code: str
    detail: str
    type: str = "about:blank"
    path: str | None = None
    hint: str | None = None
    incident: str | None = None


class Refused(Exception):
    """An answer that is an error, with headers where the status wants some."""

    def __init__(self, problem: Problem, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(f"{problem.status} {problem.code}")
        self.problem = problem
        self.headers = headers


def refused(status: int, code: str, detail: str, hint: str | None = None, path: str | None = None) -> Refused:
    """Build an error answer."""
    return Refused(Problem(HTTPStatus(status).phrase, status, code, detail, path=path, hint=hint))


def not_found(what: str) -> Refused:
    """404; the same whether it never was, is gone, or belongs to somebody else."""
    return refused(404, "not_found", f"there is no such {what}")


def of_invalid(error: Invalid) -> Problem:
    """The problem of a request at fault."""
    title = HTTPStatus(error.status).phrase
    return Problem(title, error.status, error.code, error.message, path=error.path, hint=error.hint or None)


def unavailable(detail: str, retry_after: float) -> Refused:
    """503 with ``Retry-After`` in whole seconds (RFC 9110 §10.2.3)."""
    seconds = max(1, math.ceil(retry_after))
    problem = Problem("Service Unavailable", 503, "unavailable", detail, hint=f"try again in {seconds} s")
    return Refused(problem, ((b"retry-after", str(seconds).encode()),))


def of(error: Exception) -> Refused | None:
    """The answer to an exception; None for a fault of ours."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, Invalid):
        return Refused(of_invalid(error))
    if isinstance(error, Unavailable):
        return unavailable("nothing was stored; the database can't take it now", error.retry_after)
    if isinstance(error, EXPECTED):
        return _DATABASE[trouble(error)]()
    return None


_DATABASE: Mapping[Trouble, Callable[[], Refused | None]] = {
    Trouble.AWAY: lambda: unavailable("the database can't answer now", 1.0),
    Trouble.CLASH: lambda: unavailable("two changes met; nothing was stored", 1.0),
    Trouble.DATA: lambda: refused(422, "unstorable", "the database refuses these values"),
    Trouble.BUG: lambda: None,
}
"""What an error of PostgreSQL means for a caller (the meanings are those of ``io/postgres/errors``)."""
