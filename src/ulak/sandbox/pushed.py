"""What is a push that a fake service took?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec


class Pushed(msgspec.Struct, frozen=True):
    """One push to one device, as the record and the device keep it.

    ``device`` is the name of the fake device, ``id`` what the service calls the push. ``delivery`` and
    ``notification`` are Ulak's ids where the push carries them. ``collapse`` replaces what waits for an offline
    device, ``tag`` what the device shows; a ``silent`` push is not shown. ``expires_at`` is None for one that is
    delivered now or never. ``headers`` are the fields that the service goes by, ``payload`` is what the app gets.
    """

    service: str
    id: str
    device: str
    app: str
    payload: Any
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    delivery: str = ""
    notification: str = ""
    title: str = ""
    body: str = ""
    badge: int | None = None
    collapse: str = ""
    tag: str = ""
    silent: bool = False
    expires_at: datetime | None = None

    @property
    def recipient(self) -> str:
        """Whom faults and the record name."""
        return self.device

    def raw(self) -> bytes:
        """All of it as JSON."""
        return msgspec.json.encode(self)


_decode = msgspec.json.Decoder(Pushed).decode


def parse(raw: bytes) -> Pushed:
    """Read ``Pushed.raw`` back."""
    return _decode(raw)
