"""What stands in a signed token, and did this key sign it?

The compact form of RFC 7515 §7.1, read once and strictly: canonical base64url (so that one token has one
spelling), a header that is an object without ``crit`` (§4.1.11: an extension that is not understood must be
refused), a payload that is an object, no key twice. Nothing that is read here is believed before ``signed_by``
has said yes. The algorithm is the key's; the header only has to agree with it (RFC 8725 §3.1).

The signatures are PyJWT's and ``cryptography``'s; only the envelope is read here, because a token is looked at
before its key is known, and reading it twice costs more than an HMAC.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jwt.algorithms import Algorithm, get_default_algorithms
from jwt.exceptions import PyJWTError

from ulak.core import jsonsafe
from ulak.core.invalid import Invalid

ALGORITHMS: Mapping[str, Algorithm] = {
    name: algorithm
    for name, algorithm in get_default_algorithms().items()
    if name in {"HS256", "RS256", "ES256", "EdDSA"}
}
"""The algorithms that a key may have (RFC 7518 §3.1, RFC 8037 §3.1); ``none`` is none of them."""

MAX_TOKEN = 4_096
"""Characters of a token."""


class Malformed(ValueError):
    """Not a signed token in the compact form."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A token's parts; ``header`` and ``payload`` are claims of a stranger until the signature is checked."""

    header: Mapping[str, Any]
    payload: Mapping[str, Any]
    signed: bytes
    signature: bytes

    @property
    def kid(self) -> str | None:
        """The id of the key that is said to have signed; None when there is none."""
        kid = self.header.get("kid")
        return kid if isinstance(kid, str) else None

    def signed_by(self, key: Any, algorithm: str) -> bool:
        """Whether this key signed it: bytes for HS256, else a public key that fits the algorithm."""
        if self.header.get("alg") != algorithm:
            return False
        try:
            return ALGORITHMS[algorithm].verify(self.signed, key, self.signature)
        except (PyJWTError, ValueError, TypeError, OverflowError):
            return False


def read(token: str) -> Envelope:
    """Take a token apart; raises ``Malformed``."""
    if len(token) > MAX_TOKEN or not token.isascii():
        raise Malformed
    parts = token.encode("ascii").split(b".")
    if len(parts) != 3:
        raise Malformed
    header = _object(parts[0])
    if "crit" in header or "b64" in header:
        raise Malformed
    return Envelope(header, _object(parts[1]), parts[0] + b"." + parts[1], _bytes(parts[2]))


def _object(segment: bytes) -> Mapping[str, Any]:
    try:
        value, _ = jsonsafe.loads(_bytes(segment))
    except Invalid:
        raise Malformed from None
    if not isinstance(value, dict):
        raise Malformed
    return value


def _bytes(segment: bytes) -> bytes:
    """Base64url without padding (RFC 7515 §2), in its one canonical spelling."""
    try:
        raw = base64.urlsafe_b64decode(segment + b"==")
    except (binascii.Error, ValueError):
        raise Malformed from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != segment:
        raise Malformed
    return raw
