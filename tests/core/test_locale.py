"""Are language tags told from other words, and does the chain end where it should?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.locale import canonical, chain, direction


@pytest.mark.parametrize(
    ("given_tag", "expected"),
    [
        ("tr_tr", "tr-TR"),
        ("EN", "en"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("sl-rozaj-1994", "sl-rozaj-1994"),
        ("fil", "fil"),
        ("", None),
        ("e", None),
        ("english", None),
        ("en-", None),
        ("en--US", None),
        ("tr-TR\n", None),
        ("../etc", None),
        ("en-" + "abcde-" * 8 + "abcde", None),
        ("\uff45\uff4e", None),
    ],
)
def test_tags(given_tag: str, expected: str | None) -> None:
    assert canonical(given_tag) == expected


@given(st.text(max_size=40))
def test_a_canonical_tag_stays_as_it_is(tag: str) -> None:
    once = canonical(tag)
    assert once is None or canonical(once) == once


def test_chains() -> None:
    assert chain("tr_tr", "en") == ("tr-TR", "tr", "en", "")
    assert chain("zh-Hant-TW", "pt-BR") == ("zh-Hant-TW", "zh-Hant", "zh", "pt-BR", "pt", "")
    assert chain(None, "en") == ("en", "")
    assert chain("nonsense!", "en") == ("en", "")
    assert chain("en-GB", "en") == ("en-GB", "en", "")


@pytest.mark.parametrize(
    ("tag", "expected"), [("ar-EG", "rtl"), ("he", "rtl"), ("az-Arab", "rtl"), ("ar-Latn", "ltr"), ("tr", "ltr")]
)
def test_directions(tag: str, expected: str) -> None:
    assert direction(tag) == expected
