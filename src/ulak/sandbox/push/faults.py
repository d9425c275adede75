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

from collections.abc import Iterable, Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Literal

import msgspec
from h2.errors import ErrorCodes
from msgspec import Meta

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


class _Armed:
    def __init__(self, fault: PushFault) -> None:
        self.fault = fault
        self.chances = 0
        self.fired = 0

    def fires(self, at: Moment, service: str, device: str) -> bool:
        fault = self.fault
        if fault.at is not at or (fault.times is not None and self.fired >= fault.times):
            return False
        if fault.service not in {None, service}:
            return False
        if fault.to is not None and not fnmatchcase(device.lower(), fault.to.lower()):
            return False
        self.chances += 1
        past = self.chances - fault.skip
        if past < 1 or past % fault.every:
            return False
        self.fired += 1
        return True


class PushFaults:
    """The armed faults, in order; the first that fits goes off."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []

    def arm(self, faults: Iterable[PushFault]) -> None:
        """Add faults behind those already armed."""
        self._armed += [_Armed(fault) for fault in faults]

    def clear(self) -> None:
        """Disarm everything."""
        self._armed.clear()

    def report(self) -> list[dict[str, object]]:
        """Each fault with its ``chances`` and how often it ``fired``."""
        return [
            {**msgspec.structs.asdict(one.fault), "chances": one.chances, "fired": one.fired} for one in self._armed
        ]

    def due(self, at: Moment, service: str, device: str = "") -> PushFault | None:
        """The fault that goes off now, if any; counts the chance."""
        return next((one.fault for one in self._armed if one.fires(at, service, device)), None)


def decode(body: bytes) -> list[PushFault]:
    """Faults from JSON: one object or a list of them; raises ``ValueError`` naming the key."""
    try:
        given = msgspec.json.decode(body)
        return msgspec.convert(given if isinstance(given, list) else [given], list[PushFault])
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ValueError(str(error)) from None
