"""Which accounts can send now, as this node's own calls have shown, and whose waiting work goes elsewhere?

One breaker for each account that this node works for (``core/breaker``). It is the gate before every call
(``Permits``), and it knows which other account may go on with a delivery (``Lineup``). What an account's calls
meant is told to it in one place. Nothing here is shared between nodes: each finds out in a few calls of its own.

Accounts for browsers have none that opens. They speak to whichever service a browser names, so that one service that
is down would stop the pushes of all others, and anybody could bring that about: a subscription is a URL that a user
hands in, and below the hosts that are allowed there are names that do not exist and paths that refuse every key.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from ulak.core.breaker import Breaker, Limits, State
from ulak.core.device import PROVIDER_OF, AddressKind, Device, fits, stands_in
from ulak.core.model import Account, Channel
from ulak.core.outcome import Kind, Outcome
from ulak.flow.attempt.model import Clock

log = logging.getLogger(__name__)

FAILURES = frozenset({Kind.NEXT_PROVIDER, Kind.RETRY, Kind.UNKNOWN, Kind.POLICY_BLOCK})
"""What speaks against an account. A storm of policy refusals, too: going on would only harm its reputation."""

Declared = Callable[[int, Channel], Sequence[Account]]
"""The accounts that a tenant's catalogue in force has for a channel."""

_LOG_EVERY = 30.0


class _Watched:
    """An account with its breaker, and when its state was last logged."""

    def __init__(self, account: Account, limits: Limits) -> None:
        self.account = account
        self.breaker = Breaker(limits)
        self.logged_at = float("-inf")
        self.silent = 0


class Breakers:
    """The breakers of one node; ``clock`` is monotonic seconds."""

    def __init__(self, clock: Clock, declared: Declared, limits: Limits | None = None) -> None:
        self._clock = clock
        self._declared = declared
        self._limits = limits or Limits()
        self._watched: dict[str, _Watched] = {}

    def match(self, accounts: Iterable[Account]) -> None:
        """Watch exactly these; one that was declared anew begins with a closed breaker."""
        known = self._watched
        self._watched = {}
        for account in accounts:
            old = known.get(account.bulkhead)
            keep = old is not None and old.account == account
            self._watched[account.bulkhead] = old if keep and old else _Watched(account, self._limits)

    # ------------------------------------------------------------------------------------- permits

    async def permit(self, account: Account, calls: int) -> int:
        """How many of ``calls`` may be made now: all, none, or one that shows whether the account works again."""
        watched = self._watched.get(account.bulkhead)
        return calls if watched is None else watched.breaker.allows(calls, self._clock())

    def give_back(self, account: Account, calls: int) -> None:
        """A probe that found nothing to send was none."""
        watched = self._watched.get(account.bulkhead)
        if watched is not None and calls and watched.breaker.state is State.PROBING:
            watched.breaker.unused()

    # ------------------------------------------------------------------------------------- lineup

    def accounts(self, account: Account, tenant: int, device: Device | None = None) -> Sequence[Account]:
        """Those that a tenant's delivery on this account's channel may go by; this one at least.

        Where it goes to a ``device``, those that reach it: none, perhaps, and perhaps not this one.
        """
        declared = self._declared(tenant, account.channel)
        if device is not None:
            return [each for each in declared if fits(each, device.kind, device.app, device.account)]
        found = [each for each in declared if stands_in(account, each)]
        return found if any(each.name == account.name for each in found) else (account, *found)

    def usable(self, account: Account) -> bool:
        """Whether new work should go by it: this node serves it, and it works or waits for a probe."""
        watched = self._watched.get(account.bulkhead)
        if watched is None:
            return False
        now = self._clock()
        return watched.breaker.usable(now) or watched.breaker.wants_probe(now)

    def told(self, account: Account, outcomes: Sequence[Outcome], began: float) -> None:
        """What one call that began at ``began`` meant, message by message."""
        watched = self._watched.get(account.bulkhead)
        if watched is None or account.provider == PROVIDER_OF[AddressKind.WEBPUSH]:
            return
        now, breaker, before = self._clock(), watched.breaker, watched.breaker.state
        failed = sum(each.kind in FAILURES for each in outcomes)
        throttled = [each.wait for each in outcomes if each.kind is Kind.THROTTLED]
        for wait in throttled:
            if wait is not None:
                breaker.pause(wait, now)
        # Outcomes of one call share its fate: first what speaks against the account, then what speaks for it.
        if failed:
            breaker.failed(failed, now, began)
        if len(outcomes) > failed + len(throttled):
            breaker.succeeded(len(outcomes) - failed - len(throttled), now, began)
        if throttled and not failed and len(throttled) == len(outcomes):
            breaker.undecided(began)
        if breaker.state is not before:
            self._log(watched, outcomes, now)

    # ------------------------------------------------------------------------------------- to be seen

    def diverted(self) -> list[Account]:
        """Accounts whose waiting work should go by others now."""
        now = self._clock()
        return [each.account for each in self._watched.values() if each.breaker.away(now)]

    def hurry(self, account: Account) -> None:
        """Nothing waits there but what may go by no other account: let it be asked soon, one call at a time."""
        watched = self._watched.get(account.bulkhead)
        if watched is not None:
            watched.breaker.hurry()

    def states(self) -> dict[str, tuple[State, float]]:
        """Bulkhead to its breaker's state, and the seconds for which nothing is sent by it."""
        now = self._clock()
        return {name: (each.breaker.state, each.breaker.rests(now)) for name, each in self._watched.items()}

    def _log(self, watched: _Watched, outcomes: Sequence[Outcome], now: float) -> None:
        """Say that a breaker changed, once in a while: one that flaps would fill the log."""
        if now - watched.logged_at < _LOG_EVERY:
            watched.silent += 1
            return
        said = next((each.reason for each in outcomes if each.kind in FAILURES), "it works again")
        log.warning(
            "account %s: breaker %s (%s); %d changes before were not logged",
            watched.account.name,
            watched.breaker.state,
            said,
            watched.silent,
        )
        watched.logged_at, watched.silent = now, 0
