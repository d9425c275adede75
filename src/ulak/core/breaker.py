"""May an account be called now, after what its last calls have shown?

A breaker counts what says something about the account, and nothing else: a refused address or a bad message is
the account at work. It opens when, over the last ``window`` seconds, at least ``least`` calls were counted and a
``share`` of them failed; then it rests, longer each time. After the rest one single call is let through: its
success closes the breaker, its failure makes it rest again, and its silence (a call whose result never came)
frees the place after ``patience``. A vendor that asks for a pause is given it, without counting as a failure.

Times are monotonic seconds, handed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    PROBING = "probing"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Limits:
    """When a breaker opens and how long it rests, in seconds."""

    window: float = 30.0
    least: int = 5
    share: float = 0.5
    rest: float = 5.0
    short: float = 0.2
    longest: float = 30.0
    patience: float = 60.0
    longest_pause: float = 3600.0
    bearable: float = 10.0
    """A pause up to this long is waited out; for a longer one waiting work goes elsewhere."""


class Breaker:
    """One account, as one node sees it."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._state = State.CLOSED
        self._counts = [[0, 0], [0, 0]]
        """Calls and failures of the running half window, and of the one before."""
        self._half = 0
        self._rest = self._limits.rest
        self._closed_until = 0.0
        self._opened_at = 0.0
        self._probe_at: float | None = None
        self._paused_until = 0.0

    @property
    def state(self) -> State:
        """Where it stands."""
        return self._state

    def usable(self, now: float) -> bool:
        """Whether new work should be given to the account: it is closed and not paused."""
        return self._state is State.CLOSED and now >= self._paused_until

    def wants_probe(self, now: float) -> bool:
        """Whether the next call would be the one that shows if the account works again."""
        if self._state is State.CLOSED or now < max(self._paused_until, self._closed_until):
            return False
        return self._probe_at is None or now - self._probe_at >= self._limits.patience

    def away(self, now: float) -> bool:
        """Whether work that waits for the account should not go on waiting."""
        if self._paused_until - now > self._limits.bearable:
            return True
        return self._state is not State.CLOSED and not self.wants_probe(now)

    def rests(self, now: float) -> float:
        """Seconds for which nothing is sent; 0 while something may be."""
        until = self._paused_until if self._state is State.CLOSED else max(self._paused_until, self._closed_until)
        return max(0.0, until - now)

    def allows(self, calls: int, now: float) -> int:
        """How many of ``calls`` may be made now; a probe counts as made from here on."""
        if now < self._paused_until:
            return 0
        if self._state is State.CLOSED:
            return calls
        if self._state is State.PROBING and self._probe_at is not None and now - self._probe_at < self._limits.patience:
            return 0
        if now < self._closed_until:
            return 0
        self._state, self._probe_at = State.PROBING, now
        return min(calls, 1)

    def hurry(self) -> None:
        """What waits may go by no other account: a probe is due ``short`` seconds after the last, one at a time."""
        self._closed_until = min(self._closed_until, self._opened_at + self._limits.short)

    def unused(self) -> None:
        """The probe that was allowed was not made."""
        self._probe_at = None

    def undecided(self, began: float) -> None:
        """The call that began then says nothing; if it was the probe, there may be another."""
        if self._probe_at is not None and began >= self._probe_at:
            self._probe_at = None

    def succeeded(self, calls: int, now: float, began: float = math.inf) -> None:
        """So many calls showed that the account works; those that ``began`` before the probe decide nothing."""
        if self._state is State.CLOSED:
            self._count(calls, 0, now)
        elif self._state is State.PROBING and self._probe_at is not None and began >= self._probe_at:
            self._state, self._probe_at = State.CLOSED, None
            self._rest = self._limits.rest
            self._counts = [[0, 0], [0, 0]]

    def failed(self, calls: int, now: float, began: float = math.inf) -> None:
        """So many calls showed that it does not; those that ``began`` before the probe decide nothing."""
        if self._state is State.PROBING:
            if self._probe_at is not None and began >= self._probe_at:
                self._open(now)
        elif self._state is State.CLOSED:
            self._count(calls, calls, now)
            made, bad = (sum(half[which] for half in self._counts) for which in (0, 1))
            if made >= self._limits.least and bad >= made * self._limits.share:
                self._open(now)

    def pause(self, seconds: float, now: float) -> None:
        """The vendor asks to be left alone for so long."""
        self._paused_until = max(self._paused_until, now + min(seconds, self._limits.longest_pause))
        self._probe_at = None

    def _open(self, now: float) -> None:
        self._state, self._probe_at = State.OPEN, None
        self._opened_at, self._closed_until = now, now + self._rest
        self._rest = min(self._rest * 2, self._limits.longest)

    def _count(self, calls: int, failures: int, now: float) -> None:
        half = int(now / (self._limits.window / 2))
        if half != self._half:
            self._counts = [[0, 0], self._counts[0] if half == self._half + 1 else [0, 0]]
            self._half = half
        self._counts[0][0] += calls
        self._counts[0][1] += failures
