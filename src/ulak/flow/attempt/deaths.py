"""When devices of an account die in numbers, who is believed: the service or our settings?

One ``Mortality`` (``core/mortality``) for each push account. While an account is doubted nothing that it is told puts
a device into quarantine; refusals that may be the fault of topic, key or project become ``next_provider``, so that
their deliveries wait and the account's breaker opens; what the account put into quarantine before, on whichever node,
is taken out again. Nothing is shared between nodes: each finds out by its own calls, and takes out what all did.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

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

_AGAIN = 30.0
"""Seconds after which a doubted account's devices are looked for again: other nodes may not doubt it yet."""


class _Watched:
    """An account, and when its devices were last taken out of quarantine; None when that is still to be done."""

    def __init__(self, account: Account, limits: Limits) -> None:
        self.account = account
        self.mortality = Mortality(limits)
        self.restored_at: float | None = 0.0


class Deaths:
    """The push accounts of one node; ``clock`` is monotonic seconds."""

    def __init__(self, clock: Clock, limits: Limits | None = None) -> None:
        self._clock = clock
        self._limits = limits or Limits()
        self._watched: dict[str, _Watched] = {}

    def match(self, accounts: Iterable[Account]) -> None:
        """Watch exactly the push accounts of these; one that was declared anew is believed again."""
        known = self._watched
        self._watched = {}
        for account in accounts:
            if account.channel == Channel.PUSH:
                old = known.get(account.name)
                same = old is not None and old.account == account
                self._watched[account.name] = old if same and old else _Watched(account, self._limits)

    def judged(self, account: Account, messages: Sequence[Message], outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """What one call meant, message by message, after it has been counted."""
        watched = self._watched.get(account.name)
        if watched is None:
            return outcomes
        died = [message.target for message, each in zip(messages, outcomes, strict=True) if _dies(each)]
        if watched.mortality.told(died, sum(map(_lives, outcomes)), self._clock()):
            watched.restored_at = None
            log.error(
                "account %s: so many of its devices are refused at once that its topic, key or project must be wrong; "
                "none is put into quarantine, those of the last minutes are taken out",
                account.name,
            )
        if not died or not self.doubted(account.name):
            return outcomes
        return [_waits(each) if each.device is Fate.DOUBTED else each for each in outcomes]

    def doubted(self, account: str) -> bool:
        """Whether what an account is told of dying devices is not to be believed now."""
        watched = self._watched.get(account)
        return watched is not None and watched.mortality.doubted(self._clock())

    def believed(self, told: Told) -> bool:
        """Whether a fate may be written."""
        return told.fate not in DISABLES or not self.doubted(told.account)

    def due(self) -> list[tuple[str, float]]:
        """Accounts whose devices are to be taken out of quarantine, and how far back in seconds."""
        now = self._clock()
        return [
            (name, self._limits.window)
            for name, each in self._watched.items()
            if each.restored_at is None or (each.mortality.doubted(now) and now - each.restored_at >= _AGAIN)
        ]

    def restored(self, account: str, devices: int) -> None:
        """So many were."""
        watched = self._watched.get(account)
        if watched is not None:
            watched.restored_at = self._clock()
        if devices:
            log.error("account %s: %d devices were taken out of quarantine", account, devices)

    def states(self) -> dict[str, float]:
        """1 for each account that is doubted, else 0."""
        return {name: float(self.doubted(name)) for name in self._watched}


def _dies(each: Outcome) -> bool:
    return each.device in DISABLES and each.dead_since is None


def _lives(each: Outcome) -> bool:
    """Whether it shows that the service knows the address by our settings."""
    return each.kind is Kind.ACCEPTED or each.device is Fate.BUSY or each.dead_since is not None


def _waits(each: Outcome) -> Outcome:
    return outcome(Kind.NEXT_PROVIDER, TOKENS_DYING, detail=f"{each.reason}: {each.detail}")
