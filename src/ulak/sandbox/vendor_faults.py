"""What goes wrong next at a fake vendor's API, at which moment, for whom, and how often?

A fault is armed by a JSON object:

``at``         ``connect`` (before anything is read), ``request`` (all of it was read, nothing is taken), ``taken``
               (its messages are kept, nothing was answered) or ``answer`` (half of the answer has gone)
``do``         ``drop`` the connection; ``stall`` for ``seconds`` (for ever without it) and then go on; ``reply`` with
               ``status``, ``headers`` and ``body`` instead (at ``request`` and ``taken``)
``vendor``     only for ``ses``, ``sendgrid`` or ``postmark``; not at ``connect``
``to``         only for recipients that fit this pattern (``*`` and ``?``, case ignored); not at ``connect``
``skip``, ``times``, ``every``   leave the first alone; at most so often; only each so-many-th
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from ulak.sandbox.armed import Armed, decoded, meant
from ulak.sandbox.faults import Do

Count = Annotated[int, Meta(ge=0, le=10**9)]


class Moment(StrEnum):
    """When a fault goes off."""

    CONNECT = "connect"
    REQUEST = "request"
    TAKEN = "taken"
    ANSWER = "answer"


class VendorFault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One armed fault; the module's docstring says what each field does."""

    at: Moment
    do: Do
    vendor: str | None = None
    to: str | None = None
    status: Annotated[int, Meta(ge=100, le=599)] = 500
    headers: Mapping[str, Annotated[str, Meta(pattern="^[ -~]*$")]] = {}
    body: str = ""
    seconds: Annotated[float, Meta(ge=0, le=3_600)] | None = None
    skip: Count = 0
    times: Count | None = None
    every: Annotated[int, Meta(ge=1, le=10**9)] = 1

    def __post_init__(self) -> None:
        """Refuse what can't be."""
        if self.at is Moment.CONNECT and (self.vendor is not None or self.to is not None):
            raise ValueError("to: neither vendor nor recipient is known at connect")
        if self.do is Do.REPLY and self.at in {Moment.CONNECT, Moment.ANSWER}:
            raise ValueError("do: no reply is due then")


class VendorFaults(Armed[VendorFault]):
    """The armed faults, in order; the first that fits goes off."""

    def due(self, at: Moment, vendor: str = "", recipients: Sequence[str] = ()) -> VendorFault | None:
        """The fault that goes off now, if any; counts the chance."""
        return self.first(
            lambda fault: fault.at is at and fault.vendor in {None, vendor} and meant(fault.to, recipients)
        )


def decode(body: bytes) -> list[VendorFault]:
    """Faults from JSON: one object or a list of them; raises ``ValueError`` naming the key."""
    return decoded(body, VendorFault)
