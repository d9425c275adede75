"""How is a "no" made final at once, even against a statement that already took its snapshot?

The check before a send reads consent in the same statement that inserts the attempt row. Under READ
COMMITTED that statement sees what was committed when it *began*; an opt-out that commits while it
runs would be followed by an attempt row that it forbids. So those who send and those who forbid take
the two sides of one table lock, for the length of their transaction:

* ``sending`` takes ROW EXCLUSIVE, which goes well with itself;
* ``forbidding`` takes SHARE, which goes well with itself and not with ROW EXCLUSIVE.

Any number of batches send at once, any number of users say no at once, and never both: a "no" waits
for the few milliseconds of the batches under way, and whatever begins afterwards sees it. The lock
is taken before the statement that reads, so that statement's snapshot is younger than the lock.
Table locks end with the transaction, hence work behind a transaction-pooling PgBouncer.
Whoever forbids waits for a few seconds at most, for the gate and for any row beyond it: senders queue
up behind him. See docs/decisions/0004-the-gate.md.
"""

from __future__ import annotations

from ulak.io.postgres.pool import Connection

SENDING = "LOCK TABLE gate IN ROW EXCLUSIVE MODE"
FORBIDDING = "SET LOCAL lock_timeout = '5s'; LOCK TABLE gate IN SHARE MODE"


async def forbid(connection: Connection) -> None:
    """Call first in a transaction that writes a "no": preference, suppression, cancel, marker."""
    await connection.execute(FORBIDDING)
