"""What do the events of several callbacks change, all in all? Pure, so that every order of them can be tried."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from ulak.core.content.address import normalise_email, suppression_key
from ulak.core.model import Class
from ulak.core.reasons import Reason
from ulak.core.receipt import MARKS, Permanence, Receipt, ReceiptKind, after, delivery_of
from ulak.core.states import Folded
from ulak.core.suppression import ALL, SOFT, SoftPolicy, entry, is_soft, of_class, soft_until
from ulak.io.postgres.callbacks import Address, Counted, Forbidden, Key, Mark, Noted, Reached, Standing, Taken
from ulak.io.postgres.consents import Told

_EMAIL = "email"
_LISTED = "listed"
_SOFT = "soft"
"""A bounce that says nothing against the sender: vendors count the others (``core/score``)."""
_STREAK = "soft bounces in a row"
_CHOICES = {ReceiptKind.UNSUBSCRIBED: False, ReceiptKind.RESUBSCRIBED: True}


class Heard(msgspec.Struct, frozen=True, gc=False):
    """One receipt with the callback that it came in, its time, and the delivery and attempt that it names."""

    callback: Taken
    receipt: Receipt
    at: datetime
    key: Key | None
    n: int | None

    @property
    def identity(self) -> tuple[int, str, bytes]:
        """What tells this event from every other."""
        digest = hashlib.sha256(self.receipt.event_id.encode("utf-8", "surrogatepass")).digest()[:16]
        return self.callback.tenant, self.callback.account, digest


def hear(callback: Taken, receipt: Receipt) -> Heard:
    """Place a receipt; a vendor's clock that is ahead does not bring it into the future."""
    at = min(receipt.at or callback.received_at, callback.received_at)
    found = delivery_of(receipt)
    if found is None:
        return Heard(callback, receipt, at, None, None)
    return Heard(callback, receipt, at, (callback.tenant, found[0]), found[1])


def may_forbid(heard: Heard) -> bool:
    """Whether an event may put an address on the list, so that the gate has to be taken."""
    return is_soft(heard.receipt) or entry(heard.receipt, None) is not None


def marks_of(heard: Iterable[Heard]) -> list[tuple[Key, int]]:
    """What events would tell later steps."""
    return [(h.key, int(MARKS[h.receipt.kind])) for h in heard if h.key is not None and h.receipt.kind in MARKS]


@dataclass(slots=True)
class Effects:
    """All that is to be written."""

    folded: dict[Key, Folded] = field(default_factory=dict)
    noted: list[Noted] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    counted: list[Counted] = field(default_factory=list)
    forbidden: list[Forbidden] = field(default_factory=list)
    reached: list[Reached] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)


def effects(heard: Sequence[Heard], known: Mapping[Key, Standing]) -> Effects:
    """Add up new events; those of a delivery that is not ours still speak of their address."""
    made = Effects()
    receipts: dict[Key, list[tuple[Receipt, datetime]]] = defaultdict(list)
    forbidden: dict[tuple[Address, str], Forbidden] = {}
    counts: dict[Counted, int] = defaultdict(int)
    for h in heard:
        row = known.get(h.key) if h.key is not None else None
        if row is not None and h.key is not None:
            receipts[h.key].append((h.receipt, h.at))
            made.noted.append(Noted(row.tenant, row.id, h.n, h.receipt.kind.value, _said(h.receipt), h.at))
            if h.receipt.kind in MARKS:
                made.marks.append(Mark(row.tenant, row.notification, row.user, int(MARKS[h.receipt.kind])))
            if h.receipt.kind in _CHOICES:
                made.told.append(_told(h, row))
        counts[_counted(h, row)] += 1
        _of_the_address(h, row, made.reached, forbidden)
    made.folded = {key: after(known[key].folded, told) for key, told in receipts.items()}
    made.counted = [msgspec.structs.replace(each, n=n) for each, n in counts.items()]
    made.forbidden = list(forbidden.values())
    return made


def _told(h: Heard, row: Standing) -> Told:
    """What a user chose at the vendor, for the record of consent: of a category, or of all marketing."""
    group = "group_" in h.receipt.reason
    category = row.category if group else of_class(Class.MARKETING)
    evidence = _plain(f"{h.callback.account} {h.receipt.event_id}"[:300]) or h.callback.account
    return Told(row.tenant, row.user, category, row.channel, _CHOICES[h.receipt.kind], evidence, h.at)


def _of_the_address(
    h: Heard,
    row: Standing | None,
    reached: list[Reached],
    forbidden: dict[tuple[Address, str], Forbidden],
) -> None:
    """What one event says of the address: it arrived, it came back for now, or it is not to be written to."""
    address = _address(h, row)
    if address is None:
        return
    # An open is no proof of a later arrival: the mail may lie there since before the bounces.
    arrived = h.receipt.kind is ReceiptKind.DELIVERED
    if arrived or is_soft(h.receipt):
        reached.append(Reached(*address, h.at, not arrived))
    found = entry(h.receipt, row.category if row else None)
    if found is None:
        return
    evidence = f"{h.receipt.reason} {h.receipt.status}".strip()
    event = h.receipt.event_id[:200]
    new = Forbidden(*address, found.scope, found.reason, evidence, h.callback.account, _plain(event), h.at, None)
    old = forbidden.get((address, found.scope))
    if old is None or (new.event_at, new.event or "") < (old.event_at, old.event or ""):
        forbidden[address, found.scope] = new


def _address(h: Heard, row: Standing | None) -> Address | None:
    """The delivery's own address; without one that of the event, as suppressions know it."""
    if row is not None and row.target:
        return row.tenant, row.channel, suppression_key(row.target) if row.channel == _EMAIL else row.target
    address = normalise_email(h.receipt.recipient or "")
    return None if address is None else (h.callback.tenant, _EMAIL, suppression_key(address))


def _counted(h: Heard, row: Standing | None) -> Counted:
    kind = _LISTED if h.receipt.listed else h.receipt.kind.value
    if kind == ReceiptKind.BOUNCED and h.receipt.permanence is not Permanence.PERMANENT:
        kind = _SOFT
    at = h.at.replace(minute=0, second=0, microsecond=0)
    return Counted(h.callback.tenant, h.callback.account, row.klass if row else "", at, kind)


def softened(
    known: Iterable[tuple[Address, datetime | None, list[datetime]]],
    told_by: Mapping[Address, str],
    policy: SoftPolicy = SOFT,
) -> tuple[list[Forbidden], list[Address]]:
    """What soft bounces forbid by now, and which addresses they forbid no longer."""
    forbidden, lifted = [], []
    for address, delivered_at, bounces in known:
        until = soft_until(bounces, delivered_at, policy)
        if until is None:
            lifted.append(address)
            continue
        source, last = told_by.get(address, ""), until - policy.lasts
        forbidden.append(Forbidden(*address, ALL, Reason.SOFT_BOUNCED, _STREAK, source, None, last, until))
    return forbidden, lifted


def _said(receipt: Receipt) -> str | None:
    return _plain(f"{receipt.reason}: {receipt.detail}" if receipt.detail else receipt.reason) or None


def _plain(text: str) -> str:
    """What PostgreSQL can store, whatever the vendor wrote."""
    return "".join(c for c in text if c.isprintable())
