"""How often may one key (a link, say) be used? A bucket for each, and a bound on how many are remembered."""

from __future__ import annotations

from collections import OrderedDict


class Rates:
    """``burst`` uses at once, then one each ``pause`` seconds; of ``most`` keys, those used last."""

    def __init__(self, burst: int, pause: float, most: int = 20_000) -> None:
        # A millionth of a use is given away, so that rounding never costs a whole one.
        self._most_owed = (burst - 1 + 1e-6) * pause
        self._pause = pause
        self._most = most
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, key: str, now: float) -> bool:
        """Whether a use at ``now`` (monotonic seconds) is within the bounds; if so it counts."""
        owed = max(self._full_at.get(key, now) - now, 0.0)
        if owed > self._most_owed:
            return False
        self._full_at[key] = now + owed + self._pause
        self._full_at.move_to_end(key)
        while len(self._full_at) > self._most:
            self._full_at.popitem(last=False)
        return True
