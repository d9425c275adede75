"""What does an API key look like, what may it do, and is a text one at all?

``ulk_live_<prefix>_<secret><checksum>``: the prefix is shown in lists, the secret is 160 random bits,
the checksum (CRC-32) lets a mistyped or invented key be refused, and a leaked one be recognised by
scanners, without asking a database. Only the SHA-256 of the whole text is stored: a fast hash is right
for a secret that nobody can guess.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from base64 import b32encode
from collections.abc import Collection
from enum import StrEnum

ENTROPY = 25
"""Random bytes that a key is made of: 5 for the prefix, 20 for the secret."""

_KEY = re.compile(r"ulk_(?:live|test)_[a-z2-7]{8}_[a-z2-7]{39}\Z")
_CHECKSUM = 7


class Scope(StrEnum):
    """What a key may do. ``ALL`` stands for every other."""

    ALL = "*"
    SEND = "notifications:write"
    READ = "notifications:read"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    TOPICS_READ = "topics:read"
    TOPICS_WRITE = "topics:write"
    CONNECTIONS_READ = "connections:read"
    CONNECTIONS_WRITE = "connections:write"
    SOCKETS_SEND = "sockets:write"
    SUPPRESSIONS_READ = "suppressions:read"
    SUPPRESSIONS_WRITE = "suppressions:write"
    CATALOG_READ = "catalog:read"
    OPERATE = "operations:write"


def make_key(entropy: bytes, environment: str = "live") -> tuple[str, bytes, str]:
    """Make a key from ``ENTROPY`` random bytes: its text (shown once), its hash, its prefix."""
    if len(entropy) != ENTROPY:
        raise ValueError(f"a key needs {ENTROPY} random bytes, got {len(entropy)}")
    prefix, secret = _base32(entropy[:5]), _base32(entropy[5:])
    start = f"ulk_{environment}_{prefix}_{secret}"
    text = start + _checksum(start)
    return text, key_hash(text), f"ulk_{environment}_{prefix}"


def is_key(text: str) -> bool:
    """Whether form and checksum fit; says nothing of whether the key was ever given out."""
    return _KEY.match(text) is not None and _checksum(text[:-_CHECKSUM]) == text[-_CHECKSUM:]


def key_hash(text: str) -> bytes:
    """Under what a key is stored."""
    return hashlib.sha256(text.encode()).digest()


def allows(scopes: Collection[str], needed: str) -> bool:
    """Whether a key with these scopes may do what needs ``needed``."""
    return needed in scopes or Scope.ALL.value in scopes


def _base32(data: bytes) -> str:
    return b32encode(data).decode("ascii").rstrip("=").lower()


def _checksum(text: str) -> str:
    return _base32(zlib.crc32(text.encode()).to_bytes(4, "big"))
