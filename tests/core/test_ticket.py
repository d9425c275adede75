"""Is a ticket worth exactly what its token was, and for no longer than an hour?"""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core import ticket
from ulak.core.token import MAX_TOKEN, Claims, Grant, TokenError, TokenKey, mint, ring, verify

NOW = 1_790_000_000.0
SECRETS = {1: b"a" * 32, 2: b"b" * 32}
CLAIMS = Claims(7, "ann", NOW + 7_200, NOW - 5.5, "tok_1", ("orders", "room:*"), 12)


def made(claims: Claims = CLAIMS, device: str | None = "phone", kid: int = 2) -> str:
    return ticket.make(claims, device, kid, SECRETS[kid], NOW)


def refused(text: str, now: float = NOW, secrets: dict[int, bytes] | None = None) -> bool:
    with pytest.raises(TokenError) as caught:
        ticket.read(text, SECRETS if secrets is None else secrets, now)
    return caught.value.code == "ticket_invalid" and caught.value.expired


def test_a_ticket_repeats_its_token_and_names_its_device() -> None:
    read = ticket.read(made(), SECRETS, NOW)
    assert read == Claims(7, "ann", NOW + 7_200, NOW - 5.5, "tok_1", ("orders", "room:*"), 12, "phone")


def test_it_holds_for_an_hour_and_the_session_for_as_long_as_the_tokens_would() -> None:
    assert ticket.read(made(), SECRETS, NOW + 3_599).expires_at == NOW + 7_200
    assert refused(made(), NOW + 3_600)


def test_it_ends_with_its_token() -> None:
    short = made(Claims(7, "ann", NOW + 60))
    assert ticket.read(short, SECRETS, NOW + 59).user == "ann"
    assert refused(short, NOW + 60)


def test_a_ticket_made_from_a_ticket_prolongs_nothing() -> None:
    later = NOW + 3_000
    again = ticket.make(ticket.read(made(), SECRETS, later), "phone", 1, SECRETS[1], later)
    assert ticket.read(again, SECRETS, later + 3_599).expires_at == NOW + 7_200
    last = ticket.make(ticket.read(again, SECRETS, NOW + 6_500), None, 1, SECRETS[1], NOW + 6_500)
    assert refused(last, NOW + 7_200)


def test_the_key_is_named_and_must_be_known() -> None:
    assert ticket.read(made(kid=1), SECRETS, NOW) == ticket.read(made(kid=2), SECRETS, NOW)
    assert refused(made(kid=1), secrets={2: SECRETS[2]})
    assert refused(made(kid=1), secrets={1: SECRETS[2]})
    assert refused(made(), secrets={})


def test_a_ticket_is_no_token_and_a_token_no_ticket() -> None:
    key = TokenKey(7, "k", SECRETS[1])
    assert "." not in made()
    with pytest.raises(TokenError):
        verify(made(), ring([key]), NOW)
    assert refused(mint(key, "ann", 60, NOW, Grant()))


def test_it_is_safe_in_a_url_and_has_one_spelling() -> None:
    text = made()
    assert text.replace("-", "").replace("_", "").isalnum()
    for other in (text + "=", text + "==", text + "\n", " " + text, text[:-1], text + "A", text.upper()):
        assert refused(other)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=127))
def test_no_changed_character_is_believed(position: int, change: int) -> None:
    text = bytearray(made().encode())
    text[position % len(text)] ^= change
    assert refused(text.decode("latin-1"))


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    assert refused(text)


@pytest.mark.parametrize("text", ["", "A", "AQ", "AQAAAAE", "A" * 100, "A" * (MAX_TOKEN + 1), "é" * 50])
def test_what_is_no_ticket_is_refused(text: str) -> None:
    assert refused(text)


def test_what_is_signed_but_no_ticket_is_refused() -> None:
    """Another version, or other members: after an upgrade the client comes with a token."""
    for body in (b"\x02\0\0\0\1" + b"\x90", b"\x01\0\0\0\1" + b"\x90", b"\x01\0\0\0\1" + b"\xc1", b"\x01\0\0\0\1"):
        raw = body + ticket._tag(SECRETS[1], body)
        assert refused(base64.urlsafe_b64encode(raw).rstrip(b"=").decode())


def test_one_that_would_be_too_long_is_not_made() -> None:
    assert made(Claims(7, "u" * 128, NOW + 60, topics=("ü" * 128,) * 50)) == ""


@given(
    st.integers(0, 2**31 - 1),
    st.text(min_size=1, max_size=128).filter(str.isprintable),
    st.floats(0, 1e10),
    st.one_of(st.none(), st.text(min_size=1, max_size=64).filter(str.isprintable)),
    st.integers(-1, 2**62),
)
def test_every_claim_comes_back(tenant: int, user: str, issued: float, word: str | None, position: int) -> None:
    claims = Claims(tenant, user, NOW + 1, issued, word, (user,), position, word)
    text = ticket.make(claims, word, 1, SECRETS[1], NOW)
    assert ticket.read(text, SECRETS, NOW) == claims
