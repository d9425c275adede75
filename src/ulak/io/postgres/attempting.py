"""How is ready work leased, checked for the last time, and finished, in batches?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from uuid import UUID

import msgspec

from ulak.core.device import Device
from ulak.core.fate import Told
from ulak.core.plan import BUCKETS
from ulak.core.reasons import Reason
from ulak.io.postgres.columns import Columns, coded, thinned, turned
from ulak.io.postgres.pool import Connection, Row
from ulak.io.postgres.queries import load

_sql = load("attempt")
_read_device = msgspec.json.Decoder(Device).decode

SOLO = 10
"""Lane numbers from here on hold rows that are tried alone."""


class Started(msgspec.Struct, eq=False, gc=False):
    """A delivery whose attempt row is in: it is to be sent now, once, under ``token``.

    ``before`` is the state it was in, ``refused`` are the accounts that have passed it on since it last had to wait.
    On push ``device`` is the target as it is now, ``badge`` the number of the user's unread items.
    """

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
    before: str = "pending"
    refused: Sequence[str] = ()
    device: Device | None = None
    badge: int = 0
    collapse: str | None = None


class Result(msgspec.Struct, frozen=True, gc=False):
    """What became of one call: the outcome to append, the state it leads to, and the next try.

    ``delay`` is seconds until the next try, None for none; ``verdict`` settles the row then instead of
    sending it; ``kind`` is an outcome's kind, or ``released`` for a row that was not sent. ``bulkhead`` is the
    line of the next try, ``next_account`` its account where it was passed on to that. ``device`` is what the call said
    of a push address.
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
    next_account: str | None = None
    device: Told | None = None


_OWN = Columns(("delivery", "detail", "vendor_id", "delay"))
_SHARED = (
    "token",
    "tenant",
    "n",
    "kind",
    "blame",
    "reason",
    "state",
    "state_reason",
    "counts",
    "suppress",
    "dead",
    "lane",
    "bulkhead",
    "bucket",
    "crashes",
    "verdict",
    "settled",
    "next_account",
)
_shared = attrgetter(*_SHARED)
_ALL = 1 << 62


class Line:
    """One lane of one bulkhead as this node sees it: which buckets have rows, and their floors.

    Every claim asks all buckets, in turn: it begins behind the one that had its share last, and each
    has room for its share of the free slots, so that no bucket waits for another to run dry.

    A floor rises to the highest sequence number that a claim returned, once every transaction that ran
    at the time of that claim has ended (only such a transaction could still add a row below it) and a
    later claim has seen all that they added. A row that another node's claim had locked and then let go
    may lie below a floor, so the floors fall back to zero every ``reset`` seconds. Losing a floor costs
    time, never a row.
    """

    def __init__(self, lane: int, bulkhead: str, reset: float = 10.0) -> None:
        self.lane = lane
        self.bulkhead = bulkhead
        self.floors = [0] * BUCKETS
        self._hot = [True] * BUCKETS
        self._pending: list[tuple[int, int, int]] = []
        self._reset = reset
        self._reset_at = 0.0
        self._first = 0

    def rooms(self, free: int, now: float) -> list[tuple[int, int]]:
        """Which buckets to ask, in order, and for how many rows each; the claim ends at ``free`` in all.

        A bucket that had no more rows than its room gets a little, in case that this changed.
        """
        if now >= self._reset_at:
            self._reset_at = now + self._reset
            self.floors = [0] * BUCKETS
            self._pending.clear()
        hot = sum(self._hot) or BUCKETS
        share, little = -(-free // hot), -(-free // BUCKETS)
        order = [(self._first + i) % BUCKETS for i in range(BUCKETS)]
        return [(b, share if self._hot[b] or hot == BUCKETS else little) for b in order]

    def claimed(self, rows: Sequence[Row], rooms: Sequence[tuple[int, int]], free: int) -> None:
        """Learn from what a claim returned."""
        counts, highest = [0] * BUCKETS, [0] * BUCKETS
        for row in rows:
            bucket = row["bucket"]
            counts[bucket] += 1
            highest[bucket] = max(highest[bucket], row["seq"])
        full = len(rows) >= free  # the buckets behind the last were not asked, and the last perhaps not to its end
        for bucket, room in rooms:
            if counts[bucket] >= room:
                self._hot[bucket] = True
            elif not full:
                self._hot[bucket] = False
                highest[bucket] = _ALL
            if full and counts[bucket]:
                self._first = (bucket + (counts[bucket] >= room)) % BUCKETS
        if rows:
            self._raise(rows, highest)

    def _raise(self, rows: Sequence[Row], seen: Sequence[int]) -> None:
        """Raise the floors, no further than this claim has ``seen`` all that there is."""
        xmin, xmax = rows[0]["xmin"], rows[0]["xmax"]
        tops: dict[int, int] = {}
        for row in rows:
            tops[row["bucket"]] = max(row["seq"], tops.get(row["bucket"], 0))
        waiting = []
        for running, bucket, seq in self._pending:
            if running <= xmin:
                self.floors[bucket] = max(self.floors[bucket], min(seq, seen[bucket]))
            if running > xmin or seen[bucket] < seq:
                waiting.append((running, bucket, seq))
        self._pending = waiting + [(xmax, bucket, seq) for bucket, seq in tops.items()]


async def claim(connection: Connection, line: Line, free: int, boot: int, lease: float, now: float) -> list[Row]:
    """Lease up to ``free`` ready rows for ``lease`` seconds; ``now`` is the monotonic clock."""
    rooms = line.rooms(free, now)
    rows = await connection.fetch(
        _sql.claim,
        line.lane,
        line.bulkhead,
        [bucket for bucket, _ in rooms],
        [line.floors[bucket] for bucket, _ in rooms],
        [room for _, room in rooms],
        boot,
        lease,
        line.lane >= SOLO,
        free,
    )
    line.claimed(rows, rooms, free)
    return rows


async def begin(
    connection: Connection, rows: Sequence[Row], account: str, reconcile_after: float
) -> tuple[list[Started], list[Row]]:
    """Insert the attempt rows that nothing forbids; returns what is to be sent, and what was stopped."""
    token = rows[0]["token"]
    rows = list({(r["delivery"], r["n"]): r for r in rows}.values())
    judged = await connection.fetch(
        _sql.begin,
        token,
        [r["tenant"] for r in rows],
        [r["delivery"] for r in rows],
        [r["n"] for r in rows],
        thinned([r["verdict"] for r in rows]),
        account,
        reconcile_after,
    )
    allowed = [j for j in judged if j["verdict"] is None]
    if allowed and allowed[0]["started"] != len(allowed):
        allowed = await _own(connection, token, allowed)
    if not allowed:
        await connection.execute(_sql.end_leases, [token])
    claimed = {(r["delivery"], r["n"]): r for r in rows}
    stopped = [j for j in judged if j["verdict"] is not None]
    return [_started(token, claimed[j["delivery"], j["n"]], j) for j in allowed], stopped


async def put_off(connection: Connection, line: Line, rows: Sequence[tuple[Row, float, Reason]]) -> None:
    """Put claimed rows of a line back as timers, each with its seconds to wait and why; the number of the try stays."""
    own = [(r["tenant"], r["delivery"], r["n"], r["bucket"], r["crashes"], delay, why) for r, delay, why in rows]
    await connection.execute(_sql.put_off, *turned(own, 7), line.bulkhead, line.lane)


async def _own(connection: Connection, token: int, rows: Sequence[Row]) -> list[Row]:
    """Those rows whose attempt this lease inserted."""
    keys = ([r["tenant"] for r in rows], [r["delivery"] for r in rows], [r["n"] for r in rows])
    begun = {(r["delivery"], r["n"]) for r in await connection.fetch(_sql.begun, token, *keys)}
    return [r for r in rows if (r["delivery"], r["n"]) in begun]


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
        before=j["before"],
        refused=j["refused"] or (),
        device=_device(j["device"]),
        badge=j["unread"] or 0,
        collapse=j["collapse_key"],
    )


def _device(text: str | None) -> Device | None:
    """The target of a push; None for one of a kind that only a later release knows."""
    try:
        return None if text is None else _read_device(text)
    except msgspec.ValidationError:
        return None


async def finish(connection: Connection, results: Sequence[Result], ended: Sequence[int]) -> set[tuple[UUID, int]]:
    """Write results under their leases and end the leases ``ended``; returns (delivery, n) of those written."""
    tokens = list({r.token for r in results})
    codes, shared = coded(list(map(_shared, results)), len(_SHARED))
    rows = await connection.fetch(_sql.finish, tokens, *_OWN.of(results), codes, *shared, list(ended))
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
