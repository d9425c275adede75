"""May this user be notified of this category on this channel, by the user's own choice?

The most specific row wins: (category, channel), then (category, any channel), then (any category,
channel), then (any, any). Without a row the answer is yes. Only rows that name the category silence a
critical notification: "no email at all" must not swallow a security alert, "no security alerts" may.
"""

from __future__ import annotations

from collections.abc import Iterable

from ulak.core.model import Class

ANY = "*"

Row = tuple[str, str, bool]
"""Category, channel, allowed; ``*`` stands for every one."""


def allowed(rows: Iterable[Row], category: str, channel: str, klass: Class) -> tuple[bool, Row | None]:
    """Whether it is allowed, and the row that decided (None where no row speaks of it)."""
    best: Row | None = None
    best_rank = -1
    for row in rows:
        rank = _rank(row, category, channel)
        if klass is Class.CRITICAL and row[0] == ANY:
            continue
        if rank > best_rank:
            best, best_rank = row, rank
    return (True, None) if best is None else (best[2], best)


def _rank(row: Row, category: str, channel: str) -> int:
    """How specific a row is for this pair; -1 when it speaks of something else."""
    if row[0] not in (category, ANY) or row[1] not in (channel, ANY):
        return -1
    return 2 * (row[0] != ANY) + (row[1] != ANY)
