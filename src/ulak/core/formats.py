"""How does a user read a number, an amount, a date: in which language, by which customs, in which time zone?

By CLDR, through Babel. The words are those of the template's language; the customs are the user's own where
CLDR has them for that language: a template in English shows a user in Zürich English months and Swiss
thousands (``en-CH``). Values come from data, so whatever is no number or no moment becomes nothing, and what
a filter makes is short.

Babel reads its tables from its own package when a locale is first used, as ``zoneinfo`` does; nothing else
of the world is touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from copy import copy
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time
from babel.numbers import NumberPattern, format_currency, format_decimal

WIDTHS = ("short", "medium", "long", "full")
"""CLDR's four lengths of dates and times."""

MAX_DIGITS = 9
"""The most digits behind the decimal point."""

MAX_KEPT = 2048
"""Results that are kept for each locale and time zone."""

Moment = date | datetime
"""A day, or a point of time in some zone."""

_NUMBER = re.compile(r"[-+]?[0-9]{1,18}(?:\.[0-9]{1,9})?\Z")
_CURRENCY = re.compile(r"[A-Za-z]{3}\Z")
_LARGEST = 10**18
_MILLISECONDS = 10**11
"""Numbers from here on are milliseconds since 1970, as JavaScript has them; seconds would be the year 5138."""


class FormatError(ValueError):
    """A template asks for a format that there is not; the text names no data."""


def nearest(template: str, user: str | None) -> Locale:
    """The locale to format by: the template's language with the user's customs, as far as CLDR has them.

    Both are canonical tags (``core/locale``).
    """
    tags = []
    if user is not None:
        if _language(user) == _language(template):
            tags.append(user)
        region = next((part for part in user.split("-")[1:] if len(part) == 2 and part.isalpha()), None)
        if region is not None:
            tags.append(f"{_language(template)}-{region}")
    for tag in (*tags, template, _language(template)):
        try:
            return Locale.parse(tag, sep="-")
        except (UnknownLocaleError, ValueError):
            continue
    return Locale("en")


def zone(name: str | None, default: tzinfo = UTC) -> tzinfo:
    """The time zone of this IANA name; the default when there is none of that name."""
    if not name:
        return default
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):  # names come from users
        return default


class Formats:
    """The formatting filters for one locale and one time zone; results are kept, since many users share them."""

    def __init__(self, locale: Locale, home: tzinfo) -> None:
        self.locale = locale
        self.home = home
        self._kept: dict[Hashable, str] = {}

    def number(self, value: object, digits: int | None = None) -> str:
        """``1,234.5``; with ``digits`` exactly so many behind the point."""
        found = _number(value)
        places = _places(digits)
        if found is None:
            return ""
        return self._keep(("number", found, places), lambda: self._decimal(found, places))

    def percent(self, value: object, digits: int = 0) -> str:
        """``12%`` from 0.12; at most ``digits`` behind the point."""
        found = _number(value)
        places = _places(digits) or 0
        if found is None:
            return ""
        pattern = self.locale.percent_formats[None]
        return self._keep(("percent", found, places), lambda: self._by(pattern, found, (0, places)))

    def currency(self, value: object, code: object = None) -> str:
        """``€1,234.50`` from 1234.5 and ``EUR``: an amount in the currency's main unit and its ISO 4217 code."""
        found = _number(value)
        if found is None or not isinstance(code, str) or _CURRENCY.match(code) is None:
            return ""
        iso = code.upper()
        return self._keep(("currency", found, iso), lambda: format_currency(found, iso, locale=self.locale))

    def plural(self, value: object, *forms: str, **named: str) -> str:
        """The form of CLDR's category for a number, ``#`` replaced by the number.

        ``plural("# item", "# items")`` gives one and other; languages with more name them: ``few=``,
        ``many=``. ``zero=`` also serves a plain 0 where the language has no such category.
        """
        found = _number(value)
        by_category = {**dict(zip(("other",) if len(forms) == 1 else ("one", "other"), forms, strict=False)), **named}
        if found is None:
            return ""
        category = "zero" if found == 0 and "zero" in by_category else str(self.locale.plural_form(found))
        form = by_category.get(category, by_category.get("other", ""))
        return str(form)[:1000].replace("#", self.number(value))

    def date(self, value: object, width: str = "medium", tz: str | None = None) -> str:
        """``Nov 22, 2026``."""
        return self._moment("date", value, width, tz)

    def time(self, value: object, width: str = "short", tz: str | None = None) -> str:
        """``3:30 PM``; nothing for a date without a time."""
        return self._moment("time", value, width, tz)

    def datetime(self, value: object, width: str = "medium", tz: str | None = None) -> str:
        """``Nov 22, 2026, 3:30 PM``; only the date for a date without a time. ``width`` is the date's."""
        return self._moment("datetime", value, width, tz)

    def _moment(self, kind: str, value: object, width: str, tz: str | None) -> str:
        if not isinstance(width, str):
            raise TypeError("the width must be a text")  # from data that lack it: no mistake of the author's
        if width not in WIDTHS:
            raise FormatError(f"the width must be one of {', '.join(WIDTHS)}")
        home = self.home if tz is None else zone(tz, self.home)
        found = _moment(value, home)
        if found is None or (kind == "time" and not isinstance(found, datetime)):
            return ""
        return self._keep((kind, found, width, str(home)), lambda: self._shown(kind, found, width, home))

    def _shown(self, kind: str, moment: Moment, width: str, home: tzinfo) -> str:
        if kind == "date" or not isinstance(moment, datetime):
            return format_date(moment, width, self.locale)
        if kind == "time":
            return format_time(moment, width, home, self.locale)
        pattern = str(self.locale.datetime_formats[width]).replace("'", "")
        parts = {"{0}": format_time(moment, "short", home, self.locale), "{1}": format_date(moment, width, self.locale)}
        return re.sub(r"\{[01]\}", lambda match: parts[match[0]], pattern)

    def _decimal(self, value: Decimal, places: int | None) -> str:
        if places is None:
            return format_decimal(value, locale=self.locale)
        return self._by(self.locale.decimal_formats[None], value, (places, places))

    def _by(self, pattern: NumberPattern, value: Decimal, places: tuple[int, int]) -> str:
        """By a pattern of the locale, but with other least and most digits behind the point."""
        own = copy(pattern)
        own.frac_prec = places
        return str(own.apply(value, self.locale))

    def _keep(self, key: Hashable, make: Callable[[], str]) -> str:
        made = self._kept.get(key)
        if made is None:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            made = self._kept[key] = make()
        return made


def _language(tag: str) -> str:
    return tag.partition("-")[0]


def _places(digits: object) -> int | None:
    if digits is None:
        return None
    if not isinstance(digits, int) or isinstance(digits, bool) or not 0 <= digits <= MAX_DIGITS:
        raise FormatError(f"digits must be from 0 to {MAX_DIGITS}")
    return digits


def _number(value: object) -> Decimal | None:
    """A number of data, exact as it was written; None for anything else and for what nobody can read."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return Decimal(value) if _NUMBER.match(value) is not None else None
    if isinstance(value, (int, float)) and -_LARGEST < value < _LARGEST:  # which NaN is not
        return Decimal(repr(value))
    return None


def _moment(value: object, home: tzinfo) -> Moment | None:
    """A moment in the user's zone, or a date as it is; None for anything else.

    Text is ISO 8601; without an offset it is the wall clock of the zone. A number counts seconds since 1970,
    or milliseconds where it is too large for them.
    """
    try:
        if isinstance(value, str) and 8 <= len(value) <= 40:
            if len(value) <= 10:
                return date.fromisoformat(value)
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=home) if moment.tzinfo is None else moment.astimezone(home)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            seconds = value / 1000 if abs(value) >= _MILLISECONDS else value
            return datetime.fromtimestamp(seconds, home)
    except (ValueError, OverflowError, OSError):
        return None
    return None
