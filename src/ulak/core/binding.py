"""What becomes of the devices that stand already when one more registers?

An address belongs to one user at a time, and a device (user, app and the app's own id) has one address at a time.

========================================== ===========================================================================
the same address under the same device     refreshed
another address                            the device takes it and keeps its id: what was planned goes to the new one
the same address, another id of that user  the device was renamed: it keeps its id
the same address under another user        it moves, **with a new id**: deliveries name devices by id, so those that
                                           were planned for the former owner find no device and end, whenever they are
                                           looked at; nobody reads what was meant for him
one device too many                        the one that was seen longest ago gives way
========================================== ===========================================================================

What was learned of an address (Apple's environment, the account of a subscription, the wish of its service to be left
alone) stays with it, whoever has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from ulak.core.device import MAX_DEVICES, AddressKind, Environment
from ulak.core.registration import Registration


class Held(msgspec.Struct, frozen=True, gc=False):
    """A device that stands: one of the user's, or the one that has the address."""

    id: str
    user: str
    app: str
    name: str
    kind: AddressKind
    digest: bytes
    seen_at: datetime
    created_at: datetime
    environment: Environment = Environment.PRODUCTION
    account: str = ""
    wait_until: datetime | None = None


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """What to write: delete ``gone``, then insert the device with this id (None: a new one).

    ``forbids`` says that a binding ends on which an attempt may be under way: it is to be written behind the gate.
    """

    id: str | None
    created_at: datetime | None
    gone: tuple[str, ...]
    forbids: bool
    environment: Environment
    account: str
    wait_until: datetime | None


def settle(held: Sequence[Held], wanted: Registration) -> Settlement:
    """Decide; ``held`` are all devices of the user, and the one that has the address."""
    own = next((one for one in held if _is_own(one, wanted)), None)
    there = next((one for one in held if one.kind == wanted.kind and one.digest == wanted.digest), None)
    taken = there is not None and there.user != wanted.user
    kept = own or (None if taken else there)
    surplus = _surplus([one for one in held if one.user == wanted.user and one not in (own, there)])
    return Settlement(
        id=None if kept is None else kept.id,
        created_at=None if kept is None else kept.created_at,
        gone=tuple(sorted({one.id for one in (own, there, *surplus) if one is not None})),
        forbids=taken or bool(surplus) or (own is not None and own is not there),
        environment=wanted.environment or (Environment.PRODUCTION if there is None else there.environment),
        account=wanted.account if there is None or wanted.named else there.account,
        wait_until=None if there is None else there.wait_until,
    )


def _is_own(one: Held, wanted: Registration) -> bool:
    return (one.user, one.app, one.name) == (wanted.user, wanted.app, wanted.name)


def _surplus(others: Sequence[Held]) -> Sequence[Held]:
    """Those that give way to one more."""
    excess = len(others) + 1 - MAX_DEVICES
    return sorted(others, key=lambda one: (one.seen_at, one.id))[:excess] if excess > 0 else ()
