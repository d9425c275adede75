"""What may a user refuse by a link in a message, how does it stand, and what does his answer change?

A link is held by whoever holds the message, who may have got it forwarded. So links narrow: they can switch off what
the user may refuse, and they take back only what a link switched off. A "no" that was said elsewhere (in the app, by
the caller) is shown and can't be changed here.

A category with a critical type in it is not offered: it is chosen where somebody is logged in. Its types carry no
links, which is why a project may not put a marketing type there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache

import msgspec

from ulak.core.model import Channel, Class, NotificationType
from ulak.core.preferences import allowed
from ulak.core.project import Catalog

LINK = "link"
"""The source of a choice that was made by a link."""


class Chosen(msgspec.Struct, frozen=True, gc=False):
    """A stored choice; ``replaced`` is what a link's "no" stands in the place of (None: nothing)."""

    category: str
    channel: str
    allowed: bool
    source: str
    replaced: bool | None = None


class Stand(StrEnum):
    """How a category stands on a channel: ``OFF_BY_LINK`` can be taken back by a link, ``OFF`` can not."""

    ON = "on"
    OFF_BY_LINK = "off_by_link"
    OFF = "off"


class Offer(msgspec.Struct, frozen=True, gc=False):
    """One category on one channel, as the page shows it."""

    category: str
    channel: str
    stand: Stand


class Change(msgspec.Struct, frozen=True, gc=False):
    """What an answer changes: pairs (category, channel) to refuse, and pairs to take back."""

    refuse: Sequence[tuple[str, str]] = ()
    restore: Sequence[tuple[str, str]] = ()


@lru_cache(maxsize=64)
def refusable(catalog: Catalog) -> Mapping[str, Sequence[Channel]]:
    """Categories that links may refuse, in the order of the project, with the channels of their types' routes."""
    found: dict[str, dict[Channel, None]] = {}
    for kind in catalog.types.values():
        if not critical(catalog.types.values(), kind.category):
            found.setdefault(kind.category, {}).update(dict.fromkeys(step.channel for step in kind.route))
    return {category: tuple(channels) for category, channels in found.items()}


def critical(types: Iterable[NotificationType], category: str) -> bool:
    """Whether a type of this category is critical."""
    return any(kind.category == category and kind.klass is Class.CRITICAL for kind in types)


def stand(rows: Sequence[Chosen], category: str, channel: str) -> Stand:
    """How one category stands on one channel, for types that are not critical."""
    may, decided = allowed([(r.category, r.channel, r.allowed) for r in rows], category, channel, Class.TRANSACTIONAL)
    if may:
        return Stand.ON
    own = next((r for r in rows if (r.category, r.channel) == (category, channel)), None)
    if own is None or decided != (category, channel, False) or own.source != LINK:
        return Stand.OFF
    # Taking it back must help: something wider may say no as well.
    rest = [(r.category, r.channel, r.allowed) for r in rows if r is not own]
    if own.replaced is None and not allowed(rest, category, channel, Class.TRANSACTIONAL)[0]:
        return Stand.OFF
    return Stand.OFF_BY_LINK


def offers(catalog: Catalog, rows: Sequence[Chosen]) -> list[Offer]:
    """Everything that the page of all choices shows."""
    return [
        Offer(category, channel.value, stand(rows, category, channel))
        for category, channels in refusable(catalog).items()
        for channel in channels
    ]


def answered(shown: Iterable[Offer], wanted: Iterable[tuple[str, str]]) -> Change:
    """What the page's form changes: ``shown`` is what its sender saw, as it stands now; ``wanted`` he wants on."""
    on = set(wanted)
    refuse, restore = [], []
    for offer in shown:
        pair = (offer.category, offer.channel)
        if pair in on and offer.stand is Stand.OFF_BY_LINK:
            restore.append(pair)
        elif pair not in on and offer.stand is Stand.ON:
            refuse.append(pair)
    return Change(tuple(refuse), tuple(restore))
