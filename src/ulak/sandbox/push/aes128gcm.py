"""What does a browser make of a body that was encrypted for it (RFC 8291, with one record of RFC 8188)?

Written from the RFCs for the receiver's side alone, so that it shares no code with what encrypts.
"""

from __future__ import annotations

import hmac
import struct
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HEAD = 16 + 4 + 1 + 65
LEAST_RECORD = 18
TAG = 16


def decrypt(body: bytes, private: ec.EllipticCurvePrivateKey, auth: bytes) -> bytes:
    """The plaintext; raises ``ValueError`` saying what is wrong with the body."""
    if len(body) < HEAD + 1 + TAG:
        raise ValueError("the body is shorter than a header and an empty record")
    salt, size, length = body[:16], struct.unpack(">I", body[16:20])[0], body[20]
    if length != 65:
        raise ValueError("the key id is not an uncompressed point")
    if size < LEAST_RECORD or len(body) - HEAD > size:
        raise ValueError("the record size does not fit the one record that there may be")
    sender = body[21:HEAD]
    try:
        shared = private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender))
    except ValueError:
        raise ValueError("the sender's key is not on the curve P-256") from None
    receiver = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    ikm = _derive(auth, shared, b"WebPush: info\x00" + receiver + sender, 32)
    key = _derive(salt, ikm, b"Content-Encoding: aes128gcm\x00", 16)
    nonce = _derive(salt, ikm, b"Content-Encoding: nonce\x00", 12)
    try:
        padded = AESGCM(key).decrypt(nonce, body[HEAD:], None)
    except InvalidTag:
        raise ValueError("the body was not encrypted for this subscription, or was changed") from None
    text = padded.rstrip(b"\x00")
    if text[-1:] != b"\x02":
        raise ValueError("the delimiter of the last record is missing")
    return text[:-1]


def _derive(salt: bytes, ikm: bytes, info: bytes, length: int) -> bytes:
    """HKDF with SHA-256 (RFC 5869) for one block of output."""
    return hmac.digest(hmac.digest(salt, ikm, sha256), info + b"\x01", sha256)[:length]
