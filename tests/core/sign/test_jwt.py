"""Do tokens that we sign prove who signed them, to a reader that is not ours?"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric import rsa as rsa_keys
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.sign import jwt

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""How many keys P-256 has, and one (SEC 2, secp256r1)."""

P256 = ec.derive_private_key(0x6_5EC2E7, ec.SECP256R1())
RSA = rsa_keys.generate_private_key(65_537, 2_048)
CLAIMS = st.dictionaries(st.text(max_size=12), st.text(max_size=40) | st.integers(-(2**53), 2**53), max_size=4)


def pem(key: jwt.Key | ed25519.Ed25519PrivateKey, form: PrivateFormat = PrivateFormat.PKCS8) -> str:
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode("ascii")


def scalar(number: int) -> str:
    return jwt.encoded(number.to_bytes(32, "big")).decode("ascii")


def locked() -> str:
    protection = serialization.BestAvailableEncryption(b"pass")
    return P256.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection).decode("ascii")


@given(claims=CLAIMS, kid=st.none() | st.text(min_size=1, max_size=20))
def test_a_reader_that_is_not_ours_believes_either_signature(claims: dict[str, str | int], kid: str | None) -> None:
    # The registered claims are of any type here, which this reader refuses unless it is asked for the signature alone.
    reader = pyjwt.PyJWS()
    for key, algorithm in ((P256, "ES256"), (RSA, "RS256")):
        token = jwt.mint(key, claims, kid)
        read = reader.decode_complete(token, key.public_key(), algorithms=[algorithm])
        assert json.loads(read["payload"]) == claims
        assert read["header"] == {"alg": algorithm, "typ": "JWT"} | ({} if kid is None else {"kid": kid})


@given(claims=CLAIMS)
def test_nodes_that_never_talk_mint_the_identical_token(claims: dict[str, str | int]) -> None:
    backwards = dict(reversed(claims.items()))
    again = ec.derive_private_key(0x6_5EC2E7, ec.SECP256R1())
    assert jwt.mint(P256, claims, "K") == jwt.mint(again, backwards, "K")


@given(st.integers(0, 2**30))
def test_a_signature_of_p256_is_always_64_octets(number: int) -> None:
    _, _, signature = jwt.mint(P256, {"iat": number}).split(".")
    assert len(urlsafe_b64decode(signature + "==")) == 64


def test_a_key_may_come_as_pem_in_either_form_with_written_line_ends_or_as_its_octets() -> None:
    forms = [
        pem(P256),
        pem(P256, PrivateFormat.TraditionalOpenSSL),
        pem(P256).replace("\n", "\\n"),
        f"\n {pem(P256)} ",
        scalar(0x6_5EC2E7),
        scalar(0x6_5EC2E7) + "=\n",
    ]
    assert {jwt.p256(form).private_numbers().private_value for form in forms} == {0x6_5EC2E7}
    assert jwt.rsa(pem(RSA).replace("\n", "\\n")).private_numbers() == RSA.private_numbers()


@pytest.mark.parametrize(
    "key",
    [
        "",
        "x",
        scalar(0),
        scalar(ORDER),
        scalar(2**256 - 1),
        scalar(5) + "A",
        pem(RSA),
        pem(ed25519.Ed25519PrivateKey.generate()),
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(ec.generate_private_key(ec.SECP256K1())),
        locked(),
        pem(P256)[:-40],
        "-----BEGIN PRIVATE KEY-----\nключ\n-----END PRIVATE KEY-----",
    ],
)
def test_what_is_no_key_of_p256_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ValueError, match=r"^must be ") as caught:
        jwt.p256(key)
    assert len(key) < 2 or key.strip()[-30:] not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("key", ["", pem(P256), pem(rsa_keys.generate_private_key(65_537, 1_024)), locked()])
def test_what_is_no_rsa_key_of_2048_bits_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"^must be "):
        jwt.rsa(key)
