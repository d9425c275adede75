"""How are the two frames written that ``h2`` would not let us say as we mean them (RFC 9113 §6.5 and §6.8)?"""

from __future__ import annotations

import struct
from collections.abc import Mapping

_SETTINGS, _GOAWAY = 4, 7


def settings(values: Mapping[int, int]) -> bytes:
    """SETTINGS with these values."""
    return _frame(_SETTINGS, b"".join(struct.pack(">HI", *setting) for setting in values.items()))


def goaway(last: int, code: int, debug: bytes) -> bytes:
    """GOAWAY that names the last stream that was looked at."""
    return _frame(_GOAWAY, struct.pack(">II", last, code) + debug)


def _frame(kind: int, body: bytes) -> bytes:
    """A frame of the connection as a whole (§4.1): stream 0, no flags."""
    return len(body).to_bytes(3, "big") + bytes([kind, 0, 0, 0, 0, 0]) + body
