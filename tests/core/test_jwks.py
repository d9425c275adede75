"""Which keys of a stranger's set are used, and which never?"""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from ulak.core import jwks

EC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65_537, 2_048)
ED = ed25519.Ed25519PrivateKey.generate()
WEAK_RSA = rsa.generate_private_key(65_537, 1_024)
P384 = ec.generate_private_key(ec.SECP384R1())


def row(key: Any, **changes: Any) -> dict[str, Any]:
    algorithm: Any = {"RSA": RSAAlgorithm, "Ell": ECAlgorithm, "ECP": ECAlgorithm}.get(type(key).__name__[:3])
    made: dict[str, Any] = (algorithm or OKPAlgorithm).to_jwk(key, as_dict=True)
    made.pop("key_ops", None)
    return {name: value for name, value in {**made, "kid": "k", **changes}.items() if value is not ...}


def read(*rows: Any, algorithm: str = "ES256") -> jwks.KeySet:
    return jwks.read(json.dumps({"keys": list(rows)}).encode(), algorithm)


def pem(key: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(key.public_bytes(serialization.Encoding.PEM, form), "ascii")


@pytest.mark.parametrize(("key", "algorithm"), [(EC, "ES256"), (RSA, "RS256"), (ED, "EdDSA")])
def test_a_public_key_is_used(key: Any, algorithm: str) -> None:
    found = read(row(key.public_key(), use="sig", alg=algorithm, key_ops=["verify"]), algorithm=algorithm)
    assert list(found.keys) == ["k"]
    assert found.left_out == ()
    assert pem(found.keys["k"]) == pem(key.public_key()) == pem(jwks.pem(pem(key.public_key()), algorithm))


def test_several_keys_are_told_apart_by_id_and_one_may_have_none() -> None:
    found = read(row(EC.public_key(), kid="a"), row(EC.public_key(), kid="b"), row(EC.public_key(), kid=...))
    assert set(found.keys) == {"a", "b", None}


@pytest.mark.parametrize(
    ("key", "changes", "algorithm", "reason"),
    [
        (EC, {}, "ES256", "private half"),
        (RSA, {}, "RS256", "private half"),
        (ED, {}, "EdDSA", "private half"),
        (EC.public_key(), {"d": "AA"}, "ES256", "private half"),
        (WEAK_RSA.public_key(), {}, "RS256", "too weak"),
        (RSA.public_key(), {"e": "Aw"}, "RS256", "too weak"),
        (RSA.public_key(), {"n": "////" * 600}, "RS256", "can't be read|too large"),
        (RSA.public_key(), {"n": "____" * 500}, "RS256", "too large"),
        (P384.public_key(), {}, "ES256", "P-256|can't be read"),
        (EC.public_key(), {"crv": "secp256k1"}, "ES256", "can't be read|P-256"),
        (EC.public_key(), {"x": "AAAA"}, "ES256", "can't be read"),
        (EC.public_key(), {"x": 5}, "ES256", "can't be read"),
        (EC.public_key(), {"y": ...}, "ES256", "can't be read"),
        (ed448.Ed448PrivateKey.generate().public_key(), {}, "EdDSA", "no key for EdDSA"),
        (EC.public_key(), {"kid": 5}, "ES256", "id"),
        (EC.public_key(), {"kid": ""}, "ES256", "id"),
        (EC.public_key(), {"kid": "k" * 256}, "ES256", "id"),
    ],
)
def test_a_key_that_is_private_weak_or_odd_is_left_out(
    key: Any, changes: dict[str, Any], algorithm: str, reason: str
) -> None:
    found = read(row(key, **changes), algorithm=algorithm)
    assert not found.keys
    (told,) = found.left_out
    assert any(word in told for word in reason.split("|")), told


@pytest.mark.parametrize(
    "changes",
    [{"use": "enc"}, {"alg": "ES384"}, {"alg": None}, {"key_ops": ["sign"]}, {"key_ops": "verify"}, {"kty": "oct"}],
)
def test_a_key_for_something_else_is_passed_over(changes: dict[str, Any]) -> None:
    found = read(row(EC.public_key(), **changes))
    assert (dict(found.keys), found.left_out) == ({}, ())


def test_a_symmetric_key_is_never_read() -> None:
    secret = {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "k", "alg": "HS256"}
    for algorithm in jwks.PUBLIC_ALGORITHMS:
        assert not read(secret, algorithm=algorithm).keys


def test_a_good_key_beside_bad_ones_is_used_and_an_id_belongs_to_the_first() -> None:
    found = read(row(EC, kid="bad"), row(EC.public_key(), kid="k"), row(P384.public_key(), kid="k"))
    assert list(found.keys) == ["k"]
    assert found.left_out == ("key 1 shows its private half", "key 3 has the id of another")


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"null", b'{"keys":{}}', b'{"keys":[1]}', b'{"keys":[],"keys":[]}', b"\xff", b"<html>"],
)
def test_what_is_no_set_is_refused(body: bytes) -> None:
    with pytest.raises(jwks.BadKey):
        jwks.read(body, "ES256")


def test_a_set_is_bounded_in_bytes_and_keys() -> None:
    with pytest.raises(jwks.BadKey, match="more than 65536 bytes"):
        jwks.read(b'{"keys":[]}' + b" " * jwks.MAX_SET, "ES256")
    with pytest.raises(jwks.BadKey, match="more than 32 keys"):
        read(*[row(EC.public_key(), kid=str(n)) for n in range(33)])
    assert len(read(*[row(EC.public_key(), kid=str(n)) for n in range(32)]).keys) == 32


def test_an_empty_set_is_a_set() -> None:
    assert read().keys == {}


@given(
    st.dictionaries(
        st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "use", "alg", "key_ops"]),
        st.one_of(
            st.sampled_from(["EC", "RSA", "OKP", "P-256", "AQAB", "AAAA"]), st.text(max_size=9), st.integers(0, 9)
        ),
    ),
    st.sampled_from(jwks.PUBLIC_ALGORITHMS),
)
def test_no_key_breaks_the_reader(changes: dict[str, Any], algorithm: str) -> None:
    """Texts that JSON may hold and we do not (a NUL) make it no set."""
    with contextlib.suppress(jwks.BadKey):
        jwks.read(json.dumps({"keys": [{**row(EC.public_key()), **changes}]}).encode(), algorithm)


@pytest.mark.parametrize(
    ("text", "algorithm", "reason"),
    [
        ("", "ES256", "no public key"),
        ("é", "ES256", "no public key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "ES256", "no public key"),
        (pem(RSA.public_key()), "ES256", "no key for ES256"),
        (pem(EC.public_key()), "EdDSA", "no key for EdDSA"),
        (pem(WEAK_RSA.public_key()), "RS256", "too weak"),
        (pem(P384.public_key()), "ES256", "P-256"),
        ("-----BEGIN PRIVATE KEY-----", "ES256", "private key"),
    ],
)
def test_a_key_in_the_project_file_is_judged_as_well(text: str, algorithm: str, reason: str) -> None:
    with pytest.raises(jwks.BadKey, match=reason):
        jwks.pem(text, algorithm)
