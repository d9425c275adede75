"""How often may one link be used? A bucket for each, and a bound on how many are remembered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable


class Rates:
    """``burst`` uses at once, then one each ``pause`` seconds."""

    def __init__(self, burst: int, pause: float, monotonic: Callable[[], float], most: int = 20_000) -> None:
        self._span = burst * pause
        self._pause = pause
        self._monotonic = monotonic
        self._most = most
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, key: str) -> bool:
        """Whether this use is within the bounds; if so it counts."""
        now = self._monotonic()
        full_at = max(self._full_at.get(key, now), now) + self._pause
        if full_at - now > self._span:
            return False
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        while len(self._full_at) > self._most:
            self._full_at.popitem(last=False)
        return True
