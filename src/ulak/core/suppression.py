"""Which addresses must not be written to, how far, for how long, and what puts them on the list?

================= =========================================== ==========================================
scope             forbids                                     written for
================= =========================================== ==========================================
``all``           every message                               hard bounces, soft bounces in a row
``not:critical``  all but the class critical                  complaints
``class:NAME``    one class                                   an unsubscribe at the vendor
a category        that category                               an unsubscribe from a group at the vendor
================= =========================================== ==========================================

A category's name holds no colon, so the four can't be mistaken for one another. The last check (``begin`` in
``attempt.sql``) says the same in SQL; a test compares the two over all scopes and classes.

What never puts an address on the list: a status of class 4 (try later), or one that speaks of policy, content
or size. Those are about us, not about the address.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from ulak.core.model import Class
from ulak.core.reasons import Reason
from ulak.core.receipt import Permanence, Receipt, ReceiptKind

ALL = "all"
NOT_CRITICAL = "not:critical"
_CLASS = "class:"

_NOT_THE_ADDRESS = re.compile(r"4\.|5\.7\.|5\.6\.|5\.3\.4\Z|5\.2\.[23]\Z")
_NEVER_COUNTS = re.compile(r"4\.|5\.7\.|5\.6\.|5\.3\.4\Z|5\.2\.3\Z")

KEPT = 20
"""Soft bounces remembered of an address; more than any streak needs."""


@dataclass(frozen=True, slots=True)
class SoftPolicy:
    """So many soft bounces ``within`` a time, without a delivery between, forbid an address for ``lasts``."""

    count: int = 5
    within: timedelta = timedelta(days=14)
    lasts: timedelta = timedelta(days=30)


SOFT = SoftPolicy()
"""The policy in force."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A suppression that an event causes: how far, and why."""

    scope: str
    reason: Reason


def of_class(klass: Class | str) -> str:
    """The scope of one class."""
    return f"{_CLASS}{klass}"


def scopes(category: str, klass: Class | str) -> tuple[str, ...]:
    """The scopes that forbid a message of this category and class, the widest first."""
    wide = (ALL,) if klass == Class.CRITICAL else (ALL, NOT_CRITICAL)
    return (*wide, of_class(klass), category)


def forbidding(rows: Collection[tuple[str, str]], category: str, klass: Class | str) -> tuple[str, str] | None:
    """The widest of the (scope, reason) that forbids such a message, or None."""
    if not rows:
        return None
    reasons = dict(rows)
    return next(((scope, reasons[scope]) for scope in scopes(category, klass) if scope in reasons), None)


def entry(receipt: Receipt, category: str | None) -> Entry | None:
    """The suppression that an event causes at once; ``category`` is that of its delivery, where known."""
    match receipt.kind:
        case ReceiptKind.BOUNCED | ReceiptKind.REJECTED if receipt.permanence is Permanence.PERMANENT:
            return None if _NOT_THE_ADDRESS.match(receipt.status) else Entry(ALL, Reason.BOUNCED)
        case ReceiptKind.COMPLAINED:
            return Entry(NOT_CRITICAL, Reason.COMPLAINED)
        case ReceiptKind.UNSUBSCRIBED:
            group = receipt.reason.endswith("group_unsubscribe") and category
            return Entry(category if group and category else of_class(Class.MARKETING), Reason.UNSUBSCRIBED)
        case _:
            return None


def is_soft(receipt: Receipt) -> bool:
    """Whether a bounce counts towards a suppression without being one by itself."""
    return (
        receipt.kind is ReceiptKind.BOUNCED
        and receipt.permanence is not Permanence.PERMANENT
        and not receipt.listed
        and _NEVER_COUNTS.match(receipt.status) is None
    )


def soft_until(
    bounces: Iterable[datetime], delivered_at: datetime | None, policy: SoftPolicy = SOFT
) -> datetime | None:
    """Until when soft bounces forbid an address, or None when they don't.

    A delivery wipes out the bounces before it. Only the set of bounces and the latest delivery matter, not the
    order in which they became known.
    """
    times = sorted(at for at in bounces if delivered_at is None or at > delivered_at)
    ends = [
        last for first, last in zip(times, times[policy.count - 1 :], strict=False) if last - first <= policy.within
    ]
    return ends[-1] + policy.lasts if ends else None
