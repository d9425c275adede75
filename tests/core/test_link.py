from __future__ import annotations

import base64
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.link import MAX_LINK, Click, Link, LinkError, Open, Preferences, Told, Unsubscribe, make, read

_SECRET, _OTHER = b"s" * 32, b"t" * 32
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
_LINKS: st.SearchStrategy[Link] = st.one_of(
    st.builds(Unsubscribe, st.integers(0, 2**31), _TEXT, _TEXT, _TEXT, st.none() | st.uuids()),
    st.builds(Preferences, st.integers(0, 2**31), _TEXT, st.none() | st.uuids()),
    st.builds(Click, st.integers(0, 2**31), st.uuids(), _TEXT),
    st.builds(Open, st.integers(0, 2**31), st.uuids()),
    st.builds(Told, st.integers(0, 2**31), st.uuids()),
)
_LINK = Unsubscribe(3, "ada@example.com", "email", "orders", UUID(int=9))


@given(_LINKS, st.integers(0, 2**32 - 1))
def test_a_link_says_what_it_was_made_with(link: Link, kid: int) -> None:
    assert read(make(link, kid, _SECRET), {kid: _SECRET, kid ^ 1: _OTHER}) == link


def test_the_same_link_has_the_same_text_and_shows_nothing_of_the_user() -> None:
    token = make(_LINK, 1, _SECRET)
    assert token == make(_LINK, 1, _SECRET)
    raw = base64.urlsafe_b64decode(token + "==")
    assert b"ada" not in raw
    assert b"orders" not in raw


@given(st.data())
def test_no_bit_can_be_changed(data: st.DataObject) -> None:
    raw = bytearray(base64.urlsafe_b64decode(make(_LINK, 1, _SECRET) + "=="))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    changed = base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()
    with pytest.raises(LinkError):
        read(changed, {1: _SECRET, 0: _OTHER, 3: _OTHER})


@given(st.text(max_size=300) | st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_what_is_no_link_is_refused_and_nothing_else_happens(token: str) -> None:
    with pytest.raises(LinkError):
        read(token, {1: _SECRET})


def test_a_key_that_is_not_here_opens_nothing_and_a_retired_one_still_does() -> None:
    token = make(_LINK, 1, _SECRET)
    with pytest.raises(LinkError):
        read(token, {2: _SECRET})
    with pytest.raises(LinkError):
        read(token, {1: _OTHER})
    assert read(token, {1: _SECRET, 2: _OTHER}) == _LINK


@pytest.mark.parametrize("spelling", ["{0}=", "{0}A", " {0}", "{0}" * 40])
def test_a_link_has_one_spelling(spelling: str) -> None:
    with pytest.raises(LinkError):
        read(spelling.format(make(_LINK, 1, _SECRET)), {1: _SECRET})


def test_a_link_that_nobody_would_read_is_not_made() -> None:
    with pytest.raises(ValueError, match=str(MAX_LINK)):
        make(Click(0, UUID(int=1), "https://example.com/" + "a" * MAX_LINK), 1, _SECRET)


@given(st.integers(0, 2**31 - 1), st.uuids(), st.integers(0, 2**32 - 1))
def test_what_an_app_tells_by_takes_little_of_a_push(tenant: int, delivery: UUID, kid: int) -> None:
    assert len(make(Told(tenant, delivery), kid, _SECRET)) <= 70


def test_kinds_of_links_are_not_taken_for_one_another() -> None:
    pair = (3, UUID(int=9))
    opened = read(make(Open(*pair), 1, _SECRET), {1: _SECRET})
    told = read(make(Told(*pair), 1, _SECRET), {1: _SECRET})
    assert (type(opened), type(told)) == (Open, Told)
