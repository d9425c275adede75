"""How is ready work leased, checked for the last time, and finished, in batches?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ulak.core.plan import BUCKETS
from ulak.io.postgres.pool import Connection, Row
from ulak.io.postgres.queries import load

_sql = load("attempt")

SOLO = 10
"""Lane numbers from here on hold rows that are tried alone."""


@dataclass(slots=True, eq=False)
class Started:
    """A delivery whose attempt row is in: it is to be sent now, once, under ``token``."""

    token: int
    tenant: int
    delivery: UUID
    n: int
    crashes: int
    bucket: int
    notification: UUID
    user: str
    target: str
    klass: str
    locale: str | None
    attempts: int
    first_at: datetime
    expires_at: datetime
    resend: bool
    type: str
    catalog: int
    data: str
    actor: str | None
    now: datetime


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one call: the outcome to append, the state it leads to, and the next try.

    ``delay`` is seconds until the next try, None for none; ``verdict`` settles the row then instead of
    sending it; ``kind`` is an outcome's kind, or ``released`` for a row that was not sent.
    """

    token: int
    tenant: int
    delivery: UUID
    n: int
    kind: str
    blame: str | None
    reason: str
    detail: str | None
    vendor_id: str | None
    state: str
    state_reason: str | None
    delay: float | None
    counts: bool
    suppress: str | None
    dead: bool
    lane: int
    bulkhead: str
    bucket: int
    crashes: int
    verdict: str | None
    settled: bool


_RESULT = tuple(Result.__dataclass_fields__)


class Line:
    """One lane of one bulkhead as this node sees it: which buckets have rows, and their floors.

    A floor rises to the highest sequence number that a claim returned, once every transaction that ran
    at the time of that claim has ended: only such a transaction could still add a row below it. A row
    that another node's claim had locked and then let go may lie below a floor, so the floors fall back
    to zero every ``reset`` seconds. Losing a floor costs time, never a row.
    """

    def __init__(self, lane: int, bulkhead: str, reset: float = 10.0) -> None:
        self.lane = lane
        self.bulkhead = bulkhead
        self.floors = [0] * BUCKETS
        self._hot = [True] * BUCKETS
        self._pending: list[tuple[int, int, int]] = []
        self._reset = reset
        self._reset_at = 0.0
        self._turn = 0

    def rooms(self, free: int, now: float) -> list[int]:
        """Share ``free`` slots: most to the buckets that had rows, a few, in turn, to ask the others."""
        if now >= self._reset_at:
            self._reset_at = now + self._reset
            self.floors = [0] * BUCKETS
            self._pending.clear()
        hot = [b for b in range(BUCKETS) if self._hot[b]]
        cold = [b for b in range(BUCKETS) if not self._hot[b]]
        self._turn += 1
        probes = min(len(cold), free // 8 or (self._turn % 2 if free == 1 else 1))
        rooms = [0] * BUCKETS
        for i in range(probes):
            rooms[cold[(self._turn * probes + i) % len(cold)]] = 1
        share, rest = divmod(free - probes, len(hot)) if hot else (0, 0)
        for i, bucket in enumerate(hot):
            rooms[bucket] = share + ((i + self._turn) % len(hot) < rest)
        return rooms

    def claimed(self, rows: Sequence[Row], rooms: Sequence[int]) -> None:
        """Learn from what a claim returned."""
        counts = [0] * BUCKETS
        for row in rows:
            counts[row["bucket"]] += 1
        for bucket in range(BUCKETS):
            if rooms[bucket]:
                self._hot[bucket] = counts[bucket] >= rooms[bucket]
        if not any(self._hot):
            self._hot = [True] * BUCKETS
        if not rows:
            return
        xmin, xmax = rows[0]["xmin"], rows[0]["xmax"]
        highest: dict[int, int] = {}
        for row in rows:
            highest[row["bucket"]] = max(row["seq"], highest.get(row["bucket"], 0))
        self._pending += [(xmax, bucket, seq) for bucket, seq in highest.items()]
        passed = [p for p in self._pending if p[0] <= xmin]
        self._pending = [p for p in self._pending if p[0] > xmin]
        for _, bucket, seq in passed:
            self.floors[bucket] = max(self.floors[bucket], seq)


async def claim(connection: Connection, line: Line, free: int, boot: int, lease: float, now: float) -> list[Row]:
    """Lease up to ``free`` ready rows for ``lease`` seconds; ``now`` is the monotonic clock."""
    rooms = line.rooms(free, now)
    asked = [b for b in range(BUCKETS) if rooms[b] > 0]
    rows = await connection.fetch(
        _sql.claim,
        line.lane,
        line.bulkhead,
        asked,
        [line.floors[b] for b in asked],
        [rooms[b] for b in asked],
        boot,
        lease,
        line.lane >= SOLO,
    )
    line.claimed(rows, rooms)
    return rows


async def begin(
    connection: Connection, rows: Sequence[Row], account: str, reconcile_after: float
) -> tuple[list[Started], list[Row]]:
    """Insert the attempt rows that nothing forbids; returns what is to be sent, and what was stopped."""
    token = rows[0]["token"]
    judged = await connection.fetch(
        _sql.begin,
        token,
        [r["tenant"] for r in rows],
        [r["delivery"] for r in rows],
        [r["n"] for r in rows],
        [r["verdict"] for r in rows],
        account,
        reconcile_after,
    )
    claimed = {r["delivery"]: r for r in rows}
    started = [_started(token, claimed[j["delivery"]], j) for j in judged if j["started"]]
    stopped = [j for j in judged if not j["started"]]
    if not started:
        await connection.execute(_sql.end_leases, [token])
    return started, stopped


def _started(token: int, row: Row, j: Row) -> Started:
    return Started(
        token=token,
        tenant=j["tenant"],
        delivery=j["delivery"],
        n=j["n"],
        crashes=row["crashes"],
        bucket=row["bucket"],
        notification=j["notification"],
        user=j["user_id"],
        target=j["target"],
        klass=j["class"],
        locale=j["locale"],
        attempts=j["attempts"],
        first_at=j["first_at"],
        expires_at=j["expires_at"],
        resend=j["resend"],
        type=j["type"],
        catalog=j["catalog"],
        data=j["data"],
        actor=j["actor"],
        now=j["now"],
    )


async def finish(connection: Connection, results: Sequence[Result], ended: Sequence[int]) -> set[tuple[UUID, int]]:
    """Write results under their leases and end the leases ``ended``; returns (delivery, n) of those written."""
    columns = [[getattr(r, name) for r in results] for name in _RESULT]
    rows = await connection.fetch(_sql.finish, list({r.token for r in results}), *columns, list(ended))
    return {(row["delivery"], row["n"]) for row in rows}


async def ready_lines(connection: Connection, lines: Sequence[Line]) -> set[tuple[int, str]]:
    """Which (lane, bulkhead) of these have a row to claim."""
    places = [(line.lane, line.bulkhead, b, line.floors[b]) for line in lines for b in range(BUCKETS)]
    rows = await connection.fetch(_sql.ready_lines, *map(list, zip(*places, strict=True)))
    return {(row["lane"], row["bulkhead"]) for row in rows}


async def reap(connection: Connection, limit: int, crashes: int) -> tuple[int, int]:
    """End expired leases; returns how many, and how many calls of theirs are now ``unknown``."""
    row = await connection.fetchrow(_sql.reap, limit, crashes)
    return (0, 0) if row is None else (row["leases"], row["unknown"])


async def expire_former(connection: Connection, node: str, boot: int) -> None:
    """Let go of what an earlier boot of this node held."""
    await connection.execute(_sql.expire_former, node, boot)


async def expire_all(connection: Connection) -> None:
    """Let go of everything: only for the owner of a database in which no other node can live."""
    await connection.execute(_sql.expire_all)
