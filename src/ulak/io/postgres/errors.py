"""What does an error of PostgreSQL mean for the caller: his data, a clash, or a database that is away?

========== ==================================================================================
`DATA`      this row can't be stored, whenever it is tried (class 22, 23): the caller's own fault
`CLASH`     a deadlock or serialisation failure: the same again may well succeed
`AWAY`      no connection, shutting down, out of connections, disk full, read-only, too slow, we stood still
`BUG`       everything else: ours
========== ==================================================================================
"""

from __future__ import annotations

from enum import StrEnum

import asyncpg


class Trouble(StrEnum):
    """The four meanings."""

    DATA = "data"
    CLASH = "clash"
    AWAY = "away"
    BUG = "bug"


# SQLSTATE class or code to meaning (https://www.postgresql.org/docs/current/errcodes-appendix.html).
_BY_STATE = {
    "22": Trouble.DATA,
    "23": Trouble.DATA,
    "40": Trouble.CLASH,
    "55P03": Trouble.CLASH,
    "08": Trouble.AWAY,
    "25006": Trouble.AWAY,
    "25P03": Trouble.AWAY,
    "53": Trouble.AWAY,
    "57": Trouble.AWAY,
    "58": Trouble.AWAY,
    "XX002": Trouble.AWAY,
}

EXPECTED = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What a call of the pool may raise; anything else is a bug of ours."""


def trouble(error: BaseException) -> Trouble:
    """Say what an error means."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return _BY_STATE.get(state) or _BY_STATE.get(state[:2]) or Trouble.BUG
    if isinstance(error, asyncpg.DataError | asyncpg.UnsupportedClientFeatureError):
        return Trouble.DATA
    # The driver's internal error is a connection that died between two of its states.
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError | TimeoutError):
        return Trouble.AWAY
    return Trouble.BUG


class Unavailable(Exception):
    """The database can't take it now; nothing was accepted. ``retry_after`` is in seconds."""

    def __init__(self, detail: str, retry_after: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
