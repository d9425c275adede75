"""Which account of a channel sends a delivery, and which comes next when that one can't?

Accounts are tried by ``priority`` (1 first); those of the same priority share the work by ``weight``. Who comes
first for a delivery is drawn from its id, so that every node and every retry draws the same: a delivery stays
with its account as long as that may be used, and its ids stay with it (an answer that never came must be asked
for where the question went).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from hashlib import blake2b
from uuid import UUID

from ulak.core.model import Account

_MOST = float(1 << 64)


def order(accounts: Sequence[Account], delivery: UUID) -> tuple[Account, ...]:
    """All accounts in the order in which this delivery tries them.

    Within a priority an account comes first in proportion to its weight (exponential order statistics: the
    least of ``-ln(u) / weight`` wins, with a ``u`` drawn from delivery and account).
    """
    if len(accounts) < 2:
        return tuple(accounts)
    return tuple(sorted(accounts, key=lambda account: (account.priority, _drawn(account, delivery), account.name)))


def first(accounts: Sequence[Account], delivery: UUID, avoid: Collection[str] = ()) -> Account | None:
    """The account to begin with: the first whose name is not to be avoided, else the first of all."""
    ordered = order(accounts, delivery)
    return next((account for account in ordered if account.name not in avoid), ordered[0] if ordered else None)


def following(
    accounts: Sequence[Account], delivery: UUID, refused: Collection[str], avoid: Collection[str] = ()
) -> Account | None:
    """The account to go on with at once after those in ``refused``; None when there is no other to go to now.

    One that is to be ``avoid``-ed is none to go to: it would send the delivery back, round and round.
    """
    ordered = order(accounts, delivery)
    return next((a for a in ordered if a.name not in refused and a.name not in avoid), None)


def _drawn(account: Account, delivery: UUID) -> float:
    digest = blake2b(delivery.bytes + account.name.encode(), digest_size=8).digest()
    return -math.log((int.from_bytes(digest, "big") + 1) / (_MOST + 1)) / account.weight
