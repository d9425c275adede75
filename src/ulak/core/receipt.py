"""What did a vendor say later of one message, and what does it change?

A receipt is one event, in our words. It is applied to the delivery that it speaks of by the table of
``states``, in which receipts commute: vendors repeat events, send them late and in any order, and the end
must be the same. What follows for the address is the matter of ``suppression``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from ulak.core.model import IMPLIES, Mark
from ulak.core.reasons import Reason
from ulak.core.states import Event, Folded, Happened, step


class ReceiptKind(StrEnum):
    """What happened, whoever the vendor is."""

    PROCESSED = "processed"
    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    OPENED = "opened"
    CLICKED = "clicked"
    UNSUBSCRIBED = "unsubscribed"
    RESUBSCRIBED = "resubscribed"
    REJECTED = "rejected"


class Permanence(StrEnum):
    """Whether a bounce says that the address will never take mail."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    UNKNOWN = "unknown"


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """One event of a vendor.

    ``event_id`` is the vendor's, stable over repetitions; ``attempt`` and ``delivery`` are our ids where the
    event echoes them; ``at`` is the vendor's time (None: when it arrived). ``status`` is an enhanced status
    (RFC 3463) where one is told. ``reason`` is a short stable word, ``detail`` the vendor's own words, free of
    addresses. ``listed`` says that the vendor refused by a list of its own, without trying.
    """

    event_id: str
    kind: ReceiptKind
    permanence: Permanence | None = None
    attempt: str | None = None
    delivery: str | None = None
    vendor_id: str | None = None
    recipient: str | None = None
    at: datetime | None = None
    reason: str = ""
    detail: str = ""
    status: str = ""
    listed: bool = False


class Told(msgspec.Struct, frozen=True, gc=False):
    """What one callback held: its receipts, and how many events of it nobody here knows."""

    receipts: tuple[Receipt, ...] = ()
    unknown: int = 0


EVENTS: Mapping[ReceiptKind, Event] = {
    ReceiptKind.PROCESSED: Event.TAKEN,
    ReceiptKind.ACCEPTED: Event.TAKEN,
    ReceiptKind.DELIVERED: Event.DELIVERED,
    ReceiptKind.BOUNCED: Event.BOUNCED,
    ReceiptKind.COMPLAINED: Event.COMPLAINED,
    ReceiptKind.OPENED: Event.OPENED,
    ReceiptKind.CLICKED: Event.CLICKED,
    ReceiptKind.REJECTED: Event.REFUSED,
}
"""What each kind is for a delivery; the others are only written down."""

REASONS: Mapping[ReceiptKind, Reason] = {
    ReceiptKind.BOUNCED: Reason.BOUNCED_LATER,
    ReceiptKind.REJECTED: Reason.REFUSED_LATER,
}

MARKS: Mapping[ReceiptKind, Mark] = {
    ReceiptKind.DELIVERED: IMPLIES[Mark.DELIVERED],
    ReceiptKind.OPENED: IMPLIES[Mark.DELIVERED],
    ReceiptKind.CLICKED: IMPLIES[Mark.CLICKED],
}
"""What later steps are told. An open is no "seen": mail programs fetch pictures that nobody looks at."""


def after(folded: Folded, receipts: Iterable[tuple[Receipt, datetime]]) -> Folded:
    """A delivery after receipts with their times; their order does not matter."""
    for receipt, at in receipts:
        event = EVENTS.get(receipt.kind)
        if event is not None:
            folded = step(folded, Happened(event, at, REASONS.get(receipt.kind)))
    return folded


_ATTEMPT = re.compile(r"att_([0-9a-f]{32})_([1-9][0-9]{0,3})")
_DELIVERY = re.compile(r"dlv_([0-9a-f]{32})")


def attempt_in(text: str) -> str | None:
    """Our id of an attempt, if the text holds one; mail servers may have changed its case."""
    match = _ATTEMPT.search(text.lower())
    return match[0] if match else None


def delivery_in(text: str) -> str | None:
    """Our id of a delivery, if the text holds one."""
    match = _DELIVERY.search(text.lower())
    return match[0] if match else None


def delivery_of(receipt: Receipt) -> tuple[UUID, int | None] | None:
    """The delivery and the number of the attempt that a receipt speaks of, if it says so."""
    match = _ATTEMPT.fullmatch(receipt.attempt or "")
    if match:
        return UUID(hex=match[1]), int(match[2])
    match = _DELIVERY.fullmatch(receipt.delivery or "")
    return (UUID(hex=match[1]), None) if match else None


_ADDRESS = re.compile(r"[^\s<>\"';:,()]+@[^\s<>\"';:,()]+")


def redact(text: str) -> str:
    """A vendor's words on one line, at most 300 characters, without addresses."""
    plain = "".join(c if c.isprintable() else " " for c in _ADDRESS.sub("<address>", text[:1_000]))
    return plain[:300].strip()


_STATUS = re.compile(r"(?<![0-9.])([245])\.([0-9]{1,3})\.([0-9]{1,3})(?![0-9.])")


def status_in(*texts: object) -> str:
    """The first enhanced status (RFC 3463) in the first text that holds one; empty when none does."""
    for text in texts:
        match = _STATUS.search(text[:1_000]) if isinstance(text, str) else None
        if match:
            return f"{match[1]}.{int(match[2])}.{int(match[3])}"
    return ""


def time_in(value: object) -> datetime | None:
    """A vendor's time in UTC: RFC 3339 text or Unix seconds; None where it is neither."""
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value)
            return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1 << 36:
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError):
        pass  # told by None
    return None
