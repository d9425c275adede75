"""May one more socket be opened, before anything is known or spent on it?

Counted are open sockets and new ones, of the node and of each address. A refusal costs a few microseconds and
says when to come back. Limits per address are off by default: behind a proxy that is not named in
``ULAK_TRUSTED_PROXIES`` all clients share one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ulak.core.handshake import Refusal


@dataclass(frozen=True, slots=True)
class Room:
    """The most open sockets, and new ones a second (after a burst of ``burst`` seconds' worth); 0: any number."""

    sockets: int = 50_000
    per_second: float = 2_000.0
    address_sockets: int = 0
    address_per_second: float = 0.0
    burst: float = 5.0


class _Rate:
    """A token bucket."""

    __slots__ = ("at", "level")

    def __init__(self, level: float, at: float) -> None:
        self.level = level
        self.at = at

    def take(self, now: float, per_second: float, most: float) -> float:
        """Take one; the seconds to wait if none is left."""
        self.level = min(most, self.level + (now - self.at) * per_second)
        self.at = now
        if self.level < 1:
            return (1 - self.level) / per_second
        self.level -= 1
        return 0.0


class Admission:
    """Who is in, and how many came lately."""

    _REMEMBERED = 10_000

    def __init__(self, room: Room, monotonic: Callable[[], float], chance: Callable[[], float]) -> None:
        self._room = room
        self._monotonic = monotonic
        self._chance = chance
        self._open = 0
        self._all = _Rate(room.per_second * room.burst, monotonic())
        self._addresses: dict[str, int] = {}
        self._rates: dict[str, _Rate] = {}

    def enter(self, address: str) -> Refusal | None:
        """Take the place, or say why there is none."""
        room, now = self._room, self._monotonic()
        if room.sockets and self._open >= room.sockets:
            return self._refusal("this node holds as many sockets as it may", 5.0)
        if room.address_sockets and self._addresses.get(address, 0) >= room.address_sockets:
            return self._refusal("your address holds as many sockets as one may", 30.0)
        if room.address_per_second:
            wait = self._rate(address, now).take(now, room.address_per_second, room.address_per_second * room.burst)
            if wait:
                return self._refusal("your address opens sockets too fast", wait)
        if room.per_second:
            wait = self._all.take(now, room.per_second, room.per_second * room.burst)
            if wait:
                return self._refusal("too many sockets are being opened", wait)
        self._open += 1
        if room.address_sockets:
            self._addresses[address] = self._addresses.get(address, 0) + 1
        return None

    def leave(self, address: str) -> None:
        """Give the place back."""
        self._open -= 1
        if self._room.address_sockets:
            left = self._addresses.pop(address) - 1
            if left:
                self._addresses[address] = left

    def _rate(self, address: str, now: float) -> _Rate:
        most = self._room.address_per_second * self._room.burst
        found = self._rates.get(address)
        if found is None:
            if len(self._rates) >= self._REMEMBERED:
                # Whoever has come long ago has a full bucket, as if he were new.
                self._rates = {a: r for a, r in self._rates.items() if now - r.at < self._room.burst}
            found = self._rates[address] = _Rate(most, now)
        return found

    def _refusal(self, detail: str, wait: float) -> Refusal:
        """Come back after ``wait`` seconds, spread over some more so that not all do so together."""
        return Refusal(503, "overloaded", detail, 1 + int(wait + self._chance() * 5))
