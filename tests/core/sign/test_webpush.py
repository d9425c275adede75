"""Does a browser read what was sealed for it, and nobody else?"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.sign import webpush

# RFC 8291 §5 and appendix A.
PLAINTEXT = b"When I grow up, I want to be a watermelon"
RECEIVER = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
SENDER_PRIVATE = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
SALT = "DGv6ra1nlYgDCS1FRnbzlw"
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl"
    "7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)

KEY = ec.derive_private_key(8_030, ec.SECP256R1())
ENTROPY = bytes(range(48))


def octets(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def text_of(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


P256DH = text_of(webpush.public_point(KEY))
SECRET = text_of(b"sixteen octets!!")


def derived(salt: bytes, keying: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(keying)


def opened(body: bytes, key: ec.EllipticCurvePrivateKey, auth: bytes) -> bytes:
    """What a browser does, by the library's own HKDF: RFC 8291 §3.4, RFC 8188 §2."""
    salt, size, length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
    assert size == 4_096 >= len(body) - 21 - length
    sender, sealed = body[21 : 21 + length], body[21 + length :]
    shared = key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender))
    keying = derived(auth, shared, b"WebPush: info\0" + webpush.public_point(key) + sender, 32)
    content = derived(salt, keying, b"Content-Encoding: aes128gcm\0", 16)
    nonce = derived(salt, keying, b"Content-Encoding: nonce\0", 12)
    padded = AESGCM(content).decrypt(nonce, sealed, None)
    plaintext, delimiter = padded.rstrip(b"\0")[:-1], padded.rstrip(b"\0")[-1:]
    assert delimiter == b"\x02"
    return plaintext


def test_the_vector_of_the_rfc_is_reproduced_bit_by_bit() -> None:
    private = (int.from_bytes(octets(SENDER_PRIVATE), "big") - 1).to_bytes(32, "big")
    assert text_of(webpush.encrypt(PLAINTEXT, RECEIVER, AUTH, private + octets(SALT))) == BODY


@given(
    plaintext=st.binary(max_size=300) | st.integers(0, webpush.MOST).map(lambda n: b"\0" * n),
    entropy=st.binary(min_size=48, max_size=48),
)
def test_the_receiver_opens_it(plaintext: bytes, entropy: bytes) -> None:
    body = webpush.encrypt(plaintext, P256DH, SECRET, entropy)
    assert len(body) == len(plaintext) + webpush.OVERHEAD
    assert opened(body, KEY, octets(SECRET)) == plaintext


@pytest.mark.parametrize("private", [bytes(32), b"\xff" * 32, (webpush._ORDER - 1).to_bytes(32, "big")])
def test_any_random_bytes_make_a_key(private: bytes) -> None:
    assert opened(webpush.encrypt(b"x", P256DH, SECRET, private + bytes(16)), KEY, octets(SECRET)) == b"x"


def test_the_longest_message_fills_the_record_that_every_service_takes() -> None:
    assert webpush.MOST == 3_993
    body = webpush.encrypt(b"x" * webpush.MOST, P256DH, SECRET, ENTROPY)
    assert len(body) == webpush.RECORD == 4_096
    assert opened(body, KEY, octets(SECRET)) == b"x" * webpush.MOST
    with pytest.raises(ValueError, match="more than 3993 octets"):
        webpush.encrypt(b"x" * (webpush.MOST + 1), P256DH, SECRET, ENTROPY)


def test_nobody_else_opens_it_and_it_can_not_be_changed() -> None:
    body = webpush.encrypt(b"hello", P256DH, SECRET, ENTROPY)
    with pytest.raises(InvalidTag):
        opened(body, ec.derive_private_key(8_031, ec.SECP256R1()), octets(SECRET))
    with pytest.raises(InvalidTag):
        opened(body, KEY, b"another sixteen!")
    with pytest.raises(InvalidTag):
        opened(body[:-1] + bytes([body[-1] ^ 1]), KEY, octets(SECRET))


def test_other_random_bytes_make_another_key_and_salt() -> None:
    first, second = (webpush.encrypt(b"x", P256DH, SECRET, bytes([n]) * 48) for n in (1, 2))
    assert first[:16] != second[:16]
    assert first[21:86] != second[21:86]


@pytest.mark.parametrize(
    ("p256dh", "auth", "entropy"),
    [
        ("", SECRET, ENTROPY),
        (P256DH[:-2], SECRET, ENTROPY),
        (text_of(b"\x04" + bytes(64)), SECRET, ENTROPY),  # not on the curve
        (text_of(webpush.public_point(KEY)[:-1] + b"\0"), SECRET, ENTROPY),
        (text_of(b"\x02" + webpush.public_point(KEY)[1:]), SECRET, ENTROPY),
        ("é" * 87, SECRET, ENTROPY),
        (P256DH, "", ENTROPY),
        (P256DH, text_of(b"fifteen octets!"), ENTROPY),
        (P256DH, SECRET, b""),
        (P256DH, SECRET, ENTROPY + b"x"),
    ],
)
def test_what_is_no_key_is_refused_without_being_shown(p256dh: str, auth: str, entropy: bytes) -> None:
    with pytest.raises(ValueError) as refused:
        webpush.encrypt(b"x", p256dh, auth, entropy)
    assert not p256dh or p256dh not in str(refused.value)
    assert not auth or auth not in str(refused.value)
