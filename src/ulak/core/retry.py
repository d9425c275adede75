"""When is a failed call tried again, and when is it given up?

Full jitter: each wait is drawn evenly from zero to a ceiling that grows by a factor up to a cap, so
that callers who failed together do not come back together. The ladder ends at the earlier of the
notification's expiry and the class's window; waiting on ``Retry-After`` uses up no attempt.

=============  =======  ======  =======  ===========================  =======================
class          first    factor  cap      window after the first call  tries in 30 minutes
=============  =======  ======  =======  ===========================  =======================
critical       1 s      1.6     20 s     24 h                         at least 90
transactional  5 s      1.9     30 min   24 h                         at least 8
marketing      30 s     2       60 min   4 h                          at least 6
=============  =======  ======  =======  ===========================  =======================

"At least" holds for the worst jitter: every wait at its ceiling. A critical notification lives 5 minutes
unless its type says otherwise, so its expiry ends the ladder long before the window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ulak.core.model import Class

FLOOR = 0.25
"""The shortest wait in seconds: a jitter of zero must not become a busy loop."""

THROTTLE_FLOOR = 3.0
"""The shortest wait in seconds after being throttled; 24 hours of it stay below 32,767 calls."""

LAST_CALL = 1.0
"""Seconds before the end at which a delay that leads past it is pulled back for one last call."""

MAX_TRIES = 1000
"""The most calls that count, whatever the jitter draws."""

MAX_WAIT = 86400.0
"""The longest that a vendor's ``Retry-After`` is believed, in seconds."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """Waits of a class in seconds, and how long after the first call the last may be."""

    first: float
    factor: float
    cap: float
    window: float


LADDERS: Mapping[Class, Ladder] = {
    Class.CRITICAL: Ladder(1.0, 1.6, 20.0, 86400.0),
    Class.TRANSACTIONAL: Ladder(5.0, 1.9, 1800.0, 86400.0),
    Class.MARKETING: Ladder(30.0, 2.0, 3600.0, 14400.0),
}


def ceiling(klass: Class, tries: int) -> float:
    """The longest wait in seconds after ``tries`` counted calls (one or more)."""
    ladder = LADDERS[klass]
    # Clamped before the power is taken: a float overflows after about 1,000 steps.
    steps = min(max(tries, 1) - 1, 64)
    return float(min(ladder.cap, ladder.first * ladder.factor**steps))


def next_delay(klass: Class, tries: int, jitter: float, wait: float | None = None, *, throttled: bool = False) -> float:
    """Seconds until the next call after ``tries`` counted ones; ``jitter`` is in [0, 1).

    A vendor's ``wait`` is a floor, never shortened by the draw; a little jitter goes on top of it, so
    that those whom the vendor told the same second do not all come in that second. A throttled call
    waits at least ``THROTTLE_FLOOR``, for it uses up no try and could go on for ever.
    """
    drawn = max(FLOOR, ceiling(klass, tries) * jitter)
    if wait is None:
        return max(drawn, THROTTLE_FLOOR) if throttled else drawn
    asked = min(max(wait, THROTTLE_FLOOR if throttled else 0.0), MAX_WAIT)
    return asked + min(drawn, asked * 0.1 + FLOOR)


def give_up_at(klass: Class, first_at: datetime, expires_at: datetime) -> datetime:
    """The moment from which no further call may start; ``first_at`` is that of the first call."""
    return min(expires_at, first_at + timedelta(seconds=LADDERS[klass].window))


def retry_at(now: datetime, delay: float, end: datetime, *, firm: bool = False) -> datetime | None:
    """When to call again, or None when that is not before ``end``.

    A drawn delay that leads past the end is pulled back to one last call ``LAST_CALL`` before it; a
    ``firm`` one (asked for by the vendor) is not.
    """
    at = now + timedelta(seconds=delay)
    if at < end:
        return at
    last = end - timedelta(seconds=LAST_CALL)
    return last if not firm and last >= now + timedelta(seconds=FLOOR) else None
