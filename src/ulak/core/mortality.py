"""Do so many of an account's devices die at once that the account is to be doubted, rather than they?

A wrong topic, key or project is answered, for every device, in the words that mean a dead address. So deaths are
counted: over the last ``window`` seconds, when at least ``least`` devices died and they are at least the ``share`` of
what was answered, the account is said to be wrong, until less than the share ``over`` dies, or nobody is left who did.

A device counts once, however often it was tried: a few bad ones of a small installation are never a storm. Strikes
count as deaths, because five of them are one. What does not count is a death that the service dates (APNs 410): it
knows the address, topic and key by then, and a purge of old devices is just that. Times are monotonic seconds, handed
in; the counts are those of one node.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """When an account is doubted; ``slices`` cut the window, ``told_apart`` bounds the ids held of a slice."""

    window: float = 300.0
    least: int = 10
    share: float = 0.5
    over: float = 0.25
    slices: int = 10
    told_apart: int = 1_000


@dataclass(slots=True)
class _Slice:
    """A part of the window: who died, how many more did, and how many calls showed a device alive."""

    at: int
    died: set[str] = field(default_factory=set)
    more: int = 0
    alive: int = 0


class Mortality:
    """The deaths of one account's devices, as one node sees them."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._slices: deque[_Slice] = deque()
        self._died: Counter[str] = Counter()
        """Device to the number of slices in which it died."""
        self._more = 0
        self._alive = 0
        self._doubted = False

    def told(self, died: Iterable[str], alive: int, now: float) -> bool:
        """Count the devices that ``died``, and calls that found one alive; True when this began the doubt."""
        self._forget(now)
        current = self._current(now)
        current.alive += alive
        self._alive += alive
        for device in died:
            self._die(current, device)
        before = self._doubted
        self._judge()
        return self._doubted and not before

    def doubted(self, now: float) -> bool:
        """Whether deaths are not to be believed."""
        self._forget(now)
        self._judge()
        return self._doubted

    def _judge(self) -> None:
        dead = len(self._died) + self._more
        whole = dead + self._alive
        if self._doubted:
            self._doubted = bool(dead) and dead >= whole * self._limits.over
        else:
            self._doubted = dead >= self._limits.least and dead >= whole * self._limits.share

    def _die(self, current: _Slice, device: str) -> None:
        if device in current.died:
            return
        if len(current.died) < self._limits.told_apart:
            current.died.add(device)
            self._died[device] += 1
        else:
            current.more += 1
            self._more += 1

    def _at(self, now: float) -> int:
        return int(now * self._limits.slices / self._limits.window)

    def _current(self, now: float) -> _Slice:
        at = self._at(now)
        if not self._slices or self._slices[-1].at < at:
            self._slices.append(_Slice(at))
        return self._slices[-1]

    def _forget(self, now: float) -> None:
        """Let go of slices that are out of the window."""
        oldest = self._at(now) - self._limits.slices
        while self._slices and self._slices[0].at <= oldest:
            gone = self._slices.popleft()
            self._alive -= gone.alive
            self._more -= gone.more
            self._died.subtract(gone.died)
            for device in gone.died:
                if not self._died[device]:
                    del self._died[device]
