"""What does an id look like inside and outside, and how is one made in time order?

Inside, a UUID version 7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, then random bits, so that new
rows land at the right edge of an index. Outside, a prefix and 32 hex digits without dots, because ids
go into signed strings where a dot separates.
"""

from __future__ import annotations

import hmac
import re
from uuid import UUID

_EXTERNAL = re.compile(r"(ntf|dlv|att)_([0-9a-f]{32})\Z")


_VERSION = 7 << 76
_VARIANT = 2 << 62
_RANDOM = (1 << 80) - 1 & ~(0xF << 76) & ~(0x3 << 62)


def new_bytes(now_ms: int, entropy: bytes) -> bytes:
    """The 16 bytes of a UUIDv7 from Unix milliseconds and 10 random bytes."""
    value = (now_ms & 0xFFFFFFFFFFFF) << 80 | int.from_bytes(entropy, "big") & _RANDOM | _VERSION | _VARIANT
    return value.to_bytes(16, "big")


def new_id(now_ms: int, entropy: bytes) -> UUID:
    """Make a UUIDv7 from Unix milliseconds and 10 random bytes."""
    return UUID(bytes=new_bytes(now_ms, entropy))


def external(prefix: str, value: UUID) -> str:
    """Write an id as users see it, such as ``ntf_0192…``."""
    return f"{prefix}_{value.hex}"


def internal(prefix: str, text: str) -> UUID | None:
    """Read an id that a user gave; None unless it is one of ``prefix``."""
    match = _EXTERNAL.match(text)
    if match is None or match[1] != prefix:
        return None
    return UUID(hex=match[2])


def attempt_id(delivery: UUID, n: int) -> str:
    """The id of one call, which a vendor may echo in its events."""
    return f"att_{delivery.hex}_{n}"


def callback_id(secret: bytes, tenant: int, provider: str, account: str) -> str:
    """Under which a vendor calls back for an account: stable, and not to be guessed without the secret."""
    text = f"{tenant}/{provider}/{account}".encode()
    return f"acc_{hmac.digest(secret, text, 'sha256')[:16].hex()}"
