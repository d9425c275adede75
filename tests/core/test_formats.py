"""Does a user read numbers and dates by his own customs, and does no value of data make trouble?"""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.formats import WIDTHS, FormatError, Formats, nearest, zone

NOON = "2026-11-22T12:30:00Z"


def formats(template: str = "en", user: str | None = None, home: str | None = None) -> Formats:
    return Formats(nearest(template, user), zone(home))


@pytest.mark.parametrize(
    ("template", "user", "found"),
    [
        ("en", None, "en"),
        ("en", "en-GB", "en_GB"),
        ("en", "de-CH", "en_CH"),  # English words, Swiss customs
        ("en", "tr-TR", "en"),  # there is no English of Turkey
        ("en", "tlh", "en"),
        ("zh", "zh-Hant-TW", "zh_Hant_TW"),
        ("pt-BR", "pt-PT", "pt_PT"),
        ("pt-BR", "es", "pt_BR"),
        ("ar", "ar-EG", "ar_EG"),
        ("tlh", None, "en"),
        ("de-1996", "de-1996", "de"),
    ],
)
def test_the_words_are_the_templates_and_the_customs_the_users(template: str, user: str | None, found: str) -> None:
    assert str(nearest(template, user)) == found


@pytest.mark.parametrize(
    "name", ["", None, "Nowhere/Town", "../../etc/passwd", "/etc/passwd", "x" * 5000, "\0", "Asia"]
)
def test_an_unknown_zone_is_the_default(name: str | None) -> None:
    there = timezone(timedelta(hours=5))
    assert zone(name) is UTC
    assert zone(name, there) is there


def test_numbers_amounts_and_shares() -> None:
    swiss, turkish = formats("en", "de-CH"), formats("tr")
    assert (swiss.number(1234567.891), turkish.number("1234.5")) == ("1\u2019234\u2019567.891", "1.234,5")
    assert (turkish.number(12.5, 2), turkish.number(2, 0), turkish.number(1e3, digits=1)) == ("12,50", "2", "1.000,0")
    assert (swiss.percent(0.125), turkish.percent(0.1234, 1)) == ("12%", "%12,3")
    assert (formats().currency(1234.5, "eur"), formats().currency(5, "JPY"), formats("de").currency("0.1", "EUR")) == (
        "€1,234.50",
        "¥5",
        "0,10\xa0€",
    )
    assert formats().number(0.1 + 0.2) == "0.3"
    assert [formats().currency(5, code) for code in ("<b>", "EURO", "", None, 978)] == [""] * 5


def test_plurals_by_the_rules_of_the_language() -> None:
    english, polish = formats(), formats("pl")
    assert [english.plural(n, "# item", "# items") for n in (0, 1, 2, 1200)] == [
        "0 items",
        "1 item",
        "2 items",
        "1,200 items",
    ]
    assert [polish.plural(n, one="# plik", few="# pliki", many="# plików") for n in (1, 2, 5, 22)] == [
        "1 plik",
        "2 pliki",
        "5 plików",
        "22 pliki",
    ]
    assert english.plural(0, one="one", other="many", zero="none") == "none"
    assert (english.plural("3", "always #"), english.plural(None, "x", "y"), english.plural(3)) == ("always 3", "", "")


def test_moments_in_the_users_zone() -> None:
    home = formats("en", "en-GB", "Europe/Istanbul")
    assert home.date(NOON) == "22 Nov 2026"
    assert home.time(NOON) == "15:30"
    assert home.time(NOON, tz="America/New_York") == "07:30"
    assert home.datetime(NOON, "long") == "22 November 2026, 15:30"
    assert home.time("2026-11-22T12:30:00") == "12:30"  # without an offset: the wall clock there
    assert home.time("2026-11-22T12:30:00+02:00") == "13:30"
    assert home.date("2026-11-22", "full") == "Sunday, 22 November 2026"  # a day is the same day everywhere
    assert home.time("2026-11-22") == ""
    assert home.datetime("2026-11-22") == "22 Nov 2026"
    assert home.date("2026-11-22T23:30:00Z") == "23 Nov 2026"
    assert home.datetime(1_795_350_600) == home.datetime(1_795_350_600_000) == home.datetime(NOON)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("language", ["en", "tr", "ar", "ja", "de-CH", "zh-Hant"])
def test_every_width_is_there_in_every_language(width: str, language: str) -> None:
    made = formats(language)
    assert all(made_text and "{" not in made_text for made_text in (made.date(NOON, width), made.datetime(NOON, width)))


@pytest.mark.parametrize(
    ("name", "given"), [("date", (NOON, "wide")), ("number", (1, 10)), ("number", (1, "2")), ("percent", (1, True))]
)
def test_an_authors_mistake_is_told(name: str, given: tuple[Any, ...]) -> None:
    with pytest.raises(FormatError):
        getattr(formats(), name)(*given)


ANY = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=60)
    | st.sampled_from(
        ["9" * 400, "1e999", "NaN", "∞", "٣", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2026-W47"]
    )
    | st.lists(st.integers(), max_size=2)
)


@given(ANY, ANY)
def test_no_value_of_data_breaks_a_filter_or_makes_much(value: Any, other: Any) -> None:
    made = formats("en", "de-CH", "Pacific/Kiritimati")
    texts = [made.number(value), made.percent(value), made.currency(value, other), made.plural(value, "#", "##")]
    texts += [made.date(value), made.time(value), made.datetime(value, "full", tz="Pacific/Niue")]
    assert all(len(text) < 200 for text in texts)


def test_results_are_kept_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ulak.core.formats.MAX_KEPT", 10)
    made = formats()
    assert [made.number(n) for n in range(25)] == [str(n) for n in range(25)]
    assert len(made._kept) <= 10
