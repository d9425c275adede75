"""Who takes part in a run: the users made from the people in the events, and what each one will do?

Everything follows from the seed and the events, so that a run can be repeated.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

LOCALES = ("en", "tr", "tr-TR", None)
"""What a user's locale may be; ``tr-TR`` has to fall back to ``tr`` and a missing one to the default."""

NOT_PEOPLE = {"Organization", "Bot"}


GADGETS = (
    ("apns",),
    ("fcm_token",),
    ("webpush",),
    (),
    ("apns", "webpush"),
    ("fcm_fid", "webpush"),
    ("apns", "fcm_token"),
)
"""Kinds of devices that one user has; the sandbox makes them."""


class Habit(StrEnum):
    """What a user does with what comes to the inbox."""

    AWAY = "away"  # no socket: looks into the inbox at the end
    ACKS = "acks"  # an open socket, but nobody looks
    SEES = "sees"
    READS = "reads"
    MIXED = "mixed"  # sees some, reads some, leaves some


@dataclass(frozen=True, slots=True)
class Person:
    """One user of a run; ``muted`` are the categories whose email was opted out of.

    ``devices`` are names of devices, which begin with their kind.
    """

    id: str
    email: str | None
    locale: str | None
    habit: Habit
    muted: frozenset[str] = frozenset()
    suppressed: bool = False
    inline: bool = False
    devices: tuple[str, ...] = ()

    @property
    def has_socket(self) -> bool:
        """Whether the user holds an open WebSocket during the run."""
        return self.habit is not Habit.AWAY

    @property
    def language(self) -> str:
        """The language that a template must come in: ``tr`` for Turkish locales, else the default."""
        return "tr" if (self.locale or "").partition("-")[0] == "tr" else "en"


def logins(node: Any) -> Iterator[str]:
    """The logins of all people in a payload, organisations and robots left out, with repetitions."""
    if isinstance(node, dict):
        login = node.get("login")
        if isinstance(login, str) and login and node.get("type") not in NOT_PEOPLE and "[bot]" not in login:
            yield login
        for value in node.values():
            yield from logins(value)
    elif isinstance(node, list):
        for value in node:
            yield from logins(value)


def organisations(payloads: Sequence[Any]) -> frozenset[str]:
    """Every login that stands where an organisation stands, unless it is called a user somewhere."""
    named = {
        organisation["login"]
        for payload in payloads
        if isinstance(organisation := payload.get("organization"), dict) and isinstance(organisation.get("login"), str)
    }
    return frozenset(named - {login for payload in payloads for login in _users(payload)})


def _users(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if node.get("type") == "User" and isinstance(node.get("login"), str):
            yield node["login"]
        for value in node.values():
            yield from _users(value)
    elif isinstance(node, list):
        for value in node:
            yield from _users(value)


def cast(names: Iterable[str], categories: Sequence[str], seed: int) -> tuple[Person, ...]:
    """Make one user of each name: half with a socket, some without an address, some who said no.

    ``categories`` are those that may be opted out of. The first users of the shuffled cast get the
    special parts, so that even a cast of six has each of them.
    """
    order = sorted(set(names))
    dice = random.Random(f"people/{seed}")  # a repeatable run, not a secret
    dice.shuffle(order)
    habits = (Habit.READS, Habit.SEES, Habit.MIXED, Habit.ACKS)
    made = []
    for place, name in enumerate(order):
        awake = place % 2 == 0
        made.append(
            Person(
                id=name,
                email=f"{name.lower()}@example.com",
                locale=LOCALES[place % len(LOCALES)] if place < len(LOCALES) else dice.choice(LOCALES),
                habit=habits[place // 2 % len(habits)] if awake else Habit.AWAY,
                devices=tuple(f"{kind}-{place}" for kind in GADGETS[place % len(GADGETS)]),
            )
        )
    return tuple(sorted(_specials(made, categories, dice), key=lambda person: person.id))


def _specials(made: list[Person], categories: Sequence[str], dice: random.Random) -> Iterator[Person]:
    for place, person in enumerate(made):
        if place % 7 == 5:  # about one in seven has no address
            yield replace(person, email=None)
        elif place % 7 == 3 and categories:  # and one opted out of something
            yield replace(person, muted=frozenset({dice.choice(categories)}))
        elif place == 1:
            yield replace(person, suppressed=True)
        else:
            yield person
