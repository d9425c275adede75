"""How does a push service know that a call is ours?

By a JSON Web Token in the compact form (RFC 7515 §7.1) that our key signed: ES256 for APNs and VAPID (RFC 8292 §2),
RS256 for Google's grant (RFC 7523). Signatures of ES256 are deterministic (RFC 6979), so that nodes that never talk
mint the identical token for the same claims.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from functools import lru_cache

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

Key = EllipticCurvePrivateKey | RSAPrivateKey
"""What can sign: a key of the curve P-256, or of RSA."""

LEAST_BITS = 2_048
"""RSA keys below may not sign (RFC 7518 §3.3)."""

_SCALAR = re.compile(r"[A-Za-z0-9_-]{43}=?")
_encode = msgspec.json.Encoder(order="deterministic").encode


@lru_cache(maxsize=256)
def p256(key: str) -> EllipticCurvePrivateKey:
    r"""A key of P-256 from PEM, or from its 32 octets in base64url as tools for VAPID write them.

    In PEM ``\n`` may stand for a line end, as in variables of an environment. Raises ``ValueError``, which never
    shows the key. What was read is kept, because reading is slower than signing.
    """
    found = _scalar(key.strip()) if _SCALAR.fullmatch(key.strip()) else _pem(key)
    if not isinstance(found, EllipticCurvePrivateKey) or found.curve.name != "secp256r1":
        raise ValueError("must be a private key of the curve P-256")  # a setting's value is at fault
    return found


@lru_cache(maxsize=256)
def rsa(key: str) -> RSAPrivateKey:
    r"""An RSA key from PEM, where ``\n`` may stand for a line end. Raises ``ValueError``, which never shows the key."""
    found = _pem(key)
    if not isinstance(found, RSAPrivateKey) or found.key_size < LEAST_BITS:
        raise ValueError(f"must be an RSA private key of at least {LEAST_BITS} bits")
    return found


def mint(key: Key, claims: Mapping[str, str | int], kid: str | None = None) -> str:
    """A signed token; the same key, claims and ``kid`` make the same one, character by character."""
    algorithm = "RS256" if isinstance(key, RSAPrivateKey) else "ES256"
    header = {"alg": algorithm, "typ": "JWT"} if kid is None else {"alg": algorithm, "kid": kid, "typ": "JWT"}
    signed = b".".join((encoded(_encode(header)), encoded(_encode(claims))))
    return b".".join((signed, encoded(_signature(key, signed)))).decode("ascii")


def encoded(data: bytes) -> bytes:
    """Base64url without padding (RFC 7515 §2)."""
    return urlsafe_b64encode(data).rstrip(b"=")


def _signature(key: Key, data: bytes) -> bytes:
    if isinstance(key, RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")  # RFC 7518 §3.4: not DER


def _scalar(text: str) -> EllipticCurvePrivateKey:
    try:
        return ec.derive_private_key(int.from_bytes(urlsafe_b64decode(text.rstrip("=") + "="), "big"), ec.SECP256R1())
    except ValueError:
        raise ValueError("must be the 32 octets of a private key of P-256 in base64url") from None


def _pem(text: str) -> object:
    pem = text.replace("\\n", "\n").strip()
    try:
        return serialization.load_pem_private_key(pem.encode("ascii"), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("must be a private key in PEM, without a password") from None
