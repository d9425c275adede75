"""How is a push message sealed, so that only the browser that subscribed can read it?

Encryption of RFC 8291 in the content coding ``aes128gcm`` of RFC 8188, as a single record: a fresh key pair and a
salt for each message, which its header carries; the receiver's public key and its authentication secret come from
the subscription. Randomness is an argument, so that this stays a function.

The derivations are written out: each is one block of HKDF (RFC 5869), where Extract and Expand are one HMAC each.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ENTROPY = 48
"""Fresh random bytes that one message needs: 32 make its private key, 16 are its salt."""

RECORD = 4_096
"""Octets of the record, and of a body that every push service must take (RFC 8030 §7.2)."""

OVERHEAD = 16 + 4 + 1 + 65 + 1 + 16
"""Octets that are not plaintext: salt, record size, length of the key, key; delimiter and tag."""

MOST = RECORD - OVERHEAD
"""Octets of the longest plaintext: 3,993 (RFC 8291 §4)."""

POINT = 65
"""Octets of a public key of P-256, uncompressed."""

_CURVE = ec.SECP256R1()
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order of P-256 (FIPS 186-4 §D.1.2.3): private keys are 1 to one less."""

_FRAME = RECORD.to_bytes(4, "big") + bytes([POINT])
_LAST = b"\x02"
"""Ends the plaintext of the last record, which is the only one (RFC 8188 §2)."""

_INFO = b"WebPush: info\x00"
_KEY = b"Content-Encoding: aes128gcm\x00\x01"
_NONCE = b"Content-Encoding: nonce\x00\x01"


def encrypt(plaintext: bytes, p256dh: str, auth: str, entropy: bytes) -> bytes:
    """The body of a push message for one subscription, whose keys are base64url without padding.

    ``entropy`` are ``ENTROPY`` random bytes that are used once. Raises ``ValueError`` for a plaintext of more than
    ``MOST`` octets, for keys that are none, and for entropy of another length.
    """
    if len(plaintext) > MOST:
        raise ValueError(f"more than {MOST} octets")
    if len(entropy) != ENTROPY:
        raise ValueError(f"needs {ENTROPY} random octets")
    theirs, point = _receiver(p256dh)
    secret = _octets(auth, 16)
    salt = entropy[32:]
    # Values above the order wrap around: a bias below 2**-32, of a key that lives for one message.
    ours = ec.derive_private_key(int.from_bytes(entropy[:32], "big") % (_ORDER - 1) + 1, _CURVE)
    mine = public_point(ours)
    shared = ours.exchange(ec.ECDH(), theirs)
    keying = _hmac(_hmac(secret, shared), _INFO + point + mine + b"\x01")
    base = _hmac(salt, keying)
    sealed = AESGCM(_hmac(base, _KEY)[:16]).encrypt(_hmac(base, _NONCE)[:12], plaintext + _LAST, None)
    return b"".join((salt, _FRAME, mine, sealed))


def public_point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public half as an uncompressed point, the form in which browsers and services pass it on."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@lru_cache(maxsize=8_192)
def _receiver(p256dh: str) -> tuple[ec.EllipticCurvePublicKey, bytes]:
    """A receiver's key, kept because reading it means checking that it is on the curve."""
    point = _octets(p256dh, POINT)
    return ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, point), point


def _octets(text: str, length: int) -> bytes:
    """Base64url as octets of an exact number; raises ``ValueError``, which does not show them."""
    found = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if len(found) != length:
        raise ValueError(f"must be {length} octets in base64url")
    return found


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")
