"""What goes wrong next at a fake push service, at which moment, for which device, and how often?

A fault is armed by a JSON object:

``at``         ``connect`` (before anything is read), ``request`` (all of it was read, nothing is taken), ``taken``
               (the push is kept, nothing was answered) or ``answer`` (half of the answer has gone)
``do``         ``reply`` instead, ``drop`` the connection, or ``stall`` for ``seconds`` (for ever without it) and then
               go on; over HTTP/2 also ``reset`` the stream with ``code`` (such as ``REFUSED_STREAM``), or ``goaway``:
               say GOAWAY with ``code`` and ``reason``, finish what was begun before, and close. At ``request`` the
               last stream that it names is the last one that was taken, at ``taken`` this one, which gets no answer;
               at ``answer`` this one is still answered
``reason``     what a reply says in the service's own form, with its status: a reason of APNs, a code of FCM, an
               errno of Web Push; or else ``status``, ``headers`` and ``body`` as they are
``service``    only for ``apns``, ``apns_sandbox``, ``fcm``, ``token`` (FCM's grant) or ``webpush``
``to``         only for devices whose name fits this pattern (``*`` and ``?``, case ignored); not at ``connect``
``skip``, ``times``, ``every``   leave the first alone; at most so often; only each so-many-th
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from h2.errors import ErrorCodes
from msgspec import Meta

from ulak.sandbox.armed import Armed, decoded, meant
from ulak.sandbox.vendor_faults import Count, Moment

ServiceName = Literal["apns", "apns_sandbox", "fcm", "token", "webpush"]


class Do(StrEnum):
    """What happens then."""

    REPLY = "reply"
    DROP = "drop"
    STALL = "stall"
    RESET = "reset"
    GOAWAY = "goaway"


class PushFault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One armed fault; the module's docstring says what each field does."""

    at: Moment
    do: Do
    service: ServiceName | None = None
    to: str | None = None
    reason: Annotated[str, Meta(pattern="^[ -~]*$", max_length=64)] = ""
    code: str = ""
    status: Annotated[int, Meta(ge=200, le=599)] = 500
    headers: Mapping[str, Annotated[str, Meta(pattern="^[ -~]*$")]] = {}
    body: str = ""
    seconds: Annotated[float, Meta(ge=0, le=3_600)] | None = None
    skip: Count = 0
    times: Count | None = None
    every: Annotated[int, Meta(ge=1, le=10**9)] = 1

    def __post_init__(self) -> None:
        """Refuse what can't be."""
        if self.at is Moment.CONNECT and (self.to is not None or self.do not in {Do.DROP, Do.STALL}):
            raise ValueError("at: a connection that has just come can only be dropped or stalled, whoever it is for")
        if self.at is Moment.ANSWER and self.do is Do.REPLY:
            raise ValueError("do: half of the reply has gone")
        if self.code and self.code not in ErrorCodes.__members__:
            raise ValueError(f"code: must be one of {', '.join(ErrorCodes.__members__)}")
        if self.service == "webpush" and self.do in {Do.RESET, Do.GOAWAY}:
            raise ValueError("do: the Web Push service speaks HTTP/1.1")

    def error(self, default: ErrorCodes) -> ErrorCodes:
        """The code of HTTP/2 to say."""
        return ErrorCodes[self.code] if self.code else default


class PushFaults(Armed[PushFault]):
    """The armed faults, in order; the first that fits goes off."""

    def due(self, at: Moment, service: str, device: str = "") -> PushFault | None:
        """The fault that goes off now, if any; counts the chance."""
        return self.first(
            lambda fault: fault.at is at and fault.service in {None, service} and meant(fault.to, (device,))
        )


def decode(body: bytes) -> list[PushFault]:
    """Faults from JSON: one object or a list of them; raises ``ValueError`` naming the key."""
    return decoded(body, PushFault)
