"""Is a user's token believed exactly when it should be?"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from ulak.core import jws
from ulak.core.token import (
    MAX_LIFE,
    MAX_TOPICS,
    Claims,
    Grant,
    TokenError,
    TokenKey,
    UnknownKeyError,
    mint,
    permits,
    ring,
    verify,
)

NOW = 1_790_000_000.0
SECRET = b"s" * 32
KEY = TokenKey(7, "k1", SECRET)
OTHER = TokenKey(8, "k2", b"o" * 32)
KEYS = ring([KEY, OTHER])

PRIVATE: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65_537, 2_048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
ISSUER = "https://id.example.com"
THEIRS = {
    name: TokenKey(7, f"{name}-1", private.public_key(), name, ISSUER, "app", "sub")
    for name, private in PRIVATE.items()
}
ALL = ring([KEY, OTHER, *THEIRS.values()])


def forged(claims: dict[str, Any], secret: Any = SECRET, algorithm: str = "HS256", kid: object = "k1") -> str:
    return jwt.encode(claims, secret, algorithm=algorithm, headers={"kid": kid} if kid is not None else None)


def good(**changes: Any) -> dict[str, Any]:
    claims = {"aud": "ulak", "sub": "ann", "iat": int(NOW), "exp": int(NOW) + 60, **changes}
    return {name: value for name, value in claims.items() if value is not ...}


def theirs(algorithm: str, **changes: Any) -> str:
    claims = good(**{"iss": ISSUER, "aud": "app", **changes})
    return forged(claims, PRIVATE[algorithm], algorithm, f"{algorithm}-1")


def code_of(token: str, now: float = NOW, keys: Any = ALL) -> str:
    with pytest.raises(TokenError) as caught:
        verify(token, keys, now)
    return caught.value.code


def assembled(header: Any, payload: Any, signature: bytes = b"") -> str:
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, signature))


def signed(header: Any, payload: Any, algorithm: str, key: Any) -> str:
    """A token that says one thing in its header and is signed as it is told."""
    signing = assembled(header, payload).rpartition(".")[0]
    signature = jws.ALGORITHMS[algorithm].sign(signing.encode(), key)
    return f"{signing}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


# ----------------------------------------------------------------------------------------- believed


def test_a_minted_token_is_believed() -> None:
    assert verify(mint(KEY, "ann", 600, NOW), KEYS, NOW + 599) == Claims(7, "ann", NOW + 600, NOW)


def test_what_was_granted_comes_back() -> None:
    granted = Grant("tok_1", ("orders", "room:*"), 12)
    assert verify(mint(KEY, "ann", 600, NOW + 0.9, granted), KEYS, NOW) == Claims(
        7, "ann", NOW + 600, NOW, "tok_1", ("orders", "room:*"), 12
    )


def test_a_token_without_an_issuer_is_judged_by_our_own_keys_and_its_tenant_is_the_keys() -> None:
    assert verify(forged(good()), KEYS, NOW) == Claims(7, "ann", NOW + 60, NOW)
    assert verify(forged(good(), OTHER.material, kid="k2"), KEYS, NOW).tenant == 8


@pytest.mark.parametrize("algorithm", sorted(PRIVATE))
def test_an_issuers_token_is_believed(algorithm: str) -> None:
    claims = verify(theirs(algorithm, jti="j1", topics=["a*"]), ALL, NOW)
    assert claims == Claims(7, "ann", NOW + 60, NOW, "j1", ("a*",))


def test_an_issuer_may_name_the_user_by_another_claim() -> None:
    keys = ring([replace(THEIRS["ES256"], user_claim="uid")])
    assert verify(theirs("ES256", uid="u-17"), keys, NOW).user == "u-17"
    assert code_of(theirs("ES256"), keys=keys) == "token_claims"
    assert code_of(theirs("ES256", uid=17), keys=keys) == "token_claims"
    assert code_of(theirs("ES256", uid="u-17", sub=...), keys=keys) == "token_claims"


def test_an_issuer_with_one_key_needs_no_key_id() -> None:
    keys = ring([replace(THEIRS["EdDSA"], kid=None)])
    assert verify(theirs("EdDSA"), keys, NOW).user == "ann"
    claims = good(iss=ISSUER, aud="app")
    assert verify(forged(claims, PRIVATE["EdDSA"], "EdDSA", None), keys, NOW).user == "ann"


def test_an_audience_may_be_one_of_several() -> None:
    assert verify(forged(good(aud=["other", "ulak"])), KEYS, NOW).user == "ann"


# ------------------------------------------------------------------------------------------- claims


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exp": ...}, "token_claims"),
        ({"iat": ...}, "token_claims"),
        ({"sub": ...}, "token_claims"),
        ({"aud": ...}, "token_claims"),
        ({"aud": "other"}, "token_audience"),
        ({"aud": ["other"]}, "token_audience"),
        ({"aud": {"ulak": 1}}, "token_audience"),
        ({"aud": []}, "token_audience"),
        ({"exp": int(NOW) + MAX_LIFE + 1}, "token_life"),
        ({"exp": 4_070_908_800}, "token_life"),
        ({"exp": int(NOW) - 1, "iat": int(NOW) - 60}, "token_expired"),
        ({"exp": int(NOW), "iat": int(NOW) - 60}, "token_expired"),
        ({"exp": int(NOW) + 30, "iat": int(NOW) + 40}, "token_life"),
        ({"iat": int(NOW) + 61, "exp": int(NOW) + 120}, "token_early"),
        ({"nbf": int(NOW) + 61}, "token_early"),
        ({"exp": "soon"}, "token_claims"),
        ({"exp": True}, "token_claims"),
        ({"exp": 1e300}, "token_claims"),
        ({"exp": -1, "iat": -5}, "token_claims"),
        ({"nbf": None}, "token_claims"),
        ({"sub": ""}, "token_claims"),
        ({"sub": 5}, "token_claims"),
        ({"sub": "a\nb"}, "token_claims"),
        ({"sub": "a\ud800b"}, "token_invalid"),
        ({"sub": "a\0b"}, "token_invalid"),
        ({"sub": "a" * 129}, "token_claims"),
        ({"tnt": 8}, "token_tenant"),
        ({"tnt": "7"}, "token_tenant"),
        ({"iss": 7}, "token_claims"),
        ({"jti": ""}, "token_claims"),
        ({"jti": 7}, "token_claims"),
        ({"jti": "a" * 256}, "token_claims"),
        ({"jti": "a\nb"}, "token_claims"),
        ({"topics": "orders"}, "token_claims"),
        ({"topics": [1]}, "token_claims"),
        ({"topics": [""]}, "token_claims"),
        ({"topics": ["a*b"]}, "token_claims"),
        ({"topics": ["a" * 129]}, "token_claims"),
        ({"topics": ["t"] * (MAX_TOPICS + 1)}, "token_claims"),
    ],
)
def test_claims_that_are_missing_wrong_or_too_generous_are_refused(changes: dict[str, Any], code: str) -> None:
    if "jti" in changes or "iss" in changes:  # PyJWT would not make these
        claims = json.dumps(good(**changes)).encode()
        token = jwt.api_jws.encode(claims, SECRET, "HS256", {"kid": "k1"})
    else:
        token = forged(good(**changes))
    assert code_of(token) == code


@pytest.mark.parametrize(
    ("changes", "now", "code"),
    [
        ({}, NOW + 59.9, None),
        ({}, NOW + 60, "token_expired"),
        ({"iat": NOW + 60, "exp": NOW + 61}, NOW, None),
        ({"iat": NOW + 60.1, "exp": NOW + 61}, NOW, "token_early"),
        ({"nbf": NOW + 60}, NOW, None),
        ({"exp": int(NOW) + MAX_LIFE}, NOW, None),
        ({"iat": NOW - 0.25, "exp": NOW + 0.25}, NOW, None),
    ],
)
def test_times_hold_to_the_very_edge(changes: dict[str, Any], now: float, code: str | None) -> None:
    token = forged(good(**changes))
    if code is None:
        assert verify(token, KEYS, now).user == "ann"
    else:
        assert code_of(token, now) == code


def test_only_our_own_tokens_say_how_far_the_log_had_come() -> None:
    """A claim of that name in another issuer's token must not outlive a revocation."""
    assert verify(forged(good(rvk=99)), ALL, NOW).position == 99
    assert verify(theirs("ES256", rvk=99), ALL, NOW).position == -1


# --------------------------------------------------------------------------------------------- keys


def test_a_key_id_must_be_known() -> None:
    assert code_of(forged(good(), kid="k9")) == "token_key"
    assert code_of(forged(good(), kid=None)) == "token_key"
    with pytest.raises(UnknownKeyError) as caught:
        verify(forged(good(iss=ISSUER, aud="app"), PRIVATE["ES256"], "ES256", "new"), ALL, NOW)
    assert caught.value.issuer == ISSUER


def test_a_key_belongs_to_its_issuer() -> None:
    """Neither can an issuer speak for Ulak, nor one issuer for another, though the key id is right."""
    private = PRIVATE["ES256"]
    for issuer in (..., "ulak", "https://other.example.com"):
        claims = good(iss=issuer, aud="app")
        assert code_of(forged(claims, private, "ES256", "ES256-1")) == "token_key"
    assert code_of(forged(good(iss=ISSUER, aud="app"))) == "token_key"


def test_the_same_issuer_and_key_id_at_two_tenants_do_not_cross() -> None:
    """CVE-2026-49998: a cache by key id alone took one tenant's token for another's."""
    key, strangers = THEIRS["ES256"], ec.generate_private_key(ec.SECP256R1())
    theirs_too = replace(key, tenant=8, material=strangers.public_key())
    token, foreign = theirs("ES256"), forged(good(iss=ISSUER, aud="app"), strangers, "ES256", "ES256-1")
    for keys in (ring([key, theirs_too]), ring([theirs_too, key])):
        assert verify(token, keys, NOW).tenant == 7
        assert verify(foreign, keys, NOW).tenant == 8


def test_two_tenants_of_one_identity_provider_are_told_apart_by_audience() -> None:
    key = THEIRS["RS256"]
    keys = ring([key, replace(key, tenant=8, audience="other-app")])
    assert verify(theirs("RS256"), keys, NOW).tenant == 7
    assert verify(theirs("RS256", aud="other-app"), keys, NOW).tenant == 8
    assert code_of(theirs("RS256", aud=["app", "other-app"]), keys=keys) == "token_tenant"
    assert code_of(theirs("RS256"), keys=ring([key, replace(key, tenant=8)])) == "token_tenant"


def test_one_tenants_key_of_any_id_does_not_stand_before_anothers() -> None:
    key, single = THEIRS["EdDSA"], replace(THEIRS["ES256"], tenant=8, kid=None, audience="other-app")
    keys = ring([key, single])
    assert verify(theirs("EdDSA"), keys, NOW).tenant == 7
    assert verify(theirs("ES256", aud="other-app"), keys, NOW).tenant == 8


def test_a_key_that_only_another_tenant_knows_yet_is_an_unknown_one() -> None:
    """So that this tenant's keys are read again instead of refusing its users for minutes."""
    with pytest.raises(UnknownKeyError):
        verify(theirs("ES256"), ring([replace(THEIRS["ES256"], tenant=8, audience="other-app")]), NOW)


def test_the_algorithm_is_the_keys_and_none_is_none() -> None:
    assert code_of(forged(good(), b"s" * 64, "HS512")) == "token_invalid"
    for alg in ("none", "None", "", None, 5, "HS512", "RS256"):
        assert code_of(assembled({"alg": alg, "kid": "k1"}, good())) == "token_invalid"
    assert code_of(assembled({"kid": "k1"}, good())) == "token_invalid"


@pytest.mark.parametrize("algorithm", sorted(PRIVATE))
def test_a_public_key_is_no_hmac_secret(algorithm: str) -> None:
    """The classic confusion: sign with HMAC, the published key as secret, and hope that the header decides."""
    public, subject = PRIVATE[algorithm].public_key(), serialization.PublicFormat.SubjectPublicKeyInfo
    for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER):
        secret = public.public_bytes(encoding, subject)
        header = {"alg": "HS256", "kid": f"{algorithm}-1"}
        assert code_of(signed(header, good(iss=ISSUER, aud="app"), "HS256", secret)) == "token_invalid"


@pytest.mark.parametrize("used", sorted(PRIVATE))
@pytest.mark.parametrize("named", [*sorted(PRIVATE), "HS256"])
def test_a_signature_of_one_algorithm_is_none_of_another(used: str, named: str) -> None:
    token = signed({"alg": named, "kid": f"{used}-1"}, good(iss=ISSUER, aud="app"), used, PRIVATE[used])
    if used == named:
        assert verify(token, ALL, NOW).user == "ann"
    else:
        assert code_of(token) == "token_invalid"


def test_another_tenants_secret_does_not_open_this_tenants_users() -> None:
    assert code_of(forged(good(), OTHER.material, kid="k1")) == "token_invalid"


# -------------------------------------------------------------------------------------------- shape


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b.c", "e30.e30.e30", "x" * 5_000, "é.é.é", "eyJhbGciOiJIUzI1NiJ9.e30.", "e30.W10.AA"]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    assert code_of(token) in {"token_invalid", "token_key"}


def test_a_header_with_an_extension_is_refused() -> None:
    """RFC 7515 §4.1.11, RFC 7797: what we do not understand must not be ignored."""
    extensions: list[dict[str, Any]] = [{"crit": ["exp"]}, {"crit": []}, {"b64": False}]
    for more in extensions:
        assert code_of(signed({"alg": "HS256", "kid": "k1", **more}, good(), "HS256", SECRET)) == "token_invalid"


def test_a_key_that_stands_twice_is_refused() -> None:
    payload = json.dumps(good()).encode()[:-1] + b',"sub":"bob"}'
    assert code_of(jwt.api_jws.encode(payload, SECRET, "HS256", {"kid": "k1"})) == "token_invalid"


def test_a_token_has_one_spelling() -> None:
    token = mint(KEY, "ann", 600, NOW)
    last = token[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    same_bits = alphabet[alphabet.index(last) ^ 1]
    for other in (token + "=", token + "==", token[:-1] + same_bits, token.replace(".", "=.", 1), token + "\n"):
        assert code_of(other) == "token_invalid"


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(token: str) -> None:
    assert code_of(token) in {"token_invalid", "token_key"}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "crit", "typ"]), _JSON),
    st.dictionaries(st.sampled_from(["iss", "aud", "sub", "iat", "exp", "tnt", "topics", "jti", "rvk"]), _JSON),
)
def test_signed_nonsense_is_refused_with_a_code(header: dict[str, Any], claims: dict[str, Any]) -> None:
    """By our own key, so that every claim is looked at."""
    token = signed({"alg": "HS256", "kid": "k1", **header}, {**good(), **claims}, "HS256", SECRET)
    try:
        tenant = verify(token, ALL, NOW).tenant
    except TokenError:
        return
    assert tenant == 7


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_no_changed_byte_is_believed(position: int, change: int) -> None:
    token = bytearray(mint(KEY, "ann", 600, NOW).encode())
    token[position % len(token)] ^= change
    with pytest.raises(TokenError):
        verify(token.decode("latin-1"), KEYS, NOW)


def test_a_short_secret_makes_no_key() -> None:
    with pytest.raises(ValueError, match="shorter than 32"):
        TokenKey(1, "weak", b"short")


def test_a_key_of_no_known_algorithm_is_none() -> None:
    with pytest.raises(ValueError, match="algorithm"):
        TokenKey(1, "odd", b"s" * 64, "HS512")


def test_a_key_does_not_show_its_secret() -> None:
    assert "sss" not in repr(KEY)


def test_one_key_id_can_not_belong_to_two_tenants() -> None:
    with pytest.raises(ValueError, match="two keys"):
        ring([KEY, TokenKey(9, "k1", b"t" * 32)])


@pytest.mark.parametrize("ttl", [0, -1, MAX_LIFE + 1])
def test_no_token_is_minted_for_longer_than_a_day_or_for_no_time(ttl: int) -> None:
    with pytest.raises(ValueError, match="lives between"):
        mint(KEY, "ann", ttl, NOW)


def test_what_a_client_should_do_follows_from_the_code() -> None:
    assert TokenError("token_expired").expired
    assert TokenError("ticket_invalid").expired
    assert not TokenError("token_key").expired
    assert TokenError("token_revoked").revoked
    assert TokenError("token_unavailable").unavailable


@pytest.mark.parametrize(
    ("topics", "topic", "allowed"),
    [
        ((), "a", False),
        (("a",), "a", True),
        (("a",), "ab", False),
        (("room:*",), "room:7", True),
        (("room:*",), "room:", True),
        (("room:*",), "lobby", False),
        (("*",), "anything", True),
    ],
)
def test_topics_are_permitted_by_name_or_beginning(topics: tuple[str, ...], topic: str, allowed: bool) -> None:
    assert permits(topics, topic) is allowed
