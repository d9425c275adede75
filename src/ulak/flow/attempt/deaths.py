"""When devices of an account die in numbers, who is believed: the service or our settings?

A ``Mortality`` (``core/mortality``) for each push account, and one for each of its apps: a key may be wrong for all of
them, a topic for one. While an account, or an app by it, is doubted nothing that it is told puts a device into
quarantine; refusals that may be the fault of topic, key or project become ``next_provider``, so that their deliveries
wait and the account's breaker opens; what was put into quarantine before, on whichever node, is taken out again.
Nothing is shared between nodes: each finds out by its own calls, and takes out what all did.

An installation that sends little never has ten deaths in five minutes; a wrong topic would put its whole fleet away,
one device at a time. So the same is asked of a day (``SLOW``), for which nearly all must have died.

Whoever registers devices that do not exist makes them die at will. So that he alone can't bring an account into doubt,
and with it everybody's pushes to a halt, a user's devices count for at most ``VOICES``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zlib import crc32

from ulak.core.device import Fate
from ulak.core.fate import DISABLES, Told
from ulak.core.model import Account, Channel
from ulak.core.mortality import Limits, Mortality
from ulak.core.outcome import Kind, Outcome, outcome
from ulak.flow.attempt.model import Clock
from ulak.providers.contract import Message

log = logging.getLogger(__name__)

TOKENS_DYING = "tokens_dying"
"""The reason of what is refused while its account is doubted."""

VOICES = 3
"""For how many devices those of one user count."""

SLOW = Limits(window=86_400.0, share=0.9, over=0.5, slices=24)
"""When an account that sends little is doubted: ten died within a day, and hardly one was found alive."""

_AGAIN = 30.0
"""Seconds after which doubted devices are looked for again: other nodes may not doubt them yet."""

_MOST = 100
"""Apps of an account that are watched apart; what they are called is for devices to say."""

Place = tuple[str, str | None]
"""An account's name and an app of its, or None for all that it sends."""


@dataclass(slots=True)
class _Watched:
    """A place, and when its devices were last taken out of quarantine; None when that is still to be done."""

    limits: Limits
    quick: Mortality
    slow: Mortality
    restored_at: float | None = 0.0

    def told(self, died: Sequence[str], alive: int, now: float) -> bool:
        """Count; True when this began a doubt. What is doubted at once is no matter of the day's."""
        if self.quick.told(died, alive, now):
            self.slow = Mortality(SLOW)
            return True
        return not self.quick.doubted(now) and self.slow.told(died, alive, now)

    def doubted(self, now: float) -> bool:
        """Whether what it is told of dying devices is not to be believed."""
        return self.quick.doubted(now) or self.slow.doubted(now)

    def back(self, now: float) -> float:
        """How far back, in seconds, what it was told is not to be believed either."""
        return SLOW.window if self.slow.doubted(now) else self.limits.window


class Deaths:
    """The push accounts of one node; ``clock`` is monotonic seconds."""

    def __init__(self, clock: Clock, limits: Limits | None = None) -> None:
        self._clock = clock
        self._limits = limits or Limits()
        self._accounts: dict[str, Account] = {}
        self._watched: dict[Place, _Watched] = {}

    def match(self, accounts: Iterable[Account]) -> None:
        """Watch exactly the push accounts of these; one that was declared anew is believed again."""
        known, watched = self._accounts, self._watched
        self._accounts = {each.name: each for each in accounts if each.channel == Channel.PUSH}
        same = {name for name, account in self._accounts.items() if known.get(name) == account}
        self._watched = {place: each for place, each in watched.items() if place[0] in same}

    def judged(self, account: Account, messages: Sequence[Message], outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """What one call meant, message by message, after it has been counted."""
        if account.name not in self._accounts:
            return outcomes
        for message, each in zip(messages, outcomes, strict=True):
            died, alive = _dies(each), _lives(each)
            if died or alive:
                for place in ((account.name, None), (account.name, _app(message))):
                    self._count(place, [_voice(message)] if died else [], alive)
        return [
            _waits(each) if each.device is Fate.DOUBTED and self.doubted(account.name, _app(message)) else each
            for message, each in zip(messages, outcomes, strict=True)
        ]

    def _count(self, place: Place, died: Sequence[str], alive: int) -> None:
        watched = self._watched.get(place)
        if watched is None:
            if place[1] is not None and sum(name == place[0] for name, _ in self._watched) > _MOST:
                return
            watched = _Watched(self._limits, Mortality(self._limits), Mortality(SLOW))
            self._watched[place] = watched
        if watched.told(died, alive, self._clock()):
            watched.restored_at = None
            log.error(
                "%s: so many devices are refused at once that topic, key or project must be wrong; none is put into "
                "quarantine, those of the last minutes (or the last day, if they died slowly) are taken out",
                _named(place),
            )

    def doubted(self, account: str, app: str) -> bool:
        """Whether what an account is told of dying devices of an app is not to be believed now."""
        now, places = self._clock(), ((account, None), (account, app))
        return any(place in self._watched and self._watched[place].doubted(now) for place in places)

    def believed(self, told: Told) -> bool:
        """Whether a fate may be written; a death that the service dates is one, whatever we have set up wrongly."""
        return (
            told.fate not in DISABLES or told.dead_since is not None or not self.doubted(told.account, told.device.app)
        )

    def due(self) -> list[tuple[Place, float]]:
        """Places whose devices are to be taken out of quarantine, and how far back in seconds."""
        now = self._clock()
        return [
            (place, each.back(now))
            for place, each in self._watched.items()
            if each.restored_at is None or (now - each.restored_at >= _AGAIN and each.doubted(now))
        ]

    def restored(self, place: Place, devices: int) -> None:
        """So many were."""
        watched = self._watched.get(place)
        if watched is not None:
            watched.restored_at = self._clock()
        if devices:
            log.error("%s: %d devices were taken out of quarantine", _named(place), devices)

    def states(self) -> dict[str, float]:
        """1 for each account that is doubted, for whichever app, else 0."""
        now = self._clock()
        doubted = {place[0] for place, each in self._watched.items() if each.doubted(now)}
        return {name: float(name in doubted) for name in self._accounts}


def _app(message: Message) -> str:
    return message.device.app if message.device else ""


def _voice(message: Message) -> str:
    """As whom a device's death is counted: the user, with one of his few numbers."""
    return f"{message.tenant} {crc32(message.target.encode()) % VOICES} {message.user}"


def _named(place: Place) -> str:
    """An account, and an app as far as it is printable: it is what a device said."""
    account, app = place
    return f"account {account}" if app is None else f"account {account}, app {app[:100]!a}"


def _dies(each: Outcome) -> bool:
    return each.device in DISABLES and each.dead_since is None


def _lives(each: Outcome) -> bool:
    """Whether it shows that the service knows the address by our settings."""
    return each.kind is Kind.ACCEPTED or each.device is Fate.BUSY or each.dead_since is not None


def _waits(each: Outcome) -> Outcome:
    return outcome(Kind.NEXT_PROVIDER, TOKENS_DYING, detail=f"{each.reason}: {each.detail}")
