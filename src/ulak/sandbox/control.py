"""How are the fake vendors steered over HTTP: faults, callbacks, events on demand, and what they took?

All below ``/vendors/`` of the mailbox's port; ``docs/how-to/email-providers.md`` lists the calls.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from ulak.sandbox import vendor_faults
from ulak.sandbox.callbacks import Callback, Flush, Wish
from ulak.sandbox.credentials import CREDENTIALS, stand_in
from ulak.sandbox.vendors import Vendors

T = TypeVar("T")


class _Listening(msgspec.Struct, forbid_unknown_fields=True):
    listening: bool


async def answer(vendors: Vendors, method: str, what: str, body: bytes) -> object | None:
    """The JSON answer to a call, or None when there is no such call; raises ``ValueError`` for a wrong body."""
    if method == "GET":
        return _get(vendors, what)
    if method == "DELETE" and what in {"faults", "callbacks"}:
        (vendors.faults if what == "faults" else vendors.callbacks).clear()
        return _get(vendors, what)
    if method != "POST":
        return None
    match what:
        case "faults":
            vendors.faults.arm(vendor_faults.decode(body))
        case "callbacks":
            vendors.callbacks.set(_read(body, Callback))
        case "events":
            vendors.callbacks.wish(_read(body, Wish))
            what = "callbacks"
        case "flush":
            return {"posting": vendors.callbacks.flush(_read(body or b"{}", Flush))}
        case "listening":
            await vendors.listening(_read(body, _Listening).listening)
        case _:
            return None
    return _get(vendors, what)


def _get(vendors: Vendors, what: str) -> object | None:
    match what:
        case "accepted":
            return {"items": [_accepted(at, parcel) for at, parcel in vendors.callbacks.accepted.values()]}
        case "faults":
            return {"items": vendors.faults.report()}
        case "callbacks":
            return vendors.callbacks.report()
        case "listening":
            return {"listening": vendors.is_listening, "url": vendors.url}
        case "settings":
            return {"url": vendors.url, "accounts": {name: stand_in(name, vendors.url) for name in CREDENTIALS}}
        case _:
            return None


def _accepted(at: Any, parcel: Any) -> dict[str, object]:
    """A message that a vendor took, as a judge of duplicates needs it."""
    return {
        "at": at,
        "vendor": parcel.vendor,
        "id": parcel.vendor_id,
        "to": parcel.recipient,
        "attempt": parcel.attempt,
        "delivery": parcel.tags.get("ulak_delivery", ""),
        "stream": parcel.stream,
    }


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
