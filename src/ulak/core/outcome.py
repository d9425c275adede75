"""What did one call of a provider mean, whose fault was it, and may it be tried again?

A failure is a value. An answer that no row of a provider's table knows becomes a failure, never a
success; a call whose answer never came is ``unknown``, which is neither.

========================  =========================================================================
``accepted``              the vendor took it and owns it now
``throttled``             too fast: wait, then the same account; uses up no attempt
``retry``                 a passing fault of the vendor or the way to it; nothing was taken
``unknown``               the request left, no answer came: it may or may not have been taken
``next_provider``         this account is unusable (credentials, quota, suspended); message is fine
``recipient_permanent``   the address is dead: suppress it within ``scope``
``recipient_temporary``   the address refuses for now (mailbox full): retry, never suppress
``payload_error``         the vendor can never take this message; park it
``policy_block``          refused for content, reputation or our own DNS; never suppress
========================  =========================================================================
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from ulak.core.device import Fate


class Kind(StrEnum):
    """What one call meant; the closed list of the table above."""

    ACCEPTED = "accepted"
    THROTTLED = "throttled"
    RETRY = "retry"
    UNKNOWN = "unknown"
    NEXT_PROVIDER = "next_provider"
    RECIPIENT_PERMANENT = "recipient_permanent"
    RECIPIENT_TEMPORARY = "recipient_temporary"
    PAYLOAD_ERROR = "payload_error"
    POLICY_BLOCK = "policy_block"


class Blame(StrEnum):
    """Who has to act for the next call to end differently."""

    CALLER = "caller"
    US = "us"
    VENDOR = "vendor"
    RECIPIENT = "recipient"


BLAME: dict[Kind, Blame | None] = {
    Kind.ACCEPTED: None,
    Kind.THROTTLED: Blame.VENDOR,
    Kind.RETRY: Blame.VENDOR,
    Kind.UNKNOWN: Blame.VENDOR,
    Kind.NEXT_PROVIDER: Blame.US,
    Kind.RECIPIENT_PERMANENT: Blame.RECIPIENT,
    Kind.RECIPIENT_TEMPORARY: Blame.RECIPIENT,
    Kind.PAYLOAD_ERROR: Blame.CALLER,
    Kind.POLICY_BLOCK: Blame.US,
}
"""Who is blamed where a provider's row says nothing else."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """One verdict on one call.

    ``reason`` is a short stable word for people and filters (``smtp_550_5.1.1``); ``detail`` the
    vendor's own words, cut to 300 characters and free of addresses; ``wait`` seconds asked for by
    the vendor; ``scope`` what a suppression covers (``all`` or a category). ``device`` is what it says of a push
    address, which then is no matter for suppressions; ``dead_since`` when the service says that it died.
    """

    kind: Kind
    reason: str
    blame: Blame | None
    detail: str = ""
    vendor_id: str | None = None
    wait: float | None = None
    scope: str | None = None
    device: Fate | None = None
    dead_since: datetime | None = None


def outcome(
    kind: Kind,
    reason: str,
    *,
    detail: str = "",
    vendor_id: str | None = None,
    wait: float | None = None,
    scope: str | None = None,
) -> Outcome:
    """Build an outcome with the usual blame of its kind."""
    return Outcome(kind, reason, BLAME[kind], detail[:300], vendor_id, wait, scope)


def accepted(vendor_id: str | None = None) -> Outcome:
    """The vendor took the message."""
    return outcome(Kind.ACCEPTED, "accepted", vendor_id=vendor_id)
