"""Whom does time concern next?

One wheel for all connections instead of a timer for each: a slot for every second that somebody waits for.
Each member stands in at most one slot, and remembers which.
"""

from __future__ import annotations

from math import ceil, isfinite
from typing import Generic, Protocol, TypeVar


class Waits(Protocol):
    """What can stand on the wheel; ``slot`` belongs to the wheel, and is 0 at first."""

    slot: int


W = TypeVar("W", bound=Waits)


class Wheel(Generic[W]):
    """Members by the second at which they are to be looked at."""

    def __init__(self) -> None:
        self._slots: dict[int, set[W]] = {}

    def put(self, member: W, at: float) -> None:
        """Look at it at this time (seconds), not before; infinity: never."""
        slot = ceil(at) if isfinite(at) else 0
        if slot == member.slot:
            return
        self.take(member)
        if slot:
            member.slot = slot
            self._slots.setdefault(slot, set()).add(member)

    def take(self, member: W) -> None:
        """It need not be looked at any more."""
        if not member.slot:
            return
        slot = self._slots.get(member.slot)
        if slot is not None:
            slot.discard(member)
            if not slot:
                del self._slots[member.slot]
        member.slot = 0

    def due(self, now: float) -> list[W]:
        """Take off all whose time has come."""
        found: list[W] = []
        for slot in sorted(slot for slot in self._slots if slot <= now):
            members = self._slots.pop(slot)
            for member in members:
                member.slot = 0
            found += members
        return found
