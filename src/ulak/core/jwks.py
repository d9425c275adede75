"""Which keys of an identity provider may check tokens, and which are too weak, private or odd to be used?

A set (RFC 7517 §5) is a stranger's text: its size and the number of its keys are bounded by whoever reads it and
by ``MAX_KEYS``; every key that is not a public signing key of the expected algorithm is left out, with a reason.
A private key in a published set is no secret any more, so its public half is worth nothing either.

Strength: RSA of 2,048 to 8,192 bits with an exponent from 65,537 on (NIST SP 800-131A; the upper bound is for our
CPU's sake), the curve P-256, Ed25519.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

from ulak.core import jsonsafe
from ulak.core.invalid import Invalid

PUBLIC_ALGORITHMS = ("RS256", "ES256", "EdDSA")
MAX_SET = 65_536
"""Bytes of a set."""

MAX_KEYS = 32
MAX_KID = 255
_KINDS = {"RS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_ERRORS = (PyJWTError, ValueError, TypeError, KeyError, OverflowError, UnsupportedAlgorithm)


class BadKey(ValueError):
    """A key, or a set, that must not be used; the text says why and shows nothing of it."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of a set by their id (None: it had none), and why others are not."""

    keys: Mapping[str | None, Any]
    left_out: Sequence[str] = ()


def pem(text: str, algorithm: str) -> Any:
    """The public key in a PEM text; raises ``BadKey`` when it is none, or not fit for the algorithm."""
    if "PRIVATE" in text:
        raise BadKey("is a private key, which nobody but its owner may have")
    try:
        key = load_pem_public_key(text.encode("ascii", "replace"))
    except _ERRORS:
        raise BadKey("is no public key in PEM form") from None
    return _strong(key, algorithm)


def read(body: bytes, algorithm: str) -> KeySet:
    """Read a set; raises ``BadKey`` when it is none at all. A set without a usable key is a set."""
    if len(body) > MAX_SET:
        raise BadKey(f"more than {MAX_SET} bytes")
    try:
        document, _ = jsonsafe.loads(body)
    except Invalid:
        raise BadKey("not JSON") from None
    rows = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadKey("no list of keys")
    if len(rows) > MAX_KEYS:
        raise BadKey(f"more than {MAX_KEYS} keys")
    keys: dict[str | None, Any] = {}
    left_out: list[str] = []
    for at, row in enumerate(rows):
        if not _is_meant(row, algorithm):
            continue
        try:
            kid = _kid(row, keys)
            keys[kid] = _key(row, algorithm)
        except BadKey as error:
            left_out.append(f"key {at + 1} {error}")
    return KeySet(keys, tuple(left_out))


def _is_meant(row: Mapping[str, Any], algorithm: str) -> bool:
    """Whether a key is for this use at all; sets hold keys of other kinds as well (RFC 7517 §4.1-4.4)."""
    operations = row.get("key_ops")
    return (
        row.get("kty") == _KINDS[algorithm]
        and row.get("alg", algorithm) == algorithm
        and row.get("use", "sig") == "sig"
        and (operations is None or (isinstance(operations, list) and "verify" in operations))
    )


def _kid(row: Mapping[str, Any], known: Collection[str | None]) -> str | None:
    kid = row.get("kid")
    if kid is not None and (not isinstance(kid, str) or not 1 <= len(kid) <= MAX_KID):
        raise BadKey("has an id that is no text of 1 to 255 characters")
    if kid in known:
        raise BadKey("has the id of another")
    return kid


def _key(row: Mapping[str, Any], algorithm: str) -> Any:
    if _PRIVATE & row.keys():
        raise BadKey("shows its private half")
    reader: Any = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}[algorithm]
    try:
        key = reader.from_jwk(dict(row))
    except _ERRORS:
        raise BadKey("can't be read") from None
    return _strong(key, algorithm)


def _strong(key: Any, algorithm: str) -> Any:
    if algorithm == "RS256" and isinstance(key, RSAPublicKey):
        if not 2_048 <= key.key_size <= 8_192 or not 65_537 <= key.public_numbers().e < 2**32:
            raise BadKey("is too weak or too large: RSA has 2,048 to 8,192 bits and an exponent from 65,537 on")
        return key
    if algorithm == "ES256" and isinstance(key, EllipticCurvePublicKey):
        if not isinstance(key.curve, SECP256R1):
            raise BadKey("is not on the curve P-256")
        return key
    if algorithm == "EdDSA" and isinstance(key, Ed25519PublicKey):
        return key
    raise BadKey(f"is no key for {algorithm}")
