"""Does the one form of an address hold exactly one address, whatever comes in?"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.content.address import domain_of, normalise_email, suppression_key


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ada@example.com", "ada@example.com"),
        ("  Ada.Lovelace+tag@EXAMPLE.Com \n", "Ada.Lovelace+tag@example.com"),
        ("o'hara@sub.example.co.uk", "o'hara@sub.example.co.uk"),
        ("ali@bücher.example", "ali@xn--bcher-kva.example"),
        ("ali@BÜCHER.example", "ali@xn--bcher-kva.example"),
    ],
)
def test_usable_addresses(text: str, expected: str) -> None:
    assert normalise_email(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "ada",
        "ada@",
        "@example.com",
        "ada@localhost",
        "ada@example",
        "ada@1.2.3.4",
        "ada@[127.0.0.1]",
        "a@b.c, evil@x.y",
        "a@b.c;evil@x.y",
        "evil@x.y, a@b.c",
        "<ada@example.com>",
        "Ada <ada@example.com>",
        "ada@example.com>",
        '"ada"@example.com',
        "ada(comment)@example.com",
        "ada @example.com",
        "ada@ example.com",
        "ada..b@example.com",
        ".ada@example.com",
        "ada.@example.com",
        "ada@-example.com",
        "ada@example-.com",
        "ada@example..com",
        "ada@.example.com",
        "ada@example.com.",
        "ada@exa_mple.com",
        "ada@example.com\r\nBcc: evil@x.y",
        "ada\0@example.com",
        "ada@example.com\0",
        "=?utf-8?q?a=0D=0A?=@example.com",
        "ädä@example.com",
        "ada\ud800@example.com",
        "ada@exam\ud800ple.com",
        "ada@example\u2028.com",
        "a" * 65 + "@example.com",
        "a@" + "b" * 64 + ".com",
        "a@" + "b.c" * 90 + ".com",
        "a@" + "ü" * 10_000 + ".com",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    assert normalise_email(text) is None


@given(st.one_of(st.text(max_size=40), st.from_regex(r"[^@]{0,8}@[a-z.ü①。-]{0,12}", fullmatch=True)))
def test_what_is_accepted_is_one_plain_address_and_stays_it(text: str) -> None:
    address = normalise_email(text)
    if address is not None:
        assert re.fullmatch(r"[!-~]+@[a-z0-9.-]+", address)
        assert not set(address) & set('<>()[]:;,"\\ ')
        assert address.count("@") == 1
        assert normalise_email(address) == address


def test_a_suppression_covers_every_spelling() -> None:
    assert suppression_key("Ada@example.com") == suppression_key("ada@example.com")
    assert domain_of("ada@example.com") == "example.com"
