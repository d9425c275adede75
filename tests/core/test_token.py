"""Is a user's token believed exactly when it should be?"""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.token import MAX_LIFE, Claims, TokenError, TokenKey, mint, ring, verify

NOW = 1_790_000_000.0
SECRET = b"s" * 32
KEY = TokenKey(7, "k1", SECRET)
OTHER = TokenKey(8, "k2", b"o" * 32)
KEYS = ring([KEY, OTHER])


def forged(claims: dict[str, Any], secret: bytes = SECRET, algorithm: str = "HS256", kid: object = "k1") -> str:
    return jwt.encode(claims, secret, algorithm=algorithm, headers={"kid": kid} if kid is not None else None)


def good(**changes: Any) -> dict[str, Any]:
    claims = {"aud": "ulak", "sub": "ann", "iat": int(NOW), "exp": int(NOW) + 60, **changes}
    return {name: value for name, value in claims.items() if value is not ...}


def code_of(token: str, now: float = NOW) -> str:
    with pytest.raises(TokenError) as caught:
        verify(token, KEYS, now)
    return caught.value.code


def test_a_minted_token_is_believed() -> None:
    assert verify(mint(KEY, "ann", 600, NOW), KEYS, NOW + 599) == Claims(7, "ann", NOW + 600)


def test_a_token_of_the_customers_own_is_believed_and_its_tenant_is_the_keys() -> None:
    assert verify(forged(good()), KEYS, NOW) == Claims(7, "ann", NOW + 60)
    assert verify(forged(good(), OTHER.secret, kid="k2"), KEYS, NOW).tenant == 8


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exp": ...}, "token_claims"),
        ({"iat": ...}, "token_claims"),
        ({"sub": ...}, "token_claims"),
        ({"aud": ...}, "token_claims"),
        ({"aud": "other"}, "token_audience"),
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
        ({"sub": ""}, "token_claims"),
        ({"sub": "a\0b"}, "token_claims"),
        ({"sub": "a\ud800b"}, "token_claims"),
        ({"sub": "a" * 256}, "token_claims"),
        ({"tnt": 8}, "token_tenant"),
        ({"tnt": "7"}, "token_tenant"),
    ],
)
def test_claims_that_are_missing_wrong_or_too_generous_are_refused(changes: dict[str, Any], code: str) -> None:
    assert code_of(forged(good(**changes))) == code


def test_a_key_id_must_be_known() -> None:
    assert code_of(forged(good(), kid="k9")) == "token_key"
    assert code_of(forged(good(), kid=None)) == "token_key"


def test_the_algorithm_is_the_keys_and_none_is_none() -> None:
    assert code_of(forged(good(), b"s" * 64, "HS512")) == "token_invalid"
    header = base64.urlsafe_b64encode(b'{"alg":"none","kid":"k1"}').rstrip(b"=").decode()
    body = base64.urlsafe_b64encode(json.dumps(good()).encode()).rstrip(b"=").decode()
    assert code_of(f"{header}.{body}.") == "token_invalid"


def test_another_tenants_secret_does_not_open_this_tenants_users() -> None:
    assert code_of(forged(good(), OTHER.secret, kid="k1")) == "token_invalid"


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b.c", "e30.e30.e30", "x" * 5_000, "é.é.é", "eyJhbGciOiJIUzI1NiJ9.e30."]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    assert code_of(token) in {"token_invalid", "token_key"}


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(token: str) -> None:
    assert code_of(token) in {"token_invalid", "token_key"}


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_no_changed_byte_is_believed(position: int, change: int) -> None:
    token = bytearray(mint(KEY, "ann", 600, NOW).encode())
    position %= len(token)
    if position == len(token) - 1:  # the last character carries unused bits
        return
    token[position] ^= change
    with pytest.raises(TokenError):
        verify(token.decode("latin-1"), KEYS, NOW)


def test_a_short_secret_makes_no_key() -> None:
    with pytest.raises(ValueError, match="shorter than 32"):
        TokenKey(1, "weak", b"short")


def test_one_key_id_can_not_belong_to_two_tenants() -> None:
    with pytest.raises(ValueError, match="two keys"):
        ring([KEY, TokenKey(9, "k1", b"t" * 32)])


@pytest.mark.parametrize("ttl", [0, -1, MAX_LIFE + 1])
def test_no_token_is_minted_for_longer_than_a_day_or_for_no_time(ttl: int) -> None:
    with pytest.raises(ValueError, match="lives between"):
        mint(KEY, "ann", ttl, NOW)


def test_only_expiry_invites_to_come_back() -> None:
    assert TokenError("token_expired").expired
    assert not TokenError("token_key").expired
