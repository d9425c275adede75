"""Is a key recognised without being looked up, and does its scope bound it?"""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.apikey import ENTROPY, Scope, allows, is_key, key_hash, make_key


@given(st.binary(min_size=ENTROPY, max_size=ENTROPY))
def test_a_key_is_known_by_its_form(entropy: bytes) -> None:
    text, hashed, prefix = make_key(entropy)
    assert is_key(text)
    assert hashed == hashlib.sha256(text.encode()).digest() == key_hash(text)
    assert text.startswith(prefix + "_")
    assert text.startswith("ulk_live_")


@given(st.binary(min_size=ENTROPY, max_size=ENTROPY), st.data())
def test_one_wrong_character_is_noticed(entropy: bytes, data: st.DataObject) -> None:
    text = make_key(entropy, "test")[0]
    place = data.draw(st.integers(len("ulk_test_"), len(text) - 1))
    other = data.draw(st.sampled_from([c for c in "abcdefghijklmnopqrstuvwxyz234567_ \0İ" if c != text[place]]))
    assert not is_key(text[:place] + other + text[place + 1 :])


@pytest.mark.parametrize("text", ["", "ulk_live_", "ulk_prod_aaaaaaaa_" + "a" * 39, "x" * 100_000])
def test_what_is_no_key(text: str) -> None:
    assert not is_key(text)


def test_entropy_is_not_stretched() -> None:
    with pytest.raises(ValueError, match="25 random bytes"):
        make_key(b"short")


def test_all_stands_for_every_scope() -> None:
    assert all(allows(["*"], scope) for scope in Scope)
    assert allows(["users:read"], Scope.USERS_READ)
    assert not allows(["users:read"], Scope.USERS_WRITE)
