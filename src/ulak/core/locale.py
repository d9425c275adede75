"""Which languages stand in for the one that a user asked for, and in which order?

A locale is a language tag of BCP 47 (RFC 5646), cut to what templates need: language, script, region
and variants. The chain of RFC 4647 §3.4 (lookup) takes one subtag off at a time: ``zh-Hant-TW`` →
``zh-Hant`` → ``zh`` → the project's default → the template without a locale.
"""

from __future__ import annotations

import re

MAX_LENGTH = 35
"""The longest tag accepted (the least that RFC 5646 §4.4.1 asks of an implementation)."""

RTL = frozenset({"ar", "arc", "ckb", "dv", "fa", "he", "iw", "ks", "ps", "sd", "syr", "ug", "ur", "yi"})
"""Languages written from right to left."""

_RTL_SCRIPTS = frozenset({"Arab", "Hebr", "Syrc", "Thaa", "Nkoo", "Adlm", "Rohg"})
_TAG = re.compile(
    r"[A-Za-z]{2,3}(-[A-Za-z]{4})?(-(?:[A-Za-z]{2}|[0-9]{3}))?((?:-(?:[A-Za-z0-9]{5,8}|[0-9][A-Za-z0-9]{3}))*)\Z"
)


def canonical(tag: str) -> str | None:
    """Write a tag the usual way (``tr_tr`` → ``tr-TR``); None when it is no language tag."""
    if len(tag) > MAX_LENGTH:
        return None
    tag = tag.replace("_", "-")
    if _TAG.match(tag) is None:
        return None
    language, *rest = tag.split("-")
    return "-".join([language.lower(), *map(_subtag, rest)])


def _subtag(text: str) -> str:
    if len(text) == 4 and text.isalpha():
        return text.title()
    return text.upper() if len(text) == 2 else text.lower()


def chain(tag: str | None, default: str) -> tuple[str, ...]:
    """Locales to try in order, ending with ``""`` (the template without a locale)."""
    found: list[str] = []
    for start in (tag, default):
        known = canonical(start) if start else None
        parts = known.split("-") if known else []
        found += ["-".join(parts[:end]) for end in range(len(parts), 0, -1)]
    return (*dict.fromkeys(found), "")


def direction(tag: str) -> str:
    """``rtl`` or ``ltr``, for the ``dir`` attribute of a page in this language."""
    parts = tag.split("-")
    scripts = [part for part in parts[1:] if len(part) == 4 and part.isalpha()]
    if scripts:
        return "rtl" if scripts[0].title() in _RTL_SCRIPTS else "ltr"
    return "rtl" if parts[0].lower() in RTL else "ltr"
