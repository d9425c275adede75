"""Does every email carry the same fields, whoever sends it, and can no fact smuggle in another?"""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.content.email import ContentError
from ulak.core.content.headers import Facts, fields

FACTS = Facts("example.com", "dlv_01", "att_01_1", "order_shipped", "orders", "transactional")


def test_the_fields_of_a_plain_email() -> None:
    assert fields(FACTS) == (
        ("Message-ID", "<dlv_01@example.com>"),
        ("Auto-Submitted", "auto-generated"),
        ("List-Id", "<order_shipped.example.com>"),
        ("Feedback-ID", "order_shipped:orders:transactional:ulaka379a6f6"),
        ("X-Ulak-Delivery", "dlv_01"),
        ("X-Ulak-Attempt", "att_01_1"),
    )


def test_one_click_is_promised_only_with_a_url() -> None:
    both = msgspec.structs.replace(FACTS, unsubscribe="https://u.example.com/u/abc", mailto="no@example.com")
    assert dict(fields(both))["List-Unsubscribe"] == "<https://u.example.com/u/abc>, <mailto:no@example.com>"
    assert dict(fields(both))["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    mail = dict(fields(msgspec.structs.replace(FACTS, mailto="mailto:no@example.com")))
    assert mail["List-Unsubscribe"] == "<mailto:no@example.com>"
    assert "List-Unsubscribe-Post" not in mail


def test_an_address_cannot_add_headers_to_the_mail_that_says_no() -> None:
    found = dict(fields(msgspec.structs.replace(FACTS, mailto="a?bcc=x&b%@example.com")))
    assert found["List-Unsubscribe"] == "<mailto:a%3Fbcc=x%26b%25@example.com>"


@pytest.mark.parametrize(
    "wrong",
    [
        {"unsubscribe": "http://example.com/u/1"},
        {"unsubscribe": "https://example.com/u/1>, <https://evil.example/"},
        {"unsubscribe": "https://example.com/\r\nBcc: e@x.yy"},
        {"unsubscribe": "https://example.com/ü"},
        {"unsubscribe": "https://example.com/" + "x" * 900},
        {"mailto": "a@b.cc, evil@x.yy"},
        {"mailto": "a@b.cc>"},
        {"domain": "example.com\r\nBcc: e@x.yy"},
        {"domain": "localhost"},
        {"delivery": "a b"},
        {"attempt": "x\r\ny"},
        {"attempt": ""},
    ],
)
def test_an_unusable_fact_is_refused_without_being_shown(wrong: dict[str, str]) -> None:
    with pytest.raises(ContentError) as refusal:
        fields(msgspec.structs.replace(FACTS, **wrong))
    assert "x.yy" not in str(refusal.value)


@given(*[st.text(st.characters(exclude_categories=()), max_size=150)] * 3)
def test_no_name_leaves_its_field(type_: str, category: str, klass: str) -> None:
    for _, value in fields(msgspec.structs.replace(FACTS, type=type_, category=category, klass=klass)):
        assert value.isascii()
        assert value.isprintable()
        assert "=?" not in value
        assert len(value) < 900
